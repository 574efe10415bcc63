"""Small files of and beside a local store. Imports no zarr, so that what needs nothing else starts at once."""

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from heteroshards.schemas.errors import StoreError


def write_atomically(path: Path, text: str, scratch: Path | None = None) -> None:
    """Write a small text file that appears whole or not at all.

    A kill can leave a temporary file in `scratch`, by default the file's own folder.
    """
    temporary = (scratch or path.parent) / f".{path.name}.{os.getpid()}.{threading.get_ident()}.new"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of a local store, {} when it has none.

    Raises:
        StoreError: they cannot be read.
    """
    for file, is_format_3 in ((path / ".zattrs", False), (path / "zarr.json", True)):
        if file.exists():
            try:
                values = json.loads(file.read_text(encoding="utf-8"))
                return dict(values.get("attributes", {}) if is_format_3 else values)
            except (OSError, ValueError, TypeError, AttributeError) as error:
                hint = "The store is damaged: build it again with --force."
                raise StoreError(
                    "the store's attributes cannot be read", actual=error, where=str(file), hint=hint
                ) from None
    return {}
