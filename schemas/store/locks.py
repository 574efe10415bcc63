"""Locks between processes: the kernel's where the file system has them, else a file that stands for one.

A network folder may have no locks (ENOLCK and its kin). There a file `<lock>.held` is made by whoever comes first; it
names host and process, goes when its holder ends in an orderly way, and is taken over when that process is dead. What
cannot be told, a holder on another host, counts as alive, and the error says which file to remove.
"""

import errno
import fcntl
import os
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator, Optional

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
WAIT_S = 0.5


class HeldError(BlockingIOError):
    """Somebody else holds the lock; the text says who, where that is known."""


def _silent(*_: object) -> None:
    """Nobody is told."""


@contextmanager
def locked(
    path: Path,
    *,
    is_shared: bool = False,
    waiting: Optional[Callable[[], None]] = None,
    tell: Callable[[str], None] = _silent,
) -> Iterator[None]:
    """Hold the lock file `path`, alone or with others who share it; it stays when the lock is given back.

    Args:
        waiting: called once before waiting for others; None does not wait.
        tell: called with a line where the file system has no locks. Those who share are not kept apart then.

    Raises:
        HeldError: somebody else holds it, and `waiting` is None.
        OSError: the file cannot be made.
    """
    with path.open("w") as file:
        try:
            _flock(file.fileno(), fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, waiting)
        except HeldError:
            raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            stand_in = path.with_name(path.name + ".held")
            instead = "nothing keeps those apart who share it" if is_shared else f"{stand_in} stands for one"
            tell(f"warning: {path.parent} has no locks ({os.strerror(error.errno)}); {instead}")
            if not is_shared:
                with _held(stand_in, waiting):
                    yield
                return
        yield


def _flock(descriptor: int, kind: int, waiting: Optional[Callable[[], None]]) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            raise HeldError("another process holds it") from None
        waiting()
        fcntl.flock(descriptor, kind)


@contextmanager
def _held(path: Path, waiting: Optional[Callable[[], None]]) -> Iterator[None]:
    """A file that says who is at work; making it is one step, whoever else tries."""
    me = f"{socket.gethostname()} {os.getpid()}"
    was_told = False
    while not _made(path, me):
        owner = _owner(path)
        if owner is None or _is_dead(owner):
            _take_away(path, owner)
            continue
        if waiting is None:
            raise HeldError(f"host and process {owner}; if that has ended, remove {path}")
        if not was_told:
            waiting()
            was_told = True
        time.sleep(WAIT_S)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _made(path: Path, me: str) -> bool:
    try:
        descriptor = os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(me)
    return True


def _owner(path: Path) -> Optional[str]:
    """Who made the file; None when it is gone."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _is_dead(owner: str) -> bool:
    """Whether it surely is: a process of this host that is no more."""
    host, _, number = owner.rpartition(" ")
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _take_away(path: Path, owner: Optional[str]) -> None:
    """Remove a dead holder's file, unless somebody else was quicker and holds a new one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if owner is not None and _owner(aside) != owner:
            with suppress(FileExistsError):
                os.link(str(aside), str(path))
        aside.unlink()
