"""PyG's SAGEConv over several relations into one type at once."""

from typing import Sequence, Tuple

from torch import Tensor
from torch.nn.functional import linear
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import scatter

Relation = Tuple[SAGEConv, Tensor, Tensor]


def sage(relations: Sequence[Relation], x_dst: Tensor) -> Tensor:
    """The sum over relations of `conv((x_src, x_dst), edge_index)`, for SAGEConvs that take the mean.

    Args:
        relations: (conv, x_src `[rows, features]`, edge_index `[2, columns]`) of each.

    Returns:
        `[rows of x_dst, out_channels]`.

    Each relation has a matrix of its own for the destinations' features; they are added up before they multiply.
    """
    if any(conv.lin_l.in_channels < 0 for conv, _, _ in relations):  # lazy, until its first call
        for conv, x_src, edge_index in relations:
            conv((x_src, x_dst), edge_index)
    first, *others = [conv.lin_r.weight for conv, _, _ in relations]
    out = linear(x_dst, sum(others, first))
    for conv, x_src, edge_index in relations:
        sources, destinations = edge_index.unbind(dim=0)
        messages = x_src.index_select(0, sources)
        out = out + conv.lin_l(scatter(messages, destinations, dim=0, dim_size=x_dst.size(0), reduce="mean"))
    return out
