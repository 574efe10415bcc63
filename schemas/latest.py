"""The note beside stores, `<root>/<name>.latest`: which store belongs to a config. `prepare` writes it, all read it.

It is a hint, never part of a store.
"""

import json
from pathlib import Path
from typing import Any, Dict, Optional

from pydantic import field_validator

from heteroshards.schemas.base import Frozen, validate
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.paths import as_path


class Latest(Frozen):
    """What a note says.

    Attributes:
        store: a folder beside the note.
        content_digest: of the config that it was prepared with.
        fingerprint: of the store.
        stamp: of the source at that time (see `pipeline.sources.stamp`); None where nothing could be taken.
    """

    store: str
    content_digest: str
    fingerprint: str = ""
    stamp: Optional[Dict[str, Any]] = None

    @field_validator("store")
    @classmethod
    def _check_name(cls, store: str) -> str:
        if store in ("", ".", "..") or "/" in store or "\\" in store or "\0" in store:
            raise ValueError(f"the store must be a folder beside the note, got {store!r}")
        return store


def latest_path(config: JobConfig) -> Path:
    """Where the note of a config lies."""
    return as_path(config.store.root) / f"{config.name}.latest"


def read_latest(path: Path) -> Optional[Latest]:
    """None where there is no note.

    Raises:
        StoreError: it cannot be read, or is none of ours.
    """
    what, hint = "the pointer to the latest store cannot be read", "Run `make prepare`, which writes it anew."
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(what, actual=repr(error), where=str(path), hint=hint) from None
    if not isinstance(values, dict):
        raise StoreError(what, actual=type(values).__name__, limit="a table", where=str(path), hint=hint)
    return validate(Latest, values, StoreError, str(path))
