"""Splits and subsets of a source graph. What is refused stands in test_bad_input.py."""

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards.pipeline.sources import SourceGraph, from_data
from heteroshards.pipeline.sources.splits import draw_splits
from heteroshards.schemas.config import DatasetConfig, RandomSplit
from heteroshards.schemas.errors import ConfigError, HeteroShardsError
from heteroshards.schemas.targets import ClassTarget
from tests.pipeline import build

LABELS = [0, 1, 2, 0, 1, -1, -100, 2]
MASKS = {"train": [0, 1, 2], "val": [3], "test": [4, 7]}
mask = partial(build.mask, size=8)


def graph() -> HeteroData:
    """Papers 0..7 and authors 0..3; paper 6 and author 3 have no edges, venues have no features."""
    data = HeteroData()
    data["paper"].x = torch.arange(16.0).view(8, 2)
    data["paper"].y = torch.tensor(LABELS)
    for split, ids in MASKS.items():
        data["paper"][f"{split}_mask"] = mask(ids)
    data["author"].x = torch.ones(4, 3)
    data["venue"].num_nodes = 2
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 0, 1, 2, 2, 1], [0, 1, 2, 3, 4, 5]])
    data["paper", "in", "venue"].edge_index = torch.tensor([[0, 7], [0, 1]])
    return data


def load(data: HeteroData, **config: Any) -> SourceGraph:
    return from_data(data, DatasetConfig(**{"seed_type": "paper", **config}), {})


def problem(kind: type[HeteroShardsError], data: HeteroData, **config: Any) -> str:
    with pytest.raises(kind) as caught:
        load(data, **config)
    return str(caught.value)


def test_seeds_come_from_masks_in_ascending_order() -> None:
    source = load(graph())
    assert {split: ids.tolist() for split, ids in source.seeds.items()} == MASKS
    assert {ids.dtype for ids in source.seeds.values()} == {np.dtype(np.int64)}
    assert (source.seed_type, source.node_ids) == ("paper", {})
    assert source.targets == (ClassTarget(name="y", num_classes=3, train_counts=(1, 1, 1)),)


def test_default_masks_may_be_absent_as_long_as_train_is_there() -> None:
    data = graph()
    del data["paper"].val_mask
    assert list(load(data).seeds) == ["train", "test"]
    assert "no mask 'val_mask'" in problem(ConfigError, data, masks={"train": "train_mask", "val": "val_mask"})
    del data["paper"].train_mask
    message = problem(ConfigError, data)
    assert "no mask 'train_mask'" in message and "random_split" in message


def test_a_random_split_covers_the_labelled_nodes_once() -> None:
    source = load(graph(), random_split={"train": 0.5, "val": 0.2, "test": 0.3})
    drawn = np.concatenate(list(source.seeds.values()))
    assert sorted(drawn) == [0, 1, 2, 3, 4, 7]
    assert [len(ids) for ids in source.seeds.values()] == [3, 1, 2]
    assert all((np.diff(ids) > 0).all() for ids in source.seeds.values())


def test_a_random_split_is_a_function_of_its_seed() -> None:
    labels = np.ones(1000, bool)
    first, same, other = (draw_splits(labels, RandomSplit(rng_seed=seed)) for seed in (1, 1, 2))
    assert [len(ids) for ids in first.values()] == [600, 200, 200]
    assert all(np.array_equal(first[split], same[split]) for split in first)
    assert not np.array_equal(first["train"], other["train"])


def test_a_share_of_zero_leaves_a_split_out() -> None:
    assert list(load(graph(), random_split={"train": 0.8, "val": 0.2, "test": 0}).seeds) == ["train", "val"]
    assert "no train split" in problem(ConfigError, graph(), random_split={"train": 0, "val": 0.5, "test": 0.5})


def test_misspelt_names_list_what_there_is() -> None:
    assert "Did you mean 'paper'?" in problem(ConfigError, graph(), seed_type="papers")
    assert "no label 'yy'" in problem(ConfigError, graph(), label="yy")
    assert "Known: paper, author, venue." in problem(ConfigError, graph(), subset={"movie": 3})


def test_a_subset_keeps_the_first_nodes_and_the_edges_among_them() -> None:
    original = graph()
    source = load(original, subset={"paper": 5}, masks={"train": "train_mask", "test": "test_mask"})
    assert source.data["paper"].x.tolist() == original["paper"].x[:5].tolist()
    assert source.data["author", "writes", "paper"].edge_index.tolist() == [[0, 0, 1, 2, 2], [0, 1, 2, 3, 4]]
    assert source.data["paper", "in", "venue"].edge_index.tolist() == [[0], [0]]
    assert source.node_ids["paper"].tolist() == [0, 1, 2, 3, 4] and list(source.node_ids) == ["paper"]
    assert source.seeds["test"].tolist() == [4]
    assert original["paper"].num_nodes == 8 and "_source_id" not in original["paper"]


def test_isolated_nodes_go_and_original_ids_stay() -> None:
    original = graph()
    source = load(original, remove_isolated=True)
    assert {name: ids.tolist() for name, ids in source.node_ids.items()} == {
        "paper": [0, 1, 2, 3, 4, 5, 7],
        "author": [0, 1, 2],
    }
    assert source.data["paper"].y.tolist() == [0, 1, 2, 0, 1, -1, 2]
    assert source.seeds["test"].tolist() == [4, 6]
    assert original.to_dict().keys() == graph().to_dict().keys() and original["author"].num_nodes == 4
    assert all("_source_id" not in store for store in [*source.data.node_stores, *original.node_stores])


def test_classes_are_counted_before_the_subset() -> None:
    source = load(graph(), subset={"paper": 2}, masks={"train": "train_mask"})
    assert source.data["paper"].y.tolist() == [0, 1] and source.targets[0].columns == 3


def test_the_package_answers_without_torch() -> None:
    code = "import sys; import heteroshards.pipeline.sources; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
