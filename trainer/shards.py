"""From an `InputSpec` to its tensors: which arrays of a store it needs, and how a shard's batches are made of them."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from schemas import layout
from schemas.batch import InputSpec
from schemas.errors import CorruptChunkError, SignatureMismatchError
from trainer.buffers import BufferPool, aligned_empty
from trainer.order import shard_numbers
from trainer.store import Store

_STORED = {"node_mask": "mask", "edge_mask": "mask", "seed_mask": "mask", "seed_n_id": "n_id"}

# Gathered batches begin at multiples of this. Matrix products may round differently at another alignment, so a
# batch must lie the same way wherever in a shard reading began: resumed runs are equal bit for bit.
SLOT_BYTES = 64


class InputSource(NamedTuple):
    """Where one input comes from: array `path` as stored, or rows `path` holds the ids of in feature table `table`."""

    path: str
    table: Optional[str] = None


def input_source(store: Store, part: str, spec: InputSpec) -> InputSource:
    """Where a store keeps one model input of a part (or an `e_id` or `seed_n_id`, which models do not take)."""
    in_table = store.manifest.features == "table"
    if spec.kind == "x" and in_table:
        return InputSource(layout.node_path(part, spec.key, "n_id"), layout.feature_path(spec.key))
    if spec.kind == "edge_attr" and in_table:
        return InputSource(layout.edge_path(part, spec.key, "e_id"), layout.edge_feature_path(spec.key))
    tensor = _STORED.get(spec.kind, spec.kind)
    if spec.kind in ("y", "seed_mask", "seed_n_id"):
        return InputSource(layout.seed_path(part, tensor))
    path = layout.node_path if spec.kind in ("x", "n_id", "node_mask") else layout.edge_path
    return InputSource(path(part, spec.key, tensor))


class ShardReader:
    """Reads shards of one part and makes model inputs of them. For one thread at a time.

    Args:
        part: where it lies in the store.
        pool: where buffers come from; None allocates afresh.
        check_chunks: verify the checksum of every chunk; None does as the store was opened.

    Raises:
        SignatureMismatchError: an input's shape or dtype is not the store's.
        StoreError: the store lacks an array that an input needs.
    """

    def __init__(
        self,
        store: Store,
        part: str,
        inputs: Sequence[InputSpec],
        pool: Optional[BufferPool] = None,
        check_chunks: Optional[bool] = None,
    ) -> None:
        self.part = part
        self.inputs = tuple(inputs)
        self._sources = [input_source(store, part, spec) for spec in inputs]
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
                where=f"{store.path} ({self.part})",
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
            arrays[path] = reader.read(shard, self._pool.take if self._pool else aligned_empty)
        return arrays

    def batches(self, arrays: Dict[str, np.ndarray], rows: np.ndarray, group: int = 1) -> List[Sequence[Tensor]]:
        """Rows of a shard as tensors, `group` batches a time joined on dim 0, in the order of `inputs`.

        Input i of each result has shape `InputSpec.shape` with dim 0 times `group`: [2, E] becomes [group * 2, E].
        Stored tensors are views of the shard where the rows of a group follow one another (else copies); gathered
        ones fill one buffer per input for all rows. `rows` are a multiple of `group`.
        """
        columns: List[Sequence[Tensor]] = []
        for spec, source in zip(self.inputs, self._sources):
            if source.table:
                columns.append(self._gather(spec, source, arrays[source.path], rows, group))
            elif group == 1:
                views = torch.from_numpy(arrays[source.path]).unbind(0)
                columns.append([views[row] for row in rows])
            else:
                columns.append([_join(arrays[source.path], call) for call in rows.reshape(-1, group)])
        return list(zip(*columns))

    def _gather(
        self, spec: InputSpec, source: InputSource, ids: np.ndarray, rows: np.ndarray, group: int
    ) -> List[Tensor]:
        table = self._tables[str(source.table)]
        wanted = ids[rows]
        if wanted.min() < -1 or wanted.max() >= len(table) - 1:
            raise CorruptChunkError(
                "ids point outside their feature table",
                actual=f"{wanted.min()} to {wanted.max()}",
                limit=f"-1 (pad) to {len(table) - 2}",
                where=source.path,
            )
        shape = (group * spec.shape[0], *spec.shape[1:])
        calls = wanted.reshape(len(rows) // group, -1)
        num_bytes = int(np.prod(shape)) * table.itemsize
        slot_bytes = -(-num_bytes // SLOT_BYTES) * SLOT_BYTES
        total = len(calls) * slot_bytes
        buffer = self._pool.take(total) if self._pool else aligned_empty(total)
        tensors = []
        for slot, batch in zip(buffer.reshape(len(calls), slot_bytes), calls):
            out = slot[:num_bytes].view(table.dtype).reshape(shape)
            # "wrap" sends the pad id -1 to the last row, the pad row, and is the mode that writes straight into `out`
            np.take(table, batch, axis=0, out=out, mode="wrap")
            tensors.append(torch.from_numpy(out))
        return tensors


class Shard(NamedTuple):
    """A shard in memory; its batches are asked for by their numbers in the split."""

    reader: ShardReader
    arrays: Dict[str, np.ndarray]
    first_batch: int

    def batches(self, numbers: np.ndarray, group: int = 1) -> List[Sequence[Tensor]]:
        """As `ShardReader.batches`."""
        return self.reader.batches(self.arrays, numbers - self.first_batch, group)


class SplitReader:
    """Reads the shards of a split, whatever parts it has. For one thread at a time.

    Args:
        inputs: of each shape of the store.
        pool, check_chunks: as for `ShardReader`, and so are the errors.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        inputs: Sequence[Sequence[InputSpec]],
        pool: Optional[BufferPool] = None,
        check_chunks: Optional[bool] = None,
    ) -> None:
        self._info = store.split(split)
        self._chunk_batches = store.manifest.chunk_batches
        self._parts = store.manifest.parts(self._info)
        self._readers = [ShardReader(store, p.path, inputs[p.shape], pool, check_chunks) for p in self._parts]

    @property
    def num_parts(self) -> int:
        return len(self._parts)

    @property
    def gathered_bytes(self) -> int:
        """Bytes per batch, of the shape with the most, that are gathered from feature tables."""
        return max(reader.gathered_bytes for reader in self._readers)

    def shard_numbers(self, batches: np.ndarray) -> np.ndarray:
        """The shard that each batch lies in, see `trainer.order.shard_numbers`."""
        return shard_numbers(self._info, batches, self._chunk_batches)

    def read(self, batch: int) -> Shard:
        """The shard that holds a batch."""
        place = max(i for i, part in enumerate(self._parts) if part.first_batch <= batch)
        part, reader = self._parts[place], self._readers[place]
        chunk = (batch - part.first_batch) // self._chunk_batches
        return Shard(reader, reader.read(chunk), part.first_batch + chunk * self._chunk_batches)


def _join(array: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows of `array` [batches, n, ...] as one tensor [len(rows) * n, ...]; a view where they are consecutive."""
    first = int(rows[0])
    is_run = bool((rows == np.arange(first, first + len(rows))).all())
    joined = array[first : first + len(rows)] if is_run else array[rows]
    return torch.from_numpy(joined.reshape(-1, *array.shape[2:]))


def join_batches(batches: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Single batches of different shards as one call: each input joined on dim 0, copied."""
    return tuple(torch.cat(tensors) for tensors in zip(*batches))
