"""The ways to run a model, which a config may name, in the order in which `auto` tries them.

A new one is a line here and a file in `trainer/backends`.
"""

from typing import Dict, NamedTuple

AUTO = "auto"


class BackendKind(NamedTuple):
    """What it is for, and where its class lies: "module:class" in `heteroshards.trainer.backends`."""

    what: str
    home: str


BACKENDS: Dict[str, BackendKind] = {
    "poptorch": BackendKind("a Graphcore IPU", "poptorch:PopTorchBackend"),
    "cuda_graphs": BackendKind("an NVIDIA GPU", "cuda_graphs:CudaGraphsBackend"),
    "inductor": BackendKind("torch.compile", "inductor:InductorBackend"),
    "eager": BackendKind("plain PyTorch", "eager:EagerBackend"),
}
BACKEND_NAMES = (AUTO, *BACKENDS)


def described() -> str:
    """For help: every name with what it is for."""
    return f"{AUTO} or {', '.join(f'{name} ({kind.what})' for name, kind in BACKENDS.items())}"
