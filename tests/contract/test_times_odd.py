"""Attributes that are two things at once, types without nodes, nodes in many trees: odd, and legal, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards import ShardDataset, evaluate, fit, open_store
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import CheckpointError, ConfigError, GraphError
from heteroshards.trainer.trained import predict
from tests.contract.test_times import DAY, job, races, source_of


def sound(data: HeteroData, config: JobConfig) -> Path:
    source = source_of(data, config)
    store = prepare_source(source, config).path
    found = verify(store, source, config)
    assert found.is_sound, found.lines()
    return store


def small(**sections: Any) -> HeteroData:
    data = HeteroData()
    data["m"].x, data["u"].x = torch.rand(8, 2), torch.eye(4, 64)
    data["m"].y, data["m"].train_mask = torch.arange(8) % 2, torch.ones(8, dtype=torch.bool)
    data["u", "r", "m"].edge_index = torch.stack([torch.arange(8) % 4, torch.arange(8)])
    return data


def small_job(root: Path, **sections: Any) -> JobConfig:
    return JobConfig(
        name="small",
        dataset={"seed_type": "m", **sections.pop("dataset", {})},
        sampling={"fanout": [-1], "batch_size": 8, "rounds": 1, **sections.pop("sampling", {})},
        store={"root": str(root)},
        model={"hidden_channels": 8, "featureless": "constant"},
        train={"epochs": 1, "backend": "eager", "root": str(root)},
        **sections,
    )


def test_sparse_features_of_a_node_in_many_trees(tmp_path: Path) -> None:
    config = small_job(tmp_path, sampling={"is_disjoint": True})
    result = fit(config, sound(small(), config), tmp_path / "run")
    assert np.isfinite(result["best_score"] if result["best_score"] is not None else 0.0)
    assert result["job"]["sparse_features"] == ["u"]


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
@pytest.mark.parametrize("is_disjoint", [False, True])
@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_weights_may_be_features_too(tmp_path: Path, shape: Any, is_disjoint: bool, grouping: str) -> None:
    data = small()
    data["u", "r", "m"].edge_attr = torch.rand(*shape)
    sampling = {"weight": "edge_attr", "is_disjoint": is_disjoint, "grouping": grouping, "fanout": [1], "batch_size": 3}
    store = sound(data, small_job(tmp_path, sampling=sampling))
    assert open_store(store).manifest.graph.edge("u__r__m").attributes[0].name == "edge_attr"


def test_times_may_be_weights_and_stay_exact(tmp_path: Path) -> None:
    data = races(1)
    for of in (data["result"], data["driver", "met", "driver"]):
        of.date = of.date + 2**40
    data["ask"].when += 2**40
    config = job(tmp_path, sampling={"weight": "date", "fanout": [-1, -1]})
    source = source_of(data, config)
    assert source.data["driver", "met", "driver"]["_time"].tolist() == data["driver", "met", "driver"].date.tolist()
    sound(data, config)


def test_times_may_be_features_too(tmp_path: Path) -> None:
    data = races(1)
    data["result"].date = data["result"].date // DAY
    data["driver", "met", "driver"].date //= DAY
    data["ask"].when //= DAY
    config = job(tmp_path, dataset={"attributes": {"result": ["x", "date"]}})
    store = sound(data, config)
    fit(config, store, tmp_path / "run")


def test_what_would_have_one_name_in_a_batch_is_refused(tmp_path: Path) -> None:
    data = races(2)
    data["driver"].y = torch.rand(8, 1)
    with pytest.raises(ConfigError, match=r"node type 'ask': a target would be called 'y' in a batch"):
        source_of(data, job(tmp_path, dataset={"attributes": {"driver": ["x", "y"]}}))
    data = small()
    data["m"].tree = data["m"].y.clone()
    with pytest.raises(ConfigError, match="a target would be called 'tree'"):
        source_of(data, small_job(tmp_path, task={"target": [{"label": "y"}, {"label": "tree"}]}))


def test_a_type_with_times_and_no_nodes(tmp_path: Path) -> None:
    data = small()
    data["m"].t = torch.zeros(8, dtype=torch.long)
    data["z"].x, data["z"].t = torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)
    data["z", "r", "m"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    sound(data, small_job(tmp_path, task={"time": "t"}, sampling={"time": {"nodes": "t"}}))


def test_columns_are_said_where_there_are_no_labels(tmp_path: Path) -> None:
    data = small()
    data["m"].y = torch.rand(8, 3)
    config = small_job(tmp_path, task={"kind": "regression"})
    fit(config, sound(data, config), tmp_path / "run")
    del data["m"].y, data["m"].train_mask
    later = small_job(tmp_path, task={"kind": "regression"}, dataset={"predict": "all", "num_classes": 3})
    store = sound(data, later)
    assert predict(later, tmp_path / "run", tmp_path / "p.parquet", store=open_store(store)) == 8
    assert len(pq.read_table(tmp_path / "p.parquet")["prediction"][0]) == 3


def test_predictions_say_which_question_they_answer(tmp_path: Path) -> None:
    data = races(3)
    data["ask"].node[:4], data["ask"].when[:4] = 1, 1500 * DAY
    config = job(tmp_path)
    store = sound(data, config)
    fit(config, store, tmp_path / "run")
    predict(config, tmp_path / "run", tmp_path / "p.parquet", ["val"], store=open_store(store))
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    asked = np.flatnonzero(data["ask"].val_mask.numpy())
    assert table["row"] == list(range(len(asked)))
    assert table["node_id"] == data["ask"].node[asked].tolist() and table["time"] == data["ask"].when[asked].tolist()


def test_weights_that_sums_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    for weights in ([1e20] + [1.0] * 7, [1e308] * 8):
        data = small()
        data["u", "r", "m"].w = torch.tensor(weights, dtype=torch.float64)
        with pytest.raises(GraphError, match="too far apart to be drawn exactly"):
            source_of(data, small_job(tmp_path, sampling={"weight": "w"}))


def test_weights_know_whether_there_were_ages(tmp_path: Path) -> None:
    data = races(4)
    config = job(tmp_path, model={"featureless": "constant"})
    fit(config, sound(data, config), tmp_path / "run")
    other = job(tmp_path, task={"time": None}, sampling={"time": None}, model={"featureless": "constant"})
    store = sound(data, other)
    with pytest.raises(CheckpointError, match=r"node type 'result' has .*ages"):
        evaluate(other, tmp_path / "run", "val", store=open_store(store))


def test_questions_have_no_edges(tmp_path: Path) -> None:
    data = races(6)
    data["ask", "of", "driver"].edge_index = torch.zeros(2, 1, dtype=torch.long)
    with pytest.raises(ConfigError, match=r"\[task\] seeds: the type of questions has edges; got .*'ask', 'of'"):
        source_of(data, job(tmp_path))


def test_items_of_disjoint_trees_are_named(tmp_path: Path) -> None:
    config = job(tmp_path)
    batch = ShardDataset(open_store(sound(races(5), config)), "train", as_hetero_data=True)[0]
    assert batch["result"].age.shape == batch["result"].tree.shape == batch["result"].n_id.shape
    assert batch["driver"].seed_time.dtype == torch.int64
