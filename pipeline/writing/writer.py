"""Writing a store: init, partitions in any order, finalise. Readers see nothing before the last rename.

    <store>.partial/store/            the store as it grows
    <store>.partial/partitions/       one record per finished partition: the checksums of its chunks

A partition is finished when its record exists, and a record appears by one rename after all its chunks. Chunks are
pure functions of the plan, so what an interrupted partition left behind is simply written again.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from heteroshards.pipeline.writing import zarr_compat
from heteroshards.schemas import layout
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.manifest import Manifest, parse_manifest
from heteroshards.schemas.store import integrity, locks
from heteroshards.schemas.store.address import files_at
from heteroshards.schemas.store.root import root_attributes
from heteroshards.schemas.tensors import TensorSpec, checksum_tensor


@contextmanager
def locked(
    store: Path,
    waiting: Callable[[], None],
    is_shared: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Let one process at a time write `store`, or several that share it; calls `waiting` once when it has to wait.

    The lock file lies beside the store and stays: removing it could split waiting processes over two files. `tell` is
    called with a line where the file system has no locks.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with locks.locked(_lock_file(store), is_shared=is_shared, waiting=waiting, tell=tell):
        yield


def _lock_file(store: Path) -> Path:
    return store.with_name(f".{store.name}.lock")


def work_folder(store: Path) -> Path:
    """Where a store grows."""
    return store.with_name(store.name + ".partial")


def discard_leftovers(store: Path) -> None:
    """Remove what a run left that was killed between letting the store appear and cleaning up, if none is at work."""
    if not work_folder(store).exists():
        return
    with suppress(OSError), locks.locked(_lock_file(store)):
        shutil.rmtree(work_folder(store), ignore_errors=True)


Checksums = dict[str, dict[int, tuple[int, int]]]


def encode_chunk(spec: TensorSpec, rows: np.ndarray) -> bytes:
    """The content of a chunk file, from the chunk's rows (fewer than a whole chunk's only at the end)."""
    assert rows.dtype == np.dtype(spec.dtype) and rows.shape[1:] == spec.shape[1:], spec.path
    if len(rows) < spec.chunk_rows:  # zarr's chunks are all of one size
        whole = np.zeros(spec.chunks, rows.dtype)
        whole[: len(rows)] = rows
        rows = whole
    rows = np.ascontiguousarray(rows)
    codec = zarr_compat.compressor(spec.codec)
    return rows.tobytes() if codec is None else bytes(codec.encode(rows))


class StoreWriter:
    """Writes one store.

    Args:
        path: the finished store's folder.
        manifest: everything but `complete` and `checksums_crc32c`, which `finalise` fills in.

    Attributes:
        specs: every tensor that is written, by path.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.work = work_folder(path)
        self.store = self.work / "store"
        self.partitions = self.work / "partitions"
        self.specs = {spec.path: spec for spec in manifest.tensors}
        self._files = files_at(self.store, scratch=self.work)
        self._records = files_at(self.partitions)

    def init(self) -> None:
        """Fill the work folder, or take over what an interrupted run of the same store left in it."""
        if self._can_take_over():
            return
        if self.work.exists():
            shutil.rmtree(self.work)
        self.partitions.mkdir(parents=True)
        self.store.mkdir()
        specs = [*self.specs.values(), checksum_tensor(self.manifest.num_chunks)]
        zarr_compat.create_arrays(self._files, self.manifest.zarr_format, specs)
        self._write_manifest(self.manifest)

    def _can_take_over(self) -> bool:
        """Whether the work folder was fully initialised for the very same store."""
        try:
            left = parse_manifest(root_attributes(self._files).get(layout.MANIFEST_ATTRIBUTE), str(self.store))
        except Exception:
            return False  # whatever is wrong with it, an unfinished work folder is made anew
        return left.model_copy(update={"complete": False, "checksums_crc32c": 0}) == self.manifest

    def _write_manifest(self, manifest: Manifest, checksums: Mapping[str, int] | None = None) -> None:
        """Write the root attributes. zarr would leave temporary files in the store where it is killed."""
        values = json.loads(manifest.model_dump_json())
        data = integrity.render_root(manifest.zarr_format, values, checksums)
        self._files.put(integrity.root_file(manifest.zarr_format), data, is_durable=True)

    def is_finished(self, partition: str) -> bool:
        return self._records.stamp(_record(partition)) is not None

    def write_chunk(self, path: str, index: int, rows: np.ndarray) -> tuple[int, int]:
        """Write one chunk of a tensor from its rows (fewer than a whole chunk's only at the end).

        Returns:
            crc32c and size of the chunk file.
        """
        encoded = encode_chunk(self.specs[path], rows)
        self._files.put(f"{path}/{layout.chunk_name(self.manifest.zarr_format, index, rows.ndim)}", encoded)
        return google_crc32c.value(encoded), len(encoded)

    def finish_partition(self, partition: str, checksums: Checksums) -> None:
        """Record a partition as finished, with the checksums of its chunks: path -> chunk -> (crc32c, size)."""
        self._records.put(_record(partition), json.dumps(checksums).encode(), is_durable=True)

    def finalise(self, partitions: Sequence[str]) -> None:
        """Check that every partition is there, write checksums and manifest, and let the store appear.

        Raises:
            StoreError: naming the partitions that are missing.
        """
        missing = [name for name in partitions if not self.is_finished(name)]
        if missing:
            raise StoreError(
                f"{len(missing)} partitions are missing",
                actual=", ".join(missing[:10]),
                where=str(self.work),
                hint="Prepare again: only missing partitions are written.",
            )
        digest = self._write_checksums(partitions)
        finished = self.manifest.model_copy(update={"complete": True, "checksums_crc32c": digest})
        metadata = integrity.metadata_files(self._files, finished.zarr_format)
        self._write_manifest(finished, integrity.checksums_of(self._files, metadata))
        if finished.zarr_format == 2:  # format 3 has no agreed way to gather metadata
            data = integrity.render_consolidated(self._files, metadata)
            self._files.put(integrity.CONSOLIDATED, data, is_durable=True)
        replaced = self.work / "replaced"
        if replaced.exists():  # an interrupted run came as far as here
            shutil.rmtree(replaced)
        if self.path.exists():
            self.path.rename(replaced)
        self.store.rename(self.path)
        shutil.rmtree(self.work)

    def _write_checksums(self, partitions: Sequence[str]) -> int:
        """Gather the checksums of all partitions in one array; returns its own crc32c."""
        table = np.zeros((self.manifest.num_chunks, 2), "<u4")
        first = self.manifest.first_chunks()
        for partition in partitions:
            record = self._records.fetch(_record(partition))
            assert record is not None, partition
            recorded: Mapping[str, Mapping[str, Any]] = json.loads(bytes(record))
            for path, chunks in recorded.items():
                for index, checksum in chunks.items():
                    table[first[path] + int(index)] = checksum
        name = layout.chunk_name(self.manifest.zarr_format, 0, 2)
        self._files.put(f"{layout.CHECKSUMS}/{name}", table.tobytes(), is_durable=True)
        return int(google_crc32c.value(table.tobytes()))


def _record(partition: str) -> str:
    return f"{partition}.json"
