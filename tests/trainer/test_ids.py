"""Indices that lead nowhere are found before a model follows them, also where checksums are not looked at."""

import numpy as np
import pytest
import zarr

from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import open_job
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.ids import IndexLimits
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.training import fit
from tests.layouts import stored_at
from tests.trainer.conftest import make_config
from tests.trainer.factory_graph import NUM_CLASSES, NUM_MOVIES
from tests.trainer.store_factory import MAX_SEEDS, budget, write_store

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = budget().num_nodes
WRONG = [
    ("nodes/movie/n_id", NUM_MOVIES, "-1 to 60; expected 0 to 59, -1 in pads"),
    ("nodes/movie/n_id", -2, "-2 to"),
    ("nodes/director/n_id", 2**31 - 1, "expected 0 to 11, -1 in pads"),
    ("edges/actor__to__movie/edge_index", ROWS["actor"], "0 to 9; expected 0 to 8."),
    ("edges/actor__to__movie/edge_index", -1, "-1 to 8; expected 0 to 8."),
    ("seeds/targets/y", NUM_CLASSES, "-100 to 3; expected 0 to 2, -100 in pads"),
    ("seeds/targets/y", -3, "expected 0 to 2, -100 in pads"),
]


def spoil(path, tensor, value):
    """Put a value into the last batch of split test, as a store that somebody made may have it."""
    spec, columns = stored_at(open_store(path).manifest, tensor)
    array = zarr.open_array(str(path / spec.path), mode="r+")
    values = array[:]
    values[-1, ..., columns].flat[0] = value
    array[:] = values
    return len(values)


@pytest.mark.parametrize("choice", ["never", "always"])
@pytest.mark.parametrize(("tensor", "value", "text"), WRONG)
def test_an_index_that_leads_nowhere_is_a_damaged_shard(tmp_path, tensor, value, text, choice):
    path = write_store(tmp_path / "store", codec="none", chunk_batches=2)
    last = spoil(path, f"test/{tensor}", value) - 1
    array = stored_at(open_store(path).manifest, f"test/{tensor}").spec.path
    config = make_config(tmp_path, epochs=1, check_chunks=False, device_features=choice)
    store = open_store(path, check_chunks=False)
    with pytest.raises(CorruptChunkError, match=f"{array}/.*split test, batch {last} to {last}") as raised:
        fit(config, store, tmp_path / "run", backend=EagerBackend())
    assert text in str(raised.value)
    skipping = make_config(tmp_path, epochs=1, check_chunks=False, device_features=choice, on_corrupt="skip")
    with open_job(skipping, store, EagerBackend()) as job:
        answers = answer(job, "test")
    assert answers.num_batches_left_out == 1 and len(answers.node_id) == last * MAX_SEEDS


def test_edge_ids_are_looked_at_where_they_are_read(tmp_path):
    path = write_store(tmp_path / "store", codec="none")
    spoil(path, "val/edges/actor__to__movie/e_id", 150)
    dataset = ShardDataset(open_store(path, check_chunks=False), "val")
    with pytest.raises(CorruptChunkError, match="expected 0 to 149, -1 in pads"):
        dataset[len(dataset) - 1]


def test_limits_reach_to_their_ends():
    IndexLimits((3, 5), 0).check(np.array([[[0, 2], [0, 4]]]))
    IndexLimits((3,), -100).check(np.array([[0, 2, -100]]))
    IndexLimits((3,), -1).check(np.empty((2, 0), np.int32))
    for array in ([[[0, 3], [0, 0]]], [[[0, 0], [0, 5]]], [[[0, 0], [-1, 0]]]):
        with pytest.raises(CorruptChunkError):
            IndexLimits((3, 5), 0).check(np.array(array))


def test_limits_are_told_apart_by_their_pads():
    for pad, allowed in ((0, ()), (-1, (-1,)), (-100, (-100,))):
        for value in (-(2**31), -101, -100, -99, -2, -1, 0, 6, 7, 2**31 - 1):
            array = np.full((2, 3), 5, np.int32)
            array[1, 1] = value
            if 0 <= value < 7 or value in allowed:
                IndexLimits((7,), pad).check(array)
            else:
                with pytest.raises(CorruptChunkError, match="do not exist"):
                    IndexLimits((7,), pad).check(array)


@pytest.mark.parametrize("check_chunks", [True, False])
def test_a_chunk_is_looked_at_once_where_checksums_vouch_for_it(tmp_path, check_chunks):
    """By any reader of the store; a chunk that fails, or that another one was put in place of, every time."""
    path = write_store(tmp_path / "store", codec="none")
    store = open_store(path)
    seen = []
    for _ in range(3):
        reader = store.reader("train/seeds/targets/y", check_chunks=check_chunks)
        for chunk in (0, 1):
            reader.read(chunk, check=lambda rows: seen.append(rows.copy()))
    assert len(seen) == (2 if check_chunks else 6)
    assert not np.array_equal(seen[0], seen[1])
    store.reader("train/seeds/targets/y", check_chunks=False).read(0, check=seen.append)
    assert len(seen) == (3 if check_chunks else 7)

    def refuse(rows):
        raise CorruptChunkError("refused")

    for _ in range(2):
        with pytest.raises(CorruptChunkError, match=r"train/seeds/targets/y/2\.0 .split train, batch 6 to .*: refused"):
            store.reader("train/seeds/targets/y", check_chunks=check_chunks).read(2, check=refuse)
    last = store.spec("train/seeds/targets/y").num_chunks - 1
    store.reader("train/seeds/targets/y", check_chunks=check_chunks).read(last, check=seen.append)
    spoil(path, "train/seeds/targets/y", NUM_CLASSES)
    with pytest.raises(CorruptChunkError, match="checksum" if check_chunks else "refused"):
        store.reader("train/seeds/targets/y", check_chunks=check_chunks).read(last, check=refuse)
