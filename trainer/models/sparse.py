"""Features that are mostly zeros, a bag of words say, as rows of a sparse matrix.

What the first layer of a model does with them is a product with a dense matrix. Its cost, and that of its gradient,
then follows the entries that are not zero, which may be a hundredth of all.
"""

from typing import Any, Iterable, List, Optional, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch_geometric.nn import Linear

Features = Union[Tensor, "SparseRows"]
_BY_COLUMNS = "lies_by_columns"  # an attribute of matrices that do


class SparseRows:
    """A matrix `[rows, num_columns]` by rows (CSR). Its values have no gradient.

    Args:
        starts: int32 `[rows + 1]`, where each row's entries begin, and the last one's end.
        columns: int32 `[at least starts[-1]]`, the column of each entry; what follows the last row is not read.
        values: floats, as many as `columns`.
        num_columns: the matrix's width.
    """

    def __init__(self, starts: Tensor, columns: Tensor, values: Tensor, num_columns: int) -> None:
        self.starts, self.columns, self.values = starts, columns, values
        self.num_columns = num_columns

    def size(self, dim: int) -> int:
        return self.num_columns if dim in (1, -1) else self.starts.size(0) - 1

    def __len__(self) -> int:
        return self.starts.size(0) - 1

    def __getitem__(self, rows: slice) -> "SparseRows":
        """The first rows, `[:n]`."""
        is_first = isinstance(rows, slice) and rows.start is None and rows.step is None
        assert is_first and (rows.stop is None or rows.stop >= 0), "only the first rows are a view"
        stop = len(self) if rows.stop is None else min(rows.stop, len(self))
        return SparseRows(self.starts[: stop + 1], self.columns, self.values, self.num_columns)

    def to(self, dtype: torch.dtype) -> "SparseRows":
        return SparseRows(self.starts, self.columns, self.values.to(dtype), self.num_columns)

    def linear(self, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
        """As `torch.nn.functional.linear`: `weight` is `[out, num_columns]`, the result `[rows, out]`."""
        out: Tensor = torch.ops.heteroshards.sparse_mm(self.starts, self.columns, self.values, weight.t())
        return out if bias is None else out + bias

    def to_dense(self) -> Tensor:
        """All entries, `[rows, num_columns]`; a column that a row names twice counts twice."""
        lengths = self.starts.diff().long()
        num, rows = int(self.starts[-1]), torch.repeat_interleave(lengths)
        dense = self.values.new_zeros(len(self), self.num_columns)
        return dense.index_put_((rows, self.columns[:num].long()), self.values[:num], accumulate=True)


def apply_linear(layer: Union[Linear, nn.Linear], x: Features) -> Tensor:
    """`layer(x)`, for the Linear of PyG or torch, lazy or not."""
    if isinstance(x, Tensor):
        return layer(x)
    if isinstance(layer.weight, nn.UninitializedParameter):  # lazy, until its first call
        layer(one_row(x))
        lay_by_columns(layer.get_parameter("weight"))
    return x.linear(layer.weight, layer.bias)


def lay_by_columns(weight: nn.Parameter) -> None:
    """Keep a matrix column by column in memory, which is how sparse rows read it and how its gradient comes.

    Shape, values and name stay. Otherwise each step copies it twice, which takes longer than the products. Whoever
    must know of it asks `laid_by_columns`.
    """
    weight.data = weight.data.t().contiguous().t()
    setattr(weight, _BY_COLUMNS, not weight.is_contiguous())  # a single row or column lies either way


def laid_by_columns(parameters: Iterable[nn.Parameter]) -> List[nn.Parameter]:
    """Those that `lay_by_columns` has laid out."""
    return [parameter for parameter in parameters if getattr(parameter, _BY_COLUMNS, False)]


def one_row(x: Features) -> Tensor:
    """Zeros of the same width, `[1, features]`: what lazy layers take their width from."""
    if isinstance(x, Tensor):
        return x.new_zeros(1, x.size(1))
    return x.values.new_zeros(1, x.num_columns)


# Operators of PyTorch, so that a compiler takes each as one, and need not look into what depends on data: how many
# entries a batch has. `torch.library` is the way that PyTorch 2.0 has, too.
_LIBRARY = torch.library.Library("heteroshards", "DEF")
_LIBRARY.define("sparse_mm(Tensor starts, Tensor columns, Tensor values, Tensor dense) -> Tensor")
_LIBRARY.define("sparse_mm_forward(Tensor starts, Tensor columns, Tensor values, Tensor dense) -> Tensor")
_LIBRARY.define("sparse_mm_backward(Tensor starts, Tensor columns, Tensor values, Tensor grad, int rows) -> Tensor")


class _SparseMM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, starts: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
        ctx.save_for_backward(starts, columns, values)
        ctx.num_rows = dense.size(0)
        return torch.ops.heteroshards.sparse_mm_forward(starts, columns, values, dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gradient = torch.ops.heteroshards.sparse_mm_backward(*ctx.saved_tensors, grads[0], ctx.num_rows)
        return None, None, None, gradient


def _sparse_mm(starts: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    return _SparseMM.apply(starts, columns, values, dense)


def _forward(starts: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    num = int(starts[-1])
    return _sum_of_rows(dense.contiguous(), columns[:num], starts[:-1], values[:num])


def _backward(starts: Tensor, columns: Tensor, values: Tensor, grad: Tensor, rows: int) -> Tensor:
    """`matrix.t() @ grad`: entries sorted by column make the same sums again."""
    num = int(starts[-1])
    found = columns[:num].numpy()
    narrow = found.astype(np.uint16) if rows <= 2**16 else found  # radix sort, five times as fast
    order = torch.from_numpy(np.argsort(narrow, kind="stable"))
    row_of = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts.numpy()))
    begins = np.zeros(rows, np.int32)
    np.cumsum(np.bincount(found, minlength=rows)[:-1], out=begins[1:])
    index, factors = torch.from_numpy(row_of).index_select(0, order), values[:num].index_select(0, order)
    return _sum_of_rows(grad.contiguous(), index, torch.from_numpy(begins), factors)


def _sum_of_rows(dense: Tensor, index: Tensor, begins: Tensor, factors: Tensor) -> Tensor:
    """Rows `index` of `dense`, times `factors`, summed from each of `begins` on to the next."""
    if len(index) == 0:
        return dense.new_zeros(len(begins), dense.size(1))
    return functional.embedding_bag(index, dense, begins, mode="sum", per_sample_weights=factors)


def _forward_shape(starts: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    return dense.new_empty((starts.size(0) - 1, dense.size(1)))


def _backward_shape(starts: Tensor, columns: Tensor, values: Tensor, grad: Tensor, rows: int) -> Tensor:
    return grad.new_empty((rows, grad.size(1)))


_LIBRARY.impl("sparse_mm", _sparse_mm, "CompositeImplicitAutograd")
_LIBRARY.impl("sparse_mm_forward", _forward, "CPU")
_LIBRARY.impl("sparse_mm_forward", _forward_shape, "Meta")
_LIBRARY.impl("sparse_mm_backward", _backward, "CPU")
_LIBRARY.impl("sparse_mm_backward", _backward_shape, "Meta")
