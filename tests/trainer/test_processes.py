"""`ShardIterable` in several processes that train together."""

import itertools
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.schemas.errors import OutOfRangeError
from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable
from tests.trainer.store_factory import write_store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return ShardDataset(write_store(tmp_path_factory.mktemp("processes") / "s"), "train")


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}


def seeds(items):
    return [item["seeds/n_id"].tolist() for item in items]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 3)))
def test_parts_are_the_whole_and_as_good_as_even(dataset, world_size, epoch):
    parts = [seeds(ShardIterable(dataset, epoch, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert list(itertools.chain(*parts)) == seeds(ShardIterable(dataset, epoch))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, None), (None, 2), (0, 0)])
def test_a_rank_that_there_is_not_is_refused(dataset, rank, world_size):
    with pytest.raises(OutOfRangeError, match="no such process"):
        ShardIterable(dataset, rank=rank, world_size=world_size)


PROGRAM = """
import json, sys, torch.distributed as dist
from torch.utils.data import DataLoader
from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable

if __name__ == "__main__":
    store, meet, start, rank = sys.argv[1:]
    items = ShardIterable(ShardDataset(store, "train"), epoch=1)  # before there is a group
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=int(rank), world_size=2)
    if start != "none":
        items = DataLoader(items, batch_size=None, num_workers=2, multiprocessing_context=start)
    print(json.dumps([item["seeds/n_id"].tolist() for item in items]))
"""


@pytest.mark.parametrize("start", ["none", "fork", "spawn"])
def test_each_process_of_a_group_has_its_part(dataset, tmp_path, start):
    """A real group of two, with workers of any kind in each."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), dataset.store.path, str(tmp_path / "meet"), start]
    running = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, env=environment()) for rank in (0, 1)]
    parts = [json.loads(process.communicate(timeout=300)[0]) for process in running]
    assert sorted(parts[0] + parts[1]) == sorted(seeds(ShardIterable(dataset)))
    assert abs(len(parts[0]) - len(parts[1])) <= 1
