"""Feature tables in memory, and how the features of a batch are found in them by id."""

from typing import NamedTuple, Sequence

import numpy as np

from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.errors import CorruptChunkError

_BLOCK_ROWS = 4096  # looked at together, so that no second table is needed


def check_codes(values: np.ndarray, attribute: AttributeSchema) -> None:
    """Raises CorruptChunkError where a code `[..., columns]` is none that the attribute has."""
    if not attribute.holds(values):
        limit = f"-1 to less than {list(attribute.cardinalities)}, by column"
        what, actual = f"codes of '{attribute.name}' do not exist", f"{values.min()} to {values.max()}"
        raise CorruptChunkError(what, actual=actual, limit=limit)


class DenseTable(NamedTuple):
    """`rows` [nodes or edges + 1, features]; the last row is the pad row, which the pad id -1 leads to."""

    rows: np.ndarray

    def gather(self, ids: np.ndarray, out: Sequence[np.ndarray]) -> None:
        """Rows of ids [n] to `out`, one array [n, features]."""
        # "wrap" sends -1 to the last row, and is the mode that writes straight into `out`
        np.take(self.rows, ids, axis=0, out=out[0], mode="wrap")


class SparseTable(NamedTuple):
    """A table by rows (CSR), zeros left out; the last row, which the pad id -1 leads to, is empty.

    Attributes:
        begins: int64 [nodes + 1], where each row begins in `columns` and `values`.
        lengths: int32 [nodes + 1], and how many entries it has.
        columns: int32 [entries], ascending within a row.
        values: [entries].
    """

    begins: np.ndarray
    lengths: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray) -> "SparseTable":
        """From `DenseTable.rows`. NaN is no zero, and stays."""
        blocks = [
            table[first : min(first + _BLOCK_ROWS, len(table) - 1)] for first in range(0, len(table), _BLOCK_ROWS)
        ]
        counts = [np.count_nonzero(block, axis=1) for block in blocks]
        lengths = np.concatenate([*counts, [0]]).astype(np.int32)
        begins = np.cumsum(lengths, dtype=np.int64) - lengths
        columns, values = np.empty(begins[-1], np.int32), np.empty(begins[-1], table.dtype)
        first = 0
        for block, count in zip(blocks, counts):
            places, end = np.nonzero(block), first + int(count.sum())
            columns[first:end], values[first:end] = places[1], block[places]
            first = end
        return cls(begins, lengths, columns, values)

    def most(self, num_nodes: int, may_repeat: bool = False) -> int:
        """The most entries that so many nodes have, at least 1; different ones, unless they `may_repeat`."""
        if may_repeat:
            return max(1, num_nodes * int(self.lengths.max(initial=0)))
        return max(1, int(np.sort(self.lengths)[::-1][:num_nodes].sum(dtype=np.int64)))

    def gather(self, ids: np.ndarray, out: Sequence[np.ndarray]) -> None:
        """Rows of ids [n] to `out`: starts int32 [n + 1], and columns and values, as long as `most` entries."""
        starts, columns, values = out
        lengths = self.lengths.take(ids, mode="wrap")
        starts[0] = 0
        np.cumsum(lengths, out=starts[1:])
        num = int(starts[-1])
        if num > len(columns):
            hint = "Build the store again, or train with [train] sparse_features = 'never' if that is how it shall be."
            what, actual = "a batch names nodes more than once", f"{num} entries that are not zero"
            raise CorruptChunkError(what, actual=actual, limit=len(columns), hint=hint)
        places = np.repeat(self.begins.take(ids, mode="wrap") - starts[:-1], lengths) + np.arange(num)
        np.take(self.columns, places, out=columns[:num], mode="wrap")
        np.take(self.values, places, out=values[:num], mode="wrap")
