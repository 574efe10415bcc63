"""The Dataset: items by name, as HeteroData with the tutorial's keys, and through a DataLoader."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable
from heteroshards.trainer.reading.order import shuffled_order
from tests.trainer.store_factory import PAD_VALUE


@pytest.mark.parametrize("features", ["table", "inline"])
def test_items_are_the_store_by_name(store_of, features):
    store = store_of(features=features)
    dataset = ShardDataset(store, "test")
    assert len(dataset) == 5
    for index in (3, 0, 4, -5):
        item = dataset[index]
        for path in (
            "nodes/movie/n_id",
            "nodes/actor/mask",
            "edges/movie__to__actor/e_id",
            "seeds/n_id",
            "seeds/targets/y",
        ):
            np.testing.assert_array_equal(item[path].numpy(), store.read(f"test/{path}")[index], err_msg=path)
        pads = ~item["nodes/movie/mask"]
        assert pads.any()
        assert (item["nodes/movie/x"][pads] == PAD_VALUE).all()
    assert "nodes/director/x" not in item
    with pytest.raises(IndexError, match="index 5"):
        dataset[5]


def test_a_round_is_its_batches(table_store):
    starts = table_store.split("train").parts[0].round_starts
    dataset = ShardDataset(table_store.path, "train", round=1)  # a path does as well
    assert len(dataset) == starts[2] - starts[1]
    np.testing.assert_array_equal(dataset[0]["seeds/n_id"].numpy(), table_store.read("train/seeds/n_id")[starts[1]])
    with pytest.raises(IndexError, match="rounds 0 to 1"):
        ShardDataset(table_store, "train", round=2)


def test_items_may_be_kept(table_store):
    dataset = ShardDataset(table_store, "train")
    kept = [item["nodes/movie/n_id"] for item in (dataset[i] for i in range(len(dataset)))]
    np.testing.assert_array_equal(torch.stack(kept).numpy(), table_store.read("train/nodes/movie/n_id"))


@pytest.mark.parametrize("features", ["table", "inline"])
def test_writing_into_an_item_changes_no_other(store_of, features):
    dataset = ShardDataset(store_of(features=features), "train")
    kept = {name: tensor.clone() for name, tensor in dataset[1].items()}
    for tensor in dataset[1].values():
        tensor.zero_()
    again = dataset[1]
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_hetero_data_has_the_tutorials_keys(table_store):
    data = ShardDataset(table_store, "test", as_hetero_data=True)[4]  # the short last batch: 3 of 4 seeds
    sizes = table_store.manifest.budgets[0]
    assert data.graphs_mask.tolist() == [True, False]
    assert (data.num_nodes, data.num_edges) == (sum(sizes.num_nodes.values()), sum(sizes.num_edges.values()))
    movie = data["movie"]
    masks = {"train_mask", "val_mask", "test_mask"}
    assert set(movie.keys()) == {"x", "y", "n_id", "batch", "ptr", "nodes_mask", "batch_size", "input_id"} | masks
    assert set(data["director"].keys()) == {"n_id", "batch", "ptr", "nodes_mask"}
    assert set(data["movie", "to", "actor"].keys()) == {"edge_index", "e_id", "edges_mask"}
    assert set(data["actor", "to", "movie"].keys()) == {"edge_index", "edge_attr", "e_id", "edges_mask"}
    real = int(movie.nodes_mask.sum())
    assert movie.ptr.tolist() == [0, real, sizes.num_nodes["movie"]]
    assert movie.batch.tolist() == [0] * real + [1] * (sizes.num_nodes["movie"] - real)
    assert (movie.n_id[real:] == -1).all()
    assert movie.batch_size == 4
    assert movie.input_id.tolist() == [*movie.n_id[:3].tolist(), -1]
    assert (movie.y[:3] >= 0).all()
    assert (movie.y[3:] == -100).all()
    pads = data["movie", "to", "actor"].edge_index[:, ~data["movie", "to", "actor"].edges_mask]
    assert (pads[0] == sizes.num_nodes["movie"] - 1).all()
    assert (pads[1] == sizes.num_nodes["actor"] - 1).all()


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_the_tutorials_masks_are_true_on_the_real_seeds_of_the_batchs_own_split(store_of, split):
    store = store_of(rounds={"train": 1, "val": 1, "test": 1, "predict": 1})
    for batch in ShardDataset(store, split, as_hetero_data=True):
        movie = batch["movie"]
        for other in ("train", "val", "test", "predict"):
            mask = movie[f"{other}_mask"]
            assert mask.dtype == torch.bool and mask.shape == movie.y.shape
            expected = (movie.input_id[movie.input_id >= 0]).tolist() if other == split else []
            assert movie.n_id[mask].tolist() == expected
        assert (movie.y[~movie[f"{split}_mask"]] == -100).all()
    assert "predict_mask" not in ShardDataset(store_of(), "train", as_hetero_data=True)[0]["movie"]


def test_datasets_travel_to_workers_by_name(table_store):
    dataset = ShardDataset(table_store, "train", round=1, as_hetero_data=True)
    data = pickle.dumps(dataset)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert len(copy) == len(dataset)
    assert copy[2]["movie"].n_id.tolist() == dataset[2]["movie"].n_id.tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_loader_reads_every_batch_once(table_store, num_workers):
    dataset = ShardDataset(table_store, "train")
    loader = DataLoader(ShardIterable(dataset, epoch=3), batch_size=None, num_workers=num_workers)
    first = sorted(item["seeds/n_id"].tolist() for item in loader)
    assert first == sorted(table_store.read("train/seeds/n_id").tolist())


def test_the_iterable_has_the_order_of_fit(table_store):
    dataset = ShardDataset(table_store, "train", round=1)
    order = shuffled_order(table_store.split("train"), 1, table_store.manifest.chunk_batches, 7, 2)
    seeds = table_store.read("train/seeds/n_id")
    shuffled = [item["seeds/n_id"].tolist() for item in ShardIterable(dataset, epoch=2, rng_seed=7)]
    assert shuffled == seeds[order].tolist()
    stored = [item["seeds/n_id"].tolist() for item in ShardIterable(dataset)]
    assert stored == seeds[np.sort(order)].tolist()
