"""A model of your own in the trainer: `--model examples.own_model:gated`.

    heteroshards train --model examples.own_model:gated --set model.hidden_channels=32

The trainer takes care of batches, loss, compilation, checkpoints and metrics. What a model may declare is documented in
`heteroshards.trainer.models.contract`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import GraphSchema

EdgeType = tuple[str, str, str]


class Gated(nn.Module):
    """Sums over relations, each with a gate that is learned; a norm that pads do not touch."""

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.trimmed_layers = config.num_layers  # so each layer gets the rows that can still reach a seed, only
        self.seed_type, width = graph.seed_type, config.hidden_channels
        self.types = [edge.type for edge in graph.edge_types]
        self.encoders = nn.ModuleDict({name: nn.LazyLinear(width) for name in graph.node_names})
        self.convolutions = nn.ModuleList(
            nn.ModuleList(GraphConv(width, width) for _ in self.types) for _ in range(config.num_layers)
        )
        self.gates = nn.Parameter(torch.zeros(config.num_layers, len(self.types)))
        self.norm = nn.LayerNorm(width)  # over each row's own features
        self.head = nn.Linear(width, graph.task.columns)

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[EdgeType, Tensor], trimmer: Any) -> Tensor:
        x_dict = {name: self.encoders[name](x) for name, x in x_dict.items()}
        for layer, convolutions in enumerate(self.convolutions):
            x_dict, edge_index_dict = trimmer.trim(self.trimmed_layers - layer, x_dict, edge_index_dict)
            x_dict = self.layer(x_dict, edge_index_dict, convolutions, self.gates[layer].sigmoid())
        return self.head(x_dict[self.seed_type])

    def layer(
        self,
        x_dict: dict[str, Tensor],
        edge_index_dict: dict[EdgeType, Tensor],
        convolutions: nn.ModuleList,
        gates: Tensor,
    ) -> dict[str, Tensor]:
        found = dict(x_dict)
        for gate, convolution, edge_type in zip(gates, convolutions, self.types, strict=True):
            source, _, target = edge_type
            pair = (x_dict[source], x_dict[target])
            found[target] = found[target] + gate * convolution(pair, edge_index_dict[edge_type])
        return {name: self.norm(x).relu() for name, x in found.items()}


def gated(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """The factory that the trainer calls."""
    return Gated(graph, config)
