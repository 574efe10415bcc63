"""The stream equals direct reads, ends cleanly, and hands errors to its consumer."""

import gc
import threading
import time

import numpy as np
import pytest
import torch

from heteroshards.schemas.errors import CorruptChunkError, SignatureMismatchError, StoreError
from heteroshards.schemas.inputs import EXTRA_INPUTS, SEED_INPUTS, InputSpec, model_inputs
from heteroshards.trainer.reading import stream as stream_module
from heteroshards.trainer.reading.buffers import BufferPool
from heteroshards.trainer.reading.order import rest_of, sequential_order, shuffled_order
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.reading.stream import BatchStream
from tests.trainer.factory_graph import source
from tests.trainer.store_factory import PAD_VALUE, chunk_file, write_store


def inputs_of(store, extras=EXTRA_INPUTS):
    return model_inputs(store.manifest.graph, store.manifest.budgets[0], extras)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches of")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


def expected_tensors(store, split, batch):
    """The inputs of one batch, gathered row by row from whole arrays."""
    tables = source().tables
    for spec in inputs_of(store):
        place = f"{split}/nodes/{spec.key}" if spec.kind in ("x", "n_id", "node_mask") else f"{split}/edges/{spec.key}"
        if spec.kind in SEED_INPUTS:
            place = f"{split}/seeds/targets" if spec.kind == "target" else f"{split}/seeds"
        if spec.kind in ("x", "edge_attr"):
            ids = store.read(f"{place}/{'n_id' if spec.kind == 'x' else 'e_id'}")[batch]
            table = tables[f"features/{spec.key}/{spec.kind}"]
            rows = [table[i] if i >= 0 else np.full(table.shape[1], PAD_VALUE, table.dtype) for i in ids]
            yield np.stack(rows)
        else:
            name = "mask" if spec.kind.endswith("mask") else spec.key if spec.kind == "target" else spec.kind
            yield store.read(f"{place}/{name}")[batch]


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize("check_chunks", [True, False])
def test_equals_direct_reads(store_of, features, check_chunks):
    store = store_of(features=features)
    inputs = inputs_of(store)
    order = shuffled_order(store.split("train"), 1, store.manifest.chunk_batches, 0, 5)
    with BatchStream(store, "train", [inputs], order, check_chunks=check_chunks) as stream:
        found = list(stream)  # all kept: none may be overwritten by later ones
    assert [batch for (batch,), _ in found] == order.tolist()
    assert stream.position == len(order)
    for (batch,), tensors in found:
        for spec, tensor, expected in zip(inputs, tensors, expected_tensors(store, "train", batch)):
            assert tuple(tensor.shape) == spec.shape
            assert tensor.dtype == getattr(torch, spec.dtype)
            np.testing.assert_array_equal(tensor.numpy(), expected, err_msg=str(spec))


def test_resuming_is_an_integer(table_store):
    order = shuffled_order(table_store.split("train"), 0, 3, 0, 0)
    for start in (0, 1, 5, len(order)):
        with BatchStream(table_store, "train", [inputs_of(table_store)], order, start=start) as stream:
            assert [batch for (batch,), _ in stream] == order[start:].tolist()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2**20), (2**10, 2**11)])
def test_large_shards_come_in_parts(table_store, monkeypatch, sizes):
    for name, size in zip(("FIRST_PART_BYTES", "PART_BYTES"), sizes):
        monkeypatch.setattr(stream_module, name, size)
    order = sequential_order(table_store.split("test"), 0)
    with BatchStream(table_store, "test", [inputs_of(table_store)], order) as stream:
        assert [batch for (batch,), _ in stream] == order.tolist()


@pytest.mark.parametrize("group", [2, 3, 4, 7])
@pytest.mark.parametrize("features", ["table", "inline"])
def test_a_call_is_its_batches_joined_on_dim_0(store_of, features, group):
    """Whether its batches lie in one shard (views), in several (copies), or begin the order again."""
    store = store_of(features=features)
    inputs = inputs_of(store)
    for order in (
        shuffled_order(store.split("train"), 0, store.manifest.chunk_batches, 0, 5, group),
        np.array([5, 0, 3, 1, 1, 2, 4]),
    ):
        order = rest_of(order, np.zeros(len(order), bool), 0, group)[0]
        with BatchStream(store, "train", [inputs], order, group=group) as stream:
            found = list(stream)
        assert np.concatenate([batches for batches, _ in found]).tolist() == order.tolist()
        with BatchStream(store, "train", [inputs], order) as stream:
            single = [tensors for _, tensors in stream]
        for i, (_, tensors) in enumerate(found):
            for spec, tensor, *parts in zip(inputs, tensors, *single[i * group : (i + 1) * group]):
                assert tuple(tensor.shape) == (group * spec.shape[0], *spec.shape[1:])
                assert tensor.is_contiguous()
                assert torch.equal(tensor, torch.cat(parts))


def test_a_call_within_a_shard_is_a_view_of_it(store_of):
    store = store_of(chunk_batches=4)
    inputs = [spec for spec in inputs_of(store, ()) if spec.kind in ("edge_index", "target")]
    with BatchStream(store, "train", [inputs], np.arange(4), group=2) as stream:
        (_, first), (_, second) = list(stream)
    for one, other in zip(first, second):
        assert one.data_ptr() + one.numel() * one.element_size() == other.data_ptr()


def test_abandoned_streams_end_their_thread(table_store):
    order = np.tile(sequential_order(table_store.split("train"), 0), 200)
    stream = BatchStream(table_store, "train", [inputs_of(table_store)], order, prefetch=1)
    next(iter(stream))
    assert len(threads()) == 1
    del stream
    gc.collect()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


def test_reads_no_further_ahead_than_asked(table_store, monkeypatch):
    read = []
    original = stream_module.SplitReader.read
    monkeypatch.setattr(
        stream_module.SplitReader, "read", lambda self, shard: read.append(shard) or original(self, shard)
    )
    order = np.tile(sequential_order(table_store.split("train"), 0), 50)
    with BatchStream(table_store, "train", [inputs_of(table_store)], order, prefetch=2) as stream:
        next(iter(stream))
        time.sleep(0.3)
        assert len(read) <= 4  # one consumed, two ready, one waiting for room


def test_memory_is_reused_when_batches_are_dropped(table_store, monkeypatch):
    pools = []
    original = stream_module.BufferPool
    monkeypatch.setattr(stream_module, "BufferPool", lambda *made: pools.append(original(*made)) or pools[-1])
    inputs = inputs_of(table_store)
    order = np.tile(sequential_order(table_store.split("train"), 0), 100)
    with BatchStream(table_store, "train", [inputs], order, prefetch=1) as stream:
        for _ in stream:
            pass
    # 300 shards of about 20 arrays; parts of one, two or three batches differ in size
    assert pools[0].num_buffers < 10 * len(inputs)


def test_streams_share_the_memory_of_a_pool(table_store):
    """One after another they need no more of it; side by side, neither writes where the other's batches lie."""
    inputs, order = inputs_of(table_store), sequential_order(table_store.split("train"), 0)
    with BatchStream(table_store, "train", [inputs], order) as stream:
        expected = [tensors for _, tensors in stream]
    pool = BufferPool()
    for _ in range(40):
        with BatchStream(table_store, "train", [inputs], order, prefetch=1, pool=pool) as stream:
            for _ in stream:
                pass
    assert 0 < pool.num_buffers < 10 * len(inputs)
    one, other = (
        BatchStream(table_store, "train", [inputs], np.tile(order[::step], 20), pool=pool) for step in (1, -1)
    )
    with one, other:
        for pair in zip(one, other):
            for (batch,), tensors in pair:
                assert all(map(torch.equal, tensors, expected[batch]))


def test_errors_reach_the_consumer(tmp_path):
    path = write_store(tmp_path / "store")
    store = open_store(path)
    chunk_file(path, store.spec("train/seeds/targets/y"), 2, 1).unlink()
    order = sequential_order(store.split("train"), 0)
    seen = []
    with BatchStream(store, "train", [inputs_of(store)], order) as stream:
        with pytest.raises(CorruptChunkError, match="train/seeds/targets/y"):
            for (batch,), _ in stream:
                seen.append(batch)
    assert seen == [0, 1, 2]


def test_waiting_is_counted(table_store, monkeypatch):
    original = stream_module.SplitReader.read
    monkeypatch.setattr(stream_module.SplitReader, "read", lambda self, shard: time.sleep(0.1) or original(self, shard))
    with BatchStream(table_store, "val", [inputs_of(table_store)], np.arange(3)) as stream:
        list(stream)
    assert 0.09 < stream.waited_s < 5


def test_inputs_of_another_shape_are_refused(table_store):
    inputs = [InputSpec("target", "y", (99,), "int32")]
    with pytest.raises(SignatureMismatchError, match=r"int32 \[4\].*int32 \[99\]"):
        BatchStream(table_store, "train", [inputs], np.arange(1))
    with pytest.raises(StoreError, match="no tensor"):
        BatchStream(table_store, "train", [[InputSpec("n_id", "alien", (1,), "int32")]], np.arange(1))
