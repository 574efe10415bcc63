"""Stores behind a URL, read through fsspec."""

import importlib.util
import os
from functools import partial
from typing import Any, Dict, NamedTuple, Optional
from urllib.parse import quote, urlsplit, urlunsplit

from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.store.files import ObjectFiles
from heteroshards.schemas.store.retries import Retry, retrying
from heteroshards.schemas.store.zip_files import ZipFiles

ANSWER_WITHIN_S = 60.0
SAFE_IN_PATHS = "/!$&'()*+,;=:@"  # RFC 3986, 3.3; the unreserved are safe anyway


class _System(NamedTuple):
    """A file system of fsspec's, and the store's place in it."""

    files: Any
    root: str


class UrlFiles(ObjectFiles):
    """The objects of a store behind a URL (`https://...`, `s3://...`, whatever fsspec knows).

    Requests are tried again where the error may pass. What is absent or has the wrong size is asked for once more
    before it is believed, for a server that is being restarted, or a cache before it, says such things too. Each
    process has connections and a loop of its own.
    """

    def __init__(self, path: str, retry: Retry) -> None:
        super().__init__(path)
        self._retry = retry
        self._opened: Dict[int, _System] = {}

    def where(self, key: str) -> str:
        return _join(self.path, key) if _is_http(self.path) else f"{self.path.rstrip('/')}/{key}"

    def get(self, key: str, num_bytes: Optional[int]) -> Optional[bytes]:
        system, where = self._system(), self.where(key)
        address = _join(system.root, key) if _is_http(self.path) else f"{system.root.rstrip('/')}/{key}"

        is_believed = self._retry.tries == 1

        def request() -> Optional[bytes]:
            nonlocal is_believed
            try:
                data: Optional[bytes] = system.files.cat_file(address)
            except FileNotFoundError:
                data = None
            if is_believed or (data is not None and num_bytes in (None, len(data))):
                return data
            is_believed = True
            raise ConnectionError("no such object" if data is None else f"{len(data)} bytes instead of {num_bytes}")

        return retrying(request, self._retry, where)

    def _system(self) -> _System:
        process = os.getpid()
        if process not in self._opened:
            self._opened.setdefault(process, open_system(self.path))
        return self._opened[process]


def open_url(path: str, retry: Retry) -> ObjectFiles:
    """A store behind a URL, a zip file among them.

    Raises:
        StoreError: a package is missing here, or fsspec knows no such address.
    """
    wanted = ["fsspec", "aiohttp"] if _is_http(path) else ["fsspec"]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        hint = f"Install what it lacks: `pip install {' '.join(missing)}`."
        raise StoreError("stores behind a URL cannot be opened here", where=path, hint=hint)
    return (
        ZipFiles(path, partial(_open_file, path), retry)
        if path.partition("?")[0].endswith(".zip")
        else UrlFiles(path, retry)
    )


def _open_file(path: str) -> Any:
    system = open_system(path)
    return system.files.open(system.root, "rb")


def open_system(path: str) -> _System:
    """A file system of this process alone.

    Raises:
        StoreError: fsspec knows no such address, or lacks a package for it.
    """
    import fsspec

    options: Dict[str, Any] = {"skip_instance_cache": True}
    try:
        if _is_http(path) and "::" not in path:
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_WITHIN_S, sock_read=ANSWER_WITHIN_S)
            options["client_kwargs"] = {"timeout": limits}
        return _System(*fsspec.core.url_to_fs(path, **options))
    except Exception as error:  # each kind of store has errors of its own
        hint = "Look whether the address is right, and what its kind of store needs to be installed."
        raise StoreError("the store's address cannot be opened", actual=repr(error), where=path, hint=hint) from error


def _is_http(path: str) -> bool:
    return path.rpartition("::")[2].startswith(("http://", "https://"))


def _join(root: str, key: str) -> str:
    """The address of an object under an HTTP address, whose query (a token) it keeps."""
    chain, arrow, address = root.rpartition("::")
    parts = urlsplit(address)
    return chain + arrow + urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(key, SAFE_IN_PATHS)}"))
