"""The note that lies beside stores: which one belongs to a config, and what it was made from.

`<root>/<name>.latest` (or `<store>.latest` for a store at a path of its own) lets a second `prepare` answer without
loading the graph, and the trainer find the store without knowing the data. It is a hint, never part of a store.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.files import read_attributes, write_atomically
from schemas.config import JobConfig
from schemas.errors import StoreError
from schemas.layout import MANIFEST_ATTRIBUTE


@dataclass(frozen=True)
class Latest:
    """`store` is a folder beside the note; `stamp` is `pipeline.datasets.source_stamp` at that time."""

    store: str
    content_digest: str
    fingerprint: str
    stamp: dict[str, Any] | None


def note_path(config: JobConfig, store: Path | None) -> Path:
    return store.with_name(store.name + ".latest") if store else Path(config.store.root) / f"{config.name}.latest"


def write_note(
    config: JobConfig, store: Path | None, path: Path, fingerprint: str, stamp: dict[str, Any] | None
) -> None:
    """Write the note.

    Raises:
        StoreError: the file system refuses it; the store itself is finished.
    """
    note, place = Latest(path.name, config.content_digest(), fingerprint, stamp), note_path(config, store)
    try:
        write_atomically(place, json.dumps(asdict(note)))
    except OSError as error:
        hint = f"The store itself is finished: {path}. Name it with --store, or mend this and repeat the command."
        raise StoreError(
            "the note beside the store cannot be written", actual=error, where=str(place), hint=hint
        ) from None


def find_unchanged(config: JobConfig, store: Path | None, stamp: dict[str, Any] | None) -> Path | None:
    """The store of this config if neither config nor source changed since it was written, else None."""
    path = note_path(config, store)
    try:
        note = Latest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # no note, or not one of ours: then the data is loaded and looked at
    if stamp is None or note.stamp != json.loads(json.dumps(stamp)) or note.content_digest != config.content_digest():
        return None
    found = path.with_name(note.store)
    try:
        manifest = read_attributes(found).get(MANIFEST_ATTRIBUTE, {})
    except StoreError:
        return None
    is_it = manifest.get("complete") is True and manifest.get("fingerprint") == note.fingerprint
    return found if is_it else None


def latest_store(config: JobConfig) -> Path:
    """The store that was last prepared for a config.

    Raises:
        StoreError: none was, or the config has changed since.
    """
    path = note_path(config, None)
    try:
        note = Latest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise StoreError("no store was prepared for this config", where=str(path), hint="Run `make prepare`.") from None
    if note.content_digest != config.content_digest():
        hint = "Run `make prepare`, or name the old store with --store."
        raise StoreError("the config has changed since its store was prepared", where=str(path), hint=hint)
    return path.with_name(note.store)
