"""A graph that is ready to be sampled: checked, cut down to the subset asked for, its seed nodes known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.splits import split_seeds
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.notes import Note
from heteroshards.schemas.seam import require, typed

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True)
class SourceGraph:
    """A graph and what is predicted on it.

    Attributes:
        data: the graph, after subset and removal of isolated nodes: `num_nodes`, `x`, `edge_index`, `edge_attr`, label
            and masks, as plain tensors on the CPU; features are float32 or float16, contiguous.
        seed_type: node type that is predicted.
        label: name of the attribute of `seed_type` with its classes: integers [nodes], negative where unlabelled.
        num_classes: largest class of the graph, before any subset, + 1, unless the config says.
        seeds: split -> ids of its seed nodes, int64, ascending, disjoint between splits; but `predict` may hold any.
        description: where the graph comes from, in plain words.
        node_ids: node type -> id in the source of each node, int64; only types whose nodes were renumbered.
        told: lines worth reading: what was read, what was not, what is odd, and what was changed.
    """

    data: HeteroData
    seed_type: str
    label: str
    num_classes: int
    seeds: dict[str, np.ndarray] = field(repr=False)
    description: dict[str, Any]
    node_ids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    told: tuple[Note, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """`told`, as it is printed."""
        return tuple(note.line for note in self.told)


@typed("checking the graph", GraphError)
def from_data(data: HeteroData, config: DatasetConfig, description: dict[str, Any]) -> SourceGraph:
    """Check `data`, cut it down, find its seed nodes. `data` itself is not changed.

    Raises:
        ConfigError: the seed type, a subset's type, the label or a mask the config lists does not exist.
        GraphError: sizes, edges, features, labels or masks are malformed, splits overlap, or a split has no seeds.
    """
    from heteroshards.pipeline.sources.features import to_floats
    from heteroshards.pipeline.sources.label_notes import label_notes
    from heteroshards.pipeline.sources.subset import take_subset
    from heteroshards.pipeline.sources.targets import check_labels, check_mask, find_targets, unlabelled
    from heteroshards.pipeline.sources.tensors import plain_copy
    from heteroshards.pipeline.sources.unread import source_notes

    _require_heterogeneous(data)
    require(config, DatasetConfig, "config")
    seed_type, label = config.seed_type, config.label
    masks = find_targets(data, config)
    has_labels = data[seed_type].get(label) is not None
    targets = list(dict.fromkeys([*([label] if has_labels else []), *masks.values()]))
    plain = plain_copy(data, seed_type, targets)
    store, place = plain[seed_type], f"node type '{seed_type}'"
    told = source_notes(data, plain, config, targets)
    if not has_labels:
        store[label] = unlabelled(store.num_nodes)
    where = f"{place}, label '{label}'"
    num_classes, class_notes = check_labels(store[label], store.num_nodes, where, config.num_classes)
    for name in masks.values():
        check_mask(store[name], store.num_nodes, f"{place}, mask '{name}'")
    plain, node_ids = take_subset(plain, config)
    replaced, feature_notes = to_floats(plain, config)
    if replaced:
        description = {**description, "replaced_feature_values": replaced}
    store = plain[seed_type]
    seeds = split_seeds(store[label].numpy(), {split: store[name].numpy() for split, name in masks.items()}, config)
    told += class_notes
    told += label_notes(store[label].numpy(), seeds, num_classes, config.num_classes is not None, where)
    return SourceGraph(plain, seed_type, label, num_classes, seeds, description, node_ids, (*told, *feature_notes))


def _require_heterogeneous(data: object) -> None:
    """A `HeteroData` with node and edge types."""
    from torch_geometric.data import HeteroData

    if not isinstance(data, HeteroData):
        hint = "Use HeteroData.from_dict for a dictionary, and data.to_heterogeneous() for a graph of one type."
        raise GraphError("the graph is no HeteroData", actual=type(data).__name__, limit="HeteroData", hint=hint)
    if not data.node_types:
        raise GraphError("the graph is empty: it has no node types", hint="Set data['<type>'].x or .num_nodes.")
    if not data.edge_types:
        hint = "Neighbor sampling needs at least one: data['<source>', '<relation>', '<target>'].edge_index."
        raise GraphError("the graph has no edge types", hint=hint)
