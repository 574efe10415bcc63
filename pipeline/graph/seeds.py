"""What is asked: the seeds of all splits, a row each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from heteroshards.schemas.targets import TargetSpec
from heteroshards.schemas.tensors import ID_PAD


@dataclass(frozen=True)
class SeedTable:
    """N seeds, those of a split after those of the split before. Plans hold numbers of its rows, never node ids.

    Attributes:
        ids: int32 [N], the node that each is asked of.
        targets: name -> [N, ...], what is to be answered, its pad value where nothing is known.
        splits: split -> its rows, int32, ascending.
        times: int64 [N], when each is asked: what is later is not known yet. None: at no time.
    """

    ids: np.ndarray
    targets: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]
    times: np.ndarray | None = None

    @staticmethod
    def of_splits(
        ids: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        nodes: np.ndarray | None = None,
        times: np.ndarray | None = None,
    ) -> "SeedTable":
        """The table of the questions of each split.

        Args:
            ids: split -> which questions it has. targets: by name, a value per question. nodes: the node that each
                question is about; None: question i is about node i. times: int64, when each is asked.
        """
        rows = np.concatenate(list(ids.values()))
        splits, start = {}, 0
        for name, part in ids.items():
            splits[name] = np.arange(start, start + len(part), dtype=np.int32)
            start += len(part)
        about = rows if nodes is None else nodes[rows]
        answers = {name: values[rows] for name, values in targets.items()}
        return SeedTable(about.astype(np.int32), answers, splits, None if times is None else times[rows])

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    def ids_of(self, split: str) -> np.ndarray:
        """int32: the nodes of a split."""
        return self.ids[self.splits[split]]

    def nodes(self, rows: np.ndarray) -> np.ndarray:
        """int32: the nodes of some rows, -1 for those that are pads (-1)."""
        return take_rows(self.ids, rows, ID_PAD)

    def answers(self, target: TargetSpec, rows: np.ndarray) -> np.ndarray:
        """What is known of some rows, the target's pad value for those that are pads."""
        return take_rows(self.targets[target.name], rows, target.pad_value)

    def only(self, rows: Mapping[str, np.ndarray]) -> "SeedTable":
        """The same rows under the same numbers, of which only some are asked, by split."""
        return replace(self, splits=dict(rows))


def take_rows(values: np.ndarray, rows: np.ndarray, pad: float) -> np.ndarray:
    """`values[rows]`, and `pad` for rows that are pads (-1)."""
    if not len(values):
        return np.full(rows.shape + values.shape[1:], pad, values.dtype)
    is_pad = (rows == ID_PAD).reshape(rows.shape + (1,) * (values.ndim - 1))
    return np.where(is_pad, values.dtype.type(pad), values[rows])
