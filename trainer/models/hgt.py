"""The Heterogeneous Graph Transformer (Hu et al., 2020, arXiv:2003.01332) in a form that compiles."""

import math
from types import MappingProxyType
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from torch_geometric.nn import HeteroDictLinear, HeteroLinear
from torch_geometric.nn.parameter_dict import ParameterDict
from torch_geometric.utils import scatter, softmax

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import EdgeTypeTuple, GraphSchema, edge_key
from heteroshards.trainer.models.convolutions import EdgeLinears
from heteroshards.trainer.models.stack import HeteroStack, LayerPlan, head_channels


def hgt(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """A linear encoder per type, `num_layers` HGT layers of `heads` heads, a linear head on the seed type."""
    return HeteroStack(graph, config, HGTLayer, encode=True)


class HGTLayer(nn.Module):
    """One StaticHGTConv; a type that receives no messages stays as it is."""

    def __init__(self, plan: LayerPlan, config: ModelConfig) -> None:
        super().__init__()
        self._outputs = plan.outputs
        width = head_channels(config) * config.heads
        metadata = (plan.inputs, plan.relations)
        self.conv = StaticHGTConv(width, width, metadata, config.heads, plan.edge_widths) if plan.relations else None

    def forward(
        self,
        x_dict: Dict[str, Tensor],
        own_dict: Dict[str, Tensor],
        edge_index_dict: Dict[EdgeTypeTuple, Tensor],
        edge_attr_dict: Optional[Mapping[EdgeTypeTuple, Tensor]] = None,
    ) -> Dict[str, Tensor]:
        updated = self.conv(x_dict, edge_index_dict, own_dict, edge_attr_dict) if self.conv is not None else {}
        return {name: updated.get(name, own_dict[name]) for name in self._outputs}


class StaticHGTConv(nn.Module):
    """PyG's `HGTConv`, relation by relation: the same parameters, `state_dict` and numbers, all shapes static.

    PyG gathers the keys of all relations in one tensor and multiplies segments of it whose bounds are data; that
    does not compile with fullgraph. Here each relation has its own small products, and only the softmax runs over
    all relations into a type. PyG's linear layers hold the parameters, so that lazy and random initialisation are
    PyG's too.

    What PyG's has not: features of edges, through a linear layer of their edge type without bias, are added to the key
    and to the value of their message.

    Args:
        in_channels: features of every type, or of each; -1 takes them from the first input.
        out_channels: width of the output, a multiple of `heads`.
        metadata: (node types, edge types).
        heads: attention heads.
        edge_widths: of the edge types whose edges have features, how many.

    Raises:
        ValueError: `out_channels` is not a multiple of `heads`.
    """

    def __init__(
        self,
        in_channels: Union[int, Dict[str, int]],
        out_channels: int,
        metadata: Tuple[Sequence[str], Sequence[EdgeTypeTuple]],
        heads: int = 1,
        edge_widths: Mapping[EdgeTypeTuple, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        if out_channels % heads:
            raise ValueError(f"out_channels ({out_channels}) must be a multiple of heads ({heads})")
        self.node_types = list(metadata[0])
        self.edge_types = [(src, relation, dst) for src, relation, dst in metadata[1]]
        self.out_channels = out_channels
        self.heads = heads
        sizes = in_channels if isinstance(in_channels, dict) else dict.fromkeys(self.node_types, in_channels)
        dim, num_products = out_channels // heads, heads * len(self.edge_types)
        self.kqv_lin = HeteroDictLinear(sizes, 3 * out_channels)
        self.out_lin = HeteroDictLinear(out_channels, out_channels, types=self.node_types)
        self.k_rel = HeteroLinear(dim, dim, num_products, bias=False, is_sorted=True)
        self.v_rel = HeteroLinear(dim, dim, num_products, bias=False, is_sorted=True)
        self.skip = ParameterDict({name: nn.Parameter(torch.ones(1)) for name in self.node_types})
        self.of_edges = EdgeLinears(edge_widths, 2 * out_channels)
        self.p_rel = ParameterDict()
        for edge_type in self.edge_types:  # one by one: a dict of them would be sorted, unlike PyG's
            self.p_rel[edge_key(edge_type)] = nn.Parameter(torch.ones(1, heads))

    def forward(
        self,
        x_dict: Mapping[str, Tensor],
        edge_index_dict: Mapping[EdgeTypeTuple, Tensor],
        own_dict: Optional[Mapping[str, Tensor]] = None,
        edge_attr_dict: Optional[Mapping[EdgeTypeTuple, Tensor]] = None,
    ) -> Dict[str, Tensor]:
        """`x_dict[type]` is `[rows, in_channels]`, `edge_index_dict[edge type]` `[2, columns]`, and
        `edge_attr_dict[edge type]` `[columns, width]` for those in `edge_widths`.

        `own_dict` holds the rows of `x_dict` that edges lead to (and results are wanted for), where that is not all
        of them.

        Returns `[rows of own_dict, out_channels]` for each type that some edge type of `metadata` leads into.
        """
        for name, x in x_dict.items():
            if self.kqv_lin.lins[name].in_channels < 0:  # lazy, until its first call
                self.kqv_lin.lins[name](x)
        own = x_dict if own_dict is None else own_dict
        destinations = {dst for _, _, dst in self.edge_types}
        attended = {}
        for name in self.node_types:
            if name in own and name in destinations:
                attended[name] = gelu(self._attend(name, x_dict, own[name], edge_index_dict, edge_attr_dict or {}))
        return {name: self._gated(name, out, own[name]) for name, out in self.out_lin(attended).items()}

    def _attend(
        self,
        dst: str,
        x_dict: Mapping[str, Tensor],
        x_dst: Tensor,
        edge_index_dict: Mapping[EdgeTypeTuple, Tensor],
        edge_attr_dict: Mapping[EdgeTypeTuple, Tensor],
    ) -> Tensor:
        """Messages into `dst`, weighted by one softmax over all its relations: `[rows of x_dst, out_channels]`."""
        query, of_edges = self._query(dst, x_dst), self.of_edges.of(edge_attr_dict)
        num_relations = len(self.edge_types)  # matrices lie head by head, and within a head relation by relation
        scores: List[Tensor] = []
        values: List[Tensor] = []
        ends: List[Tensor] = []
        for i, edge_type in enumerate(self.edge_types):
            if edge_type[2] == dst and edge_type in edge_index_dict:
                source, end = edge_index_dict[edge_type].unbind(dim=0)
                relation = torch.stack((self.k_rel.weight[i::num_relations], self.v_rel.weight[i::num_relations]))
                pairs = self._key_and_value(edge_type[0], x_dict[edge_type[0]], relation).index_select(0, source)
                features = of_edges.get(edge_type)
                if features is not None and features.linear is not None:
                    pairs = pairs + features.linear(features.values).view_as(pairs)
                key, value = pairs.unbind(dim=1)
                agreement = (query.index_select(0, end) * key).sum(dim=-1)
                scores.append(agreement * self.p_rel[edge_key(edge_type)] / math.sqrt(query.size(-1)))
                values.append(value)
                ends.append(end)
        if not scores:
            return query.new_zeros(query.size(0), self.out_channels)
        index = torch.cat(ends)
        weight = softmax(torch.cat(scores), index, num_nodes=query.size(0))
        messages = torch.cat(values) * weight.unsqueeze(-1)
        return scatter(messages.flatten(1), index, dim=0, dim_size=query.size(0), reduce="sum")

    def _query(self, name: str, x: Tensor) -> Tensor:
        """`[rows, heads, dim]`"""
        lin, width = self.kqv_lin.lins[name], self.out_channels
        query = linear(x, lin.weight[width : 2 * width], lin.bias[width : 2 * width])  # between keys and values
        return query.view(x.size(0), self.heads, width // self.heads)

    def _key_and_value(self, name: str, x: Tensor, relation: Tensor) -> Tensor:
        """`[rows, 2, heads, dim]`, each head multiplied by its matrix in `relation` `[2, heads, dim, dim]`.

        The two linear maps are joined first: they are small, and rows are many.
        """
        lin, dim = self.kqv_lin.lins[name], self.out_channels // self.heads
        weight = relation.transpose(2, 3) @ lin.weight.view(3, self.heads, dim, -1)[::2]
        bias = lin.bias.view(3, self.heads, 1, dim)[::2] @ relation
        return linear(x, weight.flatten(0, 2), bias.flatten()).view(x.size(0), 2, self.heads, dim)

    def _gated(self, name: str, out: Tensor, x: Tensor) -> Tensor:
        """A learned mixture with the type's own features, where widths agree."""
        if out.size(-1) != x.size(-1):
            return out
        alpha = self.skip[name].sigmoid()
        return alpha * out + (1 - alpha) * x
