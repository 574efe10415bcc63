"""SAGEConv layers made heterogeneous by PyG's `to_hetero`: means over neighbors, their sum or mean over relations."""

import warnings
from typing import Dict, Iterator, Mapping, Optional, Tuple

from torch import Tensor, nn
from torch_geometric.nn import Linear, SAGEConv
from torch_geometric.nn import to_hetero as pyg_to_hetero

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import EdgeTypeTuple, GraphSchema
from heteroshards.trainer.models.convolutions import EdgeLinears, by_destination, sage
from heteroshards.trainer.models.scale import scale_sum
from heteroshards.trainer.models.sparse import Features, apply_linear
from heteroshards.trainer.models.stack import HeteroStack, LayerPlan, group_by_destination


def to_hetero(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """`num_layers` SAGEConv layers with ReLU and a linear head on the seed type. `heads` has no part in it."""
    return HeteroStack(graph, config, ToHeteroLayer)


class _Sage(nn.Module):
    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv = SAGEConv((-1, -1), out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index)


class ToHeteroLayer(nn.Module):
    """One SAGEConv per relation, as `to_hetero` makes them; a type that receives no messages goes through a linear
    layer instead. `to_hetero` converts layer by layer, because it cannot feed such a type into a second layer. Its
    convolutions are then called here, because it hands each the same rows as sources and as destinations."""

    def __init__(self, plan: LayerPlan, config: ModelConfig) -> None:
        super().__init__()
        self._plan, self._aggr = plan, config.aggr
        width = config.hidden_channels
        carried = [name for name in plan.outputs if name not in plan.destinations]
        self.carry = nn.ModuleDict({name: Linear(-1, width) for name in carried})
        self.conv = _convert(_Sage(width), plan, config.aggr) if plan.relations else None
        self.of_edges = EdgeLinears(plan.edge_widths, width)

    def forward(
        self,
        x_dict: Dict[str, Features],
        own_dict: Dict[str, Features],
        edge_index_dict: Dict[EdgeTypeTuple, Tensor],
        edge_attr_dict: Optional[Mapping[EdgeTypeTuple, Tensor]] = None,
    ) -> Dict[str, Tensor]:
        edges = self.of_edges.of(edge_attr_dict or {})
        updated = {name: apply_linear(linear, own_dict[name]) for name, linear in self.carry.items()}
        for name, into in by_destination(self._convolutions(), x_dict, edge_index_dict, edges).items():
            total = sage(into, own_dict[name])
            updated[name] = total / len(into) if self._aggr == "mean" else total
        return {name: updated[name].relu() for name in self._plan.outputs}

    def scale_initial_weights(self) -> None:
        """See `HeteroStack.scale_initial_weights`."""
        if self._aggr == "sum":
            for convs in group_by_destination([*self._convolutions(), *self.of_edges.items()]).values():
                scale_sum(convs)

    def _convolutions(self) -> Iterator[Tuple[EdgeTypeTuple, nn.Module]]:
        for edge_type in self._plan.relations:
            assert self.conv is not None
            yield edge_type, self.conv.get_submodule("conv." + "__".join(edge_type))  # a copied graph, no ModuleDict


def _convert(layer: nn.Module, plan: LayerPlan, aggr: str) -> nn.Module:
    with warnings.catch_warnings():
        # Types that receive no messages are carried by the layer around it, which is what PyG warns about.
        warnings.filterwarnings("ignore", message="There exist node types")
        return pyg_to_hetero(layer, (list(plan.inputs), list(plan.relations)), aggr=aggr)
