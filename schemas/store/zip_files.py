"""Stores in a zip file, as zarr writes it or as people make it by hand of the store's folder."""

import os
import zlib
from contextlib import suppress
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Union
from zipfile import BadZipFile, ZipFile, ZipInfo

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.files import NOT_READ, ObjectFiles
from heteroshards.schemas.store.retries import Retry, retrying

ROOT_FILES = (integrity.root_file(2), integrity.root_file(3))
UTF8_FLAG = 0x800
DAMAGE = (BadZipFile, zlib.error, EOFError)


class _Archive(NamedTuple):
    """An open zip file, and what lies where in it: key -> entry."""

    file: ZipFile
    entries: Dict[str, ZipInfo]


class ZipFiles(ObjectFiles):
    """The objects of a store in a zip file. Each process opens the file for itself, for a handle has one position.

    The store may lie in a folder of the zip file; then keys are relative to that.

    Args:
        source: what `ZipFile` opens: its path, or an open file that can seek.
        retry: for files behind a URL.
    """

    def __init__(self, path: str, source: Callable[[], Union[str, BinaryIO]], retry: Optional[Retry] = None) -> None:
        super().__init__(path)
        self._source, self._retry = source, retry
        self._opened: Dict[int, _Archive] = {}
        self._folder = _folder_of_store(list(self._archive().entries), path)

    def where(self, key: str) -> str:
        return f"{self.path}/{self._folder}{key}"

    def get(self, key: str, num_bytes: Optional[int]) -> Optional[bytes]:
        archive = self._archive()
        entry = archive.entries.get(self._folder + key)
        if entry is None:
            return None
        try:
            return self._tried(lambda: archive.file.read(entry))
        except DAMAGE as error:
            raise CorruptChunkError(NOT_READ, actual=error, where=self.where(key)) from error

    def _archive(self) -> _Archive:
        process = os.getpid()
        if process not in self._opened:
            try:
                file = self._tried(lambda: ZipFile(self._source()))
            except StoreError:
                raise
            except Exception as error:  # no zip file, or a server that sends no parts of one
                hint = "Look whether it was copied whole (`unzip -t` tells). A server must send parts of it."
                raise StoreError("the zip file cannot be opened", actual=error, where=self.path, hint=hint) from error
            self._opened.setdefault(process, _Archive(file, {_key(entry): entry for entry in file.infolist()}))
        return self._opened[process]

    def _tried(self, get: Callable[[], Any]) -> Any:
        return get() if self._retry is None else retrying(get, self._retry, self.path)


def _key(entry: ZipInfo) -> str:
    """An entry's name as that of an object. Some programs write backslashes, `./`, or UTF-8 without saying so."""
    name = entry.filename
    if not entry.flag_bits & UTF8_FLAG:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") else name


def _folder_of_store(keys: List[str], path: str) -> str:
    """Empty, or the one folder, with a slash at its end, in which a store's root lies.

    Raises:
        StoreError: there is none, or there are several of which none is above the others.
    """
    folders = {key[: len(key) - len(name)] for key in keys for name in ROOT_FILES if _is_file(key, name)}
    depth = min((folder.count("/") for folder in folders), default=0)
    found = sorted(folder for folder in folders if folder.count("/") == depth)
    if len(found) == 1:
        return found[0]
    names = sorted({key.partition("/")[0] for key in keys})
    holds = ", ".join(repr(folder) for folder in found or names[:5]) or "nothing"
    what = "the zip file holds several stores" if found else "there is no store in the zip file"
    raise StoreError(what, actual=f"inside it: {holds}", limit="one folder made by `prepare`", where=path)


def _is_file(key: str, name: str) -> bool:
    return key == name or key.endswith(f"/{name}")
