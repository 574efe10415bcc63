"""Read one chunk of one array: fetch its bytes, check them, decode them into a given array.

A store is read without zarr's array layer: a few microseconds per array instead of hundreds.
"""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Set

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.layout import ZarrFormat
from heteroshards.schemas.packing import Columns
from heteroshards.schemas.store.checks import REBUILD
from heteroshards.schemas.store.chunks import MAX_RATIO, check_chunk, decode_chunk, require_plausible
from heteroshards.schemas.store.files import Files, LocalFiles, Make, require_size
from heteroshards.schemas.store.memory import aligned_empty
from heteroshards.schemas.tensors import TensorSpec

Check = Callable[[np.ndarray], None]
HARMLESS_BYTES = 2**26


class Numbering(NamedTuple):
    """The split that a tensor's rows are batches of, and the number of the first; no split for a table."""

    split: Optional[str] = None
    first_batch: int = 0


UNNUMBERED = Numbering()


class StoredTensor:
    """What is known of one tensor of an open store, whoever reads it.

    Attributes:
        spec: its name, shape and codec.
        checksums: its rows of `checksums`, uint32 [num_chunks, 2]: crc32c and bytes of each chunk.
        numbering: the split that its rows are batches of.
        sound: chunks whose content was looked at and is what it must be.
    """

    def __init__(
        self, zarr_format: ZarrFormat, spec: TensorSpec, checksums: np.ndarray, numbering: Numbering = UNNUMBERED
    ) -> None:
        self.spec = spec
        self.checksums = checksums
        self.numbering = numbering
        self.sound: Set[int] = set()
        self.dtype = np.dtype(spec.dtype)
        self.chunks, self.chunk_bytes = spec.chunks, spec.chunk_bytes  # a spec derives them anew each time
        self._zarr_format: ZarrFormat = zarr_format

    def key(self, index: int) -> str:
        """Where chunk `index` lies in the store."""
        return f"{self.spec.path}/{layout.chunk_name(self._zarr_format, index, len(self.chunks))}"

    def num_rows(self, index: int) -> int:
        """Rows of chunk `index` that belong to the tensor; the last chunk is padded to full size on disk."""
        return min(self.chunks[0], self.spec.shape[0] - index * self.chunks[0])


def take_columns(rows: np.ndarray, at: Columns, make: Make = aligned_empty) -> np.ndarray:
    """One type's tensor [K, ...] of an array that holds all types', in memory of its own from `make(its bytes)`."""
    part = rows[..., at.start : at.stop]
    found = make(part.nbytes).view(part.dtype).reshape(part.shape)
    found[...] = part
    return found


class TensorReader:
    """Reads the chunks of one array of a store.

    Args:
        files: where chunk bytes come from.
        tensor: which one, and what its chunks must be.
        check_chunks: compare the crc32c of every chunk that is read. Existence and size are always checked.
    """

    def __init__(self, files: Files, tensor: StoredTensor, check_chunks: bool) -> None:
        self.files = files
        self.tensor = tensor
        self.spec = tensor.spec
        self._check_chunks = check_chunks

    def require_plausible(self) -> None:
        """Raises CorruptChunkError when the tensor is said to be larger than its files can hold."""
        sizes = self.tensor.checksums[:, 1]
        if len(sizes):
            smallest = int(sizes.argmin())
            with self.naming(smallest):
                require_plausible(self.spec.codec, self.tensor.chunk_bytes, int(sizes[smallest]))

    def read(self, index: int, make: Make = aligned_empty, check: Optional[Check] = None) -> np.ndarray:
        """Chunk `index`, [num_rows(index), ...], decoded into memory from `make(spec.chunk_bytes)`.

        `make` is called when the chunk is known to be there and to hold so much.

        Args:
            check: raises a CorruptChunkError where what was read cannot be; the same one for all readers of a tensor.
                It sees a chunk anew only where checksums do not say that its bytes are those that it saw before.

        Raises:
            CorruptChunkError: the chunk is missing, truncated, altered, does not decode or fails `check`.
        """
        try:
            rows = self._read(index, make)
            if check is not None and not (self._check_chunks and index in self.tensor.sound):
                check(rows)
                if self._check_chunks:
                    self.tensor.sound.add(index)
            return rows
        except CorruptChunkError as error:
            raise self._named(error, index) from error.__cause__

    def _read(self, index: int, make: Make) -> np.ndarray:
        tensor = self.tensor
        is_plain = self.spec.codec == "none"
        crc, size = tensor.checksums[index].tolist()
        if is_plain:
            require_size(size, tensor.chunk_bytes)
        data = self.files.fetch(tensor.key(index), size, make if is_plain else None)
        if data is None:
            raise CorruptChunkError("a chunk is missing", hint=REBUILD)
        check_chunk(data, crc, size, self._check_chunks)
        out = data if is_plain else decode_chunk(self.spec, data, make)
        assert isinstance(out, np.ndarray)
        return out.view(tensor.dtype).reshape(tensor.chunks)[: tensor.num_rows(index)]

    def read_all(self, on_corrupt: Optional[Callable[[CorruptChunkError], None]] = None, more_rows: int = 0) -> Any:
        """The whole tensor, freshly allocated, and `more_rows` rows after it.

        Args:
            on_corrupt: called with the error of a chunk that cannot be read; its rows become the pad value.

        Raises:
            CorruptChunkError: as `read`, without `on_corrupt`.
            StoreError: it does not fit into memory.
        """
        self._require_files()
        try:
            values = np.empty((self.spec.shape[0] + more_rows, *self.spec.shape[1:]), self.tensor.dtype)
        except MemoryError:
            size = f"{self.spec.num_bytes} bytes"
            where = self.files.where(self.spec.path)
            raise StoreError("an array does not fit into memory", actual=size, where=where) from None
        scratch: Dict[int, np.ndarray] = {}
        for index in range(self.spec.num_chunks):
            start = index * self.spec.chunk_rows
            rows = values[start : start + self.tensor.num_rows(index)]
            try:
                rows[...] = self.read(index, lambda size: scratch.setdefault(size, aligned_empty(size)))
            except CorruptChunkError as error:
                if on_corrupt is None:
                    raise
                on_corrupt(error)
                rows[...] = self.spec.pad_value or 0
        return values

    def _require_files(self) -> None:
        """Found out before a local tensor's memory is asked for: all of it that is no harmless amount can be in its
        files. Else the error is that of the first file that is missing or too small."""
        if not isinstance(self.files, LocalFiles):
            return
        sizes = [(self.files.stamp(self.tensor.key(i)) or (0, 0, 0))[2] for i in range(self.spec.num_chunks)]
        ratio = MAX_RATIO[self.spec.codec]
        empty = [i for i, size in enumerate(sizes) if size * ratio < self.spec.chunk_bytes]
        if len(empty) * self.spec.chunk_bytes > max(HARMLESS_BYTES, (len(sizes) - len(empty)) * self.spec.chunk_bytes):
            self.read(empty[0])

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Say in an error which chunk it is about."""
        try:
            yield
        except CorruptChunkError as error:
            raise self._named(error, index) from error.__cause__

    def _named(self, error: CorruptChunkError, index: int) -> CorruptChunkError:
        split, first_batch = self.tensor.numbering
        first = first_batch + index * self.spec.chunk_rows
        last = first + self.tensor.num_rows(index) - 1
        place = f"{f'split {split}' if split else self.spec.part}, {self.spec.dims[0]} {first} to {last}"
        return error.of(self.files.where(self.tensor.key(index)), place, split, (first, last) if split else None)
