"""Checksums of a store's metadata, so that no byte of it changes unnoticed.

Chunks have the array `checksums`. Every metadata file has a crc32c in the root attribute `integrity`, but for two: the
file that holds this attribute carries its own crc32c, computed with zeros in its place, and format 2's `.zmetadata`
repeats all the others, so a checker renders it anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from schemas.layout import INTEGRITY_ATTRIBUTE, MANIFEST_ATTRIBUTE, ZarrFormat

METADATA_NAMES = (".zgroup", ".zarray", ".zattrs", "zarr.json")
CONSOLIDATED = ".zmetadata"
OWN_CRC = b'"file_crc32c": "'
CRC_DIGITS = 8


def root_file(zarr_format: ZarrFormat) -> str:
    """The file that holds the root group's attributes."""
    return ".zattrs" if zarr_format == 2 else "zarr.json"


def metadata_files(store: Path, zarr_format: ZarrFormat) -> list[str]:
    """Every metadata file below `store` but the two that are rendered, as sorted relative paths."""
    files = (file.relative_to(store).as_posix() for name in METADATA_NAMES for file in store.rglob(name))
    return sorted(set(files) - {root_file(zarr_format)})


def checksums_of(store: Path, files: list[str]) -> dict[str, int]:
    """file -> crc32c of its bytes."""
    return {name: int(google_crc32c.value((store / name).read_bytes())) for name in files}


def render_root(zarr_format: ZarrFormat, manifest: Mapping[str, Any], checksums: Mapping[str, int] | None) -> bytes:
    """The bytes of `root_file`. Without `checksums` there is no integrity attribute: the store is not finished."""
    attributes: dict[str, Any] = {MANIFEST_ATTRIBUTE: manifest}
    if checksums is not None:
        attributes[INTEGRITY_ATTRIBUTE] = {"metadata_crc32c": checksums, "file_crc32c": "0" * CRC_DIGITS}
    values = attributes if zarr_format == 2 else {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    data = json.dumps(values, indent=1).encode()
    if checksums is None:
        return data
    start = data.rindex(OWN_CRC) + len(OWN_CRC)
    return data[:start] + _crc(data) + data[start + CRC_DIGITS :]


def is_root_intact(data: bytes) -> bool:
    """Whether the bytes of a `root_file` are those that were written."""
    start = data.rfind(OWN_CRC) + len(OWN_CRC)
    zeroed = data[:start] + b"0" * CRC_DIGITS + data[start + CRC_DIGITS :]
    return OWN_CRC in data and data[start : start + CRC_DIGITS] == _crc(zeroed)


def _crc(data: bytes) -> bytes:
    return f"{google_crc32c.value(data):0{CRC_DIGITS}x}".encode()


def render_consolidated(store: Path, files: list[str]) -> bytes:
    """The bytes of a format 2 store's `.zmetadata`: all its metadata in one file, for one request over HTTP.

    Raises:
        OSError, ValueError: one of the files cannot be read.
    """
    names = sorted([*files, root_file(2)])
    metadata = {name: json.loads((store / name).read_bytes()) for name in names}
    return json.dumps({"metadata": metadata, "zarr_consolidated_format": 1}).encode()
