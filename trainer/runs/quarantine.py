"""What training does about a damaged shard: stop, or go on without its batches and say so.

Nothing is looked for in advance. A shard is found to be damaged when it is read, its batches are left out from then
on, and what is trained does not depend on when that was: the order of batches is a pure function, those left out are
taken from it, and reading goes on behind the last batch that was trained.
"""

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.layout import SPLITS
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.runs.report import SILENT, Console

Range = Tuple[str, int, int]


class Quarantine:
    """The batches of a store that cannot be used.

    Args:
        skips: go on without them ([train] on_corrupt = "skip"); else the first one is an error.
        console: where each is told once.
    """

    def __init__(self, store: Store, skips: bool, console: Console = SILENT) -> None:
        self._store = store
        self._skips = skips
        self._console = console
        self._files: Dict[Range, Set[str]] = {}
        self._earlier: Dict[Range, Tuple[Optional[int], Set[str]]] = {}

    def add(self, error: StoreError) -> None:
        """Leave out the batches that the error is about.

        Raises:
            StoreChangedError: it is no damage: another store lies there now, or none.
            StoreError: the error, where it must not or cannot be skipped. Feature tables, checksums and metadata
                belong to every batch.
        """
        self._store.require_unchanged()
        if not self._skips or not isinstance(error, CorruptChunkError) or error.split is None or not error.batches:
            raise error
        place = (error.split, *error.batches)
        if place not in self._files:
            self._console.line(f"warning: going on without {_words(place)}: {error}")
        self._files.setdefault(place, set()).add(str(error.file))

    def is_out(self, split: str, batches: np.ndarray) -> np.ndarray:
        """Which of these batches of a split are left out, bool [len(batches)]."""
        is_out = np.zeros(len(batches), bool)
        for name, first, last in self._files:
            if name == split:
                is_out |= (first <= batches) & (batches <= last)
        return is_out

    def records(self) -> List[Dict[str, Any]]:
        """What was left out, in the order of splits and batches, as plain values: `split`, `batches` (the first and
        the last), `num_seeds` in them (None where that cannot be read) and damaged `files`."""
        found = {place: (self._num_seeds(place), files) for place, files in self._files.items()}
        for place, (num_seeds, files) in self._earlier.items():
            known, more = found.get(place, (num_seeds, set()))
            found[place] = known, files | more
        order = sorted(found, key=lambda place: (SPLITS.index(place[0]), *place[1:]))
        return [
            {"split": split, "batches": [first, last], "num_seeds": num_seeds, "files": sorted(files)}
            for split, first, last in order
            for num_seeds, files in [found[split, first, last]]
        ]

    def remember(self, records: Sequence[Dict[str, Any]]) -> None:
        """Report, too, what a run that goes on left out before. What has been repaired since is used again."""
        for record in records:
            first, last = record["batches"]
            self._earlier[record["split"], first, last] = record["num_seeds"], set(record["files"])

    def lines(self) -> List[str]:
        """`records` as sentences."""
        return lines_of(self.records())

    def _num_seeds(self, place: Range) -> Optional[int]:
        split, first, last = place
        try:
            return int(self._store.read_stats(split, "num_seeds")[first : last + 1].sum())
        except StoreError:
            return None


def lines_of(records: Sequence[Dict[str, Any]]) -> List[str]:
    """A sentence for each of `Quarantine.records`."""
    lines = []
    for record in records:
        num_seeds = "an unknown number of" if record["num_seeds"] is None else record["num_seeds"]
        place = (record["split"], *record["batches"])
        lines.append(f"left out: {_words(place)}, {num_seeds} seeds; damaged: {', '.join(record['files'])}")
    return lines


def _words(place: Range) -> str:
    split, first, last = place
    return f"batches {first} to {last} of split {split}"
