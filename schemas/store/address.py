"""Which file system an address means: the one place where a kind of `Files` is chosen, for readers and writers."""

import os
from pathlib import Path
from typing import Optional, Union
from zipfile import is_zipfile

from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.store.files import Files, LocalFiles
from heteroshards.schemas.store.retries import DEFAULT, Retry
from heteroshards.schemas.store.root import PREPARE
from heteroshards.schemas.store.url_files import open_url
from heteroshards.schemas.store.zip_files import ZipFiles


def files_at(address: Union[str, Path], retry: Retry = DEFAULT, scratch: Optional[Path] = None) -> Files:
    """What lies, or shall lie, at an address: in a folder, which need not be there yet, in a zip file, behind a URL.

    Args:
        retry: how often, and for how long, a request to a server is made again.
        scratch: where what is written to a folder lies until it is whole, see `LocalFiles`.

    Raises:
        StoreError: it is a file, but no zip file of a store; or nothing here can open such a URL.
    """
    text = str(address)
    if "://" in text:
        return open_url(text, retry)
    if os.path.isdir(text) or not os.path.exists(text):
        return LocalFiles(Path(text), scratch)
    if not (text.endswith(".zip") or is_zipfile(text)):
        raise StoreError("this is no store: neither a folder nor a zip file of one", where=text, hint=PREPARE)
    return ZipFiles(text, lambda: text)
