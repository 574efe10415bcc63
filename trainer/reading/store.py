"""Open a store, or find the one that belongs to a config, and refuse what must not be read."""

import json
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Union
from zipfile import is_zipfile

import google_crc32c
import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, CorruptChunkError, StoreChangedError, StoreError
from heteroshards.schemas.latest import latest_path, read_latest
from heteroshards.schemas.listing import PackedTensor, packed_tensors
from heteroshards.schemas.manifest import SplitInfo
from heteroshards.schemas.packing import Columns
from heteroshards.schemas.paths import as_path, expand
from heteroshards.schemas.seam import require, require_path, typed
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.files import Files, LocalFiles
from heteroshards.schemas.store.reader import UNNUMBERED, Numbering, StoredTensor, TensorReader, take_columns
from heteroshards.schemas.store.retries import DEFAULT, Retry
from heteroshards.schemas.store.root import PREPARE, Root, check_array, read_root
from heteroshards.schemas.store.url_files import open_url
from heteroshards.schemas.store.zip_files import ZipFiles
from heteroshards.schemas.tensors import TensorSpec, checksum_tensor
from heteroshards.trainer.reading.tables import SparseTable


class Store:
    """An open store. Cheap to open; feature tables are read when first asked for, and kept.

    Attributes:
        path: the folder, zip file or URL it was opened from; absolute.
        manifest: what it says of itself.
        check_chunks: whether what is read is compared with its checksums, unless a reader is asked for otherwise.
    """

    def __init__(self, path: str, root: Root, files: Files, check_chunks: bool = True, retry: Retry = DEFAULT) -> None:
        self.path = path
        self.manifest = root.manifest
        self.check_chunks = check_chunks
        self._root, self._stamp = root, root.stamp
        self._files = files
        self._retry = retry
        self._tables: Dict[str, np.ndarray] = {}
        self._sparse_tables: Dict[str, SparseTable] = {}
        self._checksums: Dict[str, np.ndarray] = {}
        self._tensors: Dict[str, StoredTensor] = {}
        self._packed = packed_tensors(root.manifest)
        self._specs = {tensor.path: tensor for tensor in root.manifest.tensors}
        self._specs.update((path, packed.spec) for path, packed in self._packed.items())
        self._places = {part.path: Numbering(part.split, part.first_batch) for part in root.manifest.all_parts()}
        self._lock = threading.RLock()

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def split(self, name: str) -> SplitInfo:
        """Raises ConfigError when the store has no such split."""
        split = self.manifest.split(name)
        if split is None:
            known = ", ".join(info.name for info in self.manifest.splits)
            raise ConfigError(f"the store has no split '{name}'; it has {known}", where=self.path)
        return split

    def has_split(self, name: str) -> bool:
        return self.manifest.split(name) is not None

    def has_tensor(self, path: str) -> bool:
        return path in self._specs

    def columns(self, path: str) -> Optional[Columns]:
        """Where a tensor lies that is no array of its own; None where it is one."""
        return self._packed[path].columns if path in self._packed else None

    def packed_in(self, path: str) -> List[PackedTensor]:
        """The tensors that an array holds as columns."""
        return [packed for packed in self._packed.values() if packed.columns.path == path]

    def spec(self, path: str) -> TensorSpec:
        """Raises StoreError when the store has no such tensor."""
        if path not in self._specs:
            hint = None
            if path.endswith("e_id"):
                hint = "Prepare the store with [store] e_id = true."
            raise StoreError(f"the store has no tensor '{path}'", where=self.path, hint=hint)
        return self._specs[path]

    def reader(self, path: str, files: Optional[Files] = None, check_chunks: Optional[bool] = None) -> TensorReader:
        """A reader of the array that holds a tensor (see `columns`). `files` (from `new_files`) serve one thread.

        Raises:
            CorruptMetadataError, ManifestError: what the store says of the tensor is damaged or contradicts itself.
            CorruptChunkError: the checksums are damaged.
        """
        check_chunks = self.check_chunks if check_chunks is None else check_chunks
        columns = self.columns(path)
        path = columns.path if columns else path
        with self._lock:
            if path not in self._tensors:
                self._tensors[path] = self._tensor(self.spec(path))
            return TensorReader(files or self.new_files(), self._tensors[path], check_chunks)

    def _tensor(self, spec: TensorSpec) -> StoredTensor:
        """What is known of a tensor, when that holds together."""
        if not self._checksums:
            self._checksums = self._read_checksums()
        check_array(self._files, self._root, spec)
        place = self._places.get(spec.part, UNNUMBERED)
        tensor = StoredTensor(self.manifest.zarr_format, spec, self._checksums[spec.path], place)
        TensorReader(self._files, tensor, self.check_chunks).require_plausible()
        return tensor

    def _read_checksums(self) -> Dict[str, np.ndarray]:
        """Tensor path -> its checksums, uint32 [num_chunks, 2], verified against the manifest."""
        manifest = self.manifest
        spec = checksum_tensor(manifest.num_chunks)
        check_array(self._files, self._root, spec)
        own = np.array([[manifest.checksums_crc32c, spec.chunk_bytes]], np.int64)
        reader = TensorReader(self._files, StoredTensor(manifest.zarr_format, spec, own), self.check_chunks)
        reader.require_plausible()
        table = reader.read_all()
        first = manifest.first_chunks()
        return {spec.path: table[first[spec.path] : first[spec.path] + spec.num_chunks] for spec in manifest.tensors}

    def require_unchanged(self) -> None:
        """Cheap: looks at one file, and reads it only where it is another than before.

        Raises:
            StoreChangedError: the store that was opened is no longer there, or says something else of itself.
        """
        hint = "Nothing of it was kept. Bring the store back, and the same command goes on."
        stamp = self._files.stamp(self._root.file)
        if stamp is not None and stamp == self._stamp:
            return
        where = self._files.where(self._root.file)
        try:
            data = self._files.copy().fetch(self._root.file)
        except StoreError as error:
            raise StoreChangedError(
                "the store can no longer be read", actual=error, where=self.path, hint=hint
            ) from None
        if data is None:
            raise StoreChangedError("the store has vanished while it was read", where=where, hint=hint)
        found = google_crc32c.value(data)
        if found != self._root.crc32c:
            what, crc = "the store was replaced or rewritten while it was read", integrity.CRC
            actual, limit = crc.format(found), crc.format(self._root.crc32c)
            raise StoreChangedError(what, actual=actual, limit=limit, where=where, hint=hint)
        self._stamp = stamp

    def new_files(self) -> Files:
        """Access to chunk bytes with a read buffer of its own: one per thread."""
        return self._files.copy()

    def read(
        self,
        path: str,
        check_chunks: Optional[bool] = None,
        on_corrupt: Optional[Callable[[CorruptChunkError], None]] = None,
    ) -> np.ndarray:
        """One whole tensor, [rows, ...]; `on_corrupt` as for `TensorReader.read_all`."""
        columns = self.columns(path)
        whole: np.ndarray = self.reader(path, check_chunks=check_chunks).read_all(on_corrupt)
        return take_columns(whole, columns) if columns else whole

    def read_seeds(
        self, split: str, tensor: str, on_corrupt: Optional[Callable[[CorruptChunkError], None]] = None
    ) -> np.ndarray:
        """`n_id`, `row` or `mask` of the seeds of every batch of a split, [batches, max_seeds]."""
        parts = self.manifest.parts(self.split(split))
        paths = [layout.seed_path(part.path, tensor) for part in parts]
        return np.concatenate([self.read(path, on_corrupt=on_corrupt) for path in paths])

    def read_target(
        self, split: str, name: str, on_corrupt: Optional[Callable[[CorruptChunkError], None]] = None
    ) -> np.ndarray:
        """A target of the seeds of every batch of a split, [batches, max_seeds]."""
        parts = self.manifest.parts(self.split(split))
        paths = [layout.target_path(part.path, name) for part in parts]
        return np.concatenate([self.read(path, on_corrupt=on_corrupt) for path in paths])

    def read_stats(self, split: str, tensor: str) -> np.ndarray:
        """A statistic of every batch of a split, [batches, ...]."""
        parts = self.manifest.parts(self.split(split))
        return np.concatenate([self.read(layout.stats_path(part.path, tensor)) for part in parts])

    def table(self, path: str, check_chunks: Optional[bool] = None) -> np.ndarray:
        """A feature table with one more row that holds the pad value, so that id -1 reads it: [rows + 1, F].

        Read once, kept with the store, never written to.
        """
        with self._lock:
            if path not in self._tables:
                table = self.read_table(path, check_chunks)
                table.flags.writeable = False
                self._tables[path] = table
            return self._tables[path]

    def sparse_table(self, path: str, check_chunks: Optional[bool] = None) -> SparseTable:
        """A feature table without its zeros; its pad row is zeros. Kept with the store."""
        with self._lock:
            if path not in self._sparse_tables:
                self._sparse_tables[path] = SparseTable.of(self.table(path, check_chunks))
                del self._tables[path]  # read anew where somebody wants that, too
            return self._sparse_tables[path]

    def count_nonzero(self, path: str, check_chunks: Optional[bool] = None) -> int:
        """How many entries of a feature table are not zero. Reads no table again that is kept in either form."""
        with self._lock:
            if path in self._sparse_tables:
                return len(self._sparse_tables[path].values)
            return int(np.count_nonzero(self.table(path, check_chunks)[:-1]))  # the last row is the pad row

    def read_table(self, path: str, check_chunks: Optional[bool] = None) -> np.ndarray:
        """As `table`, read anew and not kept."""
        table = self.reader(path, check_chunks=check_chunks).read_all(more_rows=1)
        table[-1] = self.manifest.pad_value
        return table

    def __getstate__(self) -> Dict[str, Any]:
        """Worker processes get the names, not the tables or handles."""
        return {"path": self.path, "check_chunks": self.check_chunks, "retry": self._retry}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(open_store(**state).__dict__)


@typed("opening a store", StoreError)
def open_store(path: Union[str, Path], check_chunks: bool = True, retry: Retry = DEFAULT) -> Store:
    """Open a local folder, a zip file of one, or what lies behind a URL (`https://...`, `s3://...`).

    A store stays open where it is when the working directory changes, and in processes that are forked or spawned.

    Args:
        check_chunks: compare what is read with the checksums that the store holds: the manifest now, the metadata of
            an array and its chunks when they are read. Without, only what a store says of itself is not believed
            where it contradicts itself.
        retry: how often, and for how long, a request to a server is made again.

    Raises:
        StoreError: there is nothing there, or it is no store.
        StoreUnreachableError: its server does not answer.
        CorruptMetadataError: the root attributes are not those that were written.
        StoreIncompleteError: it was never finished.
        FormatVersionError: another program version wrote it, or zarr here is too old for it.
        ManifestError: its manifest is malformed.
    """
    require_path(path, "path")
    text = expand(path) if isinstance(path, str) else str(as_path(path))
    if "://" not in text:
        text = os.path.abspath(text)
    files = _files(text, retry)
    return Store(text, read_root(files, check_chunks), files, check_chunks, retry)


def _files(path: str, retry: Retry) -> Files:
    if "://" in path:
        return open_url(path, retry)
    if os.path.isdir(path):
        return LocalFiles(Path(path))
    if not os.path.exists(path):
        raise StoreError("there is no store", where=path, hint=PREPARE)
    if not (path.endswith(".zip") or is_zipfile(path)):
        raise StoreError("this is no store: neither a folder nor a zip file of one", where=path, hint=PREPARE)
    return ZipFiles(path, lambda: path)


def retry_of(config: JobConfig) -> Retry:
    """What a config says of requests to a server."""
    return Retry(config.train.request_tries, config.train.request_seconds)


@typed("opening a store", StoreError)
def resolve_store(config: JobConfig, explicit: Optional[str] = None) -> Store:
    """The store to train on: `explicit`, or the one that `prepare` last made for this config.

    Raises:
        StoreError: nothing was prepared, or the config has changed since.
    """
    require(config, JobConfig, "config")
    check_chunks, retry = config.train.check_chunks, retry_of(config)
    if explicit is not None:
        return open_store(explicit, check_chunks, retry)
    pointer = latest_path(config)
    latest = read_latest(pointer)
    if latest is None:
        raise StoreError(f"no store was prepared for job '{config.name}'", where=str(pointer), hint=PREPARE)
    store = open_store(pointer.parent / latest.store, check_chunks, retry)
    if latest.content_digest != config.content_digest():
        changed = changed_keys(store.manifest.config, config.content())
        raise StoreError(
            f"the config has changed since the store was prepared: {'; '.join(changed) or 'see its manifest'}",
            where=store.path,
            hint=f"{PREPARE} To train on the old store all the same, name it with --store.",
        )
    return store


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> List[str]:
    """Where two nested tables differ, as "a.b: old -> new"."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changed_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {json.dumps(before)} -> {json.dumps(after)}")
    return found
