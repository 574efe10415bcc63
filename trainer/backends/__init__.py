"""Ways to run a model, one file each; `schemas.backends` lists them. Nothing else asks which one it is."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Type

from heteroshards.schemas.backends import AUTO, BACKEND_NAMES, BACKENDS
from heteroshards.schemas.config import IpuConfig
from heteroshards.schemas.errors import BackendError
from heteroshards.trainer.backends.base import Backend, CompiledModel

__all__ = ["Backend", "BackendFallbackWarning", "CompiledModel", "backend_class", "resolve_backend"]


class BackendFallbackWarning(UserWarning):
    """The wanted backend does not work on this machine; another one stands in."""


def backend_class(name: str) -> Type[Backend]:
    """The class behind a name of the registry."""
    module, _, found = BACKENDS[name].home.partition(":")
    kind: Type[Backend] = getattr(import_module(f"{__name__}.{module}"), found)
    return kind


def resolve_backend(name: str, cache: Path, ipu: IpuConfig = IpuConfig()) -> Backend:  # noqa: B008, it is frozen
    """The backend of that name; `auto` is the first of the registry that works here.

    Where torch.compile does not work, `auto` and `inductor` are `eager`, with a warning. Nothing stands in for an IPU
    or a GPU that was asked for by name; `auto` warns where PopTorch is installed and cannot be imported.

    Args:
        cache: folder of compiled code, kept between runs.
        ipu: how `poptorch` uses the device.

    Raises:
        BackendError: there is no backend of that name, or it does not work here.
    """
    if name not in BACKEND_NAMES:
        raise BackendError("there is no such backend", actual=repr(name), limit=f"one of {', '.join(BACKEND_NAMES)}")
    for candidate in tuple(BACKENDS) if name == AUTO else (name,):
        backend = backend_class(candidate).configured(cache, ipu)
        is_available, reason = backend.is_available()
        if is_available:
            return backend
        if name != AUTO and not backend.stand_in:
            what = f"backend '{name}' does not work here"
            raise BackendError(what, actual=reason, hint=backend.way_out)
        missed = backend.missed(name, reason)
        if missed:
            warnings.warn(missed, BackendFallbackWarning, stacklevel=2)
    return backend_class(backend.stand_in).configured(cache, ipu)
