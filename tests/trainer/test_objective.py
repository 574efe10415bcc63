"""What is asked of a model is decided in one place: the loss, answers, metrics and predictions all come from there."""

from pathlib import Path
from typing import Any, Dict, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from heteroshards.schemas.task import CLASS_PAD, TargetSpec
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.predict import predict
from heteroshards.trainer.tasks.classification import Classification
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config

pytestmark = pytest.mark.usefixtures("one_thread")


class Doubled(Classification):
    """Twice the loss, and a metric and a column of its own."""

    def loss(self, out: Tensor, targets: Mapping[str, Tensor], is_real: Tensor) -> Tensor:
        return 2 * super().loss(out, targets, is_real)

    def scores(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, float]:
        away = answers - np.eye(3)[targets["y"]]
        return {**super().scores(answers, targets), "brier": float((away**2).mean())}

    def columns(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        import pyarrow as pa

        return {"certainty": pa.array(answers.max(axis=1))}


def test_another_objective_reaches_every_place(table_store, tmp_path: Path, monkeypatch) -> None:
    import pyarrow.parquet as pq

    config = make_config(tmp_path, epochs=1)
    plain = fit(config, table_store, tmp_path / "plain", backend=EagerBackend())
    for place in ("models.seed_model", "job"):
        monkeypatch.setattr(f"heteroshards.trainer.{place}.objective_of", lambda task: Doubled(task.target))
    found = fit(config, table_store, tmp_path / "doubled", backend=EagerBackend())
    assert "brier" in found["test"] and "brier" not in plain["test"]
    with open_job(config, table_store, EagerBackend()) as job:
        predict(job, ["val"], tmp_path / "p.parquet")
    assert pq.read_table(tmp_path / "p.parquet").column_names == ["split", "node_id", "certainty"]


def test_the_loss_is_that_of_real_seeds_and_can_always_be_asked() -> None:
    task, out = Classification(TargetSpec(name="y", num_classes=3)), torch.randn(5, 3)
    target, is_real = torch.tensor([0, 2, 1, 7, 7]), torch.tensor([True, True, True, False, False])
    assert task.loss(out, {"y": target}, is_real) == cross_entropy(out[:3], target[:3])
    unknown = torch.full((5,), CLASS_PAD)
    assert torch.isfinite(task.loss(out, {"y": task.askable("y", unknown)}, is_real))
    shares = task.answers(out).numpy()
    known = {"y": np.array([0, 2, CLASS_PAD, 1, CLASS_PAD])}
    assert task.is_known(known).tolist() == [True, True, False, True, False]
    expected = -np.log(shares[[0, 1, 3], [0, 2, 1]].astype(np.float64)).sum()
    assert task.loss_sum(shares, known) == pytest.approx(expected)
