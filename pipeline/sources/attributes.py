"""Which attributes of nodes and edges models shall see: `[dataset] attributes`, or by default `x` and `edge_attr`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.attributes import MAX_CODES, UNKNOWN_CODE
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.graph import type_name
from heteroshards.schemas.notes import Note

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

Attributes = dict[str, tuple[str, ...]]  # by node type or edge type key
Cardinalities = dict[tuple[str, str], tuple[int, ...]]  # of codes, by that and the attribute
WHERE = "[dataset] attributes"
DEFAULT = {"node": "x", "edge": "edge_attr"}


class Owner(NamedTuple):
    """A node type or an edge type of a graph, with its attributes."""

    kind: str
    name: str
    store: Any

    @property
    def where(self) -> str:
        return f"{self.kind} type '{self.name}'"


def owners(data: HeteroData) -> Iterator[Owner]:
    """All node types, then all edge types."""
    yield from (Owner("node", name, data[name]) for name in data.node_types)
    yield from (Owner("edge", type_name(of), data[of]) for of in data.edge_types)


def find_attributes(data: HeteroData, config: DatasetConfig, targets: Collection[str]) -> Attributes:
    """Of every type the attributes that are listed for it, or `x`, or `edge_attr`, where it has one.

    Args:
        targets: the attributes of the seed type that are its labels and masks.

    Raises:
        ConfigError: a type or an attribute that is listed does not exist, or is what is predicted.
    """
    every = {owner.name: owner for owner in owners(data)}
    for name, attributes in config.attributes.items():
        if name not in every:
            raise ConfigError(f"the graph has no type '{name}'", where=WHERE, hint=nearest(name, every))
        for attribute in attributes:
            _require_attribute(every[name], attribute, config, targets)
    found = {}
    for owner in every.values():
        default = DEFAULT[owner.kind]
        found[owner.name] = (default,) if owner.store.get(default) is not None else ()
    return {**found, **{name: tuple(attributes) for name, attributes in config.attributes.items()}}


def _require_attribute(owner: Owner, name: str, config: DatasetConfig, targets: Collection[str]) -> None:
    if owner.store.get(name) is None:
        what = f"{owner.where} has no attribute '{name}'"
        raise ConfigError(what, where=WHERE, hint=nearest(name, owner.store.keys()))
    if owner.name == config.seed_type and name in targets:
        what, hint = (
            f"'{name}' of {owner.where} is predicted, a mask, or when seeds ask",
            "A model that sees it would learn nothing else.",
        )
        raise ConfigError(what, where=WHERE, hint=hint)


def to_codes(data: HeteroData, attributes: Attributes, config: DatasetConfig) -> tuple[Cardinalities, list[Note]]:
    """Make int32 of the integers among the attributes that the config lists: codes, which are no numbers to a model.

    Returns:
        how many values each of their columns has; and lines worth reading.

    Raises:
        GraphError: one is less than -1, which stands for what is not known, or too large.
    """
    found: Cardinalities = {}
    notes = []
    for owner in (owner for owner in owners(data) if owner.name in config.attributes):
        for name in attributes[owner.name]:
            if _is_integer(owner.store[name]):
                owner.store[name], found[owner.name, name] = _codes(owner.store[name], name, owner.where)
                counts = ", ".join(map(str, found[owner.name, name]))
                text = f"{name} is integers, so taken as codes, of {counts} values; make it floats if it is numbers"
                notes.append(Note(code="codes", level="note", concerns=owner.where, message=text))
    return found, notes


def _is_integer(values: Tensor) -> bool:
    import torch

    return not (values.is_floating_point() or values.dtype == torch.bool)


def _codes(given: Tensor, name: str, where: str) -> tuple[Tensor, tuple[int, ...]]:
    import torch

    values = given.numpy()
    hint = f"Number the values from 0, torch.unique({name}, return_inverse=True)[1], or make {name} floats."
    limit = f"0 to {MAX_CODES - 1}, or {UNKNOWN_CODE} where it is not known"
    for most in (values.min, values.max) if values.size else ():
        if not UNKNOWN_CODE <= (value := int(most())) < MAX_CODES:
            row, column = np.argwhere(values == value)[0]
            actual = f"{value} in {name}[{row}, {column}]"
            raise GraphError(
                f"{name} has integers that are no codes", actual=actual, limit=limit, where=where, hint=hint
            )
    return torch.from_numpy(values.astype(np.int32)), tuple(int(most) + 1 for most in values.max(axis=0, initial=0))
