"""Partitions are plain data that tile a store."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from heteroshards.pipeline import prepare
from heteroshards.pipeline.writing import partitions
from heteroshards.pipeline.writing.partitions import Partition, partitions_of_store
from heteroshards.pipeline.writing.place import read_manifest
from heteroshards.schemas.config import JobConfig
from tests.strategies import random_graph


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    types = {("a", "to", "b"): 200, ("b", "to", "a"): 200}
    data = random_graph(np.random.default_rng(1), {"a": 90, "b": 40}, types, "a", {"a": 3})
    config = JobConfig(
        dataset={"seed_type": "a"},
        sampling={"fanout": [3, 2], "batch_size": 4, "rounds": 3},
        budget={"shapes": 2},
        store={"chunk_batches": 2, "root": str(tmp_path_factory.mktemp("p"))},
    )
    return read_manifest(prepare(data, config))


@pytest.mark.parametrize("most", [1, 3, 100])
def test_every_chunk_is_in_one_partition(manifest, monkeypatch, most):
    monkeypatch.setattr(partitions, "SHARDS_PER_PARTITION", most)
    found = partitions_of_store(manifest)
    assert list(found) == [partition.name for partition in found.values()]
    tables = [partition.place for partition in found.values() if partition.kind == "table"]
    assert tables == [spec.path for spec in manifest.tensors if spec.path.startswith("features/")]
    for split in manifest.splits:
        for part in manifest.parts(split):
            here = [partition for partition in found.values() if partition.place == part.path]
            assert [partition.kind for partition in here].count("ledger") == 1
            shards = [i for partition in here for i in range(partition.first, partition.end)]
            assert shards == list(range(-(-part.num_batches // min(2, part.num_batches))))
            assert sum(partition.num_batches for partition in here) == part.num_batches
            assert all(partition.end - partition.first <= most for partition in here)


def test_they_go_anywhere(manifest):
    for partition in partitions_of_store(manifest).values():
        assert pickle.loads(pickle.dumps(partition)) == partition
        assert Partition(**json.loads(json.dumps(dataclasses.asdict(partition)))) == partition
