"""From an `InputSpec` to its tensors: which arrays of a store it needs, and how a shard's batches are made of them."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from schemas import layout
from schemas.batch import InputSpec
from schemas.errors import SignatureMismatchError
from trainer.buffers import BufferPool, aligned_empty
from trainer.ids import limits_of
from trainer.order import shard_numbers
from trainer.store import Store
from trainer.transfer import Transfer

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


class ShardArrays(NamedTuple):
    """What was read of one shard, by path, each [batches of the shard, ...].

    Attributes:
        host: as read.
        placed: what inputs take as it is, where the model runs.
    """

    host: Dict[str, np.ndarray]
    placed: Dict[str, Tensor]


class ShardReader:
    """Reads shards of one part and makes model inputs of them. For one thread at a time.

    Args:
        part: where it lies in the store.
        pool: where buffers come from; None allocates afresh.
        check_chunks: verify the checksum of every chunk; None does as the store was opened.
        transfer: brings batches to where the model runs.

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
        transfer: Optional[Transfer] = None,
    ) -> None:
        self.part = part
        self.inputs = tuple(inputs)
        self._sources = [input_source(store, part, spec) for spec in inputs]
        self._pool = pool
        self._transfer = transfer or Transfer()
        self._direct = list(dict.fromkeys(source.path for source in self._sources if not source.table))
        files = store.new_files()
        paths = dict.fromkeys(source.path for source in self._sources)
        self._readers = {path: store.reader(path, files, check_chunks) for path in paths}
        limits = [(path, limits_of(store, part, spec, path)) for spec, (path, _) in zip(inputs, self._sources)]
        self._limits = {path: limit for path, limit in limits if limit}
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

    def read(self, shard: int) -> ShardArrays:
        """The stored arrays of one shard.

        Raises:
            CorruptChunkError: a chunk cannot be read, or has indices that lead nowhere.
        """
        make = self._pool.take if self._pool else aligned_empty
        arrays = {}
        for path, reader in self._readers.items():
            limits = self._limits.get(path)
            arrays[path] = reader.read(shard, make, limits.check if limits else None)
        placed = self._transfer([torch.from_numpy(arrays[path]) for path in self._direct])
        return ShardArrays(arrays, dict(zip(self._direct, placed)))

    def batches(self, arrays: ShardArrays, rows: np.ndarray, group: int = 1) -> List[Sequence[Tensor]]:
        """Rows of a shard as tensors, `group` batches a time joined on dim 0, in the order of `inputs`.

        Input i of each result has shape `InputSpec.shape` with dim 0 times `group`: [2, E] becomes [group * 2, E].
        Stored tensors are views of the shard where the rows of a group follow one another (else copies); gathered
        ones fill one buffer per input for all rows. `rows` are a multiple of `group`.
        """
        gathered, places = self._gather_all(arrays.host, rows, group), rows.tolist()
        columns: List[Sequence[Tensor]] = []
        for spec, source in zip(self.inputs, self._sources):
            if source.table:
                columns.append(gathered[spec].unbind(0))
            elif group == 1:
                views = arrays.placed[source.path].unbind(0)
                columns.append([views[place] for place in places])
            else:
                columns.append([_join(arrays.placed[source.path], call) for call in rows.reshape(-1, group)])
        return list(zip(*columns))

    def _gather_all(self, arrays: Dict[str, np.ndarray], rows: np.ndarray, group: int) -> Dict[InputSpec, Tensor]:
        """Every gathered input, [calls, ...]."""
        pairs = [(spec, source) for spec, source in zip(self.inputs, self._sources) if source.table]
        gathered = [self._gather(spec, source, arrays[source.path][rows], group) for spec, source in pairs]
        buffers = self._transfer([torch.from_numpy(buffer) for buffer, _ in gathered])
        found = {}
        for (spec, _), (_, num_bytes), buffer in zip(pairs, gathered, buffers):
            shape = (len(buffer), group * spec.shape[0], *spec.shape[1:])
            found[spec] = buffer[:, :num_bytes].view(getattr(torch, spec.dtype)).view(shape)
        return found

    def _gather(self, spec: InputSpec, source: InputSource, ids: np.ndarray, group: int) -> Tuple[np.ndarray, int]:
        """Bytes of the features of ids [batches, ...]: uint8 [calls, slot], and how many of a slot are used."""
        table = self._tables[str(source.table)]
        calls = ids.reshape(len(ids) // group, -1)
        num_bytes = calls.shape[1] * int(np.prod(spec.shape[1:])) * table.itemsize
        slot_bytes = -(-num_bytes // SLOT_BYTES) * SLOT_BYTES
        total = len(calls) * slot_bytes
        buffer = (self._pool.take(total) if self._pool else aligned_empty(total)).reshape(len(calls), slot_bytes)
        for slot, batch in zip(buffer, calls):
            out = slot[:num_bytes].view(table.dtype).reshape(-1, *table.shape[1:])
            # "wrap" sends the pad id -1 to the last row, the pad row, and is the mode that writes straight into `out`
            np.take(table, batch, axis=0, out=out, mode="wrap")
        return buffer, num_bytes


class Shard(NamedTuple):
    """A shard in memory; its batches are asked for by their numbers in the split."""

    reader: ShardReader
    arrays: ShardArrays
    first_batch: int

    def batches(self, numbers: np.ndarray, group: int = 1) -> List[Sequence[Tensor]]:
        """As `ShardReader.batches`."""
        return self.reader.batches(self.arrays, numbers - self.first_batch, group)


class SplitReader:
    """Reads the shards of a split, whatever parts it has. For one thread at a time.

    Args:
        inputs: of each shape of the store.
        pool, check_chunks, transfer: as for `ShardReader`, and so are the errors.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        inputs: Sequence[Sequence[InputSpec]],
        pool: Optional[BufferPool] = None,
        check_chunks: Optional[bool] = None,
        transfer: Optional[Transfer] = None,
    ) -> None:
        self._info = store.split(split)
        self._chunk_batches = store.manifest.chunk_batches
        self._parts = store.manifest.parts(self._info)
        self._readers = [ShardReader(store, p.path, inputs[p.shape], pool, check_chunks, transfer) for p in self._parts]

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


def _join(array: Tensor, rows: np.ndarray) -> Tensor:
    """Rows of `array` [batches, n, ...] as one tensor [len(rows) * n, ...]; a view where they are consecutive."""
    first = int(rows[0])
    is_run = bool((rows == np.arange(first, first + len(rows))).all())
    joined = array[first : first + len(rows)] if is_run else array[torch.from_numpy(rows)]
    return joined.flatten(0, 1)


def join_batches(batches: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Single batches of different shards as one call: each input joined on dim 0, copied."""
    return tuple(torch.cat(tensors) for tensors in zip(*batches))
