"""A graph that is ready to be sampled: checked, cut down to the subset asked for, its seed nodes known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.splits import split_seeds
from heteroshards.schemas.config import DatasetConfig, TargetConfig, single_target
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.notes import Note
from heteroshards.schemas.seam import require, typed
from heteroshards.schemas.targets import TargetSpec

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True)
class SourceGraph:
    """A graph and what is predicted on it.

    Attributes:
        data: the graph, after subset and removal of isolated nodes: `num_nodes`, `x`, `edge_index`, `edge_attr`, label
            and masks, as plain tensors on the CPU; features are float32 or float16, contiguous.
        seed_type: node type that is predicted.
        targets: what is predicted, each an attribute of `seed_type` of that name in `data`, [nodes, ...]: integers,
            negative where unknown, or float32, NaN where unknown. Class counts are of the graph before any subset.
        seeds: split -> ids of its seed nodes, int64, ascending, disjoint between splits; but `predict` may hold any.
        description: where the graph comes from, in plain words.
        node_ids: node type -> id in the source of each node, int64; only types whose nodes were renumbered.
        told: lines worth reading: what was read, what was not, what is odd, and what was changed.
    """

    data: HeteroData
    seed_type: str
    targets: tuple[TargetSpec, ...]
    seeds: dict[str, np.ndarray] = field(repr=False)
    description: dict[str, Any]
    node_ids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    told: tuple[Note, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """`told`, as it is printed."""
        return tuple(note.line for note in self.told)


@typed("checking the graph", GraphError)
def from_data(
    data: HeteroData,
    config: DatasetConfig,
    description: dict[str, Any],
    targets: Sequence[TargetConfig] | None = None,
) -> SourceGraph:
    """Check `data`, cut it down, find its seed nodes. `data` itself is not changed.

    Args:
        targets: what is predicted, see `JobConfig.targets`; by default the class in `[dataset] label`.

    Raises:
        ConfigError: the seed type, a subset's type, a label or a mask the config lists does not exist.
        GraphError: sizes, edges, features, labels or masks are malformed, splits overlap, or a split has no seeds.
    """
    from heteroshards.pipeline.sources.features import to_floats
    from heteroshards.pipeline.sources.masks import check_mask, find_masks
    from heteroshards.pipeline.sources.subset import take_subset
    from heteroshards.pipeline.sources.targets.read import require_labels, unlabelled
    from heteroshards.pipeline.sources.tensors import plain_copy
    from heteroshards.pipeline.sources.unread import source_notes

    _require_heterogeneous(data)
    require(config, DatasetConfig, "config")
    seed_type, wanted = config.seed_type, tuple(targets or single_target(config))
    masks = find_masks(data, config)
    require_labels(data[seed_type], config, wanted)
    labels = [target.label for target in wanted if data[seed_type].get(target.label) is not None]
    plain = plain_copy(data, seed_type, dict.fromkeys([*labels, *masks.values()]))
    store = plain[seed_type]
    told = source_notes(data, plain, config, [*dict.fromkeys([*labels, *masks.values()])])
    for target in (target for target in wanted if target.label not in labels):
        store[target.label] = unlabelled(store.num_nodes, target)
    specs, target_lines = _read_targets(store, wanted, config)
    for name in masks.values():
        check_mask(store[name], store.num_nodes, f"node type '{seed_type}', mask '{name}'")
    plain, node_ids = take_subset(plain, config)
    replaced, feature_notes = to_floats(plain, config)
    if replaced:
        description = {**description, "replaced_feature_values": replaced}
    store = plain[seed_type]
    seeds = split_seeds(_any_known(store, specs), {split: store[name].numpy() for split, name in masks.items()}, config)
    specs, seed_lines = _look_at_seeds(store, specs, wanted, seeds, seed_type)
    told += [*target_lines, *seed_lines, *feature_notes]
    return SourceGraph(plain, seed_type, specs, seeds, description, node_ids, tuple(told))


def _read_targets(
    store: Any, wanted: Sequence[TargetConfig], config: DatasetConfig
) -> tuple[tuple[TargetSpec, ...], list[Note]]:
    """What each target is, its checked values put back into the seed type's `store`, and lines worth reading."""
    from heteroshards.pipeline.sources.targets.read import read_target

    specs, told = [], []
    for target in wanted:
        where = _where(config.seed_type, target.label)
        spec, store[target.label], notes = read_target(store[target.label], target, store.num_nodes, where, config)
        specs.append(spec)
        told += notes
    return tuple(specs), told


def _any_known(store: Any, specs: Sequence[TargetSpec]) -> np.ndarray:
    """bool [nodes]: of which nodes anything is known."""
    known = np.zeros(store.num_nodes, bool)
    for spec in specs:
        values = store[spec.name].numpy()
        known |= spec.is_known(values).reshape(len(values), spec.columns if spec.shape else 1).any(axis=1)
    return known


def _look_at_seeds(
    store: Any,
    specs: Sequence[TargetSpec],
    wanted: Sequence[TargetConfig],
    seeds: Mapping[str, np.ndarray],
    seed_type: str,
) -> tuple[tuple[TargetSpec, ...], list[Note]]:
    """The targets with what split train says about them, and lines on what is odd about the seeds' values."""
    from heteroshards.pipeline.sources.targets.read import target_notes, with_statistics

    found, told = [], []
    for spec, target in zip(specs, wanted, strict=True):
        values, where = store[spec.name].numpy(), _where(seed_type, spec.name)
        told += target_notes(spec, values, seeds, target, where)
        found.append(with_statistics(spec, values[seeds["train"]], where) if "train" in seeds else spec)
    return tuple(found), told


def _where(seed_type: str, label: str) -> str:
    return f"node type '{seed_type}', label '{label}'"


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
