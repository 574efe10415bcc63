"""Two stores side by side: per split and type, whatever their types, splits and parts are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from heteroshards.pipeline.inspect.statistics import SplitUse, StoreUse, Totals, TypeUse

Values = Mapping[str, float]
TypeKey = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One value in both stores: b - a and b / a, None where a store has no such value (or `a` is 0)."""

    a: float | None
    b: float | None
    difference: float | None
    ratio: float | None


@dataclass(frozen=True)
class TypeChange:
    """A type of a split in both stores; `only_in` is "a" or "b" where the other one has no such type.

    Attributes:
        values: budget, mean, max, fill, share_trimmed, share_limiter, bytes_per_batch, wasted_bytes_per_batch, as in
            `TypeUse`; where a split has several parts, over all their batches, so that `budget` is a mean.
    """

    kind: str
    name: str
    only_in: Literal["a", "b"] | None
    values: dict[str, Change]


@dataclass(frozen=True)
class SplitChange:
    """A split in both stores; `values` has the fields of `Totals` and wasted_bytes_per_seed."""

    name: str
    only_in: Literal["a", "b"] | None
    values: dict[str, Change]
    types: list[TypeChange]


@dataclass(frozen=True)
class Comparison:
    """Two stores; `values` is as in `SplitChange`, with stored_bytes (on disk)."""

    a: StoreUse
    b: StoreUse
    values: dict[str, Change]
    splits: list[SplitChange]


def compare(a: StoreUse, b: StoreUse) -> Comparison:
    """Pair the splits and types of two stores, in the order of `a`, then what only `b` has."""
    ours, theirs = ({split.name: split for split in use.splits} for use in (a, b))
    splits = [_split_change(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]
    return Comparison(a, b, _changes(_store_values(a), _store_values(b)), splits)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values, for `inspect --against --json`."""
    return asdict(comparison)


def _split_change(name: str, a: SplitUse | None, b: SplitUse | None) -> SplitChange:
    ours, theirs = _by_type(a), _by_type(b)
    keys = sorted(dict.fromkeys([*ours, *theirs]), key=lambda key: key[0] != "nodes")  # stable: nodes, then edges
    types = [_type_change(key, ours.get(key), theirs.get(key)) for key in keys]
    values = _changes(_totals_values(a.totals) if a else None, _totals_values(b.totals) if b else None)
    return SplitChange(name, _only_in(a, b), values, types)


def _type_change(key: TypeKey, a: Values | None, b: Values | None) -> TypeChange:
    return TypeChange(*key, _only_in(a, b), _changes(a, b))


def _only_in(a: object | None, b: object | None) -> Literal["a", "b"] | None:
    return "a" if b is None else "b" if a is None else None


def _changes(a: Values | None, b: Values | None) -> dict[str, Change]:
    return {name: _change((a or {}).get(name), (b or {}).get(name)) for name in (a or b or {})}


def _change(a: float | None, b: float | None) -> Change:
    if a is None or b is None:
        return Change(a, b, None, None)
    return Change(a, b, b - a, b / a if a else None)


def _totals_values(totals: Totals) -> Values:
    return {**vars(totals), "wasted_bytes_per_seed": totals.wasted_bytes / max(1, totals.num_seed_rows)}


def _store_values(use: StoreUse) -> Values:
    return {**_totals_values(use.totals), "stored_bytes": use.disk_total.stored_bytes}


def _by_type(split: SplitUse | None) -> dict[TypeKey, Values]:
    """The values of each type over all parts of a split."""
    found: dict[TypeKey, list[tuple[TypeUse, int]]] = {}
    for part in split.parts if split else []:
        for use in part.types:
            found.setdefault((use.kind, use.name), []).append((use, part.totals.num_batches))
    return {key: _type_values(uses) for key, uses in found.items()}


def _type_values(uses: list[tuple[TypeUse, int]]) -> Values:
    """Means over batches of one type's use in (part, batches of the part)."""
    num_batches = sum(count for _, count in uses)
    means = ("budget", "mean", "share_trimmed", "share_limiter", "bytes_per_batch", "wasted_bytes_per_batch")
    values = {name: sum(getattr(use, name) * count for use, count in uses) / num_batches for name in means}
    most = max(use.max for use, _ in uses)
    return {**values, "max": most, "fill": values["mean"] / values["budget"]}
