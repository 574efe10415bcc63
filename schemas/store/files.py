"""Where the bytes of a store lie: the one file system of both sides. A folder here; other kinds are files beside this.

A local file is opened by name and read into a reused aligned buffer, nearly all of it without the interpreter lock.
"""

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Protocol, Tuple

import numpy as np

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.store.checks import REBUILD, Bytes
from heteroshards.schemas.store.memory import aligned_empty

Make = Callable[[int], np.ndarray]
SMALLEST_BUFFER = 2**16
NOT_READ = "a file of the store cannot be read"


class Files(Protocol):
    """The bytes of a store, or of what it is made from, by key: `train/seeds/mask/0.0`. Every kind does what
    `tests/schemas/store/test_files.py` says; one that is only read raises StoreError where it shall be written."""

    def where(self, key: str) -> str:
        """The address of a key, for people."""

    def fetch(self, key: str, num_bytes: Optional[int] = None, make: Optional[Make] = None) -> Optional[Bytes]:
        """The bytes of a key; None when there is no such key. See `LocalFiles.fetch`."""

    def stamp(self, key: str) -> Optional[Tuple[int, ...]]:
        """Changes when the bytes of a key are replaced; None where that cannot be known without reading them."""

    def copy(self) -> "Files":
        """The same for another thread or process."""

    def put(self, key: str, data: Bytes, is_durable: bool = False) -> None:
        """Write or replace a key, whole or not at all. `is_durable`: it must outlive a loss of power from here on."""

    def put_if_absent(self, key: str, data: Bytes) -> bool:
        """Write a key that is not there yet, durably; False, and nothing is written, where it is. Of many who try at
        the same time one has True."""

    def list(self) -> Iterator[Tuple[str, int]]:
        """Every key with its size in bytes, in no order."""

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""


class LocalFiles:
    """Files of a folder. Reads go into one buffer that grows as needed and is overwritten by the next.

    Args:
        scratch: where files lie that are not yet whole, on the same file system; None is beside what they become. A
            kill can leave some there.
    """

    def __init__(self, root: Path, scratch: Optional[Path] = None) -> None:
        self.root, self._scratch = Path(root), scratch
        self._prefix = os.path.join(root, "")
        self._buffer = np.empty(0, np.uint8)

    def where(self, key: str) -> str:
        return self._prefix + key

    def fetch(self, key: str, num_bytes: Optional[int] = None, make: Optional[Make] = None) -> Optional[np.ndarray]:
        """The file's bytes, uint8 [size]; None when there is no such file.

        Args:
            num_bytes: the size that it must have; a file of another size is not read.
            make: gives the memory to read into, else they are valid until the next call.

        Raises:
            CorruptChunkError: the file has another size, or the disk cannot read it.
            StoreError: the file cannot be read.
        """
        try:
            return self._read(key, num_bytes, make)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            kind = CorruptChunkError if error.errno == errno.EIO else StoreError
            raise kind(
                NOT_READ, actual=error.strerror, where=None if error.errno == errno.EIO else self.where(key)
            ) from error

    def _read(self, key: str, num_bytes: Optional[int], make: Optional[Make]) -> np.ndarray:
        file = os.open(self._prefix + key, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not be waited for
        try:
            status = os.fstat(file)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):
                kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
                raise OSError(kind, os.strerror(kind))
            require_size(size, num_bytes)
            if make is None and size > self._buffer.nbytes:
                self._buffer = aligned_empty(max(2 * size, SMALLEST_BUFFER))
            into = self._buffer if make is None else make(size)
            filled = 0
            while filled < size:
                count = os.readv(file, [into.data[filled:size]])
                if count == 0:
                    break
                filled += count
            return into[:filled]
        finally:
            os.close(file)

    def stamp(self, key: str) -> Optional[Tuple[int, ...]]:
        """Changes when the file is replaced or written to; None when there is none."""
        try:
            status = os.stat(self._prefix + key)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def copy(self) -> "LocalFiles":
        """The same files with a buffer of its own, for another thread or process."""
        return LocalFiles(self.root, self._scratch)

    def put(self, key: str, data: Bytes, is_durable: bool = False) -> None:
        """Raises OSError. The root is not made anew where somebody removed it."""
        with self._new(key, data, is_durable) as temporary:
            os.replace(temporary, self._prefix + key)
            if is_durable:
                _keep_names(self._prefix + key)

    def put_if_absent(self, key: str, data: Bytes) -> bool:
        with self._new(key, data, is_durable=True) as temporary:
            try:
                os.link(temporary, self._prefix + key)
            except FileExistsError:
                return False
            _keep_names(self._prefix + key)
        return True

    @contextmanager
    def _new(self, key: str, data: Bytes, is_durable: bool) -> Iterator[str]:
        """A file with these bytes, beside what it is to become or in `scratch`; it is removed where it is left. Nobody
        else has its name: not another thread, process or machine that writes the same key."""
        target = self._prefix + key
        folder, name = os.path.split(target)
        temporary = os.path.join(self._scratch or folder, f".{name}.{secrets.token_hex(8)}.new")
        if not os.path.isdir(folder):
            os.stat(self.root)
            os.makedirs(folder, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data if isinstance(data, bytes) else data.data)
                if is_durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def list(self) -> Iterator[Tuple[str, int]]:
        """Links are not followed: their size is their own."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                file = Path(folder, name)
                yield file.relative_to(self.root).as_posix(), file.lstat().st_size

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._prefix + key)

    def __reduce__(self) -> Tuple[Any, ...]:
        return LocalFiles, (self.root, self._scratch)


class ObjectFiles:
    """Chunk objects that lie in no folder: in a zip file, behind a URL. For any threads, and for processes forked from
    this one: whoever makes one of these opens what it reads from for each process."""

    def __init__(self, path: str) -> None:
        self.path = path

    def where(self, key: str) -> str:
        raise NotImplementedError

    def get(self, key: str, num_bytes: Optional[int]) -> Optional[bytes]:
        """An object, which should have so many bytes; None when there is none."""
        raise NotImplementedError

    def fetch(self, key: str, num_bytes: Optional[int] = None, make: Optional[Make] = None) -> Optional[Bytes]:
        """As `LocalFiles.fetch`; the object is read before its size is known."""
        try:
            data = self.get(key, num_bytes)
        except StoreError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise StoreError(NOT_READ, actual=repr(error), where=self.where(key)) from error
        if data is None:
            return None
        require_size(len(data), num_bytes)
        if make is None:
            return data
        into = make(len(data))
        into[:] = np.frombuffer(data, np.uint8)
        return into

    def stamp(self, key: str) -> Optional[Tuple[int, ...]]:
        """Unknown here."""
        return None

    def copy(self) -> "ObjectFiles":
        return self

    def put(self, key: str, data: Bytes, is_durable: bool = False) -> None:
        raise self._is_read_only()

    def put_if_absent(self, key: str, data: Bytes) -> bool:
        raise self._is_read_only()

    def list(self) -> Iterator[Tuple[str, int]]:
        raise StoreError("what lies in this kind of store cannot be listed", where=self.path)

    def delete(self, key: str) -> None:
        raise self._is_read_only()

    def _is_read_only(self) -> StoreError:
        hint = "Write to a folder, and copy or zip it."
        return StoreError("this kind of store can be read only", where=self.path, hint=hint)


def _keep_names(path: str) -> None:
    """Until the folder is on the disk, a loss of power can take the new name of a durable file back."""
    with suppress(OSError):  # not every file system can
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def require_size(size: int, num_bytes: Optional[int]) -> None:
    if num_bytes is not None and size != num_bytes:
        what, actual, limit = "a chunk has the wrong size", f"{size} bytes", f"{num_bytes} bytes"
        raise CorruptChunkError(what, actual=actual, limit=limit, hint=REBUILD)
