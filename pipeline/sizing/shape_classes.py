"""Which batches share a shape: K budgets instead of one, so that small batches are padded to small budgets.

Batches are put in order of their own bytes and the order is cut into at most K classes; each class is padded to the
most of each type in it, plus one. Where to cut is the shortest-path problem of one-dimensional clustering, solved
exactly by dynamic programming (as in Wang and Song, Ckmeans.1d.dp, The R Journal 3/2, 2011).

Letters: B batches, T node and edge types together, C cells, K shapes.
"""

from dataclasses import dataclass

import numpy as np

MAX_CELLS = 512
UNREACHED = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class Shaping:
    """How batches share shapes.

    Attributes:
        shape_of: int64 [B], the shape of each batch; shapes ascend by the bytes of their budget.
        most: int64 [shapes, T], the most of each type in the batches of a shape.
        padded_bytes: bytes of all padded batches with at most k shapes, for k = 1..K.
        real_bytes: bytes of the same batches without padding.
    """

    shape_of: np.ndarray
    most: np.ndarray
    padded_bytes: tuple[int, ...]
    real_bytes: int

    @property
    def num_shapes(self) -> int:
        """At most K: no more than lower the bytes."""
        return len(self.most)

    @property
    def waste(self) -> tuple[float, ...]:
        """Padded over real bytes with at most k shapes, for k = 1..K: what one more shape is worth."""
        return tuple(padded / max(1, self.real_bytes) for padded in self.padded_bytes)


def shape_batches(counts: np.ndarray, row_bytes: np.ndarray, num_shapes: int, max_cells: int = MAX_CELLS) -> Shaping:
    """Choose at most `num_shapes` budgets for which the padded bytes of all batches together are the fewest.

    Among cuts of the order by bytes (ties by type counts, then by position) this is the optimum where there are at
    most `max_cells` batches; more are first gathered, in that order, into cells of equal number that stay together,
    and the optimum is that over cells. O(C^2 (T + K)) time and O(C^2) memory.

    Args:
        counts: int64 [B, T], rows that each batch fills, B >= 1.
        row_bytes: int64 [T], bytes of one row.

    Example, one type of one byte: counts 1, 1, 9 and two shapes give budgets of 2 and 10, 14 bytes instead of 30.
    """
    counts, row_bytes = counts.astype(np.int64), row_bytes.astype(np.int64)
    own_bytes = counts @ row_bytes
    order = np.lexsort((*counts.T[::-1], own_bytes))
    num_cells = min(len(order), max_cells)
    starts = np.arange(num_cells + 1) * len(order) // num_cells
    cell_most = np.maximum.reduceat(counts[order], starts[:-1], axis=0)
    best, cut = _cut(_interval_bytes(cell_most, starts, row_bytes), num_shapes)
    padded = tuple(int(bytes_of_k[-1]) for bytes_of_k in best[1:])
    bounds = starts[_bounds(cut, padded.index(padded[-1]) + 1)]
    most = np.maximum.reduceat(counts[order], bounds[:-1], axis=0)
    most, alike = np.unique(most, axis=0, return_inverse=True)  # classes that do not adjoin may have equal budgets
    rank = np.argsort((most + 1) @ row_bytes, kind="stable")
    place = np.empty(len(rank), np.int64)
    place[rank] = np.arange(len(rank))
    shape_of = np.empty(len(order), np.int64)
    shape_of[order] = np.repeat(place[alike.reshape(-1)], np.diff(bounds))
    return Shaping(shape_of, most[rank], padded, int(own_bytes.sum()))


def _interval_bytes(cell_most: np.ndarray, starts: np.ndarray, row_bytes: np.ndarray) -> np.ndarray:
    """int64 [C + 1, C + 1]: bytes of the batches of cells i..j-1 padded to their most plus one, where i < j."""
    num_cells = len(cell_most)
    found = np.full((num_cells + 1, num_cells + 1), UNREACHED, np.int64)
    for i in range(num_cells):
        budgets = np.maximum.accumulate(cell_most[i:], axis=0) + 1
        found[i, i + 1 :] = (budgets @ row_bytes) * (starts[i + 1 :] - starts[i])
    return found


def _cut(interval: np.ndarray, num_shapes: int) -> tuple[np.ndarray, np.ndarray]:
    """best[k, j]: fewest bytes of cells 0..j-1 in at most k classes; cut[k, j]: where the last of them begins.

    A class more that gains nothing is not made: then best[k] is best[k - 1], and cut[k, j] is -1.
    """
    num_cells = len(interval) - 1
    best = np.full((num_shapes + 1, num_cells + 1), UNREACHED, np.int64)
    cut = np.full((num_shapes + 1, num_cells + 1), -1, np.int64)
    best[0, 0] = 0
    for k in range(1, num_shapes + 1):
        total = np.minimum(best[k - 1][:, None] + interval, UNREACHED)
        first = total.argmin(axis=0)
        fewest = total[first, np.arange(num_cells + 1)]
        is_better = fewest < best[k - 1]
        best[k] = np.where(is_better, fewest, best[k - 1])
        cut[k] = np.where(is_better, first, -1)
    return best, cut


def _bounds(cut: np.ndarray, num_shapes: int) -> list[int]:
    """Where the classes begin, and the end, in cells."""
    bounds, k, j = [cut.shape[1] - 1], num_shapes, cut.shape[1] - 1
    while j > 0:
        if cut[k, j] >= 0:
            j = int(cut[k, j])
            bounds.append(j)
        k -= 1
    return bounds[::-1]
