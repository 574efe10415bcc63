"""Open a store, or find the one that belongs to a config, and refuse what must not be read."""

import importlib.util
import json
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Union

import numpy as np

from schemas import layout
from schemas.batch import TensorSpec
from schemas.config import JobConfig
from schemas.errors import ConfigError, FormatVersionError, StoreError, StoreIncompleteError
from schemas.manifest import Manifest, SplitInfo, parse_manifest
from trainer.buffers import aligned_empty
from trainer.chunks import Files, LocalFiles, TensorReader, ZarrFiles, check_array, load_checksums

PREPARE = "Run `make prepare` (or `python -m pipeline prepare --config <config>`)."


class Store:
    """An open store. Cheap to open; feature tables are read when first asked for, and kept.

    Attributes:
        path: the folder or URL it was opened from.
        manifest: what it says of itself.
    """

    def __init__(self, path: str, manifest: Manifest, files: Files) -> None:
        self.path = path
        self.manifest = manifest
        self._files = files
        self._group: Any = getattr(files, "group", None)
        self._tables: Dict[str, np.ndarray] = {}
        self._checksums: Dict[str, np.ndarray] = {}
        self._checked: Set[str] = set()
        self._specs = {tensor.path: tensor for tensor in manifest.tensors}
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

    def spec(self, path: str) -> TensorSpec:
        """Raises StoreError when the store has no such tensor."""
        if path not in self._specs:
            hint = None
            if path.endswith("e_id"):
                hint = "Prepare the store with [store] e_id = true."
            raise StoreError(f"the store has no tensor '{path}'", where=self.path, hint=hint)
        return self._specs[path]

    def reader(self, path: str, files: Optional[Files] = None, check_chunks: bool = True) -> TensorReader:
        """A reader of one tensor. `files` (from `new_files`) is shared by the readers of one thread."""
        spec = self.spec(path)
        with self._lock:
            if not self._checksums:
                self._checksums = load_checksums(self._open_group(), self.manifest, self.path)
            if path not in self._checked:
                check_array(self._open_group(), spec, self.path)
                self._checked.add(path)
        return TensorReader(files or self.new_files(), self.manifest, spec, self._checksums[path], check_chunks)

    def new_files(self) -> Files:
        """Access to chunk bytes with a read buffer of its own: one per thread."""
        return self._files.copy()

    def read(self, path: str, check_chunks: bool = True) -> np.ndarray:
        """One whole tensor, [rows, ...]."""
        return self.reader(path, check_chunks=check_chunks).read_all()

    def read_seeds(self, split: str, tensor: str) -> np.ndarray:
        """`n_id`, `y` or `mask` of the seeds of every batch of a split, [batches, max_seeds]."""
        return self._read_parts(split, lambda part: layout.seed_path(part, tensor))

    def read_stats(self, split: str, tensor: str) -> np.ndarray:
        """A statistic of every batch of a split, [batches, ...]."""
        return self._read_parts(split, lambda part: layout.stats_path(part, tensor))

    def _read_parts(self, split: str, path_of: Callable[[str], str]) -> np.ndarray:
        return np.concatenate([self.read(path_of(part.path)) for part in self.manifest.parts(self.split(split))])

    def table(self, path: str, check_chunks: bool = True) -> np.ndarray:
        """A feature table with one more row that holds the pad value, so that id -1 reads it: [rows + 1, F].

        Read once, kept with the store, never written to.
        """
        with self._lock:
            if path not in self._tables:
                table = self.read_table(path, check_chunks)
                table.flags.writeable = False
                self._tables[path] = table
            return self._tables[path]

    def read_table(self, path: str, check_chunks: bool = True) -> np.ndarray:
        """As `table`, read anew and not kept."""
        reader = self.reader(path, check_chunks=check_chunks)
        rows = reader.spec.shape[0]
        table = np.empty((rows + 1, *reader.spec.shape[1:]), reader.dtype)
        scratch = aligned_empty(reader.chunk_bytes)
        for index in range(reader.spec.num_chunks):
            start = index * reader.spec.chunk_rows
            table[start : start + reader.num_rows(index)] = reader.read(index, scratch)
        table[rows] = self.manifest.pad_value
        return table

    def _open_group(self) -> Any:
        if self._group is None:
            self._group = _open_group(self.path)
        return self._group

    def __getstate__(self) -> Dict[str, Any]:
        """Worker processes get the names, not the tables or handles."""
        return {"path": self.path}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(open_store(state["path"]).__dict__)


def open_store(path: Union[str, Path]) -> Store:
    """Open a local folder, or anything else that zarr opens (`s3://...`, `https://...`, a zip file).

    Raises:
        StoreError: there is nothing there, or it is no store.
        StoreIncompleteError: it was never finished.
        FormatVersionError: another program version wrote it, or zarr here is too old for it.
        ManifestError: its manifest is malformed.
    """
    text = str(path)
    files: Files
    if "://" not in text and Path(text).is_dir():
        attributes, files = _local_attributes(Path(text)), LocalFiles(Path(text))
    elif "://" not in text and not Path(text).exists():
        raise StoreError("there is no store", where=text, hint=PREPARE)
    else:
        group = _open_group(text)
        attributes, files = dict(group.attrs), ZarrFiles(group, text)
    if layout.MANIFEST_ATTRIBUTE not in attributes:
        raise StoreError("this is no store of padded batches: its root has no manifest", where=text, hint=_hint(text))
    manifest = parse_manifest(attributes[layout.MANIFEST_ATTRIBUTE], text)
    if not manifest.complete:
        raise StoreIncompleteError("the store was not finished", where=text, hint=PREPARE)
    if manifest.zarr_format == 3 and _zarr_major() < 3:
        raise FormatVersionError(
            "the store has zarr format 3, which this zarr cannot read",
            limit="zarr >= 3 (Python >= 3.11)",
            where=text,
            hint="Prepare it with [store] zarr_format = 2.",
        )
    return Store(text, manifest, files)


def _local_attributes(path: Path) -> Dict[str, Any]:
    """Attributes of the root group, read without zarr."""
    try:
        if (path / "zarr.json").is_file():
            return json.loads((path / "zarr.json").read_text(encoding="utf-8")).get("attributes", {})
        return json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError("this folder is no zarr store", where=str(path), hint=PREPARE) from None
    except (OSError, ValueError) as error:
        raise StoreError("the store's attributes cannot be read", actual=error, where=str(path), hint=PREPARE) from None


def _open_group(path: str) -> Any:
    import zarr

    wanted = ["fsspec", "aiohttp"] if path.startswith("http") else ["fsspec"]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None] if "://" in path else []
    if missing:
        hint = f"Install what it lacks: `pip install {' '.join(missing)}`."
        raise StoreError("stores behind a URL cannot be opened here", where=path, hint=hint)
    try:
        return zarr.open_group(zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else path, mode="r")
    except Exception as error:  # each kind of store has errors of its own
        raise StoreError("zarr cannot open the store", actual=repr(error), where=path, hint=_hint(path)) from error


def _hint(path: str) -> str:
    return "Look whether the address is right and its server answers." if "://" in path else PREPARE


def _zarr_major() -> int:
    import zarr

    return int(zarr.__version__.split(".")[0])


def resolve_store(config: JobConfig, explicit: Optional[str] = None) -> Store:
    """The store to train on: `explicit`, or the one that `prepare` last made for this config.

    Raises:
        StoreError: nothing was prepared, or the config has changed since.
    """
    if explicit is not None:
        return open_store(explicit)
    pointer = Path(config.store.root) / f"{config.name}.latest"
    try:
        latest = json.loads(pointer.read_text(encoding="utf-8"))
        name, digest = str(latest["store"]), latest["content_digest"]
    except FileNotFoundError:
        raise StoreError(f"no store was prepared for job '{config.name}'", where=str(pointer), hint=PREPARE) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "the pointer to the latest store cannot be read", actual=repr(error), where=str(pointer), hint=PREPARE
        ) from None
    store = open_store(pointer.parent / name)
    if digest != config.content_digest():
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
