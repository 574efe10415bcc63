"""What a store says of itself: read without zarr, checked against its own checksums, and believed only then."""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import google_crc32c
import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptMetadataError, ManifestError, StoreError, StoreIncompleteError
from heteroshards.schemas.layout import ZarrFormat
from heteroshards.schemas.listing import require_listing
from heteroshards.schemas.manifest import Manifest, parse_manifest
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.checks import REBUILD, Bytes, difference
from heteroshards.schemas.store.files import Files, LocalFiles
from heteroshards.schemas.tensors import TensorSpec

PREPARE = "Run `make prepare` (or `python -m pipeline prepare --config <config>`)."
UNCHECKED = "Without checks, [train] check_chunks = false, it is read all the same."
MAX_METADATA_BYTES = 2**27
FORMATS: Tuple[ZarrFormat, ...] = (3, 2)


class Root(NamedTuple):
    """The root attributes of a store.

    Attributes:
        metadata_crc32c: the crc32c of every other metadata file, by its path in the store.
        file: where they stand, in the store.
        stamp: of that file before it was read, see `LocalFiles.stamp`.
        crc32c: of that file.
        check: whether metadata is compared with its checksums.
    """

    manifest: Manifest
    metadata_crc32c: Dict[str, int]
    file: str
    stamp: Optional[Tuple[int, ...]]
    crc32c: int
    check: bool


def read_root(files: Files, check: bool) -> Root:
    """The root attributes of a store.

    Raises:
        StoreError: there are none, or none of ours.
        CorruptMetadataError: they are not those that were written, or have no checksums.
        StoreIncompleteError: the store was never finished.
        FormatVersionError: another program version wrote it.
        ManifestError: its manifest is malformed or contradicts itself.
    """
    found = _root_file(files)
    if found is None:
        raise no_store(files)
    zarr_format, name, stamp, content = found
    where = files.where(name)
    attributes = attributes_of(content, zarr_format, where)
    checksums = metadata_checksums(attributes)
    is_sealed = bool(checksums) or integrity.OWN_CRC in content
    if layout.MANIFEST_ATTRIBUTE not in attributes and not is_sealed:
        raise StoreError("this is no store of padded batches: its root has no manifest", where=where, hint=PREPARE)
    if check and is_sealed and not integrity.is_root_intact(content):
        what = "the root attributes have changed since they were written"
        raise CorruptMetadataError(what, where=where, hint=REBUILD)
    manifest = _manifest(attributes, zarr_format, where)
    if check and not checksums:
        raise CorruptMetadataError(
            "the store has no checksums of its metadata: they were removed, or an older version wrote it",
            where=where,
            hint=f"{REBUILD} {UNCHECKED}",
        )
    return Root(manifest, checksums, name, stamp, int(google_crc32c.value(content)), check)


def no_store(files: Files) -> StoreError:
    """The error where nothing of a zarr store is found."""
    if not isinstance(files, LocalFiles):
        where, hint = files.where(""), "Look whether the address is right."
    elif files.root.is_file():
        where, hint = str(files.root), "It is a file. Unpack it: only training reads a store in a zip file as it is."
    else:
        where, hint = str(files.root), PREPARE
    return StoreError("this is no zarr store", where=where, hint=hint)


def _fetch(files: Files, name: str) -> Optional[Bytes]:
    stamp = files.stamp(name)
    if stamp is not None and stamp[2] > MAX_METADATA_BYTES:
        what, limit = "a metadata file is larger than any that is written", f"at most {MAX_METADATA_BYTES} bytes"
        raise CorruptMetadataError(what, actual=f"{stamp[2]} bytes", limit=limit, where=files.where(name), hint=REBUILD)
    return files.fetch(name)


def root_attributes(files: Files) -> Dict[str, Any]:
    """The root attributes of a store, finished or not; {} where there are none.

    Raises:
        CorruptMetadataError: they cannot be read.
    """
    found = _root_file(files)
    return attributes_of(found.content, found.zarr_format, files.where(found.name)) if found else {}


class _RootFile(NamedTuple):
    """The file that holds the root attributes; `stamp` is of before it was read."""

    zarr_format: ZarrFormat
    name: str
    stamp: Optional[Tuple[int, ...]]
    content: bytes


def _root_file(files: Files) -> Optional[_RootFile]:
    for zarr_format in FORMATS:
        name = integrity.root_file(zarr_format)
        stamp, data = files.stamp(name), _fetch(files, name)
        if data is not None:
            return _RootFile(zarr_format, name, stamp, bytes(data))
    return None


def attributes_of(content: bytes, zarr_format: ZarrFormat, where: str) -> Dict[str, Any]:
    """The root attributes, from the bytes of their file; raises CorruptMetadataError where they are none."""
    try:
        values = json.loads(content.decode("utf-8"))
        attributes = values if zarr_format == 2 else values["attributes"]
        if not isinstance(attributes, dict):
            raise ValueError("they are no table")
        return attributes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        hint = f"{REBUILD} Or: {PREPARE}"
        raise CorruptMetadataError(
            "the store's attributes cannot be read", actual=error, where=where, hint=hint
        ) from None


def _manifest(attributes: Dict[str, Any], zarr_format: ZarrFormat, where: str) -> Manifest:
    try:
        manifest = parse_manifest(attributes.get(layout.MANIFEST_ATTRIBUTE), where)
        if not manifest.complete:
            raise StoreIncompleteError("the store was not finished", where=where, hint=PREPARE)
        if manifest.zarr_format != zarr_format:
            what, actual, limit = "the manifest names another zarr format", manifest.zarr_format, zarr_format
            raise ManifestError(what, actual=actual, limit=limit, where=where, hint=REBUILD)
        require_listing(manifest, where)
    except RecursionError:
        raise ManifestError("the manifest is nested too deeply", where=where, hint=REBUILD) from None
    return manifest


def metadata_checksums(attributes: Dict[str, Any]) -> Dict[str, int]:
    """file -> crc32c of the store's other metadata; {} where the attribute is damaged or missing."""
    found = attributes.get(layout.INTEGRITY_ATTRIBUTE)
    found = found.get("metadata_crc32c") if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def check_array(files: Files, root: Root, spec: TensorSpec) -> None:
    """An array's own metadata is what was written, and says what the manifest says, which decides how it is read.

    Raises:
        CorruptMetadataError: a metadata file is missing, or not the one that was written.
        ManifestError: it describes another array than the manifest.
    """
    is_format_2 = root.manifest.zarr_format == 2
    name, *others = (".zarray", ".zattrs") if is_format_2 else ("zarr.json",)
    content = _checked(files, root, f"{spec.path}/{name}")
    for other in others if root.check else ():
        _checked(files, root, f"{spec.path}/{other}")
    where = files.where(f"{spec.path}/{name}")
    try:
        values = json.loads(content.decode("utf-8"))
        found = _layout_2(values) if is_format_2 else _layout_3(values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        what = "an array's metadata cannot be read"
        raise CorruptMetadataError(what, actual=repr(error)[:200], where=where, hint=REBUILD) from None
    told = _told(spec, root.manifest.zarr_format)
    if found != told:
        what = "an array's metadata differ from the manifest"
        raise ManifestError(what, actual=str(found)[:500], limit=told, where=where, hint=REBUILD)


def _checked(files: Files, root: Root, name: str) -> bytes:
    """The bytes of a metadata file."""
    where = files.where(name)
    data = _fetch(files, name)
    if data is None:
        raise CorruptMetadataError("an array's metadata is missing", where=where, hint=REBUILD)
    if root.check:
        crc = root.metadata_crc32c.get(name)
        if not isinstance(crc, int):
            raise CorruptMetadataError(
                "an array's metadata has no checksum", where=where, hint=f"{REBUILD} {UNCHECKED}"
            )
        wrong = difference(data, crc, None)
        if wrong:
            what, actual, limit = wrong
            raise CorruptMetadataError(
                f"an array's metadata {what}", actual=actual, limit=limit, where=where, hint=REBUILD
            )
    return bytes(data)


def _told(spec: TensorSpec, zarr_format: ZarrFormat) -> List[Any]:
    """Shape, chunks, dtype, codecs and what else decides which bytes lie where, as the manifest has them."""
    codec = {"blosc-lz4": ["blosc"], "zstd": ["zstd"], "none": []}[spec.codec]
    dtype = np.dtype(spec.dtype)
    if zarr_format == 2:
        return [list(spec.shape), list(spec.chunks), dtype.newbyteorder("<").str, codec, "C", "."]
    endian = "little" if dtype.itemsize > 1 else None
    return [list(spec.shape), list(spec.chunks), spec.dtype, ["bytes", *codec], endian, "/"]


def _layout_2(values: Any) -> List[Any]:
    codecs = [*(values["filters"] or []), *([values["compressor"]] if values["compressor"] else [])]
    separator = values.get("dimension_separator", ".")
    names = [codec["id"] for codec in codecs]
    return [values["shape"], values["chunks"], values["dtype"], names, values["order"], separator]


def _layout_3(values: Any) -> List[Any]:
    codecs, key = values["codecs"], values["chunk_key_encoding"]
    names = [codec["name"] for codec in codecs]
    endian = codecs[0].get("configuration", {}).get("endian")
    separator = key.get("configuration", {}).get("separator", "/") if key["name"] == "default" else key["name"]
    chunks = values["chunk_grid"]["configuration"]["chunk_shape"]
    return [values["shape"], chunks, values["data_type"], names, endian, separator]
