"""What of a `HeteroData` is read, and what is left: said, so that nothing that would change a model is lost unsaid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heteroshards.pipeline.formatting import listed
from heteroshards.pipeline.sources.attributes import Attributes, Owner, owners
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.graph import edge_key, type_name
from heteroshards.schemas.notes import Note, NoteLevel

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

# Names under which other libraries and tutorials keep features, weights and times.
FEATURE_NAMES = (
    *("feat", "feats", "feature", "features", "node_feat", "node_attr", "edge_feat", "edge_feature", "edge_features"),
    *("attr", "attrs", "h", "emb", "embedding", "embeddings", "z", "tf", "edge_weight", "weight", "weights"),
)
TIME_NAMES = ("time", "times", "timestamp", "timestamps", "edge_time", "node_time", "date", "datetime", "year")
TELLING_NAMES = (*FEATURE_NAMES, *TIME_NAMES, "pos", "edge_type", "norm", "edge_norm", "prob", "edge_attr", "x")
SILENT_NAMES = ("num_nodes",)


class Left(NamedTuple):
    """An attribute that is not read. `size` is the number of nodes or edges of its type, None for the whole graph."""

    kind: str
    owner: str
    size: int | None
    name: str
    value: Any

    @property
    def is_data(self) -> bool:
        """Whether a model might want it: it is called so, or has a real number or a table row per node or edge."""
        if self.name.lower() in TELLING_NAMES or "frame" in type(self.value).__name__.lower():
            return True
        return self.size is not None and _rows(self.value) == self.size and _is_real(self.value)

    @property
    def is_like_features(self) -> bool:
        """Whether it could stand for the features that its type lacks."""
        if "frame" in type(self.value).__name__.lower():
            return True
        is_named = self.name.lower() in FEATURE_NAMES or self.name.lower() in ("edge_attr", "x")
        return self.size is not None and _rows(self.value) == self.size and (is_named or _is_real(self.value))


def source_notes(
    data: HeteroData,
    plain: HeteroData,
    config: DatasetConfig,
    targets: Collection[str],
    attributes: Attributes,
    others: Mapping[Any, Sequence[str]] = MappingProxyType({}),
) -> list[Note]:
    """Lines on what was read of `data` into `plain`, in which form, and on what was not.

    `targets` are the attributes of the seed type that were read as its label and masks, `attributes` those of every
    type that models see, `others` those that say when things came to be, and what they weigh.
    """
    left = list(_left(data, plain, config.seed_type, targets, others))
    served = {"", *config.attributes, *(of for of, names in attributes.items() if names)}
    elsewhere = [item for item in left if item.is_like_features and item.owner not in served]
    rest = [item for item in left if item not in elsewhere]
    return [
        _read(plain, config.seed_type, targets, attributes),
        *_reshaped(data, plain, config.seed_type, targets, attributes),
        *_featureless(plain, attributes, config),
        *_elsewhere(elsewhere),
        *_not_read(rest),
    ]


def _left(
    data: HeteroData, plain: HeteroData, seed_type: str, targets: Collection[str], others: Mapping[Any, Sequence[str]]
) -> Iterator[Left]:
    for kind, types in (("node", data.node_types), ("edge", data.edge_types)):
        for of in types:
            size = plain[of].num_nodes if kind == "node" else plain[of].edge_index.size(1)
            known = {*plain[of].keys(), *SILENT_NAMES, *(targets if of == seed_type else ()), *others.get(of, ())}
            for name, value in data[of].items():
                if name not in known and value is not None:
                    yield Left(kind, type_name(of), int(size), name, value)
    for name, value in data.stores[0].items():
        if value is not None:
            yield Left("graph", "", None, name, value)


def _read(plain: HeteroData, seed_type: str, targets: Collection[str], attributes: Attributes) -> Note:
    parts = [
        *(_of_types(plain.node_types, attributes) or ["no x"]),
        *([f"{listed(list(targets))} of {seed_type}"] if targets else []),
        f"edge_index of {len(plain.edge_types)} edge types",
        *(_of_types([edge_key(of) for of in plain.edge_types], attributes) or ["no edge_attr"]),
    ]
    return Note(code="read", level="note", message=f"read are {', '.join(parts)}")


def _of_types(types: Sequence[str], attributes: Attributes) -> list[str]:
    """Each attribute that some of the types have, and which."""
    names = dict.fromkeys(name for of in types for name in attributes[of])
    return [f"{name} of {listed([of for of in types if name in attributes[of]])}" for name in names]


def _reshaped(
    data: HeteroData, plain: HeteroData, seed_type: str, targets: Collection[str], attributes: Attributes
) -> Iterator[Note]:
    for name in targets:
        given, taken = data[seed_type][name].shape, plain[seed_type][name].shape
        if list(given) != list(taken):
            message = f"{name} of shape {list(given)} is taken as {list(taken)}"
            yield Note(code="reshaped", level="note", concerns=f"node type '{seed_type}'", message=message)
    flat: dict[tuple[str, str], list[Owner]] = {}
    for owner in owners(data):
        for name in attributes[owner.name]:
            if len(getattr(owner.store[name], "shape", ())) == 1:
                flat.setdefault((owner.kind, name), []).append(owner)
    for (kind, name), group in flat.items():
        num = len(group[0].store[name])
        message = f"{name} of shape [{num}] is taken as [{num}, 1]" + _likewise(group)
        concerns = _types(kind, [owner.name for owner in group])
        yield Note(code="reshaped", level="note", concerns=concerns, message=message)


def _likewise(group: Sequence[object]) -> str:
    """Words that stand for all but the first."""
    return f"; likewise {len(group) - 1} more" if len(group) > 1 else ""


def _featureless(plain: HeteroData, attributes: Attributes, config: DatasetConfig) -> Iterator[Note]:
    bare = [name for name in plain.node_types if not attributes[name]]
    for what, names in (
        ("no x", [name for name in bare if name not in config.attributes]),
        ("no attributes are read", [name for name in bare if name in config.attributes]),
    ):
        if not names:
            continue
        message = f"{what}, so a model learns a vector per node, or sees a constant ([model] featureless)"
        yield Note(code="featureless", level="note", concerns=_types("node", names), message=message)


def _elsewhere(items: list[Left]) -> Iterator[Note]:
    """One line per kind and name, loud where a type would be trained as if it had no features."""
    for (kind, name), group in _by_name(items).items():
        wanted = "x" if kind == "node" else "edge_attr"
        owner = f"'{group[0].owner}'" if kind == "node" else ", ".join(f"'{p}'" for p in group[0].owner.split("__"))
        message = (
            f"there is no {wanted}, but {name} {describe(group[0].value)}, which is not read: "
            f"only {wanted} holds features, unless [dataset] attributes names others. "
            f"data[{owner}].{wanted} = data[{owner}].{name}{_likewise(group)}"
        )
        concerns = _types(kind, [item.owner for item in group])
        yield Note(code="features_elsewhere", concerns=concerns, message=message)


def _not_read(items: list[Left]) -> Iterator[Note]:
    for (kind, name), group in _by_name(items).items():
        message = f"{name} {describe(group[0].value)} is not read"
        if name.lower() in TIME_NAMES:
            message += "; neighbors are drawn whatever their time, so a seed may see what came after it"
        level: NoteLevel = "warning" if any(item.is_data for item in group) else "note"
        concerns = _types(kind, [item.owner for item in group]) if kind != "graph" else None
        yield Note(code="not_read", level=level, concerns=concerns, message=message)


def _by_name(items: list[Left]) -> dict[tuple[str, str], list[Left]]:
    groups: dict[tuple[str, str], list[Left]] = {}
    for item in items:
        groups.setdefault((item.kind, item.name), []).append(item)
    return groups


def _types(kind: str, names: list[str]) -> str:
    return f"{kind} type '{names[0]}'" if len(names) == 1 else f"{kind} types {listed(names)}"


def describe(value: Any) -> str:
    """Shape and dtype of a tensor or an array, the class of anything else; one line without the value."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return f"({type(value).__name__})"
    return f"{list(shape)} {str(dtype).removeprefix('torch.')}"


def _rows(value: Any) -> int | None:
    shape = getattr(value, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) else None


def _is_real(value: Any) -> bool:
    import torch

    if isinstance(value, torch.Tensor):
        return value.is_floating_point()
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
