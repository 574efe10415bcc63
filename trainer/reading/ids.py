"""Which ids and classes the arrays of a batch may hold: everything that a model uses as an index.

Checksums say that bytes are those that were written. Without them, or in a store that somebody made, an index may lead
anywhere: an error of torch's on a CPU, a device that needs a restart on a GPU.
"""

from functools import partial
from typing import NamedTuple, Optional, Sequence

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.schemas.store.reader import Check
from heteroshards.schemas.tensors import ID_PAD, TensorSpec
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.reading.tables import check_codes

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


def check_of(store: Store, path: str) -> Optional[Check]:
    """What an array of a store is checked with; None where its values are no indices."""
    spec = store.spec(path)
    if spec.role not in layout.PACKED:
        attribute, limits = store.manifest.attribute_of(spec), _limits(store, spec)
        if attribute is not None:
            return partial(check_codes, attribute=attribute) if attribute.is_codes else None
        return limits.check if limits else None
    # All of them, whoever reads which: a chunk that was found sound is so for every reader.
    found = [(columns, _limits(store, tensor)) for tensor, columns in store.packed_in(path)]
    each = [(slice(columns.start, columns.stop), limits) for columns, limits in found if limits]

    def check(rows: np.ndarray) -> None:
        for columns, limits in each:
            limits.check(rows[..., columns])

    return check if each else None


def _limits(store: Store, spec: TensorSpec) -> Optional[IndexLimits]:
    graph = store.manifest.graph
    if spec.role == "targets":
        target = next(target for target in graph.task.targets if target.name == spec.name)
        return None if target.num_values is None else IndexLimits((target.num_values,), int(target.pad_value))
    if spec.role == "seeds":
        num_seeds = sum(split.num_seeds for split in store.manifest.splits)
        num = {"n_id": graph.node(graph.seed_type).num_nodes, "row": num_seeds}.get(spec.name)
        return None if num is None else IndexLimits((num,), ID_PAD)
    if spec.name == "n_id":
        return IndexLimits((graph.node(spec.owner).num_nodes,), ID_PAD)
    if spec.name == "e_id":
        return IndexLimits((graph.edge(spec.owner).num_edges,), ID_PAD)
    if spec.name == "edge_index":
        edge = graph.edge(spec.owner)
        rows = [store.spec(layout.node_path(spec.part, end, "n_id")).shape[1] for end in (edge.src, edge.dst)]
        return IndexLimits(rows, NO_PAD)
    return None
