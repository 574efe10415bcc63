"""The check that a batch is what a model was compiled for: cheap, and before the backend sees it."""

from typing import Sequence, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.errors import SignatureMismatchError
from heteroshards.schemas.inputs import InputSpec

HINT = "Train on one store, or on stores prepared with the same graph, sampling and budget."


def find_shape(shapes: Sequence[Sequence[InputSpec]], batch: Sequence[Tensor], group: int = 1) -> int:
    """Which of the shapes `group` batches joined on dim 0 have; raises SignatureMismatchError when none of them."""
    found = 0
    if len(shapes) > 1:
        sizes = [tuple(tensor.shape) for tensor in batch]
        found = next((i for i, inputs in enumerate(shapes) if sizes == [_joined(spec, group) for spec in inputs]), 0)
    check_signature(shapes[found], batch, group)
    return found


def _joined(spec: InputSpec, group: int) -> Tuple[int, ...]:
    return (group * spec.shape[0], *spec.shape[1:])


def check_signature(inputs: Sequence[InputSpec], batch: Sequence[Tensor], group: int = 1) -> None:
    """Raises SignatureMismatchError unless `batch` is `group` batches of `inputs`, joined on dim 0."""
    if len(batch) != len(inputs):
        what = "a batch has another number of tensors than the model takes"
        raise SignatureMismatchError(what, actual=len(batch), limit=len(inputs), hint=HINT)
    for spec, tensor in zip(inputs, batch):
        shape = _joined(spec, group)
        if tensor.shape != shape or tensor.dtype != getattr(torch, spec.dtype):
            raise SignatureMismatchError(
                f"{spec.kind} differs from what the model was compiled for",
                actual=f"{str(tensor.dtype).replace('torch.', '')} {tuple(tensor.shape)}",
                limit=f"{spec.dtype} {shape}",
                where=spec.key,
                hint=HINT,
            )
