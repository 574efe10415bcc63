"""Reading whole stores back, for tests, with zarr alone; and spoiling them."""

import copy
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr

from heteroshards.pipeline.writing import zarr_compat
from heteroshards.schemas import layout
from heteroshards.schemas.manifest import Manifest, parse_manifest
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.files import LocalFiles
from tests.layouts import stored_at


def files_of(store: Path) -> dict[str, str]:
    """Every file of a store with a digest of its bytes."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


def read(store: Path | str, path: str) -> np.ndarray:
    spec, columns = stored_at(_manifest(*_as_it_is(store)), path)
    return np.asarray(_group(*_as_it_is(store))[spec.path])[..., columns]


def manifest_of(store: Path) -> dict[str, Any]:
    return copy.deepcopy(dict(_group(*_as_it_is(store)).attrs["manifest"]))


def _as_it_is(store: Path | str) -> tuple[str, bytes]:
    """A store and all that zarr opens it by, so that it is opened once, not for each of its tensors."""
    files = (Path(store) / name for name in (".zgroup", ".zattrs", integrity.CONSOLIDATED, "zarr.json"))
    return str(store), b"".join(file.read_bytes() for file in files if file.exists())


@functools.lru_cache(maxsize=4)
def _group(store: str, metadata: bytes) -> zarr.Group:
    return zarr.open_group(store, mode="r")


@functools.lru_cache(maxsize=4)
def _manifest(store: str, metadata: bytes) -> Manifest:
    return parse_manifest(dict(_group(store, metadata).attrs["manifest"]), "test")


def chunk_path(store: Path, path: str, index: int = 0) -> Path:
    """The file of one chunk."""
    manifest = parse_manifest(manifest_of(store), "test")
    spec = stored_at(manifest, path).spec
    return store / spec.path / layout.chunk_name(manifest.zarr_format, index, len(spec.shape))


def rewrite(
    store: Path,
    path: str,
    change: Callable[[np.ndarray], Any],
    index: int = 0,
    encode: Callable[[bytes], bytes] = bytes,
) -> None:
    """Change the rows of one chunk, or its encoded bytes, as a faulty writer would: with checksums that fit."""
    manifest = parse_manifest(manifest_of(store), "test")
    spec, columns = stored_at(manifest, path)
    codec = zarr_compat.compressor(spec.codec)
    file = chunk_path(store, path, index)
    data = file.read_bytes()
    rows = np.frombuffer(codec.decode(data) if codec else data, spec.dtype).reshape(spec.chunks).copy()
    change(rows[..., columns] if spec.path != path else rows)
    file.write_bytes(encode(bytes(codec.encode(rows)) if codec else rows.tobytes()))
    table_file = store / layout.CHECKSUMS / layout.chunk_name(manifest.zarr_format, 0, 2)
    table = np.frombuffer(table_file.read_bytes(), "<u4").reshape(-1, 2).copy()
    data = file.read_bytes()
    table[manifest.first_chunks()[spec.path] + index] = google_crc32c.value(data), len(data)
    table_file.write_bytes(table.tobytes())
    reseal(store, checksums_crc32c=google_crc32c.value(table.tobytes()))


def reseal(store: Path, **values: Any) -> None:
    """Change the manifest as a faulty writer would: with checksums that fit."""
    manifest = {**manifest_of(store), **values}
    zarr_format = manifest["zarr_format"]
    metadata = integrity.metadata_files(LocalFiles(store), zarr_format)
    root = integrity.render_root(zarr_format, manifest, integrity.checksums_of(LocalFiles(store), metadata))
    (store / integrity.root_file(zarr_format)).write_bytes(root)
    if zarr_format == 2:
        (store / integrity.CONSOLIDATED).write_bytes(integrity.render_consolidated(LocalFiles(store), metadata))
