"""Sparse matrices of any library as dense tensors, where memory allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.compat import num_entries
from heteroshards.pipeline.memory import require_memory
from heteroshards.schemas.errors import GraphError

if TYPE_CHECKING:
    from torch import Tensor

HINT = "Keep fewer columns, or project them to a dense matrix of some hundred."


def as_torch_sparse(value: Any, what: str, where: str) -> Any:
    """A scipy matrix or a `SparseTensor` (torch_sparse's and PyG's own) as a torch COO tensor; all else as it is.

    Raises:
        GraphError: it holds what no tensor holds, or contradicts itself.
    """
    try:
        return _as_coo(value)
    except (TypeError, ValueError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "Make it a tensor of numbers."
        raise GraphError(
            f"{what} is a sparse matrix that torch cannot hold", actual=text, where=where, hint=hint
        ) from error


def _as_coo(value: Any) -> Any:
    import torch

    if callable(getattr(value, "tocoo", None)) and hasattr(value, "nnz"):  # scipy.sparse
        coo = value.tocoo()
        index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        return torch.sparse_coo_tensor(
            index, torch.from_numpy(np.ascontiguousarray(coo.data)), coo.shape, check_invariants=True
        )
    if callable(getattr(value, "coo", None)) and callable(getattr(value, "sparse_sizes", None)):
        row, column, values = value.coo()
        values = torch.ones(len(row)) if values is None else values
        size = [*value.sparse_sizes(), *values.shape[1:]]
        return torch.sparse_coo_tensor(torch.stack([row, column]), values, size, check_invariants=True)
    return value


def to_dense(value: Tensor, what: str, where: str) -> Tensor:
    """A sparse tensor as a dense one of the same dtype.

    Raises:
        GraphError: it would not fit into memory, or torch cannot convert it.
    """
    import torch

    # the dense matrix, and what features are stored as where that is another dtype
    item_bytes = value.element_size() + (0 if value.dtype in (torch.float32, torch.float16) else 4)
    thing = f"{what} of shape {list(value.shape)}, sparse with {num_entries(value)} entries, as a dense matrix"
    require_memory(value.numel() * item_bytes, thing, where, HINT)
    try:
        return value.to_dense()
    except (RuntimeError, MemoryError, TypeError) as error:  # what torch has no kernel for, or an allocation after all
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphError(f"{thing}: torch cannot make it", actual=text, where=where, hint=HINT) from error
