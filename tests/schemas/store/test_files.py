"""What every kind of `Files` does; a new kind is one more entry of KINDS (or of READ_ONLY)."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict
from zipfile import ZipFile

import numpy as np
import pytest

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.store import files as files_module
from heteroshards.schemas.store.address import files_at
from heteroshards.schemas.store.files import Files
from heteroshards.schemas.store.retries import Retry


def local(tmp_path) -> Files:
    (tmp_path / "root").mkdir()
    return files_at(tmp_path / "root")


def with_scratch(tmp_path) -> Files:
    (tmp_path / "root").mkdir()
    (tmp_path / "scratch").mkdir()
    return files_at(tmp_path / "root", scratch=tmp_path / "scratch")


KINDS: Dict[str, Callable[[Any], Files]] = {"local": local, "local with scratch": with_scratch}


def zipped(tmp_path) -> Files:
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("zarr.json", "{}")
    return files_at(tmp_path / "x.zip")


def behind_a_url(tmp_path) -> Files:
    pytest.importorskip("fsspec")
    (tmp_path / "zarr.json").write_text("{}")
    return files_at(f"file://{tmp_path}", Retry(tries=1))


READ_ONLY: Dict[str, Callable[[Any], Files]] = {"zip": zipped, "url": behind_a_url}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def files(request, tmp_path) -> Files:
    return request.param(tmp_path)


def test_what_is_put_is_fetched_and_listed_until_it_is_deleted(files):
    assert files.fetch("a/b/0.0") is None and files.stamp("a/b/0.0") is None and list(files.list()) == []
    files.put("a/b/0.0", b"first")
    files.put("note", np.arange(3, dtype=np.uint8), is_durable=True)
    assert bytes(files.fetch("a/b/0.0")) == b"first" and bytes(files.copy().fetch("note")) == b"\0\1\2"
    assert sorted(files.list()) == [("a/b/0.0", 5), ("note", 3)]
    before = files.stamp("a/b/0.0")
    files.put("a/b/0.0", b"other")
    assert bytes(files.fetch("a/b/0.0", 5)) == b"other" and files.stamp("a/b/0.0") != before
    with pytest.raises(CorruptChunkError, match="wrong size; got 5 bytes; expected 4"):
        files.fetch("a/b/0.0", 4)
    files.delete("a/b/0.0")
    files.delete("a/b/0.0")
    assert sorted(files.list()) == [("note", 3)] and "note" in files.where("note")


def test_one_of_many_puts_what_is_absent(files):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: files.copy().put_if_absent("manifest", str(i).encode()), range(64)))
    assert sum(won) == 1 and bytes(files.fetch("manifest")) == str(won.index(True)).encode()
    files.put("manifest", b"new")
    assert not files.put_if_absent("manifest", b"newer") and bytes(files.fetch("manifest")) == b"new"
    assert [key for key, _ in files.list()] == ["manifest"]


def test_many_writers_of_one_key_leave_one_whole(files):
    texts = [str(i).encode() * 1000 for i in range(4)]

    def write(text: bytes) -> None:
        for _ in range(50):
            files.copy().put("note", text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = files.copy().fetch("note")
        assert found is None or bytes(found) in texts
    assert [key for key, _ in files.list()] == ["note"]


def test_a_stop_before_it_is_whole_changes_nothing(files, monkeypatch):
    files.put("note", b"old")

    def stop(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", stop)
    with pytest.raises(OSError, match="No space"):
        files.put("note", b"new", is_durable=True)
    assert bytes(files.fetch("note")) == b"old" and [key for key, _ in files.list()] == ["note"]


@pytest.mark.parametrize("make", [local, with_scratch])
def test_writers_on_several_machines_do_not_meet(make, tmp_path, monkeypatch):
    """Of one number and thread, writing one name: their files that are not whole yet have other names."""
    files = make(tmp_path)
    monkeypatch.setattr(files_module.os, "getpid", lambda: 7)
    monkeypatch.setattr(threading, "get_ident", lambda: 7)
    with files._new("note", b"one", False) as one, files._new("note", b"two", False) as other:
        assert one != other


@pytest.mark.parametrize("make", [local, with_scratch])
def test_a_durable_name_is_on_the_disk(make, tmp_path, monkeypatch):
    files, synced = make(tmp_path), []
    monkeypatch.setattr(files_module.os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    files.put("a/note", b"x", is_durable=True)
    files.put_if_absent("a/other", b"x")
    folder = os.path.dirname(files.where("a/note"))
    assert [path == folder for path in synced] == [False, True, False, True]


def test_a_root_that_was_removed_does_not_come_back(files, tmp_path):
    os.rmdir(tmp_path / "root")
    with pytest.raises(FileNotFoundError):
        files.put("a/b", b"x")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("kind", READ_ONLY)
def test_what_is_only_read_says_so(kind, tmp_path):
    files = READ_ONLY[kind](tmp_path)
    assert files.fetch("zarr.json") is not None and files.fetch("none") is None
    for write in (lambda: files.put("a", b""), lambda: files.put_if_absent("a", b""), lambda: files.delete("a")):
        with pytest.raises(StoreError, match="read only"):
            write()
    with pytest.raises(StoreError, match="listed"):
        files.list()
