"""Files of a run: written whole or not at all, and errors that name them."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

from heteroshards.schemas.errors import CheckpointError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """`write(temporary)`, flush it to disk, and rename it to `path`, which thus never holds half a file.

    Raises:
        CheckpointError: it cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            if temporary.exists():
                temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """`write_atomically` of a text."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_writable(path: Path) -> None:
    """Find out before long work whether `path` can be written at its end.

    Raises:
        CheckpointError: it is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise CheckpointError("a file cannot be written", actual="a folder", where=str(path), hint="Name a file.")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


def make_folder(path: Path) -> None:
    """Raises CheckpointError when it cannot be made."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `write_atomically` whose process has ended."""
    for path in folder.glob(".*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdigit() and not _is_alive(int(number)):
            with writing(path):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """RuntimeError, too, because that is how torch reports a full disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        hint = "Look for a missing permission or a full disk, or name another place."
        raise CheckpointError("it cannot be written", actual=error, where=str(path), hint=hint) from error
