"""Ways to run a model: `eager`, `inductor` (torch.compile), or `auto`, the fastest one that works here."""

import warnings
from pathlib import Path

from schemas.errors import BackendError
from trainer.backends.base import Backend, CompiledModel
from trainer.backends.eager import EagerBackend
from trainer.backends.inductor import InductorBackend

__all__ = ["Backend", "BackendFallbackWarning", "CompiledModel", "resolve_backend"]

NAMES = ("auto", "eager", "inductor")


class BackendFallbackWarning(UserWarning):
    """The wanted backend does not work on this machine; `eager` stands in."""


def resolve_backend(name: str, cache: Path) -> Backend:
    """The backend of that name. Where torch.compile does not work, `auto` and `inductor` are `eager`, with a warning.

    Args:
        cache: folder of compiled code, kept between runs.

    Raises:
        BackendError: there is no backend of that name.
    """
    if name not in NAMES:
        raise BackendError("there is no such backend", actual=repr(name), limit=f"one of {', '.join(NAMES)}")
    if name == "eager":
        return EagerBackend()
    inductor = InductorBackend(cache)
    is_available, reason = inductor.is_available()
    if is_available:
        return inductor
    warnings.warn(
        f"backend '{name}' runs as 'eager', because torch.compile does not work here: {reason}.",
        BackendFallbackWarning,
        stacklevel=2,
    )
    return EagerBackend()
