"""What is predicted is read, checked, and described by split train alone, whatever its kind."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from heteroshards.pipeline.graph.hetero import build_graph
from heteroshards.pipeline.sources import SourceGraph, from_data
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.targets import BinaryTarget, ClassTarget, MultilabelTarget, RegressionTarget
from tests.pipeline.build import mask

NAN = float("nan")
SPLITS = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6]}


def graph(**labels: Any) -> HeteroData:
    """Eight papers with attributes `labels`; nobody asks about the last."""
    data = HeteroData()
    data["paper"].num_nodes = 8
    for name, values in labels.items():
        data["paper"][name] = values if isinstance(values, torch.Tensor) else torch.tensor(values)
    for split, ids in SPLITS.items():
        data["paper"][f"{split}_mask"] = mask(ids, 8)
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1, 2], [1, 2, 3]])
    return data


def load(data: HeteroData, *targets: dict[str, Any], **dataset: Any) -> SourceGraph:
    several = [{"label": "y", **target} for target in targets]
    config = JobConfig(dataset={"seed_type": "paper", **dataset}, task={"target": several})
    return from_data(data, config.dataset, {}, config)


def stored(source: SourceGraph) -> dict[str, list[Any]]:
    return {name: values.tolist() for name, values in build_graph(source).seeds.targets.items()}


def test_binary() -> None:
    source = load(graph(y=[0, 1, 1, 1, -1, -7, 0, 0]), {"kind": "binary"}, masks={"train": "train_mask"})
    assert source.targets == (BinaryTarget(name="y", train_counts=(1, 3)),)
    assert stored(source)["y"] == [0, 1, 1, 1]
    bools = load(graph(y=torch.tensor([True] * 4 + [False] * 4)), {"kind": "binary"})
    assert bools.targets == (BinaryTarget(name="y", train_counts=(0, 4)),)
    assert any("no seed of split train has 0" in note for note in bools.notes)
    floats = load(graph(y=[0.0, 1.0, 1.0, 0.0, NAN, 1.0, 0.0, 1.0]), {"kind": "binary"}, masks={"train": "train_mask"})
    assert floats.targets == (BinaryTarget(name="y", train_counts=(2, 2)),)


def test_multilabel() -> None:
    y = torch.tensor([[0, 1], [1, -1], [0, -1], [1, 1], [0, 0], [-1, 0], [0, 0], [-1, -1]])
    source = load(graph(y=y), {"kind": "multilabel"})
    assert source.targets == (MultilabelTarget(name="y", num_labels=2, train_zeros=(2, 0), train_ones=(2, 2)),)
    assert stored(source)["y"] == [[0, 1], [1, -100], [0, -100], [1, 1], [0, 0], [-100, 0], [0, 0]]
    assert any("no seed of split train has 0, label 1" in note for note in source.notes)
    assert any("5 of 16 entries are unknown" in note for note in source.notes)
    one = load(graph(y=torch.tensor([[0], [1], [0], [1], [0], [1], [0], [1]])), {"kind": "multilabel"})
    assert one.targets[0].shape == (1,) and stored(one)["y"][:2] == [[0], [1]]


def test_statistics_are_of_what_split_train_knows() -> None:
    y = torch.tensor([[1.0, 9.0], [3.0, NAN], [NAN, 9.0], [5.0, NAN], [1e6, 2.0], [7.0, 1.0], [0.0, 0.0], [NAN, NAN]])
    (target,) = load(graph(y=y), {"kind": "regression"}).targets
    assert target == RegressionTarget(name="y", width=2, mean=(3.0, 9.0), std=(float(np.std([1.0, 3.0, 5.0])), 1.0)), (
        "and a constant column has std 1"
    )


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4))
@example([0.0, 0.0, 0.0, 1.1754943508222875e-38])
def test_moments_are_numpys(values: list[float]) -> None:
    (target,) = load(graph(y=[*values, 0.0, 0.0, 0.0, 0.0]), {"kind": "regression"}).targets
    expected = np.array(values, np.float32).astype(np.float64)
    assert target.mean[0] == pytest.approx(expected.mean(), rel=1e-12, abs=1e-9)
    is_spread = expected.std() >= np.finfo(np.float32).tiny  # what a step in float32 could divide by
    assert target.std[0] == pytest.approx(expected.std() if is_spread else 1.0, rel=1e-9, abs=1e-9)


def test_several_targets_need_only_one_that_is_known() -> None:
    data = graph(y=[0, 1, -1, 2, 0, 1, 2, 0], price=[1.0, NAN, 3.0, 5.0, NAN, 1.0, 1.0, 1.0])
    source = load(data, {}, {"label": "price", "kind": "regression"})
    assert [target.name for target in source.targets] == ["y", "price"]
    assert source.targets[0] == ClassTarget(name="y", num_classes=3, train_counts=(1, 1, 1))
    assert source.targets[1].mean == (3.0,)
    assert build_graph(source).schema.task.columns == 4
    data["paper"].price[2] = NAN
    with pytest.raises(GraphError, match=r"1 of 4 seed nodes of split 'train' have no label; got node 2"):
        load(data, {}, {"label": "price", "kind": "regression"})


def test_labels_of_others_are_withheld() -> None:
    """Only seeds keep what is known of them, and random splits take none of which nothing is known."""
    data = graph(y=[1.0, 3.0, NAN, 5.0, 100.0, 7.0, -7.0, NAN])
    source = load(data, {"kind": "regression"}, random_split={"train": 1.0, "val": 0.0, "test": 0.0})
    assert source.seeds["train"].tolist() == [0, 1, 3, 4, 5, 6]
    assert stored(source)["y"] == [1.0, 3.0, 5.0, 100.0, 7.0, -7.0]


BAD = {
    "a matrix as binary": (
        {"kind": "binary"},
        torch.zeros(8, 2),
        r"one value per node; got shape \(8, 2\).*multilabel",
    ),
    "two in binary": ({"kind": "binary"}, [0, 1, 2, 0, 0, 0, 0, 0], r"labels must be 0 or 1; got 2.*classification"),
    "a half in multilabel": ({"kind": "multilabel"}, torch.full((8, 2), 0.5), r"0 or 1; got 0.5"),
    "other width": (
        {"kind": "multilabel", "num_classes": 3},
        torch.zeros(8, 2),
        r"row of labels per node; got shape \(8, 2\); expected \(8, 3\)",
    ),
    "too few rows": ({"kind": "multilabel"}, torch.zeros(7, 2), r"got shape \(7, 2\); expected \(8, 2\)"),
    "a label nobody knows": (
        {"kind": "multilabel"},
        torch.tensor([[0, -1]] * 4 + [[1, 1]] * 4),
        r"no seed of split train knows label 1; got 4 seeds",
    ),
    "a cube": ({"kind": "regression"}, torch.zeros(8, 2, 2), r"got shape \(8, 2, 2\); expected \(8,\) or \(8, width\)"),
    "no column": ({"kind": "regression"}, torch.zeros(8, 0), r"got shape \(8, 0\)"),
    "bools as numbers": ({"kind": "regression"}, torch.ones(8, dtype=torch.bool), r"real numbers; got torch.bool"),
    "complex": ({"kind": "regression"}, torch.ones(8, dtype=torch.complex64), r"real numbers; got torch.complex64"),
    "infinite": ({"kind": "regression"}, [1.0, float("inf"), *[0.0] * 6], r"1 of 8 numbers .* infinite as float32"),
    "past float32": (
        {"kind": "regression"},
        torch.tensor([1e300, *[0.0] * 7], dtype=torch.float64),
        r"infinite as float32; got 1e\+300",
    ),
    "a column of NaN": (
        {"kind": "regression"},
        torch.tensor([[1.0, NAN]] * 4 + [[1.0, 1.0]] * 4),
        r"no seed of split train has column 1",
    ),
    "floats as classes": ({}, [0.5] * 8, r"labels must be integers; got torch.float32.*regression"),
    "rows of classes": ({}, torch.zeros(8, 2, dtype=torch.long), r"one class per node.*multilabel"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_malformed_is_refused_in_words(name: str) -> None:
    target, y, words = BAD[name]
    with pytest.raises(GraphError, match=r"node type 'paper', label 'y': .*" + words):
        load(graph(y=y), target)


def test_numbers_that_float32_merges_are_told_or_refused() -> None:
    y = torch.tensor([1e9, 1e9 + 1, 1e9 + 2, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    source = load(graph(y=y), {"kind": "regression"})
    assert any("target y" in note and "are not told apart" in note for note in source.notes)
    with pytest.raises(GraphError, match="not told apart"):
        load(graph(y=y), {"kind": "regression"}, float64="error")


def test_a_graph_of_which_nothing_is_known_is_prepared_for_every_kind() -> None:
    data = HeteroData()
    data["paper"].num_nodes = 3
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0], [1]])
    for target, expected in (
        ({"kind": "binary"}, BinaryTarget(name="y")),
        ({"kind": "regression"}, RegressionTarget(name="y")),
        ({"kind": "multilabel", "num_classes": 4}, MultilabelTarget(name="y", num_labels=4)),
        ({"num_classes": 4}, ClassTarget(name="y", num_classes=4)),
    ):
        assert load(data, target, predict="all").targets == (expected,)
    with pytest.raises(ConfigError, match="the number of classes is unknown"):
        load(data, {"kind": "multilabel"}, predict="all")


def test_configs_that_contradict_themselves_are_refused() -> None:
    for sections, words in (
        ({"task": {"class_weights": "balanced", "kind": "regression"}}, "'class_weights' has no meaning with kind"),
        ({"task": {"loss": "l1"}}, "'loss' has no meaning with kind = 'classification'"),
        ({"task": {"pos_weight": [-1.0], "kind": "binary"}}, "weights are numbers from 0"),
        ({"task": {"kind": "binary", "target": [{"label": "a"}]}}, "'kind' stands in each"),
        ({"task": {"target": [{"label": "a"}, {"label": "a"}]}}, "two targets have the label 'a'"),
        ({"task": {"target": [{"label": "a"}]}, "dataset": {"label": "b"}}, "'label' has no meaning beside"),
        ({"task": {"kind": "binary"}, "dataset": {"num_classes": 3}}, "'num_classes' has no meaning with"),
        ({"task": {"target": [{"label": "a", "lable": 1}]}}, r"unknown key 'lable'. Did you mean 'label'"),
    ):
        with pytest.raises(ConfigError, match=words):
            JobConfig(**sections)


def test_what_is_done_with_answers_does_not_decide_a_stores_content() -> None:
    plain = JobConfig(task={"kind": "regression"})
    other = JobConfig(task={"kind": "regression", "loss": "l1", "metric": "rmse"})
    assert plain.content() == other.content()
    assert plain.content() != JobConfig().content()
    several = [{"label": "a"}, {"label": "b", "kind": "binary"}]
    weighted = [{"label": "a", "weight": 2.0, "class_weights": "balanced"}, {"label": "b", "kind": "binary"}]
    assert JobConfig(task={"target": several}).content() == JobConfig(task={"target": weighted}).content()
