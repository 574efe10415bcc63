"""PyG's HeteroConv with SAGEConv and GATConv side by side."""

import warnings
from typing import Dict, FrozenSet, List, Mapping, Optional

from torch import Tensor, nn
from torch_geometric.nn import GATConv, HeteroConv, Linear, SAGEConv

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import EdgeTypeTuple, GraphSchema
from heteroshards.trainer.models.convolutions import EdgeLinears, Relation, by_destination, gat, sage
from heteroshards.trainer.models.scale import scale_sum
from heteroshards.trainer.models.sparse import Features, apply_linear
from heteroshards.trainer.models.stack import (
    HeteroStack,
    LayerPlan,
    group_by_destination,
    head_channels,
    with_safe_names,
)


def hetero_conv(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """`num_layers` layers of SAGEConv and GATConv with ReLU, and a linear head on the seed type.

    Which relation gets which does not depend on the layer: see `attending`.
    """
    safe = with_safe_names(graph)
    by_attention = attending(safe)
    return HeteroStack(graph, config, lambda plan, c: HeteroConvLayer(plan, c, by_attention, safe.seed_type))


def attending(graph: GraphSchema) -> FrozenSet[EdgeTypeTuple]:
    """The edge types that get a GATConv: the last one into the seed type, and every second one before and after it, in
    schema order.

    For IMDB (movie to director, movie to actor, director to movie, actor to movie) these are the two between movie and
    actor, as in Graphcore's tutorial. Wherever messages reach the seeds at all there is at least one, in every layer
    that leads there, so that the model never is `to_hetero`.
    """
    into_seeds = [i for i, edge in enumerate(graph.edge_types) if edge.dst == graph.seed_type]
    if not into_seeds:
        return frozenset()
    return frozenset(edge.type for i, edge in enumerate(graph.edge_types) if (i - into_seeds[-1]) % 2 == 0)


class HeteroConvLayer(nn.Module):
    """One convolution per relation, summed up (or `config.aggr`) over the relations into a type.

    A SAGEConv also carries the type's own features, a GATConv of `heads` heads does not. Where the seed type gets
    GATConvs only, a linear layer of its own features is added, because no prediction should do without them; other
    types do, as IMDB's actors do in the tutorial. A type without messages goes through a linear layer. Features of
    edges are a part of what a SAGEConv takes the mean of; in a GATConv they take part in the attention.
    """

    def __init__(
        self, plan: LayerPlan, config: ModelConfig, by_attention: FrozenSet[EdgeTypeTuple], seed_type: str
    ) -> None:
        super().__init__()
        self._plan, self._aggr = plan, config.aggr
        carrying = {dst for _, _, dst in set(plan.relations) - by_attention}
        carried = [n for n in plan.outputs if n not in plan.destinations or (n == seed_type and n not in carrying)]
        self.carry = nn.ModuleDict({name: Linear(-1, config.hidden_channels) for name in carried})
        self.conv = _convolutions(plan, config, by_attention) if plan.relations else None
        by_mean = {of: width for of, width in plan.edge_widths.items() if of not in by_attention}
        self.of_edges = EdgeLinears(by_mean, config.hidden_channels)

    def forward(
        self,
        x_dict: Dict[str, Features],
        own_dict: Dict[str, Features],
        edge_index_dict: Dict[EdgeTypeTuple, Tensor],
        edge_attr_dict: Optional[Mapping[EdgeTypeTuple, Tensor]] = None,
    ) -> Dict[str, Tensor]:
        # As HeteroConv's own forward, which takes the same rows as sources and as destinations.
        updated = {name: apply_linear(linear, own_dict[name]) for name, linear in self.carry.items()}
        convs = () if self.conv is None else self.conv.convs.values()
        edges, relations = self.of_edges.of(edge_attr_dict or {}), zip(self._plan.relations, convs)
        for name, into in by_destination(relations, x_dict, edge_index_dict, edges).items():
            total = self._total(into, own_dict[name])
            updated[name] = updated[name] + total if name in updated else total
        return {name: updated[name].relu() for name in self._plan.outputs}

    def _total(self, into: List[Relation], own: Features) -> Tensor:
        attended = [relation for relation in into if isinstance(relation.conv, GATConv)]
        parts = [gat(conv, x_src, own, index, edges and edges.values) for conv, x_src, index, edges in attended]
        means = [relation for relation in into if isinstance(relation.conv, SAGEConv)]
        if means:
            parts.insert(0, sage(means, own))
        total = sum(parts[1:], parts[0])
        return total / len(into) if self._aggr == "mean" else total

    def scale_initial_weights(self) -> None:
        """See `HeteroStack.scale_initial_weights`."""
        if self._aggr == "sum" and self.conv is not None:
            every = [*zip(self._plan.relations, self.conv.convs.values()), *self.of_edges.items()]
            for convs in group_by_destination(every).values():
                scale_sum(convs)


def _convolutions(plan: LayerPlan, config: ModelConfig, by_attention: FrozenSet[EdgeTypeTuple]) -> HeteroConv:
    channels = head_channels(config)
    convs: Dict[EdgeTypeTuple, nn.Module] = {}
    for src, relation, dst in plan.relations:
        if (src, relation, dst) not in by_attention:
            conv: nn.Module = SAGEConv((-1, -1), config.hidden_channels)
        else:
            # With itself as its neighbor a type has one projection; GATConv leaves the second one uninitialised.
            in_channels = -1 if src == dst else (-1, -1)
            of_edges = plan.edge_widths.get((src, relation, dst))
            conv = GATConv(in_channels, channels, heads=config.heads, add_self_loops=False, edge_dim=of_edges)
        convs[(src, relation, dst)] = conv
    with warnings.catch_warnings():
        # Types that receive no messages are carried by the layer around it, which is what PyG warns about.
        warnings.filterwarnings("ignore", message="There exist node types")
        return HeteroConv(convs, aggr=config.aggr)
