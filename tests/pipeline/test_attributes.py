"""`[dataset] attributes`: what models see of each type, as numbers or codes, stored once or in batches, and checked."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards.pipeline import prepare
from heteroshards.pipeline.graph.hetero import build_graph
from heteroshards.pipeline.sources import SourceGraph, from_data
from heteroshards.pipeline.verify.job import verify
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from tests.pipeline.bad_graphs import WRITES, small_graph
from tests.pipeline.build import job
from tests.pipeline.stores import manifest_of, read

KEY = "author__writes__paper"
CHOSEN = {"paper": ["x", "year", "kinds"], KEY: ["weight", "role"], "author": []}


def rich_graph() -> HeteroData:
    """Papers have a year (codes 0 to 11, one not known) and two columns of kinds; writing has a weight and a role."""
    data = small_graph()
    data["paper"].year = torch.arange(12)
    data["paper"].year[3] = -1
    data["paper"].kinds = torch.stack([torch.arange(12) % 2, torch.arange(12) % 5], dim=1).to(torch.uint8)
    data["paper"].half = torch.ones(12, 2, dtype=torch.float16)
    data["paper"].is_open = torch.arange(12) % 2 == 0
    data[WRITES].weight = torch.rand(24, dtype=torch.float64)
    data[WRITES].role = torch.arange(24) % 3
    return data


def loaded(attributes: dict[str, list[str]], data: HeteroData | None = None, **more: Any) -> SourceGraph:
    return from_data(data or rich_graph(), DatasetConfig(seed_type="paper", attributes=attributes, **more), {})


def test_what_is_listed_is_read_in_its_order_and_all_else_as_ever() -> None:
    graph = build_graph(loaded(CHOSEN))
    found = {of: {name: (str(x.dtype), x.shape) for name, x in arrays.items()} for of, arrays in graph.features.items()}
    assert found == {
        "paper": {"x": ("float32", (12, 4)), "year": ("int32", (12, 1)), "kinds": ("int32", (12, 2))},
        "author": {},
        "venue": {},
        KEY: {"weight": ("float32", (24, 1)), "role": ("int32", (24, 1))},
        "paper__in__venue": {},
        "venue__has__paper": {},
    }
    assert list(graph.features["paper"]) == CHOSEN["paper"]
    assert graph.features["paper"]["year"][:, 0].tolist() == [0, 1, 2, -1, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [of.cardinalities for of in graph.schema.node("paper").attributes] == [(), (12,), (2, 5)]
    assert [of.cardinalities for of in graph.schema.edge(KEY).attributes] == [(), (3,)]


def test_floats_keep_half_precision_and_bools_are_numbers() -> None:
    graph = build_graph(loaded({"paper": ["half", "is_open"]}))
    assert [of.dtype for of in graph.schema.node("paper").attributes] == ["float16", "float32"]
    assert graph.features["paper"]["is_open"][:3, 0].tolist() == [1.0, 0.0, 1.0]


def test_integers_of_a_type_that_is_not_listed_are_numbers() -> None:
    data = small_graph()
    data["paper"].x = torch.arange(12).view(12, 1)
    numbers, codes = (build_graph(loaded(of, data)).schema.node("paper").attributes[0] for of in ({}, {"paper": ["x"]}))
    assert (numbers.dtype, codes.dtype, codes.cardinalities) == ("float32", "int32", (12,))


def test_a_subset_keeps_the_values_of_its_nodes_and_how_many_there_are() -> None:
    """Whatever PyG would guess of an attribute from its name."""
    data = rich_graph()
    data["paper"].user_index = torch.arange(12).view(12, 1)
    data[WRITES].node_index = torch.arange(24)
    chosen = {"paper": ["year", "user_index"], KEY: ["node_index"]}
    source = loaded(chosen, data, subset={"paper": 10}, remove_isolated=True)
    graph = build_graph(source)
    assert graph.features["paper"]["user_index"][:, 0].tolist() == list(range(10))
    kept = graph.features[KEY]["node_index"][:, 0]
    assert kept.tolist() == [i for i in range(24) if i % 12 < 10]
    assert graph.schema.node("paper").attributes[0].cardinalities == (12,)
    assert (graph.edge_index[KEY] == data[WRITES].edge_index[:, kept].numpy()).all()


def test_notes_follow_what_is_read() -> None:
    notes = {note.code: note for note in loaded(CHOSEN).told if note.code not in ("not_read", "codes", "reshaped")}
    assert notes["read"].message == (
        "read are x of paper, year of paper, kinds of paper, y, train_mask, val_mask, test_mask of paper, "
        f"edge_index of 3 edge types, weight of {KEY}, role of {KEY}"
    )
    left = {note.message.split()[0]: note.concerns for note in loaded(CHOSEN).told if note.code == "not_read"}
    assert left == {"x": "node type 'author'", "half": "node type 'paper'", "is_open": "node type 'paper'"}
    codes = [note for note in loaded(CHOSEN).told if note.code == "codes"]
    assert [note.level for note in codes] == ["note"] * 3
    assert "kinds is integers, so taken as codes, of 2, 5 values" in codes[1].message
    bare = [note.message.split(",")[0] for note in loaded(CHOSEN).told if note.code == "featureless"]
    assert bare == ["no x", "no attributes are read"]


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ({"papr": ["x"]}, ConfigError, "attributes: the graph has no type 'papr'. Did you mean 'paper'"),
        ({"paper": ["yaer"]}, ConfigError, "node type 'paper' has no attribute 'yaer'. Did you mean 'year'"),
        ({KEY: ["wait"]}, ConfigError, f"edge type '{KEY}' has no attribute 'wait'"),
        ({"paper": ["y"]}, ConfigError, "'y' of node type 'paper' is predicted"),
        (
            {"paper": ["train_mask"]},
            ConfigError,
            "'train_mask' of node type 'paper' is predicted, a mask",
        ),
        ({"paper": ["low"]}, GraphError, r"low has integers that are no codes; got -2 in low\[4, 1\]; expected 0 to"),
        ({"paper": ["high"]}, GraphError, r"got 16777216 in high\[4, 1\].*torch.unique\(high"),
        ({"paper": ["deep"]}, GraphError, "deep must be a matrix"),
        ({"paper": ["words"]}, GraphError, "words is no tensor"),
        ({"paper": ["short"]}, GraphError, "short has another number of rows than there are nodes; got 11"),
        ({"paper": ["nan"]}, GraphError, "1 of 12 values of nan are not finite numbers"),
    ],
)
def test_what_cannot_be_is_said(chosen: dict[str, list[str]], error: type[Exception], words: str) -> None:
    data = rich_graph()
    for name, value in (("low", -2), ("high", 2**24)):
        data["paper"][name] = torch.zeros(12, 2, dtype=torch.long)
        data["paper"][name][4, 1] = value
    data["paper"].deep, data["paper"].words = torch.zeros(12, 2, 2), ["a"] * 12
    data["paper"].short, data["paper"].nan = torch.zeros(11, 1), torch.full((12,), 0.5)
    data["paper"].nan[2] = float("nan")
    with pytest.raises(error, match=words):
        loaded(chosen, data)


@pytest.mark.parametrize("name", ["n_id", "mask", "batch", "a/b", "", "zarr.json"])
def test_names_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(ValueError, match="attribute name"):
        DatasetConfig(attributes={"paper": [name]})


def test_an_attribute_is_named_once() -> None:
    with pytest.raises(ValueError, match="'X' is named twice"):
        DatasetConfig(attributes={"paper": ["x", "X"]})


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize("layout", ["per_type", "packed"])
def test_a_store_holds_each_and_is_sound(tmp_path: Path, features: str, layout: str) -> None:
    data, store = rich_graph(), {"features": features, "layout": layout, "pad_value": 0.5}
    sampling = {"fanout": [2, 2], "batch_size": 4}
    config = job(data, tmp_path, dataset={"attributes": CHOSEN}, sampling=sampling, store=store)
    path = prepare(data, config)
    found = verify(path, source=from_data(data, config.dataset, {}), config=config)
    assert (found.num_findings, found.findings) == (0, ())
    listed = {(of["owner"], of["name"], of["dtype"]) for of in manifest_of(path)["tensors"]}
    assert {("paper", "year", "int32"), (KEY, "weight", "float32"), (KEY, "role", "int32")} <= listed
    assert not any(name == "x" for owner, name, _ in listed if owner == "author")
    if features == "table":
        assert read(path, "features/paper/kinds").tolist() == data["paper"].kinds.tolist()
        return
    part = read(path, "train/nodes/paper/year")
    assert part.max() == 11 and (part == -1).any()
    weight = read(path, f"train/edges/{KEY}/weight")
    assert (weight == 0.5).any(), "the pad value of numbers"


def test_other_attributes_are_another_store(tmp_path: Path) -> None:
    data, sampling = rich_graph(), {"fanout": [2, 2], "batch_size": 4}
    chosen = ({}, {"paper": ["x"]}, {"paper": ["year", "x"]}, {"paper": ["x", "year"]})
    made = [prepare(data, job(data, tmp_path, dataset={"attributes": of}, sampling=sampling)) for of in chosen]
    assert made[0] == made[1] and len(set(made)) == 3
