"""Checksums of a store's metadata, so that no byte of it changes unnoticed.

Chunks have the array `checksums`. Every metadata file has a crc32c in the root attribute `integrity`, but for two: the
file that holds this attribute carries its own crc32c, computed with zeros in its place, and format 2's `.zmetadata`
repeats all the others, so a checker renders it anew.
"""

import errno
import json
import os
from typing import Any, Dict, List, Mapping, Optional

import google_crc32c

from heteroshards.schemas.layout import INTEGRITY_ATTRIBUTE, MANIFEST_ATTRIBUTE, ZarrFormat
from heteroshards.schemas.store.checks import Bytes
from heteroshards.schemas.store.files import Files

METADATA_NAMES = (".zgroup", ".zarray", ".zattrs", "zarr.json")
CONSOLIDATED = ".zmetadata"
OWN_CRC = b'"file_crc32c": "'
CRC_DIGITS = 8


def root_file(zarr_format: ZarrFormat) -> str:
    """The file that holds the root group's attributes."""
    return ".zattrs" if zarr_format == 2 else "zarr.json"


def metadata_files(files: Files, zarr_format: ZarrFormat) -> List[str]:
    """Every metadata file of a store but the two that are rendered, sorted."""
    found = {key for key, _ in files.list() if key.rpartition("/")[2] in METADATA_NAMES}
    return sorted(found - {root_file(zarr_format)})


def checksums_of(files: Files, names: List[str]) -> Dict[str, int]:
    """file -> crc32c of its bytes."""
    return {name: int(google_crc32c.value(bytes(_there(files, name)))) for name in names}


def _there(files: Files, name: str) -> Bytes:
    data = files.fetch(name)
    if data is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), files.where(name))
    return data


def render_root(zarr_format: ZarrFormat, manifest: Mapping[str, Any], checksums: Optional[Mapping[str, int]]) -> bytes:
    """The bytes of `root_file`. Without `checksums` there is no integrity attribute: the store is not finished."""
    attributes: Dict[str, Any] = {MANIFEST_ATTRIBUTE: manifest}
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


def render_consolidated(files: Files, names: List[str]) -> bytes:
    """The bytes of a format 2 store's `.zmetadata`: all its metadata in one file, for one request over HTTP.

    Raises:
        OSError, ValueError, StoreError: one of the files cannot be read.
    """
    found = sorted([*names, root_file(2)])
    metadata = {name: json.loads(bytes(_there(files, name))) for name in found}
    return json.dumps({"metadata": metadata, "zarr_consolidated_format": 1}).encode()
