"""Checksums of a store's metadata, so that no byte of it changes unnoticed.

Chunks have the array `checksums`. Every metadata file has a crc32c in the root attribute `integrity`, but for two: the
file that holds this attribute carries its own crc32c, computed with zeros in its place, and format 2's `.zmetadata`
repeats all the others, so a checker renders it anew.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import google_crc32c
import numpy as np

from heteroshards.schemas.layout import INTEGRITY_ATTRIBUTE, MANIFEST_ATTRIBUTE, ZarrFormat

METADATA_NAMES = (".zgroup", ".zarray", ".zattrs", "zarr.json")
CONSOLIDATED = ".zmetadata"
OWN_CRC = b'"file_crc32c": "'
CRC_DIGITS = 8
CRC = "crc32c {:08x}"


def root_file(zarr_format: ZarrFormat) -> str:
    """The file that holds the root group's attributes."""
    return ".zattrs" if zarr_format == 2 else "zarr.json"


def metadata_files(store: Path, zarr_format: ZarrFormat) -> List[str]:
    """Every metadata file below `store` but the two that are rendered, as sorted relative paths."""
    files = (file.relative_to(store).as_posix() for name in METADATA_NAMES for file in store.rglob(name))
    return sorted(set(files) - {root_file(zarr_format)})


def checksums_of(store: Path, files: List[str]) -> Dict[str, int]:
    """file -> crc32c of its bytes."""
    return {name: int(google_crc32c.value((store / name).read_bytes())) for name in files}


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


def difference(
    data: Union[bytes, np.ndarray], crc: Optional[int], num_bytes: Optional[int]
) -> Optional[Tuple[str, str, str]]:
    """How a file's bytes differ from those that were written: (what, actual, expected), None when they do not.

    A crc32c or size that is None is not compared.
    """
    if num_bytes is not None and len(data) != num_bytes:
        return "has the wrong size", f"{len(data)} bytes", f"{num_bytes} bytes"
    found = crc if crc is None else google_crc32c.value(data)
    return None if found == crc else ("fails its checksum", CRC.format(found), CRC.format(crc))


def _crc(data: bytes) -> bytes:
    return f"{google_crc32c.value(data):0{CRC_DIGITS}x}".encode()


def render_consolidated(store: Path, files: List[str]) -> bytes:
    """The bytes of a format 2 store's `.zmetadata`: all its metadata in one file, for one request over HTTP.

    Raises:
        OSError, ValueError: one of the files cannot be read.
    """
    names = sorted([*files, root_file(2)])
    metadata = {name: json.loads((store / name).read_bytes()) for name in names}
    return json.dumps({"metadata": metadata, "zarr_consolidated_format": 1}).encode()
