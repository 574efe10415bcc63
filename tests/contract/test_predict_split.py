"""`[dataset] predict`: every node, or a mask's, from the graph to the Parquet file; nothing else changes by it."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards.pipeline import prepare
from heteroshards.pipeline.forecast.job import as_json, forecast
from heteroshards.pipeline.inspect.command import look_at
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, GraphError, HeteroShardsError
from heteroshards.trainer import ShardDataset, fit, open_store
from heteroshards.trainer.evaluate import evaluate
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.predict import predict

NUM_PAPERS, NUM_AUTHORS = 24, 6


def graph() -> HeteroData:
    """Papers 0..11 are train, 12..17 val; 18..20 have a label and no split, 21..23 neither."""
    rng, data = torch.Generator().manual_seed(0), HeteroData()
    ids = torch.arange(NUM_PAPERS)
    data["paper"].x = torch.randn(NUM_PAPERS, 4, generator=rng)
    data["paper"].y = torch.where(ids < 21, ids % 3, -1)
    data["paper"].train_mask, data["paper"].val_mask = ids < 12, (ids >= 12) & (ids < 18)
    data["paper"].wanted = ids >= 16
    data["author"].num_nodes = NUM_AUTHORS
    edges = torch.stack([torch.arange(2 * NUM_PAPERS) % NUM_AUTHORS, torch.arange(2 * NUM_PAPERS) % NUM_PAPERS])
    data["author", "writes", "paper"].edge_index = edges
    data["paper", "rev", "author"].edge_index = edges.flip(0)
    return data


def job(root, predict=None, dataset=(), **sections) -> JobConfig:
    sampling = {"fanout": [2, 2], "batch_size": 5, "rounds": 2, "eval_rounds": 2, **sections.pop("sampling", {})}
    if sampling.get("mode") == "full":
        sampling = {"mode": "full"}
    return JobConfig.model_validate(
        {
            "name": "job",
            "dataset": {"seed_type": "paper", "predict": predict, **dict(dataset)},
            "store": {"root": str(root / "stores"), "chunk_batches": 2},
            "sampling": sampling,
            "model": {"hidden_channels": 8},
            "train": {"epochs": 1, "backend": "eager", "root": str(root / "runs"), "cache": str(root / "c")},
            **sections,
        }
    )


def seeds_of(store, split):
    ids, mask = store.read_seeds(split, "n_id"), store.read_seeds(split, "mask")
    return np.sort(ids[mask]).tolist(), dict(
        zip(ids[mask].tolist(), store.read_target(split, "y")[mask].tolist(), strict=True)
    )


WAYS = [
    {},
    {"sampling": {"grouping": "random"}},
    {"sampling": {"grouping": "packed"}},
    {"sampling": {"mode": "full"}},
    {"budget": {"shapes": 2}},
    {
        "budget": {
            "mode": "quantile",
            "quantile": 0.5,
            "confidence": 0.6,
            "num_batches": 40,
            "oversize": "trim_nodes_and_edges",
        }
    },
]


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_every_node_is_prepared_and_verified(tmp_path, sections):
    config, data = job(tmp_path, "all", **sections), graph()
    store = open_store(prepare(data, config))
    rounds = store.split("predict").num_rounds
    ids, labels = seeds_of(store, "predict")
    assert ids == sorted(list(range(NUM_PAPERS)) * rounds)
    assert labels == {i: i % 3 if i < 21 else -100 for i in range(NUM_PAPERS)}
    assert rounds == (1 if config.sampling.mode == "full" else 2)
    assert verify(store.path).is_sound
    assert verify(store.path, from_data(data, config.dataset, {}), config).is_sound
    assert '"predict"' in look_at(store.path, as_json=True) and "predict" in look_at(store.path)


def test_a_mask_names_the_nodes(tmp_path):
    store = open_store(prepare(graph(), job(tmp_path, "wanted")))
    ids, labels = seeds_of(store, "predict")
    assert ids == sorted(list(range(16, 24)) * 2)
    assert [labels[i] for i in range(16, 24)] == [1, 2, 0, 1, 2, -100, -100, -100]


def test_what_was_not_asked_for_is_as_it_was(tmp_path):
    """The draws and groups of the other splits, and a store without it, do not know of it."""
    plain, asked = (open_store(prepare(graph(), job(tmp_path, which))) for which in (None, "all"))
    assert not plain.has_split("predict") and plain.fingerprint != asked.fingerprint
    for split in ("train", "val"):
        batches = [
            [
                ids[mask].tolist()
                for ids, mask in zip(s.read_seeds(split, "n_id"), s.read_seeds(split, "mask"), strict=True)
            ]
            for s in (plain, asked)
        ]
        assert batches[0] == batches[1]
        assert (plain.read_stats(split, "num_edges") == asked.read_stats(split, "num_edges")).all()


def test_plan_counts_it(tmp_path):
    config = job(tmp_path, "all")
    found = as_json(forecast(from_data(graph(), config.dataset, {}), config))
    assert {split["name"]: split["num_seeds"] for split in found["splits"]}["predict"] == NUM_PAPERS


def test_predictions_of_nodes_that_nothing_is_known_of(tmp_path):
    config = job(tmp_path, "all")
    store = open_store(prepare(graph(), config))
    fit(config, store, tmp_path / "run")
    with open_job(config, store, backend_of(config)) as opened:
        assert predict(opened, ["predict"], tmp_path / "p.parquet") == NUM_PAPERS
        assert np.isfinite(evaluate(opened, "predict")["loss"])
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert table["split"] == ["train"] * 12 + ["val"] * 6 + [None] * 6
    assert table["label"] == [i % 3 for i in range(21)] + [None] * 3
    assert np.isfinite(table["probability"]).all()


def test_a_graph_of_which_nothing_is_known(tmp_path):
    data = graph()
    for key in ("y", "train_mask", "val_mask"):
        del data["paper"][key]
    config = job(tmp_path, "all", dataset={"num_classes": 3})
    store = open_store(prepare(data, config))
    assert [split.name for split in store.manifest.splits] == ["predict"]
    assert store.manifest.graph.num_classes == 3
    assert set(seeds_of(store, "predict")[1].values()) == {-100}
    assert verify(store.path, from_data(data, config.dataset, {}), config).is_sound
    with pytest.raises(HeteroShardsError, match="no split 'train'"):
        fit(config, store, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"number of classes is unknown.*num_classes"):
        prepare(data, job(tmp_path, "all"))


def test_damage_to_it_is_found(tmp_path):
    config, data = job(tmp_path, "wanted"), graph()
    path = prepare(data, config)
    source = from_data(data, config.dataset, {})
    source.seeds["predict"] = np.arange(3)
    findings = [str(finding) for finding in verify(path, source, config).findings]
    assert any("source data" in finding for finding in findings)


@pytest.mark.parametrize(
    ("kind", "change", "dataset", "text"),
    [
        (ConfigError, {}, {"predict": "wnated"}, "no mask 'wnated'.*'all' is every node.*Did you mean 'wanted'"),
        (GraphError, {"wanted": torch.arange(NUM_PAPERS)}, {"predict": "wanted"}, "one bool per node.*mask.bool"),
        (GraphError, {"wanted": torch.zeros(NUM_PAPERS, dtype=torch.bool)}, {"predict": "wanted"}, "'predict' has no"),
        (ConfigError, {}, {"masks": {"train": "train_mask", "predict": "wanted"}}, "predict = 'wanted'"),
        (ConfigError, {}, {"predict": ""}, "at least 1 character"),
        (GraphError, {}, {"num_classes": 2}, "largest class is out of range; got 2"),
        (GraphError, {"train_mask": torch.ones(NUM_PAPERS, dtype=torch.bool)}, {}, "no label.*predict takes them"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path, kind, change, dataset, text):
    data = graph()
    for key, value in change.items():
        data["paper"][key] = value
    with pytest.raises(kind, match=text):
        prepare(
            data, job(tmp_path, dataset=dataset) if "predict" not in dataset else job(tmp_path, **{"dataset": dataset})
        )
    assert not (tmp_path / "stores").exists()


def test_random_splits_and_subsets(tmp_path):
    dataset = {"random_split": {"train": 0.5, "val": 0.5, "test": 0.0}, "subset": {"paper": 22}}
    config = job(tmp_path, "all", dataset=dataset)
    store = open_store(prepare(graph(), config))
    assert seeds_of(store, "predict")[0] == sorted(list(range(22)) * 2)
    assert {split.name for split in store.manifest.splits} == {"train", "val", "predict"}
    assert store.split("train").num_seeds + store.split("val").num_seeds == 21


def test_it_is_a_dataset_like_any_other(tmp_path):
    dataset = ShardDataset(prepare(graph(), job(tmp_path, "all")), "predict")
    assert sorted({int(i) for item in dataset for i in item["seeds/n_id"] if i >= 0}) == list(range(NUM_PAPERS))
