"""What is asked of a model is decided in one place: the loss, answers, metrics and predictions all come from there."""

from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, smooth_l1_loss

from heteroshards.schemas.config import TargetConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.targets import INTEGER_PAD, BinaryTarget, ClassTarget, MultilabelTarget, RegressionTarget
from heteroshards.schemas.task import Task
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.predict import predict
from heteroshards.trainer.tasks.classification import Classification
from heteroshards.trainer.tasks.flags import Binary, Multilabel
from heteroshards.trainer.tasks.objective import Objective
from heteroshards.trainer.tasks.regression import Regression
from heteroshards.trainer.tasks.task import OBJECTIVES, objective_of
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config

pytestmark = pytest.mark.usefixtures("one_thread")

REAL = torch.tensor([True, True, True, True, False])
NAN = float("nan")


class Doubled(Classification):
    """Twice the loss, and a metric and a column of its own."""

    is_torch_loss = False

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        return 2 * super().loss(out, target, is_real)

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        away = answers - np.eye(3)[target]
        return {**super().scores(answers, target), "brier": float((away**2).mean())}

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        import pyarrow as pa

        return {"certainty": pa.array(answers.max(axis=1))}


def test_another_objective_reaches_every_place(table_store, tmp_path: Path, monkeypatch) -> None:
    import pyarrow.parquet as pq

    config = make_config(tmp_path, epochs=1)
    plain = fit(config, table_store, tmp_path / "plain", backend=EagerBackend())
    monkeypatch.setitem(OBJECTIVES, "classification", Doubled)
    found = fit(config, table_store, tmp_path / "doubled", backend=EagerBackend())
    assert "brier" in found["test"] and "brier" not in plain["test"]
    with open_job(config, table_store, EagerBackend()) as job:
        predict(job, ["val"], tmp_path / "p.parquet")
    assert pq.read_table(tmp_path / "p.parquet").column_names == ["split", "node_id", "certainty"]


def config(kind: str, **options: Any) -> TargetConfig:
    return TargetConfig(label="y", kind=kind, **options)


CLASSES = ClassTarget(name="y", num_classes=3, train_counts=(1, 3, 0))
TAGS = MultilabelTarget(name="y", num_labels=2, train_zeros=(3, 0), train_ones=(1, 4))
RATING = RegressionTarget(name="y", mean=(10.0,), std=(4.0,))
PAIR = RegressionTarget(name="y", width=2, mean=(10.0, -1.0), std=(4.0, 0.5))

# By name: the objective, targets of five rows, and the loss of the four real ones, written out.
CASES: Dict[str, Any] = {
    "classes": (
        Classification(CLASSES, config("classification")),
        torch.tensor([0, 2, 1, 1, 2]),
        lambda out, y: cross_entropy(out[:4], y[:4].long()),
    ),
    "some classes": (
        Classification(CLASSES, config("classification"), is_partial=True),
        torch.tensor([0, INTEGER_PAD, 1, 1, 2]),
        lambda out, y: cross_entropy(out[[0, 2, 3]], y[[0, 2, 3]].long()),
    ),
    "balanced classes": (
        Classification(CLASSES, config("classification", class_weights="balanced")),
        torch.tensor([0, 2, 1, 1, 2]),
        lambda out, y: (cross_entropy(out[:4], y[:4], reduction="none") * torch.tensor([2, 1, 2 / 3, 2 / 3])).mean(),
    ),
    "binary": (
        Binary(BinaryTarget(name="y"), config("binary", pos_weight=[3.0])),
        torch.tensor([0, 1, INTEGER_PAD, 1, 1]),
        lambda out, y: binary_cross_entropy_with_logits(
            out[[0, 1, 3], 0], y[[0, 1, 3]].float(), pos_weight=torch.tensor(3.0)
        ),
    ),
    "multilabel": (
        Multilabel(TAGS, config("multilabel", pos_weight="balanced")),
        torch.tensor([[0, 1], [1, INTEGER_PAD], [INTEGER_PAD, INTEGER_PAD], [1, 1], [0, 0]]),
        lambda out, y: (
            binary_cross_entropy_with_logits(
                out[:4],
                y[:4].float(),
                weight=(y[:4] >= 0).float(),
                pos_weight=torch.tensor([3.0, 1.0]),
                reduction="sum",
            )
            / 5
        ),
    ),
    "l2": (
        Regression(RATING, config("regression")),
        torch.tensor([6.0, NAN, 14.0, 10.0, NAN]),
        lambda out, y: mse_loss(out[[0, 2, 3], 0], torch.tensor([-1.0, 1.0, 0.0])),
    ),
    "l1": (
        Regression(RATING, config("regression", loss="l1")),
        torch.tensor([6.0, NAN, 14.0, 10.0, NAN]),
        lambda out, y: l1_loss(out[[0, 2, 3], 0], torch.tensor([-1.0, 1.0, 0.0])),
    ),
    "huber": (
        Regression(PAIR, config("regression", loss="huber")),
        torch.tensor([[6.0, -1.0], [NAN, 0.0], [NAN, NAN], [40.0, NAN], [0.0, 0.0]]),
        lambda out, y: smooth_l1_loss(
            torch.stack([out[0, 0], out[0, 1], out[1, 1], out[3, 0]]), torch.tensor([-1.0, 0.0, 2.0, 7.5])
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_what_is_known_of_real_seeds(name: str) -> None:
    objective, target, expected = CASES[name]
    out = torch.randn(5, objective.target.columns, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(objective.loss(out, target, REAL), expected(out, target))
    total, count = objective.loss_sum(objective.answers(out).numpy()[:4], target.numpy()[:4])
    assert total / count == pytest.approx(float(expected(out.double(), target)), rel=1e-6)
    assert count == int(objective.target.is_known(target.numpy()[:4]).sum())


@pytest.mark.parametrize("name", CASES)
def test_rows_that_are_not_real_or_not_known_have_no_gradient(name: str) -> None:
    objective, target, _ = CASES[name]
    out = torch.randn(5, objective.target.columns, requires_grad=True)
    objective.loss(out, target, REAL).backward()
    known = objective.target.is_known(target.numpy()).reshape(5, -1) & REAL.numpy()[:, None]
    assert ((out.grad.numpy() != 0) <= known).all() and (out.grad.numpy() != 0).any()
    unknown = torch.full_like(target, objective.target.pad_value)
    assert torch.isfinite(objective.loss(out, objective.askable(unknown), REAL))
    if not objective.is_torch_loss:
        assert objective.loss(out, unknown, REAL) == 0


@pytest.mark.parametrize("name", ["classes", "binary", "multilabel", "l2", "huber"])
def test_answers_have_the_units_of_the_target(name: str) -> None:
    objective, target, _ = CASES[name]
    out = torch.zeros(4, objective.target.columns)
    answers = objective.answers(out).numpy()
    expected = {"classes": 1 / 3, "binary": 0.5, "multilabel": 0.5, "l2": 10.0, "huber": [[10.0, -1.0]]}[name]
    np.testing.assert_allclose(answers, np.broadcast_to(expected, answers.shape))
    columns = objective.columns(answers, target.numpy()[:4])
    known = objective.target.is_known(target.numpy()[:4])
    found = [None if row is None else row for row in columns["label"].to_pylist()]
    assert (
        np.array([[x is not None for x in np.atleast_1d(row)] for row in found]).reshape(known.shape) == known
    ).all()


def test_several_targets_add_up() -> None:
    task = Task(seed_type="movie", targets=(CLASSES, RATING.model_copy(update={"name": "rating"})))
    objective = objective_of(task)
    objective.weights = (1.0, 0.25)
    out = torch.randn(5, 4)
    targets = {"y": CASES["some classes"][1], "rating": CASES["l2"][1]}
    expected = CASES["some classes"][2](out[:, :3], targets["y"]) + CASES["l2"][2](out[:, 3:], targets["rating"]) / 4
    torch.testing.assert_close(objective.loss(out, targets, REAL), expected)
    arrays = {name: values.numpy()[:4] for name, values in targets.items()}
    answers = objective.answers(out).numpy()[:4]
    assert objective.mean_loss(objective.loss_sums(answers, arrays)) == pytest.approx(float(expected), rel=1e-5)
    assert objective.is_known(arrays).tolist() == [True, False, True, True]
    assert objective.metric == "loss" and set(objective.scores(answers, arrays)) == set(objective.metrics) - {"loss"}
    assert "rating.prediction" in objective.columns(answers, arrays)


def test_constants_are_no_weights_of_the_model() -> None:
    objective: Objective = CASES["balanced classes"][0]
    assert objective.state_dict() == {} and [name for name, _ in objective.named_buffers()] == ["class_weights"]


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"class_weights of target 'y': .* another length; got 2; expected 3"):
        Classification(CLASSES, config("classification", class_weights=[1.0, 2.0]))
    with pytest.raises(ConfigError, match="balanced weights come from split train"):
        Binary(BinaryTarget(name="y"), config("binary", pos_weight="balanced"))
