"""What is asked: the seeds of all splits, a row each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heteroshards.schemas.task import TargetSpec
from heteroshards.schemas.tensors import ID_PAD


@dataclass(frozen=True)
class SeedTable:
    """N seeds, those of a split after those of the split before. Plans hold numbers of its rows, never node ids.

    Attributes:
        ids: int32 [N], the node that each is asked of; ascending within a split.
        targets: name -> [N], what is to be answered, its pad value where nothing is known.
        splits: split -> its rows.
    """

    ids: np.ndarray
    targets: dict[str, np.ndarray]
    splits: dict[str, range]

    @staticmethod
    def of_splits(ids: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> "SeedTable":
        """The table of the nodes of each split; `targets` are by name, a value per node."""
        rows = np.concatenate(list(ids.values())).astype(np.int32)
        return SeedTable(rows, {name: values[rows] for name, values in targets.items()}, _laid_out(ids))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, split: str) -> np.ndarray:
        """int32: the rows of a split."""
        return np.arange(self.splits[split].start, self.splits[split].stop, dtype=np.int32)

    def ids_of(self, split: str) -> np.ndarray:
        """int32: the nodes of a split."""
        part = self.splits[split]
        return self.ids[part.start : part.stop]

    def nodes(self, rows: np.ndarray) -> np.ndarray:
        """int32: the nodes of some rows, -1 for those that are pads (-1)."""
        return np.where(rows == ID_PAD, np.int32(ID_PAD), self.ids[rows])

    def answers(self, target: TargetSpec, rows: np.ndarray) -> np.ndarray:
        """What is known of some rows, the target's pad value for those that are pads."""
        values = self.targets[target.name]
        return np.where(rows == ID_PAD, values.dtype.type(target.pad_value), values[rows])

    def only(self, rows: Mapping[str, np.ndarray]) -> "SeedTable":
        """Some rows of each split, numbered anew."""
        chosen = np.concatenate(list(rows.values()))
        return SeedTable(self.ids[chosen], {name: of[chosen] for name, of in self.targets.items()}, _laid_out(rows))


def _laid_out(parts: Mapping[str, np.ndarray]) -> dict[str, range]:
    """The rows of each split, when they are joined."""
    splits, start = {}, 0
    for name, part in parts.items():
        splits[name] = range(start, start + len(part))
        start += len(part)
    return splits
