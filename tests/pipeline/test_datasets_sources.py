"""PyG classes, saved files and functions; and the stamps that tell whether they may have changed."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from heteroshards.pipeline.sources import load_dataset, source_stamp
from heteroshards.pipeline.sources.synthetic import synthetic_graph
from heteroshards.schemas.config import DatasetConfig, load_config
from heteroshards.schemas.errors import ConfigError, DatasetError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = {"scale": 0.01, "num_features": 8}


def pyg(class_name: str, **more: Any) -> DatasetConfig:
    return DatasetConfig(source="pyg", class_name=class_name, **more)


def test_imdb_loads_from_its_raw_files(datasets_dir: Path) -> None:
    config = load_config(CONFIGS / "imdb.toml").dataset
    source = load_dataset(config)
    assert {name: source.data[name].num_nodes for name in source.data.node_types} == {
        "movie": 4278,
        "director": 2081,
        "actor": 5257,
    }
    assert {split: len(ids) for split, ids in source.seeds.items()} == {"train": 400, "val": 400, "test": 3478}
    assert source.description["dataset"] == "IMDB" and source.targets[0].columns == 3
    stamp = source_stamp(config)
    assert stamp and stamp == source_stamp(config)
    os.utime(datasets_dir / "IMDB" / "raw" / "labels.npy", (1, 1))
    assert source_stamp(config) != stamp


def test_the_tutorials_subset_of_imdb(datasets_dir: Path) -> None:
    source = load_dataset(pyg("IMDB", subset={"movie": 1000}, remove_isolated=True))
    assert source.data["movie"].num_nodes == 1000
    assert source.data["director"].num_nodes == len(source.node_ids["director"]) < 2081
    for person in ("director", "actor"):
        index = source.data["movie", "to", person].edge_index
        assert set(index[1].tolist()) == set(range(source.data[person].num_nodes))


def test_dblp_has_a_type_without_features(datasets_dir: Path) -> None:
    source = load_dataset(load_config(CONFIGS / "dblp.toml").dataset)
    assert source.data["conference"].num_nodes == 20 and "x" not in source.data["conference"]
    assert {split: len(ids) for split, ids in source.seeds.items()} == {"train": 400, "val": 400, "test": 3257}


def test_a_folder_that_cannot_be_written_is_left_alone(
    datasets_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IMDB").mkdir()
    (tmp_path / "IMDB" / "raw").symlink_to(datasets_dir / "IMDB" / "raw")
    monkeypatch.setattr("heteroshards.pipeline.sources.pyg.os.access", lambda path, mode: False)
    data = load_dataset(pyg("IMDB", root=str(tmp_path / "IMDB"))).data
    assert data["movie"].num_nodes == 4278
    assert [path.name for path in (tmp_path / "IMDB").iterdir()] == ["raw"]


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError("no network in this test")


def test_a_failed_download_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path / "sets"))
    started = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        load_dataset(pyg("IMDB"))
    message = str(caught.value)
    for part in ("IMDB", str(tmp_path / "sets" / "IMDB" / "raw"), "adjM.npz", "train_val_test_idx.npz", "DATASETS_DIR"):
        assert part in message
    assert time.monotonic() - started < 30
    assert not (tmp_path / "sets" / "IMDB").exists()


def test_a_failed_download_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_a_file(url: str, folder: str, **options: Any) -> str:
        (Path(folder) / "IMDB_processed.zip").write_bytes(b"half")
        raise TimeoutError("timed out")

    monkeypatch.setattr("torch_geometric.datasets.imdb.download_url", half_a_file)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "labels.npy").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="timed out"):
        load_dataset(pyg("IMDB", root=str(tmp_path)))
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["labels.npy"]


def test_damaged_raw_files_are_explained(datasets_dir: Path, tmp_path: Path) -> None:
    for path in (datasets_dir / "IMDB" / "raw").iterdir():
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / path.name).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load_dataset(pyg("IMDB", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        (pyg("IMBD"), ConfigError, "Did you mean 'IMDB'"),
        (pyg("IMDB", args={"rot": "x"}), ConfigError, "Did you mean 'root'"),
        (pyg("FakeHeteroDataset", args={"num_graphs": 2}), DatasetError, "got 2 graphs"),
        (pyg("FakeHeteroDataset", root="x"), ConfigError, "no root"),
        (DatasetConfig(source="file", path="absent.pt"), DatasetError, "does not exist"),
        (DatasetConfig(source="function", function="no.such.module:f"), ConfigError, "cannot be imported"),
        (DatasetConfig(source="function", function="os.path:jion"), ConfigError, "no such function"),
    ],
)
def test_what_does_not_exist_is_explained(
    config: DatasetConfig, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        load_dataset(config, tmp_path)


def test_a_dataset_made_in_memory_needs_no_root() -> None:
    config = pyg("FakeHeteroDataset", seed_type="v0", random_split={}, args={"num_node_types": 2, "num_classes": 3})
    assert load_dataset(config).data.node_types == ["v0", "v1"]
    assert source_stamp(config) is None


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_saved_graph_loads_either_way(tmp_path: Path, as_dict: bool) -> None:
    data = synthetic_graph(TINY)
    torch.save(data.to_dict() if as_dict else data, tmp_path / "graph.pt")
    config = DatasetConfig(source="file", path="graph.pt")
    loaded = load_dataset(config, tmp_path).data
    assert loaded.metadata() == data.metadata()
    for name in data.node_types:
        assert torch.equal(loaded[name].x, data[name].x)
    stamp = source_stamp(config, tmp_path)
    assert stamp == source_stamp(config, tmp_path) and stamp
    os.utime(tmp_path / "graph.pt", (1, 1))
    assert source_stamp(config, tmp_path) != stamp


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def test_a_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"trap": Trap()}, "trap.pt")
    with pytest.raises(DatasetError, match=r"to_dict\(\)"):
        load_dataset(DatasetConfig(source="file", path="trap.pt"))
    assert not Path("sprung").exists()


@pytest.mark.parametrize("content", [Data(x=torch.ones(2, 1)).to_dict(), torch.ones(3), [1, 2]])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(DatasetError):
        load_dataset(DatasetConfig(source="file", path="other.pt"), tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.pt").write_bytes(b"not a graph")
    with pytest.raises(DatasetError):
        load_dataset(DatasetConfig(source="file", path="damaged.pt"), tmp_path)


MODULE = """
from heteroshards.pipeline.sources.synthetic import synthetic_graph

def graph(scale):
    return synthetic_graph({"scale": scale, "num_features": 8})

def other():
    return 3

def broken():
    raise RuntimeError("my own trouble")
"""


def test_functions_are_found_beside_the_config_and_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_graphs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))  # undone afterwards

    def load(name: str, **args: Any) -> HeteroData:
        return load_dataset(DatasetConfig(source="function", function=f"my_graphs:{name}", args=args), tmp_path).data

    assert load("graph", scale=0.01)["movie"].x.shape == (43, 8)
    with pytest.raises(ConfigError, match="Did you mean 'scale'"):
        load("graph", scael=0.01)
    with pytest.raises(ConfigError, match="missing a required argument"):
        load("graph")
    with pytest.raises(ConfigError, match="Did you mean 'graph'"):
        load("grahp")
    with pytest.raises(DatasetError, match=r"got int; expected a HeteroData or a Data"):
        load("other")
    with pytest.raises(DatasetError, match="my own trouble"):
        load("broken")


def test_stamps_of_what_cannot_be_known() -> None:
    assert set(source_stamp(DatasetConfig()) or {}) == {"program"}
    assert source_stamp(DatasetConfig(source="function", function="a:b")) is None
    assert source_stamp(DatasetConfig(source="file", path="absent.pt")) is None
    assert source_stamp(pyg("IMDB", root="absent")) is None
