"""Questions of (node, time) pairs: no batch looks into the future, which `verify` proves, and each is its own seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from heteroshards import ShardDataset, evaluate, fit, open_store
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import SourceGraph, from_data
from heteroshards.pipeline.verify import verify
from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.trainer.backends.cuda_graphs import CudaGraphsBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.trained import predict
from tests.pipeline.stores import files_of, read, rewrite
from tests.poptorch_double import installed
from tests.trainer.graph_double import CpuGraphDevice

DAY = 86_400


def races(rng_seed: int, num_rows: int = 60) -> HeteroData:
    """Drivers and their results, which have dates, and questions about drivers at dates; some before any result."""
    rng = np.random.default_rng(rng_seed)
    data, num = HeteroData(), 80
    data["driver"].num_nodes, data["result"].num_nodes = 8, num
    data["driver"].x = torch.from_numpy(rng.random((8, 3), np.float32))
    data["result"].x = torch.from_numpy(rng.random((num, 4), np.float32))
    data["result"].date = torch.from_numpy(rng.integers(1000, 2000, num) * DAY)
    of = torch.from_numpy(np.stack([np.arange(num), rng.integers(0, 8, num)]))
    data["result", "of", "driver"].edge_index = of
    data["driver", "has", "result"].edge_index = of.flip(0)
    met = torch.from_numpy(rng.integers(0, 8, (2, 30)))
    data["driver", "met", "driver"].edge_index = met
    data["driver", "met", "driver"].date = torch.from_numpy(rng.integers(1000, 2000, 30) * DAY)
    data["ask"].node = torch.from_numpy(rng.integers(0, 8, num_rows))
    data["ask"].when = torch.from_numpy(rng.integers(950, 2000, num_rows) * DAY)
    data["ask"].y = torch.from_numpy(rng.random(num_rows).astype(np.float32))
    part = np.arange(num_rows) % 4
    for split, is_in in (("train", part < 2), ("val", part == 2), ("test", part == 3)):
        data["ask"][f"{split}_mask"] = torch.from_numpy(is_in)
    return data


def job(root: Path, **sections: Any) -> JobConfig:
    sampling = {
        "fanout": [3, 2],
        "batch_size": 5,
        "rounds": 2,
        "time": {"nodes": "date", "edges": "date"},
        **sections.pop("sampling", {}),
    }
    return JobConfig(
        name="times",
        dataset={"seed_type": "driver", **sections.pop("dataset", {})},
        task={"kind": "regression", "seeds": "ask", "time": "when", **sections.pop("task", {})},
        sampling=sampling,
        store={"root": str(root), **sections.pop("store", {})},
        model={"hidden_channels": 8, **sections.pop("model", {})},
        train={"epochs": 2, "backend": "eager", "root": str(root)},
        **sections,
    )


def source_of(data: HeteroData, config: JobConfig) -> SourceGraph:
    return from_data(data, config.dataset, {}, config)


def visible_everywhere(data: HeteroData, store: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> int:
    """Looks at every node and edge of a store with plain loops; returns how many there are."""
    count = 0
    for split in splits:
        rows, asked = read(store, f"{split}/seeds/row"), read(store, f"{split}/seeds/time")
        assert (asked[rows < 0] == -(2**63)).all()
        trees = {name: read(store, f"{split}/nodes/{name}/tree") for name in ("driver", "result")}
        ids, ages = (read(store, f"{split}/nodes/result/{name}") for name in ("n_id", "age"))
        date = data["result"].date.numpy()
        for batch, row in zip(*np.nonzero(ids >= 0), strict=True):
            time = asked[batch, trees["result"][batch, row]]
            assert date[ids[batch, row]] <= time
            assert ages[batch, row] == np.float32((time - date[ids[batch, row]]) / DAY)
            count += 1
        e_id = read(store, f"{split}/edges/driver__met__driver/e_id")
        ends = read(store, f"{split}/edges/driver__met__driver/edge_index")
        for batch, column in zip(*np.nonzero(e_id >= 0), strict=True):
            tree = trees["driver"][batch, ends[batch, 1, column]]
            assert data["driver", "met", "driver"].date[e_id[batch, column]] <= asked[batch, tree]
            count += 1
    return count


@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
@pytest.mark.parametrize("stored", ["per_type", "packed"])
def test_no_batch_sees_the_future(tmp_path: Path, grouping: str, stored: str) -> None:
    data = races(1)
    config = job(tmp_path, sampling={"grouping": grouping}, store={"layout": stored})
    source = source_of(data, config)
    store = prepare_source(source, config, workers=1).path
    other = prepare_source(source, config, workers=3, store=tmp_path / "other").path
    assert files_of(store) == files_of(other)
    assert visible_everywhere(data, store) > 100
    found = verify(store, source, config)
    assert found.is_sound, found.lines()
    assert {"every seed has a sample of its own", "no node and no edge is later than its seed"} <= set(found.proven)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([{}, {"strategy": "last"}, {"window": 100 * DAY}, {"replace": True}, {"fanout": [-1, -1, 1]}]),
)
def test_whatever_the_graph_and_the_way_of_drawing(
    tmp_path_factory: pytest.TempPathFactory, rng_seed: int, sampling: dict[str, Any]
) -> None:
    data, root = races(rng_seed), tmp_path_factory.mktemp("times")
    config = job(root, sampling=sampling)
    source = source_of(data, config)
    store = prepare_source(source, config).path
    visible_everywhere(data, store)
    assert verify(store, source, config).is_sound
    for split in ("train", "val", "test"):
        rows = read(store, f"{split}/seeds/row")
        manifest = open_store(store).manifest
        info = manifest.split(split)
        for first, last in zip(info.parts[0].round_starts, info.parts[0].round_starts[1:], strict=False):
            asked = rows[first:last]
            assert sorted(asked[asked >= 0]) == sorted(np.unique(asked[asked >= 0])), "each row once per round"


@pytest.mark.parametrize(
    ("tensor", "change", "words"),
    [
        ("train/nodes/result/n_id", "late node", "a node is later than its seed"),
        ("train/nodes/result/tree", "other tree", "an edge joins nodes of two seeds"),
        ("train/nodes/result/age", "age", "an age is not what is between"),
        ("train/seeds/time", "time", "a seed asks at another time"),
        ("train/edges/driver__met__driver/e_id", "late edge", "an edge is later than its seed"),
    ],
)
def test_verify_finds_what_looks_ahead(tmp_path: Path, tensor: str, change: str, words: str) -> None:
    data = races(2)
    config = job(tmp_path, sampling={"rounds": 1}, store={"layout": "per_type"})
    source = source_of(data, config)
    store = prepare_source(source, config).path
    latest = (
        int(data["result"].date.argmax()) if "node" in change else int(data["driver", "met", "driver"].date.argmax())
    )

    def put(rows: np.ndarray) -> None:
        batch, column = (int(at[0]) for at in np.nonzero(rows != rows[0, -1])) if change == "time" else (0, 0)
        if change in ("late node", "late edge"):
            batch, column = next(zip(*np.nonzero(rows >= 0), strict=True))
            rows[batch, column] = latest
        elif change == "other tree":
            batch = int(np.flatnonzero((rows >= 0).sum(axis=1) > 1)[0])
            rows[batch, 0] = (rows[batch, 0] + 1) % 5
        else:
            rows[batch, column] += 1

    rewrite(store, tensor, put)
    assert words in " ".join(verify(store, source, config).lines())


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv", "hgt"])
def test_training_and_predictions(tmp_path: Path, name: str) -> None:
    data = races(3)
    config = job(tmp_path, dataset={"predict": "all"}, model={"name": name, "hidden_channels": 8})
    store = prepare_source(source_of(data, config), config).path
    result = fit(config, store, tmp_path / "run")
    assert evaluate(config, tmp_path / "run", "val", store=open_store(store)) == pytest.approx(result["val"])
    assert predict(config, tmp_path / "run", tmp_path / "p.parquet", store=open_store(store)) == 60
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert table["node_id"] == data["ask"].node.tolist() and table["time"] == data["ask"].when.tolist()
    np.testing.assert_allclose(table["label"], data["ask"].y.numpy())
    batch = ShardDataset(open_store(store), "train")[0]
    assert batch["seeds/time"].dtype == torch.int64 and batch["nodes/result/age"].dtype == torch.float32


@pytest.mark.parametrize("device", ["inductor", "graph", "ipu"])
def test_ages_on_every_backend(tmp_path: Path, device: str) -> None:
    """Compiled once for each purpose, and the scores of eager."""
    config = job(tmp_path, model={"num_layers": 1, "dropout": 0.0}, sampling={"fanout": [3], "rounds": 1})
    store = prepare_source(source_of(races(9), config), config).path
    expected = fit(config, store, tmp_path / "eager")
    with installed():
        backend: Any = {
            "inductor": lambda: InductorBackend(tmp_path / "c"),
            "graph": lambda: CudaGraphsBackend(CpuGraphDevice()),
            "ipu": lambda: PopTorchBackend(config.ipu, tmp_path),
        }[device]()
        found = fit(config, store, tmp_path / device, backend=backend)
    assert found["num_compilations"] == {"train": 1, "infer": 1}
    assert found["test"] == pytest.approx(expected["test"], rel=1e-3)


def test_what_a_seed_is_told_does_not_depend_on_who_is_beside_it(tmp_path: Path) -> None:
    """The same model answers alike in batches of any size: trees are the seeds' own, whatever the key."""
    data = races(4)
    sampling = {"fanout": [-1, -1], "rounds": 1}
    config = job(tmp_path, sampling=sampling)
    small = prepare_source(source_of(data, config), config).path
    fit(config, small, tmp_path / "run")
    other = job(tmp_path, sampling={**sampling, "batch_size": 17, "grouping": "random"})
    large = prepare_source(source_of(data, other), other).path
    found = [
        evaluate(of, tmp_path / "run", "test", store=open_store(at)) for of, at in ((config, small), (other, large))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_nodes_themselves_may_ask_at_a_time(tmp_path: Path) -> None:
    """Without a table: each node of the seed type once, at its own time."""
    data = races(5)
    del data["ask"]
    data["result"].y = torch.rand(80)
    config = job(
        tmp_path,
        dataset={"seed_type": "result", "random_split": {}},
        task={"seeds": None, "time": "date"},
    )
    source = source_of(data, config)
    store = prepare_source(source, config).path
    found = verify(store, source, config)
    assert found.is_sound, found.lines()
    assert not open_store(store).manifest.graph.task.is_table


def test_disjoint_trees_without_times(tmp_path: Path) -> None:
    data = races(6)
    config = job(tmp_path, task={"time": None}, sampling={"time": None})
    source = source_of(data, config)
    store = prepare_source(source, config).path
    assert verify(store, source, config).is_sound
    assert "age" not in {spec.name for spec in open_store(store).manifest.tensors}
    assert layout.node_path("train", "driver", "tree") in {spec.path for spec in open_store(store).manifest.tensors}


BAD: dict[str, Any] = {
    "times of other length": (
        lambda d: d["result"].update({"date": torch.arange(9)}),
        GraphError,
        r"got \(9,\); expected",
    ),
    "NaT": (
        lambda d: d["result"].date.__setitem__(3, -(2**63)),
        GraphError,
        r"node type 'result': 1 of 80 times of 'date' are none; got -9223372036854775808",
    ),
    "floats": (lambda d: d["result"].update({"date": d["result"].date.float()}), GraphError, "times must be integers"),
    "NaT of a question": (
        lambda d: d["ask"].when.__setitem__(0, -(2**63)),
        GraphError,
        "node type 'ask': 1 of 60 times",
    ),
    "no such node": (
        lambda d: d["ask"].node.__setitem__(0, 8),
        GraphError,
        "node of type 'driver' that does not exist; got 8",
    ),
    "no nodes asked": (lambda d: d["ask"].pop("node"), ConfigError, "has no attribute 'node'"),
    "no times of questions": (lambda d: d["ask"].pop("when"), ConfigError, "has no attribute 'when'"),
    "no times": (
        lambda d: (d["result"].pop("date"), d["driver", "met", "driver"].pop("date")),
        ConfigError,
        "no type of nodes has the attribute 'date'",
    ),
    "no table": (lambda d: d.__delitem__("ask"), ConfigError, "the data have no type 'ask'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_times_are_refused_in_words(tmp_path: Path, name: str) -> None:
    spoil, kind, words = BAD[name]
    data = races(7)
    spoil(data)
    with pytest.raises(kind, match=words):
        source_of(data, job(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"task": {"seeds": None, "time": None}}, r"\[sampling\] 'time' needs \[task\] 'time'"),
        ({"sampling": {"time": None}}, r"\[task\] 'time' needs \[sampling\] 'time'"),
        ({"sampling": {"is_disjoint": False}}, "needs .sampling. is_disjoint = true"),
        ({"sampling": {"strategy": "last", "replace": True}}, "strategy = 'last' draws nothing"),
        ({"sampling": {"time": {"unit": "s"}}}, "names an attribute of nodes, of edges"),
        ({"dataset": {"remove_isolated": True}}, "renumber nodes"),
    ],
)
def test_configs_that_contradict_themselves(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job(tmp_path, **sections)


def test_weights_decide_what_is_drawn(tmp_path: Path) -> None:
    data = races(8)
    weight = torch.zeros(80)
    weight[::2] = 1.0
    data["result", "of", "driver"].weight = weight
    config = job(tmp_path, sampling={"weight": "weight"})
    source = source_of(data, config)
    store = prepare_source(source, config).path
    assert verify(store, source, config).is_sound
    e_id = read(store, "train/edges/result__of__driver/e_id")
    assert (e_id[e_id >= 0] % 2 == 0).all() and (e_id >= 0).any()
    weight[1] = -1.0
    with pytest.raises(GraphError, match=r"1 weights are none; got -1.0"):
        source_of(data, config)
    with pytest.raises(ConfigError, match="no edge type has the attribute 'wait'"):
        source_of(data, job(tmp_path, sampling={"weight": "wait"}))
