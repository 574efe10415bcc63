"""What is said about a graph: by `prepare` and `plan`, and kept in the manifest for `inspect`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards import pipeline
from heteroshards.pipeline.forecast.job import as_json, forecast
from heteroshards.pipeline.forecast.report import forecast_report
from heteroshards.pipeline.inspect.command import look_at
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.config import JobConfig
from tests.pipeline.bad_graphs import WRITES, both, edges, put, small_graph
from tests.pipeline.stores import manifest_of

LONG = torch.long
NO_EDGES = torch.zeros(2, 0, dtype=LONG)
Spoil = Callable[[HeteroData], Any]


def job(root: Path, **sections: Any) -> JobConfig:
    sampling = sections.pop("sampling", {"fanout": [2, 2], "batch_size": 4, "rounds": 1})
    dataset = {"seed_type": "paper", **sections.pop("dataset", {})}
    return JobConfig(name="job", dataset=dataset, store={"root": str(root)}, sampling=sampling, **sections)


def on_edges(**values: Any) -> Spoil:
    return lambda data: data[WRITES].update(values)


def without(*edge_types: tuple[str, str, str]) -> Spoil:
    def spoil(data: HeteroData) -> None:
        for edge_type in edge_types:
            data[edge_type].edge_index = NO_EDGES

    return spoil


def renamed(name: str) -> Spoil:
    return both(put("num_nodes", 5, "author"), lambda data: data["author"].update({name: data["author"].pop("x")}))


def no_label(value: int, dtype: torch.dtype) -> Spoil:
    """The nodes of split test have `value` for a label, and are in no split."""

    def spoil(data: HeteroData) -> None:
        store = data["paper"]
        store.y = torch.where(store.pop("test_mask"), value, store.y).to(dtype)

    return spoil


class Told(NamedTuple):
    """A way to change the graph; code, level and words of the note that tells it; and sections of the config."""

    spoil: Spoil
    code: str
    level: str
    words: tuple[str, ...]
    sections: dict[str, Any] = {}


IN, HAS = ("paper", "in", "venue"), ("venue", "has", "paper")
CITY = both(put("num_nodes", 3, "city"), edges(torch.tensor([[0], [1]]), ("paper", "at", "city")))
TOLD = {
    "weights": Told(on_edges(edge_weight=torch.rand(24)), "features_elsewhere", "warning", ("edge_weight [24]",)),
    "weights beside edge_attr": Told(
        on_edges(edge_weight=torch.rand(24), edge_attr=torch.rand(24, 2)), "not_read", "warning", ("edge_weight",)
    ),
    "times": Told(on_edges(time=torch.arange(24)), "not_read", "warning", ("time", "what came after")),
    "times of nodes": Told(put("time", torch.arange(12)), "not_read", "warning", ("'paper'", "time")),
    "positions": Told(put("pos", torch.rand(12, 3)), "not_read", "warning", ("pos [12, 3] float32",)),
    "a table": Told(put("tf", type("TensorFrame", (), {})()), "not_read", "warning", ("tf (TensorFrame)",)),
    "titles": Told(put("title", ["a"] * 12), "not_read", "note", ("title (list)",)),
    "of the graph": Told(lambda data: setattr(data, "origin", "here"), "not_read", "note", ("origin (str)",)),
    "a mask that no split names": Told(
        lambda data: None, "not_read", "note", ("test_mask",), {"dataset": {"masks": {"train": "train_mask"}}}
    ),
    "masks beside a random split": Told(
        lambda data: None, "not_read", "note", ("train_mask",), {"dataset": {"random_split": {}}}
    ),
    "feat": Told(renamed("feat"), "features_elsewhere", "warning", ("no x, but feat", "data['author'].x = ")),
    "features of any name": Told(renamed("my_vectors"), "features_elsewhere", "warning", ("my_vectors",)),
    "X": Told(renamed("X"), "features_elsewhere", "warning", ("X [5, 3] float32",)),
    "no features": Told(lambda data: None, "featureless", "note", ("'venue'",)),
    "flat edge_attr": Told(on_edges(edge_attr=torch.rand(24)), "reshaped", "note", ("[24] is taken as [24, 1]",)),
    "labels of one column": Told(
        lambda data: put("y", data["paper"].y.view(-1, 1))(data), "reshaped", "note", ("y of shape [12, 1]",)
    ),
    "a mask of one column": Told(
        lambda data: put("val_mask", data["paper"].val_mask.view(-1, 1))(data), "reshaped", "note", ("val_mask",)
    ),
    "no edge to the seeds": Told(
        without(WRITES, HAS), "no_edges", "warning", ("no batch has any edge", "paper__in__venue", "ToUndirected")
    ),
    "edges that are never drawn": Told(
        lambda data: None,
        "no_edges",
        "warning",
        ("no batch has any edge",),
        {"sampling": {"fanout": {"paper__in__venue": [2], "default": [0]}, "batch_size": 4, "rounds": 1}},
    ),
    "some seeds alone": Told(
        both(edges(torch.tensor([[0], [1]])), without(HAS)), "isolated_seeds", "warning", ("11 of 12", "train 5 of 6")
    ),
    "a type that no seed reaches": Told(CITY, "unreachable", "warning", ("node types city", "never in a batch")),
    "a relation too far": Told(
        lambda data: None,
        "unreachable",
        "note",
        ("paper__in__venue", "1 hop"),
        {"sampling": {"fanout": [2], "batch_size": 4, "rounds": 1}},
    ),
    "no influence": Told(
        CITY, "unreachable", "warning", ("types city: without influence",), {"sampling": {"mode": "full"}}
    ),
    "255": Told(no_label(255, torch.uint8), "unused_classes", "warning", ("class 3-255", "If 255 (3 nodes)")),
    "99": Told(no_label(99, torch.int64), "unused_classes", "warning", ("class 3-99", "make it -1")),
    "99 of a seed": Told(put("y", torch.tensor([0, 1, 99] * 4)), "unused_classes", "warning", ("2-98", "If 99 (4")),
    "-1": Told(no_label(-1, torch.int64), "unlabelled", "note", ("3 of 12 nodes", "(class -1)")),
    "a class that train lacks": Told(
        put("y", torch.tensor([0] * 6 + [0, 1, 2, 0, 0, 2])), "not_in_train", "warning", ("class 1-2", "val and test")
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_it_is_told_by_prepare_and_plan_and_kept(tmp_path: Path, name: str) -> None:
    told, data, said = TOLD[name], small_graph(), []
    told.spoil(data)
    config = job(tmp_path, **told.sections)
    store = pipeline.prepare(data, config, report=said.append)
    kept = [note for note in manifest_of(store)["notes"] if note["code"] == told.code]
    found = [note for note in kept if all(word in f"{note['concerns']}: {note['message']}" for word in told.words)]
    assert len(found) == 1 and found[0]["level"] == told.level, manifest_of(store)["notes"]
    place = f"{found[0]['concerns']}: " if found[0]["concerns"] else ""
    line = f"{told.level}: {place}{found[0]['message']}"
    assert said.count(line) == 1
    assert line in look_at(store) and line in look_at(store, as_json=True).replace('\\"', '"')
    again: list[str] = []
    pipeline.prepare(data, config, report=again.append)
    assert (line in again) == (told.level == "warning"), "a store that is found repeats its warnings"


def test_plan_says_the_same(tmp_path: Path) -> None:
    data = small_graph()
    both(CITY, on_edges(edge_weight=torch.rand(24)))(data)
    config, said = job(tmp_path), []
    found = forecast(from_data(data, config.dataset, {}), config)
    pipeline.prepare(data, config, report=said.append)
    notes = [line for line in said if line.startswith(("note: ", "warning: "))]
    assert notes and list(found.notes) == notes == list(as_json(found)["notes"])
    assert set(notes) <= set(forecast_report(found).splitlines())


def test_a_sound_graph_has_no_warning(tmp_path: Path) -> None:
    data, said = small_graph(), []
    data["paper"].x = data["paper"].x.double()  # exact as float32
    data["venue"].x = torch.arange(4).view(2, 2) + 2**25 - 2**25
    pipeline.prepare(data, job(tmp_path), report=said.append)
    assert [line for line in said if line.startswith("warning")] == []
    (read,) = [line for line in said if "read are" in line]
    assert "x of paper, author, venue" in read and "y, train_mask, val_mask, test_mask of paper" in read


def test_one_line_tells_of_many_types(tmp_path: Path) -> None:
    data, said = small_graph(), []
    for number in range(30):
        data[f"t{number}"].update({"num_nodes": 2, "feat": torch.ones(2, 1)})
        data[f"t{number}", "to", "paper"].edge_index = torch.tensor([[0, 1], [0, 1]])
    pipeline.prepare(data, job(tmp_path), report=said.append)
    (line,) = [line for line in said if " feat " in line]
    assert "and 22 more" in line and "likewise 29 more" in line and len(line) < 400


def test_notes_change_no_fingerprint_and_names_no_lines(tmp_path: Path) -> None:
    data, said = small_graph(), []
    first = pipeline.prepare(data, job(tmp_path))
    data["paper"]["a\nb"] = torch.rand(12)
    assert pipeline.prepare(data, job(tmp_path), report=said.append) == first
    assert any(r"a\nb [12] float32 is not read" in line for line in said)


class Wide(NamedTuple):
    """Values that float32 cannot hold, and what is said: None where nothing is lost."""

    values: torch.Tensor
    words: tuple[str, ...] | None


D = torch.float64
PRECISION = {
    "times": Wide(1.7e9 + torch.arange(12, dtype=D), ("11 of 12 values", "1700000000.0 and 1700000001.0 both become")),
    "times in nanoseconds": Wide(1_700_000_000_000_000_000 + torch.arange(12), ("11 of 12", "int64", "and 1700000000")),
    "past 2^53": Wide(torch.arange(12) + 2**60, ("11 of 12 values", "1152921504606846977")),
    "unsigned": Wide(torch.tensor([2**24, 2**24 + 1] * 6, dtype=torch.int32), ("1 of 12 values", "16777217")),
    "too small": Wide(torch.arange(1, 13, dtype=D) * 1e-60, ("12 of 12 values", "0.0 and 1e-60 both become 0.0")),
    "one too small": Wide(torch.tensor([1.0] * 11 + [1e-60], dtype=D), ("1 of 12 values", "1e-60")),
    "only rounded": Wide(torch.linspace(0, 1, 12, dtype=D), None),
    "exact": Wide(torch.arange(12, dtype=D) * 2.0**40, None),
    "exact integers": Wide(torch.arange(12) * 2**30, None),
    "the same number again": Wide(torch.full((12,), 0.1, dtype=D), None),
    "bfloat16": Wide(torch.linspace(0, 1, 12).bfloat16(), None),
}


@pytest.mark.parametrize("kind", ["node", "edge"])
@pytest.mark.parametrize("name", PRECISION)
def test_numbers_that_become_equal_are_counted_with_an_example(tmp_path: Path, name: str, kind: str) -> None:
    wide, data, said = PRECISION[name], small_graph(), []
    values = wide.values.view(12, 1)
    if kind == "node":
        data["paper"].x = torch.cat([torch.zeros_like(values), values], dim=1)
    else:
        data["paper", "in", "venue"].edge_attr = values
    pipeline.prepare(data, job(tmp_path), report=said.append)
    found = [line for line in said if "not told apart" in line]
    if wide.words is None:
        assert found == []
    else:
        (line,) = found
        assert line.startswith("warning: ")
        words = [word.replace("of 12", "of 24") if kind == "node" else word for word in wide.words]
        assert all(word in line for word in words), line
        assert ("in 1 of 2 columns" in line) == (kind == "node")


def test_what_becomes_infinite_is_told_where_it_is_allowed(tmp_path: Path) -> None:
    data, said = small_graph(), []
    data["paper"].x = torch.tensor([[1e300, 1.0]] * 12, dtype=D)
    config = job(tmp_path, dataset={"feature_values": "allow"})
    pipeline.prepare(data, config, report=said.append)
    assert any("12 of 24 values of x are infinite as float32, 1e+300 for one" in line for line in said)


def test_columns_are_told_apart_each_for_itself() -> None:
    from heteroshards.pipeline.sources.precision import find_merged

    values = np.array([[2.0**60, 1.0], [2.0**60 + 2**20, 2.0]])
    assert find_merged(values).columns == 1 and find_merged(values[:1]) is None
    assert find_merged(np.array([[np.nan, np.inf], [np.nan, np.inf]])) is None
