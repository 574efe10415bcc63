"""A graph that is ready to be sampled: checked, cut down to the subset asked for, its seed nodes known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heteroshards.pipeline.sources import asked
from heteroshards.pipeline.sources.homogeneous import as_hetero, with_seed_type
from heteroshards.pipeline.sources.splits import split_seeds
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.attributes import TAKEN_NAMES
from heteroshards.schemas.config import DatasetConfig, JobConfig, TargetConfig
from heteroshards.schemas.config.times import DAY
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.names import check_name
from heteroshards.schemas.notes import Note
from heteroshards.schemas.seam import require, typed
from heteroshards.schemas.targets import TargetSpec

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


@dataclass(frozen=True)
class SourceGraph:
    """A graph and what is predicted on it.

    Attributes:
        data: the graph, after subset and removal of isolated nodes: `num_nodes`, `edge_index`, attributes, label and
            masks, as plain tensors on the CPU; attributes are float32, float16 or codes in int32, contiguous.
        seed_type: node type that is predicted.
        targets: what is predicted. Classes are counted in the graph before any subset.
        answers: target -> [questions, ...]: integers, negative where unknown, or float32, NaN where unknown. Question i
            is about node i, or is row i of a table.
        seeds: split -> its questions, int64, ascending, disjoint between splits; but `predict` may hold any.
        description: where the graph comes from, in plain words.
        attributes: node type or edge type key -> the attributes of `data` that models see, in order.
        cardinalities: of those that are codes, by type and attribute, how many values each column has in the graph
            before any subset.
        node_ids: node type -> id in the source of each node, int64; only types whose nodes were renumbered.
        told: lines worth reading: what was read, what was not, what is odd, and what was changed.
        asked_of: the node that each question is about, int64; None: question i is about node i.
        asked_at: when each question is asked, int64; None: times play no part.
        times: node or edge type -> the source's attribute that says when each came to be, in `data` `times.TIME`.
        weights: edge type -> the source's attribute with weights, in `data` `times.WEIGHT`.
        day: how many units of time are one unit of age.
    """

    data: HeteroData
    seed_type: str
    targets: tuple[TargetSpec, ...]
    answers: dict[str, np.ndarray] = field(repr=False)
    seeds: dict[str, np.ndarray] = field(repr=False)
    description: dict[str, Any]
    attributes: dict[str, tuple[str, ...]]
    cardinalities: dict[tuple[str, str], tuple[int, ...]]
    node_ids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    told: tuple[Note, ...] = ()
    asked_of: np.ndarray | None = field(default=None, repr=False)
    asked_at: np.ndarray | None = field(default=None, repr=False)
    times: dict[Any, str] = field(default_factory=dict)
    weights: dict[Any, str] = field(default_factory=dict)
    day: int = 1

    @property
    def notes(self) -> tuple[str, ...]:
        """`told`, as it is printed."""
        return tuple(note.line for note in self.told)


@typed("checking the graph", GraphError)
def from_data(
    data: HeteroData | Data, config: DatasetConfig, description: dict[str, Any], job: JobConfig | None = None
) -> SourceGraph:
    """Check `data`, cut it down, find its seed nodes. `data` itself is not changed.

    Args:
        data: a `Data` is a graph of node type "node", see `homogeneous.as_hetero`.
        job: what is predicted, who asks, and when things came to be; by default the class in `[dataset] label`.

    Raises:
        ConfigError: a type, a label, a mask or a time that the config names does not exist.
        GraphError: sizes, edges, features, labels, masks or times are malformed, splits overlap, or a split is empty.
    """
    from heteroshards.pipeline.sources.features import to_floats
    from heteroshards.pipeline.sources.subset import take_subset

    require(config, DatasetConfig, "config")
    data = as_hetero(data)
    _require_types(data)
    config = with_seed_type(config, data)
    job = (job or JobConfig(dataset=config)).model_copy(update={"dataset": config})
    _require_seed_type(data, config)
    read = _read(data, config, job)
    plain, node_ids = take_subset(read.plain, config)
    replaced, feature_notes = to_floats(plain, read.numbers, config)
    rows = plain[config.seed_type] if read.table is None else read.table
    masks = {split: rows[name].numpy() for split, name in read.masks.items()}
    seeds = split_seeds(_any_known(rows, read.targets), masks, read.asking)
    targets, seed_notes = _look_at_seeds(rows, read.targets, job.targets, seeds, read.asking.seed_type)
    about = None if read.table is None else asked.nodes_asked_about(rows, plain[config.seed_type].num_nodes, job)
    more = {"replaced_feature_values": replaced} if replaced else {}
    return SourceGraph(
        data=plain,
        seed_type=config.seed_type,
        targets=targets,
        answers={target.name: rows[target.name].numpy() for target in targets},
        seeds=seeds,
        description={**description, "seed_type": config.seed_type, **more},
        attributes=read.attributes,
        cardinalities=read.cardinalities,
        node_ids=node_ids,
        told=(*read.told, *seed_notes, *read.code_notes, *feature_notes),
        asked_of=about,
        asked_at=asked.times_asked_at(rows, job),
        times=read.times,
        weights=read.weights,
        day=1 if job.sampling.time is None else DAY[job.sampling.time.unit],
    )


class _Read(NamedTuple):
    """What is read of a graph, before it is cut down; see `SourceGraph`.

    Attributes:
        plain: the graph. table: of the questions, where they are not the nodes of the seed type.
        asking: the config, with the type that has labels and masks for a seed type.
        masks: split -> attribute.
    """

    plain: HeteroData
    table: Any
    asking: DatasetConfig
    masks: dict[str, str]
    targets: tuple[TargetSpec, ...]
    attributes: dict[str, tuple[str, ...]]
    cardinalities: dict[tuple[str, str], tuple[int, ...]]
    times: dict[Any, str]
    weights: dict[Any, str]
    told: list[Note]
    code_notes: list[Note]

    @property
    def numbers(self) -> dict[str, tuple[str, ...]]:
        """The attributes that are no codes, by type."""
        attributes = self.attributes.items()
        return {of: tuple(key for key in keys if (of, key) not in self.cardinalities) for of, keys in attributes}


def _read(data: HeteroData, config: DatasetConfig, job: JobConfig) -> _Read:
    from heteroshards.pipeline.sources.attributes import find_attributes, to_codes
    from heteroshards.pipeline.sources.tensors import plain_copy
    from heteroshards.pipeline.sources.times import read_times, read_weights
    from heteroshards.pipeline.sources.unread import source_notes

    graph, asking = asked.without_table(data, job), asked.asked_config(job, config)
    of_seeds, masks = _attributes_of_seeds(data, asking, job)
    of_graph = of_seeds if graph is data else []
    attributes = find_attributes(graph, config, of_graph)
    plain = plain_copy(graph, config, of_graph, attributes)
    table = None if graph is data else asked.plain_table(data, asking.seed_type, of_seeds)
    times, weights = read_times(graph, plain, job.sampling), read_weights(graph, plain, job.sampling)
    others = {of: [names[of] for names in (times, weights) if of in names] for of in (*times, *weights)}
    told = source_notes(graph, plain, config, of_graph, attributes, others)
    _require_apart([target.label for target in job.targets], attributes[config.seed_type], asking.seed_type)
    cardinalities, code_notes = to_codes(plain, attributes, config)
    rows = plain[config.seed_type] if table is None else table
    targets, target_notes = _read_targets(rows, job.targets, masks, asking)
    return _Read(
        plain, table, asking, masks, targets, attributes, cardinalities, times, weights,
        [*told, *target_notes], code_notes,
    )  # fmt: skip


def _require_seed_type(data: HeteroData, config: DatasetConfig) -> None:
    if config.seed_type not in data.node_types:
        raise ConfigError(
            f"the graph has no node type '{config.seed_type}'",
            where="[dataset] seed_type",
            hint=nearest(config.seed_type, data.node_types),
        )


def _attributes_of_seeds(data: HeteroData, config: DatasetConfig, job: JobConfig) -> tuple[list[str], dict[str, str]]:
    """The attributes that are read of the seeds, and which of them are the masks of which split."""
    from heteroshards.pipeline.sources.masks import find_masks
    from heteroshards.pipeline.sources.targets.read import require_labels

    masks = find_masks(data, config)
    require_labels(data[config.seed_type], config, job.targets)
    labels = [target.label for target in job.targets if data[config.seed_type].get(target.label) is not None]
    return list(dict.fromkeys([*labels, *masks.values(), *asked.require_time(data, job)])), masks


def _check_masks(rows: Any, masks: Mapping[str, str], config: DatasetConfig) -> None:
    from heteroshards.pipeline.sources.masks import check_mask

    for name in masks.values():
        check_mask(rows[name], rows.num_nodes, f"node type '{config.seed_type}', mask '{name}'")


def _read_targets(
    store: Any, wanted: Sequence[TargetConfig], masks: Mapping[str, str], config: DatasetConfig
) -> tuple[tuple[TargetSpec, ...], list[Note]]:
    """What each target is, its checked values put back into the seeds' `store`, and lines worth reading."""
    from heteroshards.pipeline.sources.targets.read import read_target, unlabelled

    specs, told = [], []
    for target in wanted:
        if store.get(target.label) is None:
            store[target.label] = unlabelled(store.num_nodes, target)
        where = _where(config.seed_type, target.label)
        _require_name(target.label)
        spec, store[target.label], notes = read_target(store[target.label], target, store.num_nodes, where, config)
        specs.append(spec)
        told += notes
    _check_masks(store, masks, config)
    return tuple(specs), told


def _require_apart(labels: Sequence[str], attributes: Sequence[str], of: str) -> None:
    """Raise ConfigError where a batch as HeteroData would have two things under one name."""
    names = ["y"] if len(labels) == 1 else labels
    taken = [name for name in names if name in attributes or (len(labels) > 1 and name in TAKEN_NAMES)]
    if taken:
        what = f"a target would be called '{taken[0]}' in a batch, as something else of the seed type is"
        hint = "Keep the attribute, or the label, under another name."
        raise ConfigError(what, where=f"node type '{of}'", hint=hint)


def _require_name(label: str) -> None:
    try:
        check_name(label, "target")
    except ValueError as problem:
        hint = "Keep the labels under another name."
        raise GraphError(str(problem), where="[dataset] label", hint=hint) from None


def _any_known(store: Any, specs: Sequence[TargetSpec]) -> np.ndarray:
    """bool [nodes]: of which nodes anything is known."""
    known = np.zeros(store.num_nodes, bool)
    for spec in specs:
        known |= spec.has_known(store[spec.name].numpy())
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


def _require_types(data: HeteroData) -> None:
    """It has node and edge types."""
    if not data.node_types:
        raise GraphError("the graph is empty: it has no node types", hint="Set data['<type>'].x or .num_nodes.")
    if not data.edge_types:
        hint = "Neighbor sampling needs at least one: data['<source>', '<relation>', '<target>'].edge_index."
        raise GraphError("the graph has no edge types", hint=hint)
