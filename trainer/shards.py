"""From an `InputSpec` to its tensors: which arrays of a store it needs, and how a shard's batches are made of them."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from schemas import layout
from schemas.batch import InputSpec
from schemas.errors import CorruptChunkError, SignatureMismatchError
from trainer.buffers import BufferPool, aligned_empty
from trainer.store import Store

_STORED = {"node_mask": "mask", "edge_mask": "mask", "seed_mask": "mask", "seed_n_id": "n_id"}

# Gathered batches begin at multiples of this. Matrix products may round differently at another alignment, so a
# batch must lie the same way wherever in a shard reading began: resumed runs are equal bit for bit.
SLOT_BYTES = 64


class InputSource(NamedTuple):
    """Where one input comes from: array `path` as stored, or rows `path` holds the ids of in feature table `table`."""

    path: str
    table: Optional[str] = None


def input_source(store: Store, split: str, spec: InputSpec) -> InputSource:
    """Where a store keeps one model input of a split (or an `e_id` or `seed_n_id`, which models do not take)."""
    in_table = store.manifest.features == "table"
    if spec.kind == "x" and in_table:
        return InputSource(layout.node_path(split, spec.key, "n_id"), layout.feature_path(spec.key))
    if spec.kind == "edge_attr" and in_table:
        return InputSource(layout.edge_path(split, spec.key, "e_id"), layout.edge_feature_path(spec.key))
    tensor = _STORED.get(spec.kind, spec.kind)
    if spec.kind in ("y", "seed_mask", "seed_n_id"):
        return InputSource(layout.seed_path(split, tensor))
    path = layout.node_path if spec.kind in ("x", "n_id", "node_mask") else layout.edge_path
    return InputSource(path(split, spec.key, tensor))


class ShardReader:
    """Reads shards of a split and makes model inputs of them. For one thread at a time.

    Args:
        pool: where buffers come from; None allocates afresh.
        check_chunks: verify the checksum of every chunk.

    Raises:
        SignatureMismatchError: an input's shape or dtype is not the store's.
        StoreError: the store lacks an array that an input needs.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        inputs: Sequence[InputSpec],
        pool: Optional[BufferPool] = None,
        check_chunks: bool = True,
    ) -> None:
        self.split = split
        self.inputs = tuple(inputs)
        self._sources = [input_source(store, split, spec) for spec in inputs]
        self._pool = pool
        files = store.new_files()
        paths = dict.fromkeys(source.path for source in self._sources)
        self._readers = {path: store.reader(path, files, check_chunks) for path in paths}
        names = dict.fromkeys(source.table for source in self._sources if source.table)
        self._tables = {name: store.table(name, check_chunks) for name in names}
        for spec, source in zip(self.inputs, self._sources):
            self._check(store, spec, source)

    def _check(self, store: Store, spec: InputSpec, source: InputSource) -> None:
        stored = store.spec(source.path)
        shape, dtype = stored.shape[1:], stored.dtype
        if source.table:
            table = store.spec(source.table)
            shape, dtype = (shape[0], table.shape[1]), table.dtype
        if (shape, dtype) != (tuple(spec.shape), spec.dtype):
            raise SignatureMismatchError(
                f"input {spec.kind} of '{spec.key}' has another shape than the store",
                actual=f"{dtype} {list(shape)}",
                limit=f"{spec.dtype} {list(spec.shape)}",
                where=f"{store.path} (split {self.split})",
                hint="Use a model compiled for this store.",
            )

    @property
    def gathered_bytes(self) -> int:
        """Bytes per batch that are gathered from feature tables."""
        pairs = zip(self.inputs, self._sources)
        return sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec, source in pairs if source.table)

    def read(self, shard: int) -> Dict[str, np.ndarray]:
        """The stored arrays of one shard by path, each [batches of the shard, ...]."""
        arrays = {}
        for path, reader in self._readers.items():
            out = self._pool.take(reader.chunk_bytes) if self._pool else None
            arrays[path] = reader.read(shard, out)
        return arrays

    def batches(self, arrays: Dict[str, np.ndarray], rows: np.ndarray) -> List[Sequence[Tensor]]:
        """Rows of a shard as tensors: per row a tuple in the order of `inputs`, each of shape `InputSpec.shape`.

        Stored tensors are views of the shard; gathered ones fill one buffer per input for all rows.
        """
        columns: List[Sequence[Tensor]] = []
        for spec, source in zip(self.inputs, self._sources):
            if source.table:
                columns.append(self._gather(spec, source, arrays[source.path], rows))
            else:
                views = torch.from_numpy(arrays[source.path]).unbind(0)
                columns.append([views[row] for row in rows])
        return list(zip(*columns))

    def _gather(self, spec: InputSpec, source: InputSource, ids: np.ndarray, rows: np.ndarray) -> List[Tensor]:
        table = self._tables[str(source.table)]
        wanted = ids[rows]
        if wanted.min() < -1 or wanted.max() >= len(table) - 1:
            raise CorruptChunkError(
                "ids point outside their feature table",
                actual=f"{wanted.min()} to {wanted.max()}",
                limit=f"-1 (pad) to {len(table) - 2}",
                where=source.path,
            )
        num_bytes = int(np.prod(spec.shape)) * table.itemsize
        slot_bytes = -(-num_bytes // SLOT_BYTES) * SLOT_BYTES
        total = len(rows) * slot_bytes
        buffer = self._pool.take(total) if self._pool else aligned_empty(total)
        tensors = []
        for slot, batch in zip(buffer.reshape(len(rows), slot_bytes), wanted):
            out = slot[:num_bytes].view(table.dtype).reshape(spec.shape)
            # "wrap" sends the pad id -1 to the last row, the pad row, and is the mode that writes straight into `out`
            np.take(table, batch, axis=0, out=out, mode="wrap")
            tensors.append(torch.from_numpy(out))
        return tensors
