"""Feature tables that lie beside the model, so that batches bring ids only."""

from typing import Any, Callable, Dict, Mapping

import torch
from torch import Tensor, nn

from heteroshards.schemas import layout
from heteroshards.schemas.graph import GraphSchema


class ResidentFeatures(nn.Module):
    """Ids (int32, -1 in pads) -> rows of a feature table; pads get the table's last row, the pad row.

    The tables move with the module, and belong to neither its weights nor its checkpoints.

    Args:
        read_table: path of a feature table in the store -> `[rows + 1, features]`, pad row last.
        with_edges: also hold the tables of edge features.
    """

    def __init__(self, graph: GraphSchema, read_table: Callable[[str], Tensor], with_edges: bool) -> None:
        super().__init__()
        paths = {
            ("x", node.name, of.name): layout.feature_path(node.name, of.name)
            for node in graph.node_types
            for of in node.attributes
        }
        for edge in graph.edge_types if with_edges else ():
            places = {of.name: layout.edge_feature_path(edge.key, of.name) for of in edge.attributes}
            paths.update({("edge_attr", edge.key, name): path for name, path in places.items()})
        self._is_encoded = {node.name: node.is_encoded for node in graph.node_types}
        self._is_encoded.update({edge.key: edge.is_encoded for edge in graph.edge_types})
        self._names = {place: f"table_{i}" for i, place in enumerate(paths)}  # a buffer's name has no dots
        for place, path in paths.items():
            self.register_buffer(self._names[place], read_table(path), persistent=False)

    def forward(self, kind: str, ids: Mapping[str, Tensor]) -> Dict[str, Any]:
        """`x` of node types, or `edge_attr` of edge type keys: of each that has tables, for `ids[type]`.

        Returns:
            see `encoders.Values`.
        """
        found: Dict[str, Any] = {}
        for (of, key, attribute), name in self._names.items():
            if of == kind:
                table = getattr(self, name)
                values = table.index_select(0, torch.where(ids[key] >= 0, ids[key], len(table) - 1))
                if self._is_encoded[key]:
                    found.setdefault(key, {})[attribute] = values
                else:
                    found[key] = values
        return found
