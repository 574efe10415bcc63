"""numba's `njit`, with a cache that stops nobody, and word of what is being compiled.

Compiled kernels are kept where numba keeps them: in NUMBA_CACHE_DIR, beside the source, or in the home folder. Where
none of these can be written (a container that runs as another user, a read-only file system) they are kept in a folder
of the user's own among the temporary ones, and where even that cannot be, nowhere. Either is said in one line.
"""

import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from heteroshards.pipeline.compat import add_to_stamp, kernel_cache, wrap_kernel_cache

Report = Callable[[str], None]
KERNEL_FILES = ("*kernels.py", "draws.py")
WORDS_AFTER_S = (5, 10, 20, 40)  # and every 60 s from then on

_notes: list[str] = []
_reports: list[Report] = []


def njit(cache: bool = False, **options: Any) -> Callable[[Any], Any]:
    """As `numba.njit`; with `cache`, compiled code is kept between runs wherever that is possible."""

    def decorate(function: Any) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache and hasattr(dispatcher, "enable_caching"):  # with NUMBA_DISABLE_JIT it is the function itself
            _keep(dispatcher)
        return dispatcher

    return decorate


@contextmanager
def kernels_told(report: Report) -> Iterator[None]:
    """Hand on, within the block, notes about the cache, and that kernels are being compiled, with the seconds."""
    watch = _Watch(report)
    _reports.append(report)
    while _notes:
        report(_notes.pop(0))
    event.register("numba:compile", watch)
    try:
        yield
    finally:
        event.unregister("numba:compile", watch)
        _reports.remove(report)
        watch.close()


class _Watch(event.Listener):
    """Adds up the seconds that kernels take to compile. Calls come from any thread, one at a time: numba's lock."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._depth, self._began, self._seconds = 0, 0.0, 0.0
        self._is_over = threading.Event()
        self._ticking: threading.Thread | None = None

    def on_start(self, event: Any) -> None:
        self._depth += 1
        if self._depth > 1:  # a kernel that another one calls
            return
        self._began = time.monotonic()
        if self._ticking is None:
            self._report("compiling the kernels (once for a version of this program and a machine, some 20 s)")
            self._ticking = threading.Thread(target=self._tick, name="compiling", daemon=True)
            self._ticking.start()

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._seconds += time.monotonic() - self._began

    def close(self) -> None:
        if self._ticking is not None:
            self._is_over.set()
            self._ticking.join()
            self._report(f"compiled  the kernels in {self._seconds:.1f} s")

    def _tick(self) -> None:
        due = [*WORDS_AFTER_S]
        while not self._is_over.wait(0.2):
            running = time.monotonic() - self._began if self._depth else 0.0
            if self._seconds + running >= due[0]:
                self._report(f"compiling the kernels: {due[0]} s so far")
                due = due[1:] or [due[0] + 60]


class _Cautious:
    """One kernel's cache, whose failures mean no more than that it is compiled again."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            return self._cache.load_overload(signature, target)
        except Exception as error:  # an index that somebody else owns, that is cut off, or of unknown classes
            self._failed("read", error)
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            self._cache.save_overload(signature, compiled)
        except Exception as error:  # a full or vanished disk, another user's files
            self._failed("kept", error)

    def _failed(self, what: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        _note(f"compiled kernels cannot be {what} in {self._cache.cache_path}; they are compiled again ({reason})")


def _keep(dispatcher: Any) -> None:
    """Let a kernel's code be kept in the first folder that can be written."""
    wanted = numba.config.CACHE_DIR
    try:
        dispatcher.enable_caching()
    except Exception:  # numba: no locator available
        if not _keep_elsewhere(dispatcher):
            return
    found = Path(kernel_cache(dispatcher).cache_path)
    if wanted and Path(wanted).absolute() not in found.absolute().parents:
        _note(f"compiled kernels are kept in {found}: NUMBA_CACHE_DIR ({wanted}) cannot be written")
    _know_neighbors(dispatcher)
    wrap_kernel_cache(dispatcher, _Cautious)


def _know_neighbors(dispatcher: Any) -> None:
    """Compile anew where any file of kernels beside a kernel's own has changed, for it may call what is in there."""
    beside = Path(dispatcher.py_func.__code__.co_filename).parent
    found = [(path.name, path.stat()) for pattern in KERNEL_FILES for path in sorted(beside.glob(pattern))]
    add_to_stamp(dispatcher, tuple((name, at.st_mtime_ns, at.st_size) for name, at in found))


def _keep_elsewhere(dispatcher: Any) -> bool:
    folder = _own_folder()
    before = numba.config.CACHE_DIR
    try:
        if folder is not None:
            numba.config.CACHE_DIR = str(folder)
            dispatcher.enable_caching()
            if not before:
                where = "neither this program's folder nor the home folder can be written"
                _note(f"compiled kernels are kept in {folder}: {where}")
            return True
    except Exception:  # that folder went, or filled up, in between
        pass
    finally:
        numba.config.CACHE_DIR = before
    hint = "Set NUMBA_CACHE_DIR to a folder that can be."
    _note(f"compiled kernels are not kept, because no folder can be written: every command compiles them. {hint}")
    return False


def _own_folder() -> Path | None:
    """A folder that is this user's alone: kept code is run, so nobody else may put any there."""
    try:
        folder = Path(tempfile.gettempdir()) / f"heteroshards-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:  # gettempdir raises it, too, where it finds none
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_own else None


def _note(text: str) -> None:
    """Say it once: now where somebody listens, else when somebody does."""
    if text in _said:
        return
    _said.add(text)
    _reports[-1](text) if _reports else _notes.append(text)


_said: set[str] = set()
