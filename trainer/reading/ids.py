"""Which ids and classes the arrays of a batch may hold: everything that a model uses as an index.

Checksums say that bytes are those that were written. Without them, or in a store that somebody made, an index may lead
anywhere: an error of torch's on a CPU, a device that needs a restart on a GPU.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.batch import ID_PAD, LABEL_PAD
from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.trainer.reading.chunks import Check
from heteroshards.trainer.reading.store import Store

NO_PAD = 0  # the pads of edge_index are a row like any other


class IndexLimits(NamedTuple):
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


def check_of(store: Store, part: str, path: str, key: str) -> Optional[Check]:
    """What array `path` is checked with, a tensor of type `key` or of all types; None where values are no indices."""
    tensor = path.rpartition("/")[2]
    if layout.section_of(path) not in ("all_nodes", "all_edges"):
        limits = _limits(store, part, tensor, key)
        return limits.check if limits else None
    names = layout.node_path if tensor == "n_id" else layout.edge_path
    keys = store.manifest.graph.node_names if tensor == "n_id" else store.manifest.graph.edge_keys
    # All of them, whoever reads which: a chunk that was found sound is so for every reader.
    found = [(store.columns(names(part, name, tensor)), _limits(store, part, tensor, name)) for name in keys]
    each = [(slice(at.start, at.stop), limits) for at, limits in found if at and limits]

    def check(rows: np.ndarray) -> None:
        for columns, limits in each:
            limits.check(rows[..., columns])

    return check if each else None


def _limits(store: Store, part: str, tensor: str, key: str) -> Optional[IndexLimits]:
    graph = store.manifest.graph
    if tensor == "n_id":
        return IndexLimits((graph.node(key).num_nodes,), ID_PAD)
    if tensor == "e_id":
        return IndexLimits((graph.edge(key).num_edges,), ID_PAD)
    if tensor == "edge_index":
        edge = graph.edge(key)
        rows = [store.spec(layout.node_path(part, end, "n_id")).shape[1] for end in (edge.src, edge.dst)]
        return IndexLimits(rows, NO_PAD)
    return IndexLimits((graph.num_classes,), LABEL_PAD) if tensor == "y" else None
