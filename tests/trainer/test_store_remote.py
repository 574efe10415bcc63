"""Stores behind a URL."""

import functools
import http.server
import importlib.util
import threading

import numpy as np
import pytest

from schemas import integrity
from schemas.batch import model_inputs
from schemas.errors import StoreError
from tests.trainer.store_factory import write_store
from trainer.order import sequential_order
from trainer.store import open_store
from trainer.stream import BatchStream

MISSING = [name for name in ("fsspec", "aiohttp") if importlib.util.find_spec(name) is None]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder, and the address where its files are served."""
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(bool(MISSING), reason=f"without {MISSING} no store is opened over HTTP")
def test_a_store_is_read_over_http(served):
    folder, address = served
    path = write_store(folder / "store")
    consolidated = integrity.render_consolidated(path, integrity.metadata_files(path, 2))
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


@pytest.mark.skipif(bool(MISSING), reason=f"without {MISSING} no store is opened over HTTP")
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
