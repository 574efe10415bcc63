"""A graph that is ready to be sampled: checked, cut down to the subset asked for, its seed nodes known."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.datasets.splits import split_seeds
from pipeline.datasets.words import nearest
from schemas.config import DatasetConfig
from schemas.errors import ConfigError, GraphError
from schemas.layout import SPLITS

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

MAX_CLASSES = 2**20


@dataclass(frozen=True)
class SourceGraph:
    """A graph and what is predicted on it.

    Attributes:
        data: the graph, after subset and removal of isolated nodes.
        seed_type: node type that is predicted.
        label: name of the attribute of `seed_type` with its classes: integers [nodes], negative where unlabelled.
        num_classes: largest class of the graph, before any subset, + 1.
        seeds: split -> ids of its seed nodes, int64, ascending, disjoint between splits.
        description: where the graph comes from, in plain words.
        node_ids: node type -> id in the source of each node, int64; only types whose nodes were renumbered.
    """

    data: HeteroData
    seed_type: str
    label: str
    num_classes: int
    seeds: dict[str, np.ndarray] = field(repr=False)
    description: dict[str, Any]
    node_ids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def from_data(data: HeteroData, config: DatasetConfig, description: dict[str, Any]) -> SourceGraph:
    """Check `data`, cut it down, find its seed nodes. `data` itself is not changed.

    Raises:
        ConfigError: the seed type, a subset's type, the label or a mask the config lists does not exist.
        GraphError: edges, labels or masks are malformed, splits overlap, or a split has no seeds.
    """
    from pipeline.datasets.subset import take_subset

    _check_structure(data)
    if config.seed_type not in data.node_types:
        raise ConfigError(
            f"the graph has no node type '{config.seed_type}'",
            where="[dataset] seed_type",
            hint=nearest(config.seed_type, data.node_types),
        )
    num_classes = _check_labels(data, config)
    masks = _find_masks(data, config)
    data, node_ids = take_subset(data, config)
    store = data[config.seed_type]
    labels = store[config.label].numpy()
    seeds = split_seeds(labels, {split: store[name].numpy() for split, name in masks.items()}, config)
    return SourceGraph(data, config.seed_type, config.label, num_classes, seeds, description, node_ids)


def _check_structure(data: HeteroData) -> None:
    import torch

    sizes = {name: _num_nodes(data, name) for name in data.node_types}
    for edge_type in data.edge_types:
        where = f"edge type {edge_type}"
        for end in (edge_type[0], edge_type[2]):
            if end not in sizes:
                hint = f"Set data['{end}'].x or data['{end}'].num_nodes."
                raise GraphError(f"names the node type '{end}', which the graph does not have", where=where, hint=hint)
        index = data[edge_type].get("edge_index")
        if index is None:
            raise GraphError("has no edge_index", where=where, hint="Other forms (adj_t) are not read.")
        if not isinstance(index, torch.Tensor):
            hint = "Use torch.from_numpy."
            raise GraphError("edge_index is no tensor", actual=type(index).__name__, where=where, hint=hint)
        is_integer = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
        if index.dim() != 2 or index.shape[0] != 2 or not is_integer:
            raise GraphError(
                "edge_index is malformed",
                actual=f"{index.dtype} {tuple(index.shape)}",
                limit="integers [2, edges]",
                where=where,
            )
        for row, end in zip(index, (edge_type[0], edge_type[2]), strict=True):
            low, high = (int(row.min()), int(row.max())) if len(row) else (0, -1)
            if low < 0 or high >= sizes[end]:
                bad = low if low < 0 else high
                limit = f"0 to {sizes[end] - 1}"
                raise GraphError(
                    f"edge_index names a {end} node that does not exist", actual=bad, limit=limit, where=where
                )


def _num_nodes(data: HeteroData, name: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG warns where it guesses from edges; that guess is refused below
        count = data[name].num_nodes if len(data[name]) else None
    if count is None:
        hint = f"Set data['{name}'].num_nodes."
        raise GraphError("the number of nodes is unknown", where=f"node type '{name}'", hint=hint)
    return int(count)


def _check_labels(data: HeteroData, config: DatasetConfig) -> int:
    """The number of classes, after checking that there is one integer class per node."""
    import torch

    store, where = data[config.seed_type], f"node type '{config.seed_type}', label '{config.label}'"
    y = store.get(config.label)
    if not isinstance(y, torch.Tensor):
        raise ConfigError(
            f"node type '{config.seed_type}' has no label '{config.label}'",
            where="[dataset] label",
            hint=nearest(config.label, store.keys()),
        )
    if y.dim() != 1 or len(y) != store.num_nodes:
        hint = "Several labels per node are not supported." if y.dim() > 1 else None
        raise GraphError(
            "labels must be one class per node",
            actual=f"shape {tuple(y.shape)}",
            limit=f"({store.num_nodes},)",
            where=where,
            hint=hint,
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        hint = "Only classification is supported; convert classes with .long()."
        raise GraphError("labels must be integers", actual=y.dtype, where=where, hint=hint)
    most = int(y.max()) if len(y) else -1
    if not 0 <= most < MAX_CLASSES:
        raise GraphError("the largest class is out of range", actual=most, limit=f"0 to {MAX_CLASSES - 1}", where=where)
    return most + 1


def _find_masks(data: HeteroData, config: DatasetConfig) -> dict[str, str]:
    """Split -> mask attribute. Default names that the data lacks are left out, as long as there is one for train."""
    import torch

    if config.random_split is not None:
        return {}
    store, found = data[config.seed_type], {}
    for split in (split for split in SPLITS if split in config.masks):
        name, where = config.masks[split], f"node type '{config.seed_type}', mask '{config.masks[split]}'"
        mask = store.get(name)
        if mask is None and "masks" not in config.model_fields_set and split != "train":
            continue
        if mask is not None and not isinstance(mask, torch.Tensor):
            raise GraphError(
                "the mask is no tensor", actual=type(mask).__name__, where=where, hint="Use torch.from_numpy."
            )
        if mask is None:
            hint = "Name the masks in [dataset] masks, or draw splits: [dataset.random_split] train = 0.6, val = 0.2."
            raise ConfigError(
                f"node type '{config.seed_type}' has no mask '{name}'", where="[dataset] masks", hint=hint
            )
        if mask.dtype != torch.bool or mask.shape != (store.num_nodes,):
            raise GraphError(
                "a mask is one bool per node",
                actual=f"{mask.dtype} {tuple(mask.shape)}",
                limit=f"torch.bool ({store.num_nodes},)",
                where=where,
            )
        found[split] = name
    return found
