"""Which seeds were seen: each once per round, none in two splits, always with the same label.

Split predict holds whatever nodes it was asked for, so it owns none and takes none away.
"""

from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas import layout
from heteroshards.schemas.batch import LABEL_PAD
from heteroshards.schemas.manifest import Manifest, SplitInfo

NOBODY = -1


class Place(NamedTuple):
    """Where some seeds were read: the folder of their batches, their split, and (first, last + 1) batch."""

    part: str
    split: str
    batches: tuple[int, int] | None


class SeedCoverage:
    """Follows the seeds of a store, split after split. Holds a byte per round and node of the seed type.

    Args:
        graph: the source graph, which says whose seed a node is and what its label is. Without it the first sight of
            a seed says so, and everything after must agree.
    """

    def __init__(self, manifest: Manifest, findings: Findings, graph: HeteroGraph | None) -> None:
        num_nodes = manifest.graph.node(manifest.graph.seed_type).num_nodes
        self._findings = findings
        self._names = [split.name for split in manifest.splits]
        self._owner = np.full(num_nodes, NOBODY, np.int8)
        self._labels = np.full(num_nodes, LABEL_PAD, np.int32)
        self._knows = graph is not None
        self._asked = np.zeros(num_nodes, bool)  # the seeds of split predict
        self._asked[[] if graph is None else graph.seeds.get(layout.PREDICT, [])] = True
        if graph is not None:
            self._labels[:] = graph.labels
            for name in self._names:
                if name != layout.PREDICT:
                    self._owner[graph.seeds.get(name, [])] = self._names.index(name)
        self._seen = np.zeros((0, num_nodes), bool)
        self._is_whole = True

    def start_split(self, split: SplitInfo) -> None:
        self._seen = np.zeros((split.num_rounds, self._owner.size), bool)
        self._is_whole = True

    def miss(self) -> None:
        """Some batches of this split cannot be read, so nothing can be said of what is missing."""
        self._is_whole = False

    def see(self, round_index: int, ids: np.ndarray, labels: np.ndarray, place: Place) -> None:
        """Seeds (int32 [S]) with their labels, of some batches of one round."""
        is_id = (ids >= 0) & (ids < self._owner.size)  # the others are findings already
        ids, labels = ids[is_id], labels[is_id]
        seen = self._seen[round_index]
        distinct, counts = np.unique(ids, return_counts=True)
        self._report("n_id", distinct[seen[distinct] | (counts > 1)], "occur twice in a round", place)
        seen[distinct] = True
        if place.split == layout.PREDICT:
            self._ask(distinct, place)
        else:
            self._own(distinct, place)
        if not self._knows:
            fresh = self._labels[ids] == LABEL_PAD
            self._labels[ids[fresh]] = labels[fresh]
        wrong = ids[self._labels[ids] != labels]
        self._report("y", wrong, f"have another label than {'the source data' if self._knows else 'elsewhere'}", place)

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
            self._findings.add(path, f"{len(ids)} seeds {what}", f"ids {shown}", None, place.split, place.batches)
