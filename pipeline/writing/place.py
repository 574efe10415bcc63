"""Where a store lies: what may be written there, what is there already, and who may write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heteroshards.pipeline.reporting import Report
from heteroshards.pipeline.writing.writer import locked
from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.manifest import Manifest, parse_manifest
from heteroshards.schemas.paths import as_path
from heteroshards.schemas.store.address import files_at
from heteroshards.schemas.store.files import Files
from heteroshards.schemas.store.root import root_attributes


def store_path(config: JobConfig, fingerprint: str) -> Path:
    """Where the store of a config lies unless a path is given."""
    return as_path(config.store.root) / f"{config.name}-{fingerprint[:12]}"


def existing(path: Path, fingerprint: str, force: bool) -> Manifest | None:
    """The manifest of the very store that is wanted, None when it is to be written; anything else is in the way.

    `force` replaces stores, never what is no store.
    """
    try:
        if not path.exists():
            return None
        is_empty = path.is_dir() and not any(path.iterdir())
    except OSError as error:
        raise StoreError("the path cannot be used", actual=error, where=str(path)) from None
    if is_empty:
        return None
    attributes_of = _damaged if force else root_attributes
    if not path.is_dir() or layout.MANIFEST_ATTRIBUTE not in attributes_of(files_at(path)):
        raise StoreError("the path is taken by something that is no store", where=str(path), hint="Choose another.")
    if force:
        return None
    manifest = read_manifest(path)
    if manifest.fingerprint != fingerprint:
        hint = "Choose another --store, or --force to replace it."
        raise StoreError("the path holds a store of other data or another config", where=str(path), hint=hint)
    return manifest if manifest.complete else None


def require_place(path: Path) -> None:
    """Raise `StoreError` where no store can be written, before anything is counted."""
    try:
        is_link = path.is_symlink()
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        is_link = False
    except (OSError, ValueError) as error:  # ValueError: characters that no path can have
        hint = "Choose another [store] root or --store."
        raise StoreError("the path cannot be used", actual=error, where=repr(str(path)), hint=hint) from None
    if is_link and not path.exists():
        raise StoreError("the path is a link that leads nowhere", where=str(path), hint="Remove it, or choose another.")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreError("the store's folder is below a file", where=str(folder), hint="Choose another [store] root.")
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "Mend its permissions, or choose another [store] root."
        actual = "no permission, or a read-only file system"
        raise StoreError("the folder cannot be written", actual=actual, where=str(folder), hint=hint)


@contextmanager
def writing(path: Path, report: Report, is_shared: bool = False) -> Iterator[None]:
    """Be the only one to write a store, or one of those who share it; what the file system refuses is a StoreError."""
    try:
        with locked(path, lambda: report(f"waiting for another prepare of {path}"), is_shared, report):
            yield
    except OSError as error:
        hint = "Free space or mend access, and repeat the command: it goes on where it stopped."
        raise StoreError("the store cannot be written", actual=error, where=str(path), hint=hint) from error
    except MemoryError as error:
        hint = "Lower [store] chunk_batches or the budget, or use fewer --workers, each of which holds a shard."
        raise StoreError("a shard does not fit into memory", actual=error, where=str(path), hint=hint) from error


def read_manifest(path: Path) -> Manifest:
    """That of a store, finished or not."""
    return parse_manifest(root_attributes(files_at(path)).get(layout.MANIFEST_ATTRIBUTE), str(path))


def _damaged(files: Files) -> dict[str, Any]:
    """Attributes of what may be a damaged store of ours: one whose attributes cannot be read counts as a store."""
    try:
        return root_attributes(files)
    except StoreError:
        return {layout.MANIFEST_ATTRIBUTE: None}
