"""How weights lie in memory: an IPU and torch's fused optimizers get them wrong where they have odd strides."""

from typing import Dict, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from heteroshards.schemas.errors import ModelError


def lay_out_for_ipu(model: nn.Module) -> None:
    """Make every parameter and buffer contiguous, in place; one that is registered twice stays one.

    PopTorch moves weights by address, as many values as there are, in a row. It ignores strides: a transposed matrix
    would be uploaded, trained and saved scrambled, without an error.

    Raises:
        ModelError: one has no elements, which PopTorch cannot move, or two share memory without being the same one,
            and are trained: a device would train each on its own.
    """
    weights = _weights(model)
    _require_elements(model, weights)
    _require_apart(model, weights, list(weights))
    _make_contiguous(list(weights.values()))


def lay_out_for_optimizer(model: nn.Module) -> None:
    """Make parameters contiguous that have gaps in memory, in place, such as every second column of a matrix.

    Their gradients lie otherwise than they do, and torch's fused optimizers then update the wrong places. A matrix
    that lies column by column has none.

    Raises:
        ModelError: one of them shares memory with another, from which it would be parted.
    """
    odd = [name for name, parameter in model.named_parameters() if not _is_dense(parameter)]
    _require_apart(model, _weights(model), odd)
    _make_contiguous([model.get_parameter(name) for name in odd])


def _make_contiguous(tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor in tensors:
            if not tensor.is_contiguous():
                tensor.data = tensor.data.contiguous()


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill a piece of memory, in whatever order of dimensions."""
    order = sorted(range(tensor.dim()), key=lambda dim: (tensor.stride(dim), tensor.size(dim)))
    return tensor.permute(order[::-1]).is_contiguous()


def _weights(model: nn.Module) -> Dict[str, Tensor]:
    """Each parameter and buffer once, by its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _require_elements(model: nn.Module, weights: Dict[str, Tensor]) -> None:
    empty = [f"{name} {tuple(tensor.shape)}" for name, tensor in weights.items() if tensor.numel() == 0]
    if empty:
        what, hint = "parameters or buffers without elements do not run on an IPU", "Leave them out of the module."
        raise ModelError(what, actual=", ".join(empty), where=_name(model), hint=hint)


def _require_apart(model: nn.Module, weights: Dict[str, Tensor], moved: Sequence[str]) -> None:
    """No other weight may lie in the memory of those that are moved."""
    moves = set(moved)
    by_memory: Dict[Tuple[torch.device, int], List[str]] = {}
    for name, tensor in weights.items():
        by_memory.setdefault((tensor.device, tensor.untyped_storage().data_ptr()), []).append(name)
    for names in by_memory.values():
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                is_trained = weights[first].requires_grad or weights[second].requires_grad
                if is_trained and moves & {first, second} and _overlap(weights[first], weights[second]):
                    what = "two parameters or buffers share memory, and would be trained apart"
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
