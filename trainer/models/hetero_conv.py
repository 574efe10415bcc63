"""PyG's HeteroConv with SAGEConv and GATConv side by side."""

import warnings
from typing import Dict

from torch import Tensor, nn
from torch_geometric.nn import GATConv, HeteroConv, Linear, SAGEConv

from schemas.config import ModelConfig
from schemas.graph import EdgeTypeTuple, GraphSchema
from trainer.models.convolutions import by_destination, gat, sage
from trainer.models.sparse import Features, apply_linear
from trainer.models.stack import HeteroStack, LayerPlan, head_channels


def hetero_conv(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """`num_layers` layers of SAGEConv and GATConv with ReLU, and a linear head on the seed type."""
    return HeteroStack(graph, config, HeteroConvLayer)


class HeteroConvLayer(nn.Module):
    """One convolution per relation, summed over the relations into a type.

    Of the relations into each type the first, third, ... (in schema order) get a SAGEConv, which also carries the
    type's own features, the others a GATConv of `heads` heads. A type without messages goes through a linear layer.
    """

    def __init__(self, plan: LayerPlan, config: ModelConfig) -> None:
        super().__init__()
        self._plan = plan
        carried = [name for name in plan.outputs if name not in plan.destinations]
        self.carry = nn.ModuleDict({name: Linear(-1, config.hidden_channels) for name in carried})
        self.conv = _convolutions(plan, config) if plan.relations else None

    def forward(
        self,
        x_dict: Dict[str, Features],
        own_dict: Dict[str, Features],
        edge_index_dict: Dict[EdgeTypeTuple, Tensor],
    ) -> Dict[str, Tensor]:
        # As HeteroConv's own forward, which takes the same rows as sources and as destinations.
        updated = {name: apply_linear(linear, own_dict[name]) for name, linear in self.carry.items()}
        convs = () if self.conv is None else self.conv.convs.values()
        into = by_destination(zip(self._plan.relations, convs), x_dict, edge_index_dict)
        for name, relations in into.items():
            updated[name] = sage([r for r in relations if isinstance(r.conv, SAGEConv)], own_dict[name])
            for conv, x_src, edge_index in relations:
                if isinstance(conv, GATConv):
                    updated[name] = updated[name] + gat(conv, x_src, own_dict[name], edge_index)
        return {name: updated[name].relu() for name in self._plan.outputs}


def _convolutions(plan: LayerPlan, config: ModelConfig) -> HeteroConv:
    channels = head_channels(config)
    convs: Dict[EdgeTypeTuple, nn.Module] = {}
    num_into = dict.fromkeys(plan.outputs, 0)
    for src, relation, dst in plan.relations:
        if num_into[dst] % 2 == 0:
            conv: nn.Module = SAGEConv((-1, -1), config.hidden_channels)
        else:
            # With itself as its neighbor a type has one projection; GATConv leaves the second one uninitialised.
            in_channels = -1 if src == dst else (-1, -1)
            conv = GATConv(in_channels, channels, heads=config.heads, add_self_loops=False)
        convs[(src, relation, dst)] = conv
        num_into[dst] += 1
    with warnings.catch_warnings():
        # Types that receive no messages are carried by the layer around it, which is what PyG warns about.
        warnings.filterwarnings("ignore", message="There exist node types")
        return HeteroConv(convs, aggr="sum")
