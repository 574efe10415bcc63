"""Every byte of a store against the checksums that the store holds: chunks, metadata, and what does not belong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas import layout
from heteroshards.schemas.errors import FormatVersionError, StoreError
from heteroshards.schemas.layout import ZarrFormat
from heteroshards.schemas.manifest import Manifest, parse_manifest
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.checks import difference
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.schemas.store.root import attributes_of, metadata_checksums, no_store
from heteroshards.schemas.tensors import TensorSpec


@dataclass
class CheckedFiles:
    """What the walk over a store's files brought.

    Attributes:
        manifest: None when it cannot be read; then nothing else can be checked.
        damaged: files that are missing, truncated or changed, or not known not to be; relative to the store.
    """

    manifest: Manifest | None
    damaged: set[str] = field(default_factory=set)
    num_files: int = 0
    num_bytes: int = 0


def check_files(store: Path, findings: Findings) -> CheckedFiles:
    """Check existence, size and crc32c of every file, and that there is no other. Holds one chunk at a time.

    Raises:
        StoreError: there is no store.
        FormatVersionError: a program of another version wrote it.
    """
    checked = CheckedFiles(None)
    present = _present(store)
    zarr_format = _zarr_format(store, present)
    checked.num_files, checked.num_bytes = len(present), sum(present.values())
    root = _read(store, integrity.root_file(zarr_format), findings)
    metadata: dict[str, int] = {}
    if root is not None:
        checked.manifest, metadata = check_root(root, zarr_format, findings)
    expected = {integrity.root_file(zarr_format), *([integrity.CONSOLIDATED] if zarr_format == 2 else [])}
    for name, crc in metadata.items():
        _check_file(store, name, crc, None, findings, checked)
        expected.add(name)
    if zarr_format == 2 and metadata and not checked.damaged:  # else it cannot be judged
        _check_consolidated(store, list(metadata), findings)
    if checked.manifest is None:
        return checked
    expected.update(_check_chunks(store, checked.manifest, findings, checked))
    if metadata:
        expected.update(_check_listing(checked.manifest, metadata, findings))
    for name in sorted(set(present) - expected):
        findings.add(name, "this file does not belong to the store")
    return checked


def _present(store: Path) -> dict[str, int]:
    """Every file below the store with its size."""
    return dict(LocalFiles(store).list())


def _zarr_format(store: Path, present: dict[str, int]) -> ZarrFormat:
    if any(name in present for name in (".zattrs", ".zgroup", integrity.CONSOLIDATED)):
        return 2
    if "zarr.json" in present or any(name.endswith("/zarr.json") for name in present):
        return 3
    raise no_store(LocalFiles(store))


def _read(store: Path, name: str, findings: Findings, **place: Any) -> bytes | None:
    """A file's bytes; None, and a finding, when it is missing, a link or unreadable."""
    try:
        if (store / name).is_symlink():
            findings.add(name, "the file was replaced by a link", **place)
            return None
        return (store / name).read_bytes()
    except FileNotFoundError:
        findings.add(name, "the file is missing", **place)
    except OSError as error:
        findings.add(name, "the file cannot be read", error, **place)
    return None


def check_root(data: bytes, zarr_format: ZarrFormat, findings: Findings) -> tuple[Manifest | None, dict[str, int]]:
    """The manifest and the checksums of all other metadata, from the root attributes' bytes.

    Where these are damaged they say nothing to rely on: then there is a finding, and no manifest.
    """
    name = integrity.root_file(zarr_format)
    try:
        root = attributes_of(data, zarr_format, name)
        checksums = metadata_checksums(root)
        if checksums and not integrity.is_root_intact(data):
            findings.add(name, "the manifest or another root attribute has changed since the store was written")
            return None, {}
        manifest = parse_manifest(root.get(layout.MANIFEST_ATTRIBUTE), name)
    except FormatVersionError:
        raise  # nothing is known to be wrong with it
    except StoreError as error:
        findings.add(name, "the root attributes cannot be read", error)
        return None, {}
    if not checksums:
        text = "there are no checksums of the store's metadata: an older version wrote it, or the attribute was damaged"
        findings.add(name, text)
    if not manifest.complete:
        findings.add(name, "the store was not finished")
    if manifest.zarr_format != zarr_format:
        findings.add(name, "the manifest names another zarr format", manifest.zarr_format, zarr_format)
    return manifest, checksums


def _check_consolidated(store: Path, metadata: list[str], findings: Findings) -> None:
    """`.zmetadata` repeats what the other files say."""
    name = integrity.CONSOLIDATED
    data = _read(store, name, findings)
    if data is not None and data != integrity.render_consolidated(LocalFiles(store), metadata):
        findings.add(name, "it differs from the metadata that it repeats")


def _check_file(
    store: Path, name: str, crc: int, num_bytes: int | None, findings: Findings, checked: CheckedFiles, **place: Any
) -> bytes | None:
    """One file's bytes, None (and a finding) when they are not the ones that were written."""
    before = findings.count
    data = _read(store, name, findings, **place)
    wrong = None if data is None else difference(data, crc, num_bytes)
    if wrong:
        what, actual, limit = wrong
        findings.add(name, f"the file {what}", actual, limit, **place)
    if findings.count == before:
        return data
    checked.damaged.add(name)
    return None


def _check_chunks(store: Path, manifest: Manifest, findings: Findings, checked: CheckedFiles) -> set[str]:
    """Check every chunk; returns the files that must be there."""
    name = f"{layout.CHECKSUMS}/{layout.chunk_name(manifest.zarr_format, 0, 2)}"
    data = _check_file(store, name, manifest.checksums_crc32c, 8 * manifest.num_chunks, findings, checked)
    table = None if data is None else np.frombuffer(data, "<u4").reshape(-1, 2)
    files, row, splits = {name}, 0, manifest.splits_by_part()
    for spec in manifest.tensors:
        for index in range(spec.num_chunks):
            file = chunk_file(manifest, spec, index)
            files.add(file)
            if table is not None:
                crc, num_bytes = (int(value) for value in table[row + index])
                _check_file(store, file, crc, num_bytes, findings, checked, **_place(splits, spec, index))
                continue
            checked.damaged.add(file)  # without its checksum nobody can know
            if not (store / file).is_file():
                findings.add(file, "the file is missing", **_place(splits, spec, index))
        row += spec.num_chunks
    return files


def chunk_file(manifest: Manifest, spec: TensorSpec, index: int) -> str:
    """Where a chunk lies, relative to the store."""
    return f"{spec.path}/{layout.chunk_name(manifest.zarr_format, index, len(spec.shape))}"


def _place(splits: Mapping[str, str], spec: TensorSpec, index: int) -> dict[str, Any]:
    """The split and the batches that a chunk holds; nothing for tables."""
    if spec.role in layout.TABLES:
        return {}
    start = index * spec.chunk_rows
    return {"split": splits.get(spec.part, spec.part), "batches": (start, min(start + spec.chunk_rows, spec.shape[0]))}


def _check_listing(manifest: Manifest, metadata: dict[str, int], findings: Findings) -> set[str]:
    """Every array must have metadata with a checksum; returns the files concerned."""
    name = ".zarray" if manifest.zarr_format == 2 else "zarr.json"
    files = {f"{path}/{name}" for path in [*(spec.path for spec in manifest.tensors), layout.CHECKSUMS]}
    for file in sorted(files - set(metadata)):
        findings.add(file, "the array's metadata has no checksum")
    return files
