"""Batches in a given order, read and gathered ahead by one background thread."""

import queue
import threading
import time
import weakref
from types import TracebackType
from typing import Iterator, List, Optional, Sequence, Tuple, Type

import numpy as np
from torch import Tensor

from heteroshards.schemas.inputs import InputSpec
from heteroshards.trainer.reading.buffers import BufferPool
from heteroshards.trainer.reading.order import shard_runs
from heteroshards.trainer.reading.shards import LoadedShard, SplitReader, join_batches
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.reading.transfer import Transfer

Batch = Tuple[np.ndarray, Sequence[Tensor]]
_Queue = queue.Queue  # of parts (List[Batch]); an exception or None ends it

# A shard whose features are gathered can be far larger in memory than on disk; it is handed over in parts of this
# size, so that memory stays bounded by (prefetch + 2) parts whatever the number of batches per shard.
PART_BYTES = 16 * 2**20

# The first parts are smaller, each twice the one before, so that the first step waits for little to be gathered.
FIRST_PART_BYTES = 2**20


class BatchStream:
    """Iterates `(batch indices, tensors)` once, in the order given; use it in a `with` statement, or call `close`.

    One item is one call: `group` batches, int64 [group], and their tensors in the order of `inputs`, joined on dim
    0. With group = 1 they are as `inputs` says for the batch's shape. They are views of buffers that are used again
    only once nothing refers to them any more (see `BufferPool`), so a consumer may keep them.

    Args:
        inputs: what a batch is made of, for each shape of the store.
        order: batch indices of the split, int64, a multiple of `group`; consecutive ones of one shard are read
            together.
        start: position in `order` to begin at.
        prefetch: parts (shards, or 16 MiB of gathered features when a shard is larger) kept ready.
        check_chunks: verify the checksum of every chunk; None does as the store was opened.
        group: batches per call; more than one only where the split has one part, for a call has one shape.
        transfer: brings batches to where the model runs; by default they stay in the host's memory.
        pool: where buffers come from, made for `transfer`. Streams that follow one another share one, or each of them
            faults all of its pages anew. By default a stream has its own.

    Attributes:
        position: position in `order` of the next batch.
        waited_s: seconds the consumer has waited for data so far.

    Raises (while iterating, in the consumer):
        CorruptChunkError: a chunk is missing, truncated or altered.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        inputs: Sequence[Sequence[InputSpec]],
        order: np.ndarray,
        *,
        start: int = 0,
        prefetch: int = 2,
        check_chunks: Optional[bool] = None,
        group: int = 1,
        transfer: Optional[Transfer] = None,
        pool: Optional[BufferPool] = None,
    ) -> None:
        assert (len(order) - start) % group == 0, "see `rest_of`"
        transfer = transfer or Transfer()
        pool = BufferPool(transfer.allocate) if pool is None else pool
        reader = SplitReader(store, split, inputs, pool, check_chunks, transfer)
        assert group == 1 or reader.num_parts == 1, "a call is of one shape"
        part_bytes = (min(FIRST_PART_BYTES, PART_BYTES), PART_BYTES)
        self.position = start
        self._group = group
        self.waited_s = 0.0
        self._queue: _Queue = queue.Queue(maxsize=prefetch)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_produce,
            args=(reader, order[start:], group, part_bytes, self._queue, self._stop),
            name=f"batches of {split}",
            daemon=True,  # so that an abandoned stream never keeps the interpreter from exiting
        )
        self._finalizer = weakref.finalize(self, self._stop.set)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        while not self._stop.is_set():
            started = time.perf_counter()
            part = self._queue.get()
            self.waited_s += time.perf_counter() - started
            if part is None:
                break
            if isinstance(part, BaseException):
                self.close()
                raise part
            assert isinstance(part, list)
            part.reverse()  # pop() below lets go of each batch as it is handed over
            while part:
                self.position += self._group
                yield part.pop()
        self.close()

    def close(self) -> None:
        """End the thread and drop what it has read ahead. Safe to call twice."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


def _produce(
    reader: SplitReader,
    order: np.ndarray,
    group: int,
    part_bytes: Tuple[int, int],
    parts: _Queue,
    stop: threading.Event,
) -> None:
    """The background thread. A function, not a method: a thread that held the stream would keep it alive."""
    try:
        for part in _parts(reader, order, group, part_bytes, stop):
            _put(parts, part, stop)
        _put(parts, None, stop)
    except BaseException as error:
        _put(parts, error, stop)


def _parts(
    reader: SplitReader, order: np.ndarray, group: int, part_bytes: Tuple[int, int], stop: threading.Event
) -> Iterator[List[Batch]]:
    """Calls in the order given, some at a time. A call whose batches lie in several shards is joined by copying."""
    begun: List[Batch] = []
    num_calls, most_calls = (max(1, size // max(1, group * reader.gathered_bytes)) for size in part_bytes)
    for begin, end in shard_runs(reader.shard_numbers(order)):
        if stop.is_set():
            return
        run = order[begin:end]
        shard = reader.read(int(run[0]))
        missing = min(-begin % group, len(run))  # batches that end a call begun in an earlier shard
        begun += _calls(shard, run[:missing], 1)
        if begun and len(begun) == group:
            yield [(np.concatenate([batch for batch, _ in begun]), join_batches([tensors for _, tensors in begun]))]
            begun = []
        whole = (len(run) - missing) // group * group
        first = missing
        while first < missing + whole:
            end_of_part = min(first + num_calls * group, missing + whole)
            yield _calls(shard, run[first:end_of_part], group)
            first, num_calls = end_of_part, min(2 * num_calls, most_calls)
        begun += _calls(shard, run[missing + whole :], 1)


def _calls(shard: LoadedShard, batches: np.ndarray, group: int) -> List[Batch]:
    if len(batches) == 0:
        return []
    return list(zip(batches.reshape(-1, group), shard.batches(batches, group)))


def _put(parts: _Queue, part: object, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            return parts.put(part, timeout=0.1)
        except queue.Full:
            continue
