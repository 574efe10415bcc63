"""Features for node types that have none."""

from typing import Dict, Mapping

import torch
from torch import Tensor, nn

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.models.scale import embedding_scale


class Featureless(nn.Module):
    """`n_id [rows]` of each type without attributes -> features `[rows, width]`; pad rows (id -1) give zeros.

    With `config.featureless` = "embedding" every node has a learned vector of `hidden_channels`, found by its global
    id, that begins as `scale.embedding_scale` says; with "constant" every node has the single feature 1.
    """

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        sizes = {node.name: max(1, node.num_nodes) for node in graph.node_types if not node.attributes}
        self._is_learned = config.featureless == "embedding"
        self._positions = {name: str(i) for i, name in enumerate(sizes)}  # a container key may be any name
        self.embeddings = nn.ModuleDict(
            {self._positions[name]: nn.Embedding(size, config.hidden_channels) for name, size in sizes.items()}
            if self._is_learned
            else {}
        )
        for vectors in self.embeddings.parameters():
            vectors.data.mul_(embedding_scale(config.name, config.hidden_channels))

    def forward(self, n_id_dict: Mapping[str, Tensor], dtype: torch.dtype) -> Dict[str, Tensor]:
        """Features of every type without attributes, in `dtype`."""
        features = {}
        for name, position in self._positions.items():
            n_id = n_id_dict[name]
            is_real = (n_id >= 0).to(dtype).unsqueeze(-1)
            if self._is_learned:
                vectors = self.embeddings[position](n_id.clamp(min=0).long())
                features[name] = vectors * is_real
            else:
                features[name] = is_real
        return features
