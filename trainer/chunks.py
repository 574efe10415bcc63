"""Read one chunk of one tensor: fetch its bytes, check them, decode them into a given array.

A local store is read without zarr's array layer: the chunk's file is opened by name, read into a reused aligned
buffer and decoded with numcodecs, a few microseconds per array instead of hundreds, nearly all of them without the
interpreter lock. Other stores hand over the same bytes through zarr's store interface. Checks and codecs are shared.
"""

import os
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, Union

import google_crc32c
import numcodecs
import numpy as np

from schemas import layout
from schemas.batch import TensorSpec
from schemas.errors import CorruptChunkError, ManifestError, StoreError
from schemas.manifest import Manifest
from trainer.buffers import aligned_empty

Bytes = Union[np.ndarray, bytes]
REBUILD = "The store is damaged: build it again with `make prepare` (or `python -m pipeline prepare --force`)."


class LocalFiles:
    """Chunk files of a local store. Reads go into one buffer that grows as needed and is overwritten by the next."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._buffer = aligned_empty(1 << 16)

    def where(self, key: str) -> str:
        return str(self.root / key)

    def fetch(self, key: str, into: Optional[np.ndarray] = None) -> Optional[np.ndarray]:
        """The file's bytes, uint8 [size], valid until the next call; None when there is no such file.

        They are read into `into` (uint8) when it is given and large enough.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            return self._read(key, into)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError("a chunk cannot be read", actual=error.strerror, where=self.where(key)) from error

    def _read(self, key: str, into: Optional[np.ndarray]) -> np.ndarray:
        file = os.open(self.root / key, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            if into is None or into.nbytes < size:
                if size > self._buffer.nbytes:
                    self._buffer = aligned_empty(2 * size)
                into = self._buffer
            filled = 0
            while filled < size:
                count = os.readv(file, [into.data[filled:size]])
                if count == 0:
                    break
                filled += count
            return into[:filled]
        finally:
            os.close(file)

    def copy(self) -> "LocalFiles":
        """The same files with a buffer of its own, for another thread or process."""
        return LocalFiles(self.root)

    def __reduce__(self) -> Tuple[Any, ...]:
        return LocalFiles, (self.root,)


class ZarrFiles:
    """Chunk objects of any store that zarr opens (a URL, a zip file), through zarr's own store interface."""

    def __init__(self, group: Any, path: str) -> None:
        self.group = group
        self.path = path

    def where(self, key: str) -> str:
        return f"{self.path}/{key}"

    def fetch(self, key: str, into: Optional[np.ndarray] = None) -> Optional[Bytes]:
        """The object's bytes, copied into `into` (uint8) when its size is the object's; None without an object.

        Raises:
            StoreError: the object cannot be read.
        """
        try:
            data = self._get(key)
        except Exception as error:  # each kind of store has errors of its own
            raise StoreError("a chunk cannot be read", actual=repr(error), where=self.where(key)) from error
        if data is None or into is None or into.nbytes != len(data):
            return data
        into[:] = np.frombuffer(data, np.uint8)
        return into

    def _get(self, key: str) -> Optional[bytes]:
        if hasattr(self.group, "store_path"):  # zarr 3: stores are asynchronous
            from zarr.core.buffer import default_buffer_prototype
            from zarr.core.sync import sync

            at = self.group.store_path / key
            found = sync(at.store.get(at.path, default_buffer_prototype()))
            return None if found is None else found.to_bytes()
        prefix = f"{self.group.path}/" if self.group.path else ""
        return self.group.store.get(prefix + key)

    def copy(self) -> "ZarrFiles":
        return self


Files = Union[LocalFiles, ZarrFiles]


class TensorReader:
    """Reads the chunks of one tensor.

    Args:
        files: where chunk bytes come from.
        manifest: of the store.
        spec: the tensor.
        checksums: its rows of `checksums`, uint32 [num_chunks, 2]: crc32c and bytes of each chunk.
        check_chunks: compare the crc32c of every chunk that is read. Existence and size are always checked.
    """

    def __init__(
        self, files: Files, manifest: Manifest, spec: TensorSpec, checksums: np.ndarray, check_chunks: bool
    ) -> None:
        self.spec = spec
        self.files = files
        self._checksums = checksums
        self._check_chunks = check_chunks
        self._zarr_format = manifest.zarr_format
        self._decode = _decoder(spec.codec)
        self.dtype = np.dtype(spec.dtype)
        self.chunk_bytes = int(np.prod(spec.chunks)) * self.dtype.itemsize

    def num_rows(self, index: int) -> int:
        """Rows of chunk `index` that belong to the tensor; the last chunk is padded to full size on disk."""
        return min(self.spec.chunk_rows, self.spec.shape[0] - index * self.spec.chunk_rows)

    def read(self, index: int, out: Optional[np.ndarray] = None) -> np.ndarray:
        """Chunk `index`, [num_rows(index), ...], decoded into `out` (uint8 [chunk_bytes]) or a fresh buffer.

        Raises:
            CorruptChunkError: the chunk is missing, truncated, altered or does not decode.
        """
        key = f"{self.spec.path}/{layout.chunk_name(self._zarr_format, index, len(self.spec.shape))}"
        out = aligned_empty(self.chunk_bytes) if out is None else out
        if self._decode is None:
            data = self._checked(self.files.fetch(key, out), index, key)
            if len(data) != self.chunk_bytes:
                raise self._corrupt(
                    "a chunk has the wrong size", index, key, f"{len(data)} bytes", f"{self.chunk_bytes}"
                )
        else:
            data = self._checked(self.files.fetch(key), index, key)
            try:
                self._decode(data, out=out)
            except (ValueError, RuntimeError) as error:
                raise self._corrupt(f"a chunk does not decode ({error})", index, key) from None
        return out.view(self.dtype).reshape(self.spec.chunks)[: self.num_rows(index)]

    def read_all(self) -> np.ndarray:
        """The whole tensor, freshly allocated."""
        values = np.empty(self.spec.shape, self.dtype)
        scratch = aligned_empty(self.chunk_bytes)
        for index in range(self.spec.num_chunks):
            start = index * self.spec.chunk_rows
            values[start : start + self.num_rows(index)] = self.read(index, scratch)
        return values

    def _checked(self, data: Optional[Bytes], index: int, key: str) -> Bytes:
        if data is None:
            raise self._corrupt("a chunk is missing", index, key)
        crc, size = (int(value) for value in self._checksums[index])
        if len(data) != size:
            raise self._corrupt("a chunk has the wrong size", index, key, f"{len(data)} bytes", f"{size} bytes")
        if self._check_chunks:
            found = google_crc32c.value(data)
            if found != crc:
                raise self._corrupt("a chunk fails its checksum", index, key, f"crc32c {found:08x}", f"{crc:08x}")
        return data

    def _corrupt(
        self, what: str, index: int, key: str, actual: Optional[str] = None, limit: Optional[str] = None
    ) -> CorruptChunkError:
        start = index * self.spec.chunk_rows
        kind, _, _ = self.spec.path.partition("/")
        rows = f"{self.spec.dims[0]} {start} to {start + self.num_rows(index) - 1}"
        place = f"{self.files.where(key)} ({'split ' if kind in layout.SPLITS else ''}{kind}, {rows})"
        return CorruptChunkError(what, actual=actual, limit=limit, where=place, hint=REBUILD)


def _decoder(codec: str) -> Optional[Callable[..., Any]]:
    """`decode(data, out=)` of a codec; None where the bytes are stored as they are."""
    codecs: Dict[str, Any] = {"blosc-lz4": numcodecs.Blosc, "zstd": numcodecs.Zstd}
    return codecs[codec]().decode if codec in codecs else None  # frames of both carry their own parameters


def load_checksums(group: Any, manifest: Manifest, where: str) -> Dict[str, np.ndarray]:
    """Tensor path -> its checksums, uint32 [num_chunks, 2], verified against the manifest.

    Raises:
        CorruptChunkError: the array `checksums` is missing or differs from its digest in the manifest.
    """
    place = f"{where}/{layout.CHECKSUMS}"
    try:
        table = np.ascontiguousarray(group[layout.CHECKSUMS][:], dtype="<u4")
    except KeyError:
        raise CorruptChunkError("the checksums are missing", where=place, hint=REBUILD) from None
    expected = (manifest.num_chunks, 2)
    if table.shape != expected or google_crc32c.value(table.tobytes()) != manifest.checksums_crc32c:
        raise CorruptChunkError("the checksums are damaged", where=place, hint=REBUILD)
    first = manifest.first_chunks()
    return {spec.path: table[first[spec.path] : first[spec.path] + spec.num_chunks] for spec in manifest.tensors}


def check_array(group: Any, spec: TensorSpec, where: str) -> None:
    """The manifest decides how chunks are read, so zarr's own description must say the same."""
    try:
        array = group[spec.path]
    except KeyError:
        raise CorruptChunkError("an array is missing", where=f"{where}/{spec.path}", hint=REBUILD) from None
    found = (tuple(array.shape), tuple(array.chunks), np.dtype(array.dtype).name)
    told = (spec.shape, spec.chunks, np.dtype(spec.dtype).name)
    if found != told:
        raise ManifestError(
            "shape, chunks or dtype of an array differ from the manifest",
            actual=found,
            limit=told,
            where=f"{where}/{spec.path}",
            hint=REBUILD,
        )
