"""From an `InputSpec` to its tensors: which arrays of a store it needs, and how a shard's batches are made of them."""

from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from heteroshards.schemas import layout
from heteroshards.schemas.errors import SignatureMismatchError
from heteroshards.schemas.inputs import EDGE_INPUTS, SEED_INPUTS, SPARSE_X, InputSpec, bytes_to_device, sparse_inputs
from heteroshards.schemas.packing import Columns
from heteroshards.schemas.store.memory import aligned_empty
from heteroshards.schemas.store.reader import Check, TensorReader, take_columns
from heteroshards.trainer.reading.buffers import BufferPool
from heteroshards.trainer.reading.ids import check_of
from heteroshards.trainer.reading.order import shard_numbers
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.reading.tables import DenseTable, SparseTable
from heteroshards.trainer.reading.transfer import Transfer

_STORED = {
    "node_mask": "mask",
    "edge_mask": "mask",
    "seed_mask": "mask",
    "seed_n_id": "n_id",
    "seed_row": "row",
    "seed_time": "time",
}

# Gathered batches begin at multiples of this. Matrix products may round differently at another alignment, so a
# batch must lie the same way wherever in a shard reading began: resumed runs are equal bit for bit.
SLOT_BYTES = 64


class InputSource(NamedTuple):
    """Where one input comes from: tensor `path` as stored, or rows `path` holds the ids of in feature table `table`."""

    path: str
    table: Optional[str] = None


def input_source(store: Store, part: str, spec: InputSpec) -> InputSource:
    """Where a store keeps one model input of a part (or what models do not take: `e_id`, `seed_n_id`, `seed_row`)."""
    in_table = store.manifest.features == "table"
    if spec.kind in SPARSE_X or (spec.kind == "x" and in_table):
        return InputSource(layout.node_path(part, spec.key, "n_id"), layout.feature_path(spec.key, spec.name))
    if spec.kind == "edge_attr" and in_table:
        return InputSource(layout.edge_path(part, spec.key, "e_id"), layout.edge_feature_path(spec.key, spec.name))
    tensor = spec.name or _STORED.get(spec.kind, spec.kind)
    if spec.kind in SEED_INPUTS:
        is_target = spec.kind == "target"
        return InputSource(layout.target_path(part, spec.key) if is_target else layout.seed_path(part, tensor))
    path = layout.edge_path if spec.kind in EDGE_INPUTS else layout.node_path
    return InputSource(path(part, spec.key, tensor))


class ShardArrays(NamedTuple):
    """What was read of one shard, by path, each [batches of the shard, ...].

    Attributes:
        shard: its number in the part.
        host: as read.
        placed: what inputs take as it is, where the model runs.
    """

    shard: int
    host: Dict[str, np.ndarray]
    placed: Dict[str, Tensor]


class _Array(NamedTuple):
    """A stored array, what its chunks are checked with, and the tensors that are read of it (None: all of it)."""

    reader: TensorReader
    check: Optional[Check]
    tensors: Dict[str, Optional[Columns]]


class _Gather(NamedTuple):
    """Inputs that one table has for the ids in array `path`."""

    path: str
    table: Union[DenseTable, SparseTable]
    inputs: Tuple[InputSpec, ...]


def _gathers(
    store: Store, sources: Iterable[Tuple[InputSpec, InputSource]], check_chunks: Optional[bool]
) -> Iterator[_Gather]:
    """One for each dense input, and one for the three of a type that comes as sparse rows."""
    sparse: Dict[Tuple[str, str], List[InputSpec]] = {}
    for spec, (path, table) in sources:
        if table and spec.kind in SPARSE_X:
            sparse.setdefault((path, table), []).append(spec)
        elif table:
            yield _Gather(path, DenseTable(store.table(table, check_chunks)), (spec,))
    for (path, table), inputs in sparse.items():
        in_order = sorted(inputs, key=lambda spec: SPARSE_X.index(spec.kind))
        yield _Gather(path, store.sparse_table(table, check_chunks), tuple(in_order))


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
        self._arrays: Dict[str, _Array] = {}
        self._readers: Dict[str, TensorReader] = {}  # of each tensor
        for path, _ in self._sources:
            columns = store.columns(path)
            stored = columns.path if columns else path
            if stored not in self._arrays:
                reader = store.reader(stored, files, check_chunks)
                self._arrays[stored] = _Array(reader, check_of(store, stored), {})
            self._arrays[stored].tensors[path] = columns
            self._readers[path] = self._arrays[stored].reader
        self._gathers = list(_gathers(store, zip(self.inputs, self._sources), check_chunks))
        for spec, source in zip(self.inputs, self._sources):
            self._check(store, spec, source)

    def _check(self, store: Store, spec: InputSpec, source: InputSource) -> None:
        stored = store.spec(source.path)
        shape, dtype = stored.shape[1:], stored.dtype
        if spec.kind in SPARSE_X:  # the number of entries is the model's choice, and checked when they are gathered
            expected = sparse_inputs(store.manifest.graph.node(spec.key), shape[0], spec.shape[0])
            shape, dtype = expected[SPARSE_X.index(spec.kind)][2:4]
        elif source.table:
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
        return bytes_to_device(spec for gather in self._gathers for spec in gather.inputs)

    def read(self, shard: int) -> ShardArrays:
        """The stored arrays of one shard.

        Raises:
            CorruptChunkError: a chunk cannot be read, or has indices that lead nowhere.
        """
        make = self._pool.take if self._pool else aligned_empty
        arrays = {}
        for reader, check, tensors in self._arrays.values():
            rows = reader.read(shard, make, check)
            for path, columns in tensors.items():
                arrays[path] = take_columns(rows, columns, make) if columns else rows
        placed = self._transfer([torch.from_numpy(arrays[path]) for path in self._direct])
        return ShardArrays(shard, arrays, dict(zip(self._direct, placed)))

    def batches(self, arrays: ShardArrays, rows: np.ndarray, group: int = 1) -> List[Sequence[Tensor]]:
        """Rows of a shard as tensors, `group` batches a time joined on dim 0, in the order of `inputs`.

        Input i of each result has shape `InputSpec.shape` with dim 0 times `group`: [2, E] becomes [group * 2, E].
        Stored tensors are views of the shard where the rows of a group follow one another (else copies); gathered
        ones fill one buffer per input for all rows. `rows` are a multiple of `group`.
        """
        gathered, places = self._gather_all(arrays, rows, group), rows.tolist()
        columns: List[Sequence[Tensor]] = []
        for spec, source in zip(self.inputs, self._sources):
            if source.table:
                columns.append(gathered[spec].unbind(0))
            elif group == 1:
                array = arrays.placed[source.path]
                views = array.unbind(0) if 2 * len(places) > len(array) else array  # one of all costs half of one alone
                columns.append([views[place] for place in places])
            else:
                columns.append([_join(arrays.placed[source.path], call) for call in rows.reshape(-1, group)])
        return list(zip(*columns))

    def _gather_all(self, arrays: ShardArrays, rows: np.ndarray, group: int) -> Dict[InputSpec, Tensor]:
        """Every gathered input, [calls, ...]."""
        slots = {spec: self._slots(spec, len(rows) // group, group) for g in self._gathers for spec in g.inputs}
        for gather in self._gathers:
            calls = arrays.host[gather.path][rows].reshape(len(rows) // group, -1)
            outputs = [slots[spec][0] for spec in gather.inputs]
            with self._readers[gather.path].naming(arrays.shard):
                for i, ids in enumerate(calls):
                    gather.table.gather(ids, [out[i] for out in outputs])
        placed = self._transfer([torch.from_numpy(buffer) for _, buffer in slots.values()])
        found = {}
        for (spec, (out, _)), buffer in zip(slots.items(), placed):
            used = buffer[:, : out[0].nbytes]
            found[spec] = used.view(getattr(torch, spec.dtype)).view(len(buffer), *out.shape[1:])
        return found

    def _slots(self, spec: InputSpec, num_calls: int, group: int) -> Tuple[np.ndarray, np.ndarray]:
        """An array [calls, group * dim 0, ...] to gather an input into, and the buffer it lies in, uint8 [calls, slot].

        Slots are in line with SLOT_BYTES.
        """
        num_bytes = group * bytes_to_device([spec])
        slot_bytes = -(-num_bytes // SLOT_BYTES) * SLOT_BYTES
        total = num_calls * slot_bytes
        buffer = (self._pool.take(total) if self._pool else aligned_empty(total)).reshape(num_calls, slot_bytes)
        shape = (group * spec.shape[0], *spec.shape[1:])
        strides = np.empty(shape, spec.dtype).strides
        out = np.ndarray((num_calls, *shape), spec.dtype, buffer, strides=(slot_bytes, *strides))
        return out, buffer


class LoadedShard(NamedTuple):
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
        """The shard that each batch lies in, see `trainer.reading.order.shard_numbers`."""
        return shard_numbers(self._info, batches, self._chunk_batches)

    def read(self, batch: int) -> LoadedShard:
        """The shard that holds a batch."""
        place = max(i for i, part in enumerate(self._parts) if part.first_batch <= batch)
        part, reader = self._parts[place], self._readers[place]
        chunk = (batch - part.first_batch) // self._chunk_batches
        return LoadedShard(reader, reader.read(chunk), part.first_batch + chunk * self._chunk_batches)


def _join(array: Tensor, rows: np.ndarray) -> Tensor:
    """Rows of `array` [batches, n, ...] as one tensor [len(rows) * n, ...]; a view where they are consecutive."""
    first = int(rows[0])
    is_run = bool((rows == np.arange(first, first + len(rows))).all())
    joined = array[first : first + len(rows)] if is_run else array[torch.from_numpy(rows)]
    return joined.flatten(0, 1)


def join_batches(batches: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Single batches of different shards as one call: each input joined on dim 0, copied."""
    return tuple(torch.cat(tensors) for tensors in zip(*batches))
