"""Ways to run a model: `eager`, `inductor` (torch.compile), `cuda_graphs` (an NVIDIA GPU), `poptorch` (an IPU), or
`auto`, the best one here."""

import warnings
from pathlib import Path

from heteroshards.schemas.config import IpuConfig
from heteroshards.schemas.errors import BackendError
from heteroshards.trainer.backends.base import Backend, CompiledModel
from heteroshards.trainer.backends.cuda_graphs import CudaGraphsBackend
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend

__all__ = ["Backend", "BackendFallbackWarning", "CompiledModel", "resolve_backend"]

NAMES = ("auto", "eager", "inductor", "cuda_graphs", "poptorch")


class BackendFallbackWarning(UserWarning):
    """The wanted backend does not work on this machine; another one stands in."""


def resolve_backend(name: str, cache: Path, ipu: IpuConfig = IpuConfig()) -> Backend:  # noqa: B008, it is frozen
    """The backend of that name; `auto` is `poptorch` where it is installed, `cuda_graphs` where there is a GPU, else
    `inductor`.

    Where torch.compile does not work, `auto` and `inductor` are `eager`, with a warning. Nothing stands in for an IPU
    or a GPU that was asked for by name; `auto` warns where PopTorch is installed and cannot be imported.

    Args:
        cache: folder of compiled code, kept between runs.
        ipu: how `poptorch` uses the device.

    Raises:
        BackendError: there is no backend of that name, PopTorch is not installed, or there is no GPU.
    """
    if name not in NAMES:
        raise BackendError("there is no such backend", actual=repr(name), limit=f"one of {', '.join(NAMES)}")
    if name == "eager":
        return EagerBackend()
    if name in ("auto", "poptorch"):
        poptorch = PopTorchBackend(ipu, cache)
        is_available, reason = poptorch.is_available()
        if is_available:
            return poptorch
        if name == "poptorch":
            raise BackendError("backend 'poptorch' does not work here", actual=reason, hint="See README, On an IPU.")
        if poptorch.is_installed():
            text = f"backend 'auto' does not run on an IPU, although PopTorch is installed: {reason}."
            warnings.warn(text, BackendFallbackWarning, stacklevel=2)
    if name in ("auto", "cuda_graphs"):
        graphs = CudaGraphsBackend()
        is_available, reason = graphs.is_available()
        if is_available:
            return graphs
        if name == "cuda_graphs":
            hint = "Use [train] backend = 'auto', which takes what there is."
            raise BackendError("backend 'cuda_graphs' does not work here", actual=reason, hint=hint)
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
