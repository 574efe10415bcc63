"""The first n nodes of some types, and the removal of nodes without edges, as PyG's own transforms do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

_SOURCE_ID = "_source_id"


def take_subset(data: HeteroData, config: DatasetConfig) -> tuple[HeteroData, dict[str, np.ndarray]]:
    """The reduced graph, and the original id of each node, int64, for every type whose nodes were renumbered.

    `data` holds plain tensors (see `tensors.plain_copy`).

    Raises:
        ConfigError: `subset` names a type the graph does not have.
    """
    import torch
    from torch_geometric.transforms import RemoveIsolatedNodes

    for name in config.subset:
        if name not in data.node_types:
            hint = nearest(name, data.node_types)
            raise ConfigError(f"the graph has no node type '{name}'", where="[dataset] subset", hint=hint)
    if not config.subset and not config.remove_isolated:
        return data, {}
    sizes = {name: int(data[name].num_nodes) for name in data.node_types}
    kept = {name: torch.arange(min(count, sizes[name])) for name, count in config.subset.items()}
    data = data.subgraph(kept)
    for name in data.node_types:
        data[name][_SOURCE_ID] = torch.arange(data[name].num_nodes)
    if config.remove_isolated:
        data = RemoveIsolatedNodes()(data)
    ids = {name: data[name].pop(_SOURCE_ID).numpy() for name in data.node_types}
    return data, {name: ids[name] for name in ids if len(ids[name]) < sizes[name]}
