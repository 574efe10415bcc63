"""PyG's convolutions over several relations at once, with own features for the destinations.

Modules are PyG's, and so are their parameters, initialisation and results, up to rounding. The forward passes are not:
they take sources and destinations apart, features as sparse rows, and leave out products that cancel.
"""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear
from torch_geometric.nn import GATConv, Linear
from torch_geometric.utils import scatter, softmax

from heteroshards.schemas.graph import EdgeTypeTuple
from heteroshards.trainer.models.sparse import Features, SparseRows, lay_by_columns, one_row


class EdgeFeatures(NamedTuple):
    """Of one edge type: `values` `[columns, width]`, and a linear layer for them where the convolution has none."""

    values: Tensor
    linear: Optional[nn.Module] = None


class Relation(NamedTuple):
    """One edge type: `x_src` `[rows, features]`, `edge_index` `[2, columns]`."""

    conv: Any
    x_src: Features
    edge_index: Tensor
    edges: Optional[EdgeFeatures] = None


class EdgeLinears(nn.Module):
    """A linear layer, without bias, for the features of the edges of each of some edge types; begins as torch's."""

    def __init__(self, widths: Mapping[EdgeTypeTuple, int], out_channels: int) -> None:
        super().__init__()
        self._positions = {edge_type: i for i, edge_type in enumerate(widths)}  # a container key may be any name
        self.linears = nn.ModuleList(nn.Linear(width, out_channels, bias=False) for width in widths.values())

    def items(self) -> List[Tuple[EdgeTypeTuple, nn.Module]]:
        return list(zip(self._positions, self.linears))

    def of(self, edge_attr_dict: Mapping[EdgeTypeTuple, Tensor]) -> Dict[EdgeTypeTuple, EdgeFeatures]:
        """`edge_attr_dict` with the layers that there are for it."""
        layers = dict(self.items())
        return {edge_type: EdgeFeatures(x, layers.get(edge_type)) for edge_type, x in edge_attr_dict.items()}


def by_destination(
    convs: Iterable[Tuple[EdgeTypeTuple, nn.Module]],
    x_dict: Mapping[str, Features],
    edge_index_dict: Mapping[EdgeTypeTuple, Tensor],
    edges: Mapping[EdgeTypeTuple, EdgeFeatures],
) -> Dict[str, List[Relation]]:
    """The relations into each type, in the order given."""
    into: Dict[str, List[Relation]] = {}
    for edge_type, conv in convs:
        relation = Relation(conv, x_dict[edge_type[0]], edge_index_dict[edge_type], edges.get(edge_type))
        into.setdefault(edge_type[2], []).append(relation)
    return into


def sage(relations: Sequence[Relation], x_dst: Features) -> Tensor:
    """The sum over relations of `conv((x_src, x_dst), edge_index)`, for SAGEConvs that take the mean.

    Where edges have features, messages are `[x_src, features]`, and `edges.linear` is the part of the neighbors' matrix
    that multiplies the latter.

    Returns:
        `[rows of x_dst, out_channels]`.

    Each relation has a matrix of its own for the destinations' features; they are added up before they multiply.
    Sparse sources are multiplied before the mean is taken, and so are as narrow as the result. Many small relations
    whose sources are equally wide go through one gather, one mean and one product together.
    """
    for conv, x_src, *_ in relations:
        if conv.lin_l.in_channels < 0:  # lazy, until its first call
            _initialise(conv, x_src, x_dst, conv.lin_l, conv.lin_r)
    first, *others = [conv.lin_r.weight for conv, *_ in relations]
    out = _product(x_dst, sum(others, first))
    for group in _alike(relations, out.size(0)):
        out = out + (_one_by_one(group, out.size(0)) if len(group) == 1 else _together(group, out.size(0)))
    for _, _, edge_index, edges in relations:
        if edges is not None and edges.linear is not None:
            means = scatter(edges.values, edge_index[1], dim=0, dim_size=out.size(0), reduce="mean")
            out = out + edges.linear(means)
    return out


# From so many relations on, whose means are so many numbers each at most, one large operator costs less than many small
# ones. In pairs on 2026-11-26, one core, forward and backward, eager: 0.77 (8 relations of 200 x 64 numbers) and 0.71
# (60 of 300 x 64) of the time one by one, and half of inductor's compile time; but 1.2 (60 of 1,000 x 64), 1.5 (5,000).
MANY_RELATIONS = 8
FEW_NUMBERS = 2**15


def _alike(relations: Sequence[Relation], num_dst: int) -> List[List[Relation]]:
    """The relations in groups: those that go together, and every other one alone, in the order given."""
    widths = [None if isinstance(x_src, SparseRows) else x_src.size(1) for _, x_src, *_ in relations]
    groups: Dict[Any, List[Relation]] = {}
    for i, (width, relation) in enumerate(zip(widths, relations)):
        is_small = width is not None and num_dst * width <= FEW_NUMBERS
        together = is_small and widths.count(width) >= MANY_RELATIONS
        groups.setdefault(("width", width) if together else ("alone", i), []).append(relation)
    return list(groups.values())


def _one_by_one(group: Sequence[Relation], num_dst: int) -> Tensor:
    ((conv, x_src, edge_index, _),) = group
    if isinstance(x_src, SparseRows):
        return _mean(x_src.linear(conv.lin_l.weight), edge_index, num_dst) + conv.lin_l.bias
    return conv.lin_l(_mean(x_src, edge_index, num_dst))


def _together(group: Sequence[Relation], num_dst: int) -> Tensor:
    """The means of all relations beside each other, `[num_dst, relations * features]`, times all matrices."""
    tables: Dict[int, Any] = {}
    starts: Dict[int, int] = {}
    for _, x_src, *_ in group:
        if id(x_src) not in tables:
            starts[id(x_src)] = sum(table.size(0) for table in tables.values())
            tables[id(x_src)] = x_src
    sources = torch.cat([edge_index[0] + starts[id(x_src)] for _, x_src, edge_index, _ in group])
    places = torch.cat([edge_index[1] * len(group) + i for i, (_, _, edge_index, _) in enumerate(group)])
    index = torch.stack((sources, places))
    means = _mean(torch.cat(list(tables.values())), index, num_dst * len(group)).view(num_dst, -1)
    weight = torch.cat([conv.lin_l.weight for conv, *_ in group], dim=1)
    return linear(means, weight, torch.stack([conv.lin_l.bias for conv, *_ in group]).sum(dim=0))


def _mean(x_src: Tensor, edge_index: Tensor, num_dst: int) -> Tensor:
    sources, destinations = edge_index.unbind(dim=0)
    return scatter(x_src.index_select(0, sources), destinations, dim=0, dim_size=num_dst, reduce="mean")


def gat(
    conv: GATConv, x_src: Features, x_dst: Features, edge_index: Tensor, edge_attr: Optional[Tensor] = None
) -> Tensor:
    """`conv((x_src, x_dst), edge_index, edge_attr)`, for a GATConv with concatenated heads and nothing added to it.

    The destinations' features and those of edges serve the attention only, which is linear in them: its vector is
    multiplied with their matrix first, and they with one column per head.

    Returns:
        `[rows of x_dst, heads * out_channels]`.
    """
    lin_src = conv.lin_src if conv.lin_src is not None else conv.lin  # a shared one: see `_convolutions`
    lin_dst = conv.lin_dst if conv.lin_dst is not None else conv.lin
    if lin_src.in_channels < 0:  # lazy, until its first call
        _initialise(conv, x_src, x_dst, lin_src, lin_dst)
    heads = (conv.heads, conv.out_channels)
    sources, destinations = edge_index.unbind(dim=0)
    values = _product(x_src, lin_src.weight).view(x_src.size(0), *heads)
    of_dst = (lin_dst.weight.view(*heads, -1) * conv.att_dst.view(*heads, 1)).sum(dim=1)
    score = (values * conv.att_src).sum(dim=-1).index_select(0, sources)
    score = score + _product(x_dst, of_dst).index_select(0, destinations)
    if edge_attr is not None:
        of_edges = (conv.lin_edge.weight.view(*heads, -1) * conv.att_edge.view(*heads, 1)).sum(dim=1)
        score = score + linear(edge_attr, of_edges)
    weight = softmax(leaky_relu(score, conv.negative_slope), destinations, num_nodes=x_dst.size(0))
    messages = (values.index_select(0, sources) * weight.unsqueeze(-1)).flatten(1)
    return scatter(messages, destinations, dim=0, dim_size=x_dst.size(0), reduce="sum") + conv.bias


def _product(x: Features, weight: Tensor) -> Tensor:
    return x.linear(weight) if isinstance(x, SparseRows) else linear(x, weight)


def _initialise(conv: nn.Module, x_src: Features, x_dst: Features, lin_src: Linear, lin_dst: Linear) -> None:
    """PyG's own forward pass gives lazy parameters their shapes and values."""
    row = one_row(x_src)
    conv((row, one_row(x_dst)), torch.zeros(2, 1, dtype=torch.long, device=row.device))
    for x, layer in ((x_src, lin_src), (x_dst, lin_dst)):
        if isinstance(x, SparseRows):
            lay_by_columns(layer.weight)
