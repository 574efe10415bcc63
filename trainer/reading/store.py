"""Open a store, or find the one that belongs to a config, and refuse what must not be read."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Union

import google_crc32c
import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.attributes import UNKNOWN_CODE
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, CorruptChunkError, StoreChangedError, StoreError
from heteroshards.schemas.latest import latest_path, read_latest
from heteroshards.schemas.manifest import SplitInfo
from heteroshards.schemas.paths import as_path, expand
from heteroshards.schemas.seam import require, require_path, typed
from heteroshards.schemas.store.address import files_at
from heteroshards.schemas.store.arrays import StoredArrays
from heteroshards.schemas.store.checks import CRC
from heteroshards.schemas.store.files import Files
from heteroshards.schemas.store.retries import DEFAULT, Retry
from heteroshards.schemas.store.root import PREPARE, Root, read_root
from heteroshards.trainer.reading.tables import SparseTable, check_codes

OnCorrupt = Optional[Callable[[CorruptChunkError], None]]


class Store(StoredArrays):
    """An open store. Cheap to open; feature tables are read when first asked for, and kept."""

    def __init__(self, path: str, root: Root, files: Files, check_chunks: bool = True, retry: Retry = DEFAULT) -> None:
        super().__init__(path, root, files, check_chunks)
        self._stamp = root.stamp
        self._retry = retry
        self._tables: Dict[str, np.ndarray] = {}
        self._sparse_tables: Dict[str, SparseTable] = {}

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
            what, crc = "the store was replaced or rewritten while it was read", CRC
            actual, limit = crc.format(found), crc.format(self._root.crc32c)
            raise StoreChangedError(what, actual=actual, limit=limit, where=where, hint=hint)
        self._stamp = stamp

    def read_seeds(self, split: str, tensor: str, on_corrupt: OnCorrupt = None) -> np.ndarray:
        """`n_id`, `row` or `mask` of the seeds of every batch of a split, [batches, max_seeds]."""
        return self._read_parts(split, partial(layout.seed_path, tensor=tensor), on_corrupt)

    def read_target(self, split: str, name: str, on_corrupt: OnCorrupt = None) -> np.ndarray:
        """A target of the seeds of every batch of a split, [batches, max_seeds]."""
        return self._read_parts(split, partial(layout.target_path, name=name), on_corrupt)

    def read_stats(self, split: str, tensor: str) -> np.ndarray:
        """A statistic of every batch of a split, [batches, ...]."""
        return self._read_parts(split, partial(layout.stats_path, tensor=tensor))

    def _read_parts(self, split: str, path_of: Callable[[str], str], on_corrupt: OnCorrupt = None) -> np.ndarray:
        """A tensor of every part of a split, joined; `on_corrupt` as for `read`."""
        parts = self.manifest.parts(self.split(split))
        return np.concatenate([self.read(path_of(part.path), on_corrupt=on_corrupt) for part in parts])

    def table(self, path: str, check_chunks: Optional[bool] = None) -> np.ndarray:
        """A feature table with one more row that holds the pad value, so that id -1 reads it: [rows + 1, F].

        The pad value of codes is -1. Read once, kept with the store, never written to.
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
        reader = self.reader(path, check_chunks=check_chunks)
        table, attribute = reader.read_all(more_rows=1), self.manifest.attribute_of(self.spec(path))
        is_codes = attribute is not None and attribute.is_codes
        table[-1] = UNKNOWN_CODE if is_codes else self.manifest.pad_value
        if attribute is not None and is_codes:
            with reader.naming(0):
                check_codes(table, attribute)
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
        if not os.path.exists(text):
            raise StoreError("there is no store", where=text, hint=PREPARE)
    files = files_at(text, retry)
    return Store(text, read_root(files, check_chunks), files, check_chunks, retry)


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
