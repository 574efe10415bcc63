"""Which ids and classes the arrays of a batch may hold: everything that a model uses as an index.

Checksums say that bytes are those that were written. Without them, or in a store that somebody made, an index may lead
anywhere: an error of torch's on a CPU, a device that needs a restart on a GPU.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np

from schemas import layout
from schemas.batch import ID_PAD, LABEL_PAD, InputSpec
from schemas.errors import CorruptChunkError
from trainer.store import Store

NO_PAD = 0  # the pads of edge_index are a row like any other


class Limits(NamedTuple):
    """From 0 up to, and without, `ends`: of the whole array, or of sources and targets; and the only negative value."""

    ends: Sequence[int]
    pad: int

    def check(self, array: np.ndarray) -> None:
        """Raises CorruptChunkError when a value of `array`, int32 [batches, ...], is none of these."""
        # Seen as unsigned, negative values are the largest: one pass finds both where there are no pads.
        seen = array.view(np.uint32) if self.pad == NO_PAD else array
        largest = seen.max(axis=0, initial=0)  # whole batches are compared faster than the values of each
        for row, end in enumerate(self.ends):
            most = (largest if len(self.ends) == 1 else largest[row]).max(initial=0)
            if most >= end or (self.pad != NO_PAD and self._has_other_negatives(array)):
                values = array if len(self.ends) == 1 else array[:, row]
                raise CorruptChunkError(
                    "a chunk has ids or classes that do not exist",
                    actual=f"{values.min()} to {values.max()}",
                    limit=f"0 to {end - 1}" + (f", {self.pad} in pads" if self.pad else ""),
                )

    def _has_other_negatives(self, array: np.ndarray) -> bool:
        if array.min(initial=0) < self.pad:
            return True
        return self.pad < ID_PAD and bool(((self.pad < array) & (array < 0)).any())


def limits_of(store: Store, part: str, spec: InputSpec, path: str) -> Optional[Limits]:
    """Those of array `path`, which an input is made of; None where the values are no indices."""
    graph, name = store.manifest.graph, path.rpartition("/")[2]
    if name == "n_id":
        return Limits((graph.node(spec.key).num_nodes,), ID_PAD)
    if name == "e_id":
        return Limits((graph.edge(spec.key).num_edges,), ID_PAD)
    if name == "edge_index":
        edge = graph.edge(spec.key)
        rows = [store.spec(layout.node_path(part, end, "n_id")).shape[1] for end in (edge.src, edge.dst)]
        return Limits(rows, NO_PAD)
    return Limits((graph.num_classes,), LABEL_PAD) if name == "y" else None
