"""The Heterogeneous Graph Transformer (Hu et al., 2020, arXiv:2003.01332) in a form that compiles."""

import math
from typing import Dict, List, Mapping, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch_geometric.nn import HeteroDictLinear, HeteroLinear
from torch_geometric.nn.parameter_dict import ParameterDict
from torch_geometric.utils import scatter, softmax

from schemas.config import ModelConfig
from schemas.graph import EdgeTypeTuple, GraphSchema, edge_key
from trainer.models.stack import HeteroStack, LayerPlan, head_channels


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
        self.conv = StaticHGTConv(width, width, metadata, config.heads) if plan.relations else None

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Dict[EdgeTypeTuple, Tensor]) -> Dict[str, Tensor]:
        updated = self.conv(x_dict, edge_index_dict) if self.conv is not None else {}
        return {name: updated.get(name, x_dict[name]) for name in self._outputs}


class StaticHGTConv(nn.Module):
    """PyG's `HGTConv`, relation by relation: the same parameters, `state_dict` and numbers, all shapes static.

    PyG gathers the keys of all relations in one tensor and multiplies segments of it whose bounds are data; that
    does not compile with fullgraph. Here each relation has its own small products, and only the softmax runs over
    all relations into a type. PyG's linear layers hold the parameters, so that lazy and random initialisation are
    PyG's too.

    Args:
        in_channels: features of every type, or of each; -1 takes them from the first input.
        out_channels: width of the output, a multiple of `heads`.
        metadata: (node types, edge types).
        heads: attention heads.

    Raises:
        ValueError: `out_channels` is not a multiple of `heads`.
    """

    def __init__(
        self,
        in_channels: Union[int, Dict[str, int]],
        out_channels: int,
        metadata: Tuple[Sequence[str], Sequence[EdgeTypeTuple]],
        heads: int = 1,
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
        self.p_rel = ParameterDict()
        for edge_type in self.edge_types:  # one by one: a dict of them would be sorted, unlike PyG's
            self.p_rel[edge_key(edge_type)] = nn.Parameter(torch.ones(1, heads))

    def forward(
        self, x_dict: Mapping[str, Tensor], edge_index_dict: Mapping[EdgeTypeTuple, Tensor]
    ) -> Dict[str, Tensor]:
        """`x_dict[type]` is `[rows, in_channels]`, `edge_index_dict[edge type]` `[2, columns]`.

        Returns `[rows, out_channels]` for each type that some edge type of `metadata` leads into.
        """
        width = self.out_channels // self.heads  # spelt out, because -1 is ambiguous where a type has no rows
        projected = self.kqv_lin({name: x_dict[name] for name in self.node_types if name in x_dict})
        kqv = {name: x.view(x.size(0), 3, self.heads, width).unbind(dim=1) for name, x in projected.items()}
        destinations = {dst for _, _, dst in self.edge_types}
        attended = {name: gelu(self._attend(name, kqv, edge_index_dict)) for name in kqv if name in destinations}
        return {name: self._gated(name, out, x_dict[name]) for name, out in self.out_lin(attended).items()}

    def _attend(
        self,
        dst: str,
        kqv: Mapping[str, Tuple[Tensor, ...]],
        edge_index_dict: Mapping[EdgeTypeTuple, Tensor],
    ) -> Tensor:
        """Messages into `dst`, weighted by one softmax over all its relations: `[rows, out_channels]`."""
        query = kqv[dst][1]
        num_relations = len(self.edge_types)  # matrices lie head by head, and within a head relation by relation
        scores: List[Tensor] = []
        values: List[Tensor] = []
        ends: List[Tensor] = []
        for i, edge_type in enumerate(self.edge_types):
            if edge_type[2] == dst and edge_type in edge_index_dict:
                source, end = edge_index_dict[edge_type].unbind(dim=0)
                key, _, value = kqv[edge_type[0]]
                agreement = (query[end] * self._relate(self.k_rel.weight[i::num_relations], key)[source]).sum(dim=-1)
                scores.append(agreement * self.p_rel[edge_key(edge_type)] / math.sqrt(query.size(-1)))
                values.append(self._relate(self.v_rel.weight[i::num_relations], value)[source])
                ends.append(end)
        if not scores:
            return query.new_zeros(query.size(0), self.out_channels)
        index = torch.cat(ends)
        weight = softmax(torch.cat(scores), index, num_nodes=query.size(0))
        messages = torch.cat(values) * weight.unsqueeze(-1)
        return scatter(messages.flatten(1), index, dim=0, dim_size=query.size(0), reduce="sum")

    @staticmethod
    def _relate(weight: Tensor, x: Tensor) -> Tensor:
        """Multiply each head of `x` `[rows, heads, dim]` by its matrix in `weight` `[heads, dim, dim]`."""
        return (x.transpose(0, 1) @ weight).transpose(0, 1)

    def _gated(self, name: str, out: Tensor, x: Tensor) -> Tensor:
        """A learned mixture with the type's own features, where widths agree."""
        if out.size(-1) != x.size(-1):
            return out
        alpha = self.skip[name].sigmoid()
        return alpha * out + (1 - alpha) * x
