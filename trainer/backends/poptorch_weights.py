"""Weights as PopTorch moves them: by address, as many values as there are, in a row. It ignores strides."""

from typing import Dict, List, Tuple

import torch
from torch import Tensor, nn

from schemas.errors import ModelError


def lay_out_weights(model: nn.Module) -> None:
    """Make every parameter and buffer contiguous, in place; one that is registered twice stays one.

    Otherwise a transposed matrix would be uploaded, trained and saved scrambled, without an error.

    Raises:
        ModelError: one has no elements, which PopTorch cannot move, or two share memory without being the same one,
            and are trained: a device would train each on its own.
    """
    weights = _weights(model)
    _require_elements(model, weights)
    _require_apart(model, weights)
    with torch.no_grad():
        for tensor in weights.values():
            if not tensor.is_contiguous():
                tensor.data = tensor.data.contiguous()


def _weights(model: nn.Module) -> Dict[str, Tensor]:
    """Each parameter and buffer once, by its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _require_elements(model: nn.Module, weights: Dict[str, Tensor]) -> None:
    empty = [f"{name} {tuple(tensor.shape)}" for name, tensor in weights.items() if tensor.numel() == 0]
    if empty:
        what, hint = "parameters or buffers without elements do not run on an IPU", "Leave them out of the module."
        raise ModelError(what, actual=", ".join(empty), where=_name(model), hint=hint)


def _require_apart(model: nn.Module, weights: Dict[str, Tensor]) -> None:
    by_memory: Dict[Tuple[torch.device, int], List[str]] = {}
    for name, tensor in weights.items():
        by_memory.setdefault((tensor.device, tensor.untyped_storage().data_ptr()), []).append(name)
    for names in by_memory.values():
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                is_trained = weights[first].requires_grad or weights[second].requires_grad
                if is_trained and _overlap(weights[first], weights[second]):
                    what = "two parameters or buffers share memory, and would be trained apart on an IPU"
                    hint = "Register the same nn.Parameter under both names, and transpose it where it is used."
                    raise ModelError(what, actual=f"{first} and {second}", where=_name(model), hint=hint)


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether any byte of a storage belongs to both."""
    taken = torch.zeros(one.untyped_storage().nbytes(), dtype=torch.bool)
    _bytes(taken, one).fill_(True)
    return bool(_bytes(taken, other).any())


def _bytes(storage: Tensor, tensor: Tensor) -> Tensor:
    """Where each byte of a tensor lies in its storage: a view `[*shape, bytes]`."""
    size = tensor.element_size()
    strides = [size * stride for stride in tensor.stride()]
    return storage.as_strided((*tensor.shape, size), (*strides, 1), size * tensor.storage_offset())


def _name(model: nn.Module) -> str:
    return str(getattr(model, "name", type(model).__name__))
