"""What float32 cannot hold of float64 values and large integers: found before it is lost, counted, with an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.notes import Note

if TYPE_CHECKING:
    from torch import Tensor

MAX_EXACT = 2**24  # integers up to here are float32 numbers


class Merged(NamedTuple):
    """Different values of one column that become one float32 number.

    Attributes:
        values: how many different values are lost that way, of all columns together.
        columns: in how many columns.
        example: two of them, and what both become.
    """

    values: int
    columns: int
    example: tuple[str, str, str]


def precision_notes(given: Tensor, key: str, where: str, config: DatasetConfig) -> list[Note]:
    """Lines on what `given` [rows, columns] loses as float32. Silent where it loses nothing that can be told apart.

    Raises:
        GraphError: different values of a column become equal, and `[dataset] float64` is "error".
    """
    values = _wide_values(given)
    if values is None:
        return []
    notes, merged = [], find_merged(values)
    if values.dtype.kind in "iu":
        most = max(abs(int(values.max())), abs(int(values.min())))
        notes.append(
            Note(code="rounded", concerns=where, message=f"{key} has integers up to {most}, rounded to float32")
        )
    if merged is None:
        return notes
    first, second, both = merged.example
    place = f"in {merged.columns} of {values.shape[1]} columns" if values.shape[1] > 1 else "of its column"
    text = f"{merged.values} of {values.size} values of {key} ({values.dtype}) are not told apart from others"
    example = f"{first} and {second} both become {both}"
    if config.float64 == "error":
        hint = f"{WAY_OUT}, or set [dataset] float64 = 'narrow' to do without."
        raise GraphError(f"{text} {place} as float32", actual=example, where=where, hint=hint)
    message = f"{text} {place} as float32: {example}. {WAY_OUT}"
    return [*notes, Note(code="indistinct", concerns=where, message=message)]


WAY_OUT = "Subtract a column's smallest value, or scale it, while it is float64"


def _wide_values(given: Tensor) -> np.ndarray | None:
    """The values as numpy has them where some are no float32 numbers, else None."""
    import torch

    if not given.numel() or given.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16):
        return None
    if given.is_floating_point() and given.dtype != torch.float64:
        return None
    values = given.numpy()
    if values.dtype.kind in "iu" and int(values.max()) <= MAX_EXACT and int(values.min()) >= -MAX_EXACT:
        return None
    return None if all(_is_exact(values[:, column]) for column in range(values.shape[1])) else values


def _is_exact(column: np.ndarray) -> bool:
    """Whether float32 holds every value as it is; NaN counts as held, an overflow as `features` finds it."""
    narrow = _narrow(column)
    if column.dtype.kind == "f":
        return bool(((narrow == column) | np.isnan(column)).all())
    with np.errstate(invalid="ignore"):  # a float32 just past the largest integer
        return bool((narrow.astype(np.float64) < 2.0**63).all() and (narrow.astype(column.dtype) == column).all())


def _narrow(column: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return column.astype(np.float32)


def find_merged(values: np.ndarray) -> Merged | None:
    """Different finite values of a column of [rows, columns] that are one float32 number; None where there are none.

    A value that is not 0 and becomes 0 is one of them, whether or not there is a 0 beside it.
    """
    count, columns, example = 0, 0, None
    for index in range(values.shape[1]):
        column = values[:, index]
        if ((_narrow(column) == 0) & (column != 0)).any():
            column = np.append(column, column.dtype.type(0))
        column = np.sort(column)  # NaN last
        narrow = _narrow(column)
        found = np.flatnonzero((narrow[1:] == narrow[:-1]) & (column[1:] != column[:-1]) & np.isfinite(narrow[1:]))
        if len(found):
            count, columns = count + len(found), columns + 1
            pair = column[found[0] : found[0] + 2].tolist()
            example = example or (repr(pair[0]), repr(pair[1]), repr(float(narrow[found[0]])))
    return Merged(count, columns, example) if example else None
