"""The note that lies beside stores: which one belongs to a config, and what it was made from.

`<root>/<name>.latest` (or `<store>.latest` for a store at a path of its own) lets a second `prepare` answer without
loading the graph, and the trainer find the store without knowing the data. It is a hint, never part of a store.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from heteroshards.pipeline.sources.stamp import is_same, is_stamp
from heteroshards.schemas.base import validate
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.latest import Latest, latest_path, read_latest
from heteroshards.schemas.layout import MANIFEST_ATTRIBUTE
from heteroshards.schemas.notes import Note
from heteroshards.schemas.store.address import files_at
from heteroshards.schemas.store.root import root_attributes


def note_path(config: JobConfig, store: Path | None) -> Path:
    return store.with_name(store.name + ".latest") if store else latest_path(config)


def write_note(
    config: JobConfig, store: Path | None, path: Path, fingerprint: str, stamp: dict[str, Any] | None
) -> None:
    """Write the note.

    Raises:
        StoreError: the file system refuses it; the store itself is finished.
    """
    place, digest = note_path(config, store), config.content_digest()
    note = Latest(store=path.name, content_digest=digest, fingerprint=fingerprint, stamp=stamp)
    try:
        files_at(place.parent).put(place.name, note.model_dump_json().encode(), is_durable=True)
    except OSError as error:
        hint = f"The store itself is finished: {path}. Name it with --store, or mend this and repeat the command."
        raise StoreError(
            "the note beside the store cannot be written", actual=error, where=str(place), hint=hint
        ) from None


def noted_stamp(config: JobConfig, store: Path | None) -> dict[str, Any] | None:
    """The stamp that was taken when the store was prepared."""
    note = _read_note(note_path(config, store))
    return note.stamp if note else None


def _read_note(path: Path) -> Latest | None:
    """None: there is no note, or not one of ours. Then the data is loaded and looked at."""
    try:
        note = read_latest(path)
    except StoreError:
        return None
    has_stamp = note is not None and note.stamp is not None and is_stamp(note.stamp)
    return note if note is None or has_stamp else note.model_copy(update={"stamp": None})


def find_unchanged(config: JobConfig, store: Path | None, stamp: dict[str, Any] | None) -> Path | None:
    """The store of this config if neither config nor source changed since it was written, else None.

    `stamp` is today's.
    """
    path = note_path(config, store)
    note = _read_note(path)
    if note is None or not is_same(note.stamp, stamp) or note.content_digest != config.content_digest():
        return None
    found = path.with_name(note.store)
    try:
        manifest = _written_manifest(found)
    except StoreError:
        return None
    if manifest.get("complete") is not True or manifest.get("fingerprint") != note.fingerprint:
        return None
    if note.stamp != stamp:  # the same content under other times: known again at once next time
        with suppress(StoreError):
            write_note(config, store, found, note.fingerprint, stamp)
    return found


def kept_warnings(store: Path) -> list[str]:
    """What there was to warn of when a store was prepared, a line each."""
    notes = _written_manifest(store).get("notes", [])
    found = [validate(Note, note, StoreError, str(store)) for note in (notes if isinstance(notes, list) else [])]
    return [note.line for note in found if note.level == "warning"]


def _written_manifest(store: Path) -> dict[str, Any]:
    """The manifest as it stands there, not looked at; {} where it is none."""
    manifest = root_attributes(files_at(store)).get(MANIFEST_ATTRIBUTE)
    return manifest if isinstance(manifest, dict) else {}


def latest_store(config: JobConfig) -> Path:
    """The store that was last prepared for a config.

    Raises:
        StoreError: none was, the note cannot be read, or the config has changed since.
    """
    path = note_path(config, None)
    note = read_latest(path)
    if note is None:
        raise StoreError("no store was prepared for this config", where=str(path), hint="Run `make prepare`.")
    if note.content_digest != config.content_digest():
        hint = "Run `make prepare`, or name the old store with --store."
        raise StoreError("the config has changed since its store was prepared", where=str(path), hint=hint)
    return path.with_name(note.store)
