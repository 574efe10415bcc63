"""Stores behind a URL."""

import functools
import http.server
import importlib.util
import io
import pickle
import re
import shutil
import socket
import struct
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from heteroshards.schemas.errors import CorruptChunkError, StoreError, StoreUnreachableError
from heteroshards.schemas.inputs import model_inputs
from heteroshards.schemas.store import integrity, retries
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.schemas.store.retries import DEFAULT, Retry
from heteroshards.schemas.store.url_files import UrlFiles
from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable
from heteroshards.trainer.reading.order import sequential_order
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.reading.stream import BatchStream
from tests.trainer.store_factory import write_store

MISSING = [name for name in ("fsspec", "aiohttp") if importlib.util.find_spec(name) is None]


needs_http = pytest.mark.skipif(bool(MISSING), reason=f"without {MISSING} no store is opened over HTTP")


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder. `faults` are asked first, with the path and how often it was asked for: one that returns true
    has sent an answer of its own."""

    faults: list = []
    asked: Counter = Counter()

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        if not any(fault(self, self.path, self.asked[self.path]) for fault in self.faults):
            super().do_GET()


def failing(status, headers=()):
    """The first two requests of every object fail."""

    def fault(server, path, times):
        if times <= 2:
            server.send_response(status)
            for name, value in headers:
                server.send_header(name, value)
            server.send_header("Content-Length", "0")
            server.end_headers()
        return times <= 2

    return fault


def reset(server, path, times):
    if times <= 2:
        server.close_connection = True
        server.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.connection.close()
        server.wfile = io.BytesIO()
    return times <= 2


def cut(is_told):
    """Half of a chunk, the first time; `is_told`: the answer says that there is more."""

    def fault(server, path, times):
        file = Path(server.translate_path(path))
        if times > 1 or not file.is_file() or file.name.startswith("."):
            return False
        data = file.read_bytes()
        server.send_response(200)
        server.send_header("Content-Length", str(len(data) if is_told else len(data) // 2))
        server.end_headers()
        server.wfile.write(data[: len(data) // 2])
        server.close_connection = True
        return True

    return fault


def part(server, path, times):
    """An answer to a request for some bytes of a file, which Python's server does not know."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", server.headers.get("Range", ""))
    if wanted:
        data = Path(server.translate_path(path)).read_bytes()
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        server.send_response(206)
        server.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        server.send_header("Content-Length", str(last - first + 1))
        server.end_headers()
        server.wfile.write(data[first : last + 1])
    return bool(wanted)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder, and the address where its files are served."""
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(Server, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def faults(monkeypatch):
    """Faults of the server; nobody waits really."""
    monkeypatch.setattr(Server, "faults", found := [])
    monkeypatch.setattr(Server, "asked", Counter())
    monkeypatch.setattr(retries, "wait_before", lambda number, error: 0.001)
    return found


@needs_http
def test_a_store_is_read_over_http(served):
    folder, address = served
    path = write_store(folder / "store")
    consolidated = integrity.render_consolidated(LocalFiles(path), integrity.metadata_files(LocalFiles(path), 2))
    (path / integrity.CONSOLIDATED).write_bytes(consolidated)
    here, there = open_store(path), open_store(f"{address}/store")
    assert there.fingerprint == here.fingerprint
    order = sequential_order(here.split("test"), 0)
    inputs = [model_inputs(here.manifest.graph, here.manifest.budgets[0], ())]
    with BatchStream(here, "test", inputs, order) as near, BatchStream(there, "test", inputs, order) as far:
        for (_, expected), (_, found) in zip(near, far):
            for one, other in zip(expected, found):
                np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert far.position == len(order)


@needs_http
def test_an_address_without_a_store_is_named(served):
    with pytest.raises(StoreError, match="address") as caught:
        open_store(f"{served[1]}/absent")
    assert "make prepare" not in str(caught.value)


def test_missing_packages_are_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in ("fsspec", "aiohttp") else find(n))
    with pytest.raises(StoreError, match="pip install fsspec aiohttp") as caught:
        open_store("http://127.0.0.1:1/store")
    assert "make prepare" not in str(caught.value)
    with pytest.raises(StoreError, match="pip install fsspec`"):
        open_store("s3://bucket/store")


SOUND = "train/nodes/movie/n_id"
FAULTS = {
    "503": failing(503), "429": failing(429, [("Retry-After", "0")]), "500": failing(500), "reset": reset,
    "cut off": cut(True), "short": cut(False), "404": lambda *args: args[2] == 1 and failing(404)(*args),
}  # fmt: skip


@needs_http
@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_ends_nothing(served, faults, fault):
    folder, address = served
    if not (folder / "store").exists():
        write_store(folder / "store")
    there = open_store(f"{address}/store")
    faults.append(FAULTS[fault])
    Server.asked.clear()
    np.testing.assert_array_equal(there.read(SOUND), open_store(folder / "store").read(SOUND))
    assert Counter(Server.asked).most_common(1)[0][1] >= 2


@needs_http
def test_what_does_not_pass_is_no_damage(served, faults):
    folder, address = served
    if not (folder / "store").exists():
        write_store(folder / "store")
    there = open_store(f"{address}/store", retry=Retry(3, 60))
    faults.append(lambda server, path, times: server.send_error(503) or True)
    with pytest.raises(StoreUnreachableError, match="HTTP status 503 after 3 tries") as caught:
        there.read(SOUND)
    assert not isinstance(caught.value, CorruptChunkError) and "make prepare" not in str(caught.value)
    assert max(Server.asked.values()) == 3
    faults[0] = lambda server, path, times: server.send_error(403) or True
    with pytest.raises(StoreError, match="403") as caught:
        there.read(SOUND)
    assert "damage" not in str(caught.value)
    with pytest.raises(StoreUnreachableError):
        open_store("http://127.0.0.1:1/store", retry=Retry(2, 60))


@needs_http
@pytest.mark.parametrize("tries", [1, 6])
def test_a_chunk_that_stays_missing_is_damage(served, faults, tries):
    folder, address = served
    path = write_store(folder / f"gap {tries}")
    there = open_store(f"{address}/gap {tries}", retry=Retry(tries, 60))
    key = there.reader(SOUND).tensor.key(1)
    (path / key).unlink()
    with pytest.raises(CorruptChunkError, match="a chunk is missing"):
        there.read(SOUND)
    assert next(times for asked, times in Server.asked.items() if asked.endswith(key)) == min(2, tries)


@needs_http
@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=20))
def test_objects_of_any_name_are_found(served, name):
    if name in (".", "..") or len(name.encode()) > 200:
        return
    folder, address = served
    (folder / "base #1%41?").mkdir(exist_ok=True)
    (folder / "base #1%41?" / f"{name}.bin").write_bytes(name.encode())
    (folder / "plain").mkdir(exist_ok=True)
    (folder / "plain" / f"{name}.bin").write_bytes(name.encode())
    for base in ("plain", "plain?token=a%2Fb", "base%20%231%2541%3F"):
        files = UrlFiles(f"{address}/{base}", DEFAULT)
        assert bytes(files.fetch(f"{name}.bin", len(name.encode()))) == name.encode()


@needs_http
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("is_iterable", [False, True])
def test_workers_have_connections_of_their_own(served, start, is_iterable):
    """The store has been read from before workers are forked; each start has the right items."""
    folder, address = served
    if not (folder / "store").exists():
        write_store(folder / "store")
    expected, dataset = ShardDataset(folder / "store", "train", 0), ShardDataset(f"{address}/store", "train", 0)
    assert torch.equal(dataset[0]["seeds/n_id"], expected[0]["seeds/n_id"])
    what = ShardIterable(dataset) if is_iterable else dataset
    items = list(DataLoader(what, batch_size=None, num_workers=2, multiprocessing_context=start, timeout=120))
    for key in expected[0]:
        assert sorted(item[key].tolist() for item in items) == sorted(item[key].tolist() for item in expected)
    assert torch.equal(dataset[1]["seeds/n_id"], expected[1]["seeds/n_id"]), "and here it goes on"


@needs_http
def test_a_zip_file_is_read_over_http(served, tmp_path, faults):
    folder, address = served
    path = write_store(tmp_path / "s")
    shutil.make_archive(str(folder / "z"), "zip", str(tmp_path), "s")
    with pytest.raises(StoreError, match="send parts of it"):
        open_store(f"{address}/z.zip")
    faults.append(part)
    np.testing.assert_array_equal(open_store(f"{address}/z.zip").read(SOUND), open_store(path).read(SOUND))


def test_a_store_stays_open_when_the_working_directory_changes(tmp_path, monkeypatch):
    write_store(tmp_path / "s")
    shutil.make_archive(str(tmp_path / "z"), "zip", str(tmp_path / "s"))
    monkeypatch.chdir(tmp_path)
    datasets = [ShardDataset(name, "train") for name in ("s", "./s", "z.zip")]
    first = [dataset[0] for dataset in datasets]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for dataset, item in zip(datasets, first):
        copied = pickle.loads(pickle.dumps(dataset))
        for other in (dataset, copied):
            other[len(dataset) - 1]
            assert torch.equal(other[0]["seeds/n_id"], item["seeds/n_id"])
