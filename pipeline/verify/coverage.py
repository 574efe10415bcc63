"""Which seeds were seen: each once per round, none in two splits, always with the same row and label.

Split predict holds whatever nodes it was asked for, so it owns none and takes none away. What tells seeds apart is
their node, or their row where a table asks about a node more than once.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.graph.seeds import SeedTable
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas import layout
from heteroshards.schemas.manifest import Manifest, SplitInfo
from heteroshards.schemas.tensors import ID_PAD

NOBODY = -1


class Place(NamedTuple):
    """Where some seeds were read: the folder of their batches, their split, and (first, last + 1) batch."""

    part: str
    split: str
    batches: tuple[int, int] | None


class SeedCoverage:
    """Follows the seeds of a store, split after split. Holds a byte per round and node of the seed type, or row.

    Args:
        graph: the source graph, which says whose seed a node is, which row, and what its label is. Without it the first
            sight of a seed says so, and everything after must agree.

    Attributes:
        targets: name -> [nodes, ...] what is known of each node of the seed type, its pad value where nothing is.
    """

    def __init__(self, manifest: Manifest, findings: Findings, graph: HeteroGraph | None) -> None:
        self._is_table = manifest.graph.task.is_table
        num_rows = sum(split.num_seeds for split in manifest.splits)
        num_nodes = num_rows if self._is_table else manifest.graph.node(manifest.graph.seed_type).num_nodes
        self._findings = findings
        self._names = [split.name for split in manifest.splits]
        self._owner = np.full(num_nodes, NOBODY, np.int8)
        self._specs = {target.name: target for target in manifest.graph.task.targets}
        self.targets = {
            name: np.full((num_nodes, *of.shape), of.pad_value, of.dtype) for name, of in self._specs.items()
        }
        self._knows = graph is not None
        self._asked = np.zeros(num_nodes, bool)  # the seeds of split predict
        self._splits = _rows_of_splits(manifest)
        self._nodes = np.full(sum(map(len, self._splits.values())), ID_PAD, np.int32)
        if graph is not None:
            self._take(graph.seeds)
        self._seen = np.zeros((0, num_nodes), bool)
        self._is_whole = True

    def _take(self, seeds: SeedTable) -> None:
        """Everything that the source says."""
        self._splits = {name: range(rows[0], rows[-1] + 1) for name, rows in seeds.splits.items()}
        self._nodes = seeds.ids
        told_apart = np.arange(len(seeds.ids)) if self._is_table else seeds.ids
        for name, values in seeds.targets.items():
            self.targets[name][told_apart] = values
        for name, rows in seeds.splits.items():
            if name == layout.PREDICT:
                self._asked[told_apart[rows]] = True
            else:
                self._owner[told_apart[rows]] = self._names.index(name)

    def start_split(self, split: SplitInfo) -> None:
        self._seen = np.zeros((split.num_rounds, self._owner.size), bool)
        self._is_whole = True

    def miss(self) -> None:
        """Some batches of this split cannot be read, so nothing can be said of what is missing."""
        self._is_whole = False

    def see(
        self, round_index: int, rows: np.ndarray, ids: np.ndarray, targets: Mapping[str, np.ndarray], place: Place
    ) -> None:
        """Seeds of some batches of one round: their rows and nodes, int32 [S], and by name what is known of each."""
        told_apart = rows if self._is_table else ids
        is_id = (told_apart >= 0) & (told_apart < self._owner.size)  # the others are findings already
        self._place(rows[is_id], ids[is_id], place)
        ids = told_apart[is_id]
        seen = self._seen[round_index]
        distinct, counts = np.unique(ids, return_counts=True)
        self._report("n_id", distinct[seen[distinct] | (counts > 1)], "occur twice in a round", place)
        seen[distinct] = True
        if place.split == layout.PREDICT:
            self._ask(distinct, place)
        else:
            self._own(distinct, place)
        for name, values in targets.items():
            self._compare(name, ids, values[is_id], place)

    def _place(self, rows: np.ndarray, ids: np.ndarray, place: Place) -> None:
        """Each row is one node, and of this split."""
        own = self._splits[place.split]
        is_own = (rows >= own.start) & (rows < own.stop)
        self._report("row", ids[~is_own], f"are rows of another split, not {own.start} to {own.stop - 1}", place)
        rows, ids = rows[is_own], ids[is_own]
        if not self._knows:
            fresh = self._nodes[rows] == ID_PAD
            self._nodes[rows[fresh]] = ids[fresh]
        self._report("row", ids[self._nodes[rows] != ids], f"have another row than {self._source}", place)

    def _compare(self, name: str, ids: np.ndarray, values: np.ndarray, place: Place) -> None:
        known, of = self.targets[name], self._specs[name]
        if not self._knows:
            fresh = of.says_nothing(known[ids])
            known[ids[fresh]] = values[fresh]
        is_other = ~of.is_same(known[ids], values)
        self._report(f"targets/{name}", ids[is_other], f"have another label than {self._source}", place)

    @property
    def _source(self) -> str:
        return "the source data" if self._knows else "elsewhere"

    def _own(self, ids: np.ndarray, place: Place) -> None:
        """A node is a seed of one split only, or its label leaks."""
        me, owner = self._names.index(place.split), self._owner[ids]
        what = "belong to another split: their labels leak"
        self._report("n_id", ids[(owner != me) & (owner != NOBODY)], what, place)
        if self._knows:
            self._report("n_id", ids[owner == NOBODY], "are seeds of no split in the source data", place)
        else:
            self._owner[ids[owner == NOBODY]] = me

    def _ask(self, ids: np.ndarray, place: Place) -> None:
        if self._knows:
            what = "are no seeds of this split in the source data"
            self._report("n_id", ids[~self._asked[ids]], what, place)
        self._asked[ids] = True

    def end_split(self, split: SplitInfo) -> None:
        """After the last batch: is any seed missing?"""
        if not self._is_whole:
            return
        place = Place(split.name, split.name, None)
        is_asked = split.name == layout.PREDICT
        own = self._asked if is_asked else self._owner == self._names.index(split.name)
        if not split.num_batches_skipped:
            for round_index, seen in enumerate(self._seen):
                self._report("n_id", np.flatnonzero(own & ~seen), f"are missing from round {round_index}", place)
        expected, actual = split.num_seeds * split.num_rounds - split.num_seeds_skipped, int(self._seen.sum())
        if actual != expected:
            what = "the rounds together have another number of seeds than the manifest says"
            self._findings.add(layout.seed_path(split.name, "n_id"), what, actual, expected, split.name)

    def _report(self, tensor: str, ids: np.ndarray, what: str, place: Place) -> None:
        if len(ids):
            shown = ", ".join(str(i) for i in ids[:5]) + (", ..." if len(ids) > 5 else "")
            path = layout.seed_path(place.part, tensor)
            kind = "rows" if self._is_table else "ids"
            self._findings.add(path, f"{len(ids)} seeds {what}", f"{kind} {shown}", None, place.split, place.batches)


def _rows_of_splits(manifest: Manifest) -> dict[str, range]:
    """The rows of the source's seeds that each split holds: those of one split after those of another."""
    splits, start = {}, 0
    for split in manifest.splits:
        splits[split.name] = range(start, start + split.num_seeds)
        start += split.num_seeds
    return splits
