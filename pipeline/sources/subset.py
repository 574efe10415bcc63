"""The first n nodes of some types, and the removal of nodes without edges, as PyG's own transforms do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.tensors import empty_copy
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

_SOURCE_ID = "_source_id"


def take_subset(data: HeteroData, config: DatasetConfig) -> tuple[HeteroData, dict[str, np.ndarray]]:
    """The reduced graph, and the original id of each node, int64, for every type whose nodes were renumbered.

    `data` holds plain tensors (see `tensors.plain_copy`).

    Raises:
        ConfigError: `subset` names a type the graph does not have.
    """
    for name in config.subset:
        if name not in data.node_types:
            hint = nearest(name, data.node_types)
            raise ConfigError(f"the graph has no node type '{name}'", where="[dataset] subset", hint=hint)
    if not config.subset and not config.remove_isolated:
        return data, {}
    kept, ids = _kept(data, config), {}
    for name in data.node_types:
        rows = kept[name].pop(_SOURCE_ID)
        if len(rows) < data[name].num_nodes:
            ids[name] = rows.numpy()
        _take_rows(data[name], kept[name], rows)
    for edge_type in data.edge_types:
        _take_rows(data[edge_type], kept[edge_type], kept[edge_type].pop(_SOURCE_ID))
    return kept, ids


def _take_rows(before: Any, after: Any, rows: Tensor) -> None:
    """Those rows of every attribute of a type that `after` lacks."""
    for key, value in before.items():
        if key not in after:
            after[key] = value if len(rows) == len(value) else value[rows]


def _kept(data: HeteroData, config: DatasetConfig) -> HeteroData:
    """The reduced graph with no attributes but the ids that its nodes and edges had.

    PyG guesses from an attribute's name and shape whose rows it has, and is spared that.
    """
    import torch
    from torch_geometric.transforms import RemoveIsolatedNodes

    bare = empty_copy(data)
    for name in data.node_types:
        bare[name].num_nodes = size = int(data[name].num_nodes)
        bare[name][_SOURCE_ID] = torch.arange(size)
    for edge_type in data.edge_types:
        bare[edge_type].edge_index = edges = data[edge_type].edge_index
        bare[edge_type][_SOURCE_ID] = torch.arange(edges.size(1))
    bare = bare.subgraph({name: torch.arange(min(n, data[name].num_nodes)) for name, n in config.subset.items()})
    return RemoveIsolatedNodes()(bare) if config.remove_isolated else bare
