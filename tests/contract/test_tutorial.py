"""The case of Graphcore's tutorial on heterogeneous graphs, on the real IMDB graph."""

import pytest
import torch

from heteroshards import pipeline
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer import ShardDataset
from tests.pipeline.stores import manifest_of

NODES = {"movie": 500, "director": 100, "actor": 300}
EDGES = {"movie__to__director": 100, "movie__to__actor": 200, "director__to__movie": 100, "actor__to__movie": 200}
NODE_KEYS = {"x", "n_id", "batch", "ptr", "nodes_mask"}
SEED_KEYS = NODE_KEYS | {"y", "batch_size", "input_id", "train_mask", "val_mask", "test_mask"}
EDGE_KEYS = {"edge_index", "e_id", "edges_mask"}


def tutorial_job(root, **budget):
    dataset = {
        "subset": {"movie": 1000},
        "remove_isolated": True,
        "random_split": {"train": 1.0, "val": 0.0, "test": 0.0},
    }
    sampling = {"fanout": [5, 5], "batch_size": 5, "rounds": 1}
    return JobConfig.model_validate(
        {"name": "tutorial", "dataset": dataset, "sampling": sampling, "budget": budget, "store": {"root": str(root)}}
    )


def first_batch(imdb, config):
    store = pipeline.prepare(imdb, config)
    return ShardDataset(store, "train", as_hetero_data=True)[0]


def check_keys_and_shapes(batch, num_nodes, num_edges):
    assert set(batch["movie"].keys()) == SEED_KEYS
    assert set(batch["director"].keys()) == set(batch["actor"].keys()) == NODE_KEYS
    for name, count in num_nodes.items():
        assert batch[name].x.shape == (count, 3066)
        for key in ("n_id", "batch", "nodes_mask"):
            assert batch[name][key].shape == (count,)
        assert batch[name].ptr.shape == (3,)
    assert batch["movie"].y.shape == (num_nodes["movie"],)
    for split in ("train", "val", "test"):  # the rest of the seed rows is padding
        assert batch["movie"][f"{split}_mask"].sum() == (5 if split == "train" else 0)
    assert batch["movie"].batch_size == 5 and batch["movie"].input_id.shape == (5,)
    for (src, relation, dst), count in zip(batch.edge_types, num_edges.values(), strict=True):
        edges = batch[src, relation, dst]
        assert set(edges.keys()) == EDGE_KEYS
        assert edges.edge_index.shape == (2, count)
        assert edges.e_id.shape == edges.edges_mask.shape == (count,)
        assert int(edges.edge_index[0].max()) < num_nodes[src] and int(edges.edge_index[1].max()) < num_nodes[dst]
    assert batch.graphs_mask.tolist() == [True, False]


def test_explicit_budget_per_type(imdb, tmp_path):
    batch = first_batch(imdb, tutorial_job(tmp_path, mode="explicit", nodes=NODES, edges=EDGES))
    check_keys_and_shapes(batch, NODES, EDGES)
    assert torch.equal(batch["movie"].n_id[:5], batch["movie"].input_id), "the seeds are in the seed rows"


def test_uniform_budget(imdb, tmp_path):
    batch = first_batch(imdb, tutorial_job(tmp_path, mode="uniform", nodes=1000, edges=1000))
    check_keys_and_shapes(batch, dict.fromkeys(NODES, 1000), dict.fromkeys(EDGES, 1000))


def test_sampled_budget_has_the_tutorials_order_of_size(imdb, tmp_path):
    """The tutorial prints 64 / 6 / 16 nodes and 22 / 56 / 6 / 16 edges for one run of `from_loader`."""
    store = pipeline.prepare(imdb, tutorial_job(tmp_path, mode="sampled", num_batches=100, oversize="skip"))
    budget = manifest_of(store)["budgets"][0]
    for name, expected in {"movie": 64, "director": 6, "actor": 16}.items():
        assert 0.6 * expected <= budget["num_nodes"][name] <= 1.5 * expected
    for key, expected in zip(EDGES, (22, 56, 6, 16), strict=True):
        assert 0.6 * expected <= budget["num_edges"][key] <= 1.5 * expected


@pytest.mark.parametrize("subset", [True, False])
def test_the_whole_graph_as_one_batch(imdb, tmp_path, subset):
    """The tutorial first trains on the first 1000 movies as one batch, isolated nodes removed."""
    config = tutorial_job(tmp_path)
    dataset = config.dataset if subset else JobConfig().dataset
    config = JobConfig(name="full", dataset=dataset, sampling={"mode": "full"}, store={"root": str(tmp_path)})
    source = from_data(imdb, config.dataset, {})
    store = prepare_source(source, config).path
    batch = ShardDataset(store, "train", as_hetero_data=True)[0]
    for name in imdb.node_types:
        assert int(batch[name].nodes_mask.sum()) == source.data[name].num_nodes
        real = batch[name].n_id[batch[name].nodes_mask]
        assert torch.equal(batch[name].x[batch[name].nodes_mask], source.data[name].x[real])
    for edge_type in imdb.edge_types:
        assert int(batch[edge_type].edges_mask.sum()) == source.data[edge_type].num_edges
