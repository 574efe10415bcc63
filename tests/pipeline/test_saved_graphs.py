"""Saved graphs of any ordinary history load, and nothing of a file runs."""

import copy
import datetime
import enum
import io
import os
import pickle
import tarfile
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, HeteroData, InMemoryDataset
from torch_geometric.transforms import Pad, ToUndirected

from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.sources.file import load_file
from heteroshards.pipeline.sources.unpickle import RefusedError, Unpickler
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import DatasetError, GraphError
from tests.pipeline.bad_graphs import WRITES, small_graph

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR)"),
    pytest.mark.filterwarnings("ignore:torch.quantize"),
]
Way = Callable[[HeteroData], HeteroData]


def with_attribute(value: Any, key: str = "more") -> Way:
    def way(data: HeteroData) -> HeteroData:
        data["paper"][key] = value
        return data

    return way


def after_subgraph(data: HeteroData) -> HeteroData:
    data.subgraph({"paper": torch.arange(5)})
    return data


def with_caches(data: HeteroData) -> HeteroData:
    """What PyG remembers of a graph while it is worked on."""
    data.node_attrs()
    data.edge_attrs()
    data.get_all_tensor_attrs()
    data.get_all_edge_attrs()
    data.put_edge_index(torch.zeros(2, 1, dtype=torch.long), ("venue", "by", "paper"), "coo", size=(2, 12))
    return data


def with_edge_indices(data: HeteroData) -> HeteroData:
    for edge_type in data.edge_types:
        index = EdgeIndex(data[edge_type].edge_index, sparse_size=(12, 12))
        data[edge_type].edge_index = index.sort_by("col").values
        data[edge_type].edge_index.fill_cache_()
    return data


def as_a_loader_gives_it(data: HeteroData) -> HeteroData:
    """The attributes of a batch of `NeighborLoader`."""
    for name in data.node_types:
        data[name].n_id = torch.arange(data[name].num_nodes)
        data[name].num_sampled_nodes = [data[name].num_nodes, 0]
    for edge_type in data.edge_types:
        data[edge_type].e_id = torch.arange(data[edge_type].num_edges)
    data["paper"].update({"input_id": torch.arange(4), "batch_size": 4})
    return data


WAYS: dict[str, Way] = {
    "as it is": lambda data: data,
    "sorted": lambda data: data.sort(),
    "coalesced": lambda data: data.coalesce(),
    "after subgraph": after_subgraph,
    "with caches": with_caches,
    "copied": copy.deepcopy,
    "pickled before": lambda data: pickle.loads(pickle.dumps(data)),
    "undirected": lambda data: ToUndirected()(data),
    "padded": lambda data: Pad(20, 40)(data),
    "of a loader": as_a_loader_gives_it,
    "with EdgeIndex": with_edge_indices,
    "one batch of it": lambda data: Batch.from_data_list([data]),
    "a parameter": lambda data: with_attribute(torch.nn.Parameter(data["paper"].x), "x")(data),
    "sparse": with_attribute(torch.eye(12).to_sparse(), "x"),
    "numpy numbers": lambda data: setattr(data["venue"], "num_nodes", np.int64(2)) or data,
    "global values": lambda data: setattr(data, "made", datetime.date(2026, 1, 1)) or data,
}
ORDINARY = {
    "date": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    "array": np.arange(12),
    "words": np.array(["a", "b"]),
    "objects": np.array([None, "b"]),
    "scalar": np.float32(3),
    "dates": np.array(["2026-01-01"], "datetime64[D]"),
    "path": Path("a/b"),
    "uuid": uuid.UUID(int=3),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "size": torch.Size([3]),
    "containers": [{1, 2}, frozenset([3]), OrderedDict(a=1), Counter("ab"), defaultdict(list, a=[1]), deque([1]), 2j],
    "odd numbers": [2**200, -(2**70), float("inf"), b"bytes", bytearray(b"x"), range(3), slice(1, 2), True, None],
}


def load_saved(data: Any, folder: Path, **options: Any) -> HeteroData:
    torch.save(data, folder / "graph.pt", **options)
    return load_file(folder / "graph.pt")


OPTIONS = {"today": {}, "protocol 4": {"pickle_protocol": 4}, "torch 1.5": {"_use_new_zipfile_serialization": False}}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", WAYS)
def test_a_graph_of_any_history_loads(tmp_path: Path, name: str, options: str) -> None:
    data = WAYS[name](small_graph())
    loaded = load_saved(data, tmp_path, **OPTIONS[options])
    assert type(loaded) is HeteroData and loaded.metadata() == data.metadata()
    for given, found in zip(data.stores, loaded.stores, strict=True):
        assert list(given.keys()) == list(found.keys())
        for key, value in given.items():
            if isinstance(value, torch.Tensor):
                assert not isinstance(found[key], EdgeIndex)
                plain = value.as_tensor() if isinstance(value, EdgeIndex) else value
                assert torch.equal(found[key].to_dense(), plain.to_dense())
    from_data(loaded, DatasetConfig(seed_type="paper"), {})


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_not_read_may_be_any_plain_thing(tmp_path: Path, name: str, options: str) -> None:
    loaded = load_saved(with_attribute(ORDINARY[name])(small_graph()), tmp_path, **OPTIONS[options])
    source = from_data(loaded, DatasetConfig(seed_type="paper"), {})
    assert any("more" in line and "not read" in line for line in source.notes)


def test_the_file_of_a_dataset_loads(tmp_path: Path) -> None:
    InMemoryDataset.save([small_graph()], str(tmp_path / "data.pt"))
    assert load_file(tmp_path / "data.pt").metadata() == small_graph().metadata()
    InMemoryDataset.save([small_graph(), small_graph()], str(tmp_path / "data.pt"))
    with pytest.raises(DatasetError, match="holds no graph; got tuple"):
        load_file(tmp_path / "data.pt")


def test_numbers_and_arrays_are_what_they_were(tmp_path: Path) -> None:
    matrix = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    loaded = load_saved({"paper": {"a": matrix, "b": np.float64(0.5), "c": (1, [2.5, "x"])}}, tmp_path)["paper"]
    assert loaded.a.tolist() == [[0, 1, 2], [3, 4, 5]] and loaded.b == 0.5 and loaded.c == (1, [2.5, "x"])


def test_what_is_read_must_still_be_a_tensor(tmp_path: Path) -> None:
    for value, words in ((np.zeros((12, 2)), "got ndarray. Use torch.from_numpy"), (datetime.date(2026, 1, 1), "date")):
        loaded = load_saved(with_attribute(value, "x")(small_graph()), tmp_path)
        with pytest.raises(GraphError, match=words):
            from_data(loaded, DatasetConfig(seed_type="paper"), {})


class Colour(enum.Enum):
    RED = 1


class Mine(HeteroData):
    """A class of the user's."""


class Acts:
    """Unpickling this would run code."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


REFUSED = {
    "a class of the user's": (lambda: with_attribute(Colour.RED)(small_graph()), r"test_saved_graphs\.Colour"),
    "a graph class of the user's": (Mine, r"test_saved_graphs\.Mine"),
    "a function": (lambda: with_attribute(len)(small_graph()), "builtin.*len"),
    "a call": (lambda: with_attribute(Acts(os.mkdir, "sprung"))(small_graph()), "posix.mkdir"),
    "a call of eval": (lambda: {"trap": Acts(eval, "open('sprung', 'w')")}, "eval"),
    "getattr": (lambda: {"trap": Acts(getattr, "text", "upper")}, "getattr"),
    "a module of torch": (
        lambda: with_attribute(torch.nn.Linear(1, 1))(small_graph()),
        "torch.nn.modules.linear.Linear",
    ),
    "a generator": (lambda: with_attribute(torch.Generator())(small_graph()), "Generator"),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", REFUSED)
def test_all_else_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: str) -> None:
    make, words = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=rf"names .*{words}.*to_dict\(\).*source = 'function'"):
        load_saved(make(), tmp_path, **OPTIONS[options])
    assert [path.name for path in tmp_path.iterdir()] == ["graph.pt"]


def test_what_a_file_may_name_cannot_be_changed_by_it() -> None:
    """BUILD sets attributes of anything: of functions and classes that are named, too."""
    for name in ("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "builtins set"):
        stream = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n}X\x01\x00\x00\x00aK\x01sb."
        with pytest.raises(RefusedError, match="a function that is changed"):
            Unpickler(io.BytesIO(stream)).load()
    stream = b"\x80\x02ctorch_geometric.data.data\nData\n}X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(TypeError):
        Unpickler(io.BytesIO(stream)).load()


def test_programs_and_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "graph.pt", "w") as archive:
        archive.add(__file__, "pickle")
    with pytest.raises(DatasetError, match="a tar archive"):
        load_file(tmp_path / "graph.pt")


def test_loading_changes_nothing_for_other_threads(tmp_path: Path) -> None:
    """No list of safe classes is widened meanwhile, and files may be loaded at once."""
    before = set(torch.serialization.get_safe_globals())
    torch.save(WAYS["sorted"](small_graph()), tmp_path / "graph.pt")
    found: list[HeteroData] = []
    threads = [threading.Thread(target=lambda: found.append(load_file(tmp_path / "graph.pt"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and set(torch.serialization.get_safe_globals()) == before
    assert all(WRITES in data.edge_types for data in found)
