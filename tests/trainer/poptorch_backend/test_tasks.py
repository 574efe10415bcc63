"""Every kind of target has a loss that PopTorch finds, and trains as elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.training import fit
from tests.trainer.poptorch_backend.cases import ipu_job
from tests.trainer.target_cases import ROUNDS, TARGETS, task_job


@pytest.mark.parametrize("name", TARGETS)
def test_the_poptorch_double_takes_its_loss_and_does_the_same(
    store_of: Any, tmp_path: Path, poptorch: Any, name: str
) -> None:
    config = task_job(tmp_path, name, epochs=2)
    store = store_of(targets=TARGETS[name], rounds=ROUNDS, chunk_batches=4)
    results = [
        fit(config, store, tmp_path / kind, backend=backend)
        for kind, backend in (("ipu", PopTorchBackend(config.ipu, tmp_path)), ("cpu", EagerBackend()))
    ]
    assert results[0]["num_compilations"] == {"train": 1, "infer": 1}
    for split in ("val", "test"):
        assert results[0][split]["loss"] == pytest.approx(results[1][split]["loss"], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["multilabel", "several"])
def test_half_precision_leaves_the_loss_in_full(store_of: Any, tmp_path: Path, poptorch: Any, name: str) -> None:
    config = task_job(tmp_path, name, {"half": True}, epochs=1)
    with open_job(
        config, store_of(targets=TARGETS[name], rounds=ROUNDS), PopTorchBackend(config.ipu, tmp_path)
    ) as opened:
        buffers = dict(opened.compiled._model.objective.named_buffers())
        assert buffers and {buffer.dtype for buffer in buffers.values()} == {torch.float32}


def test_half_precision_takes_encoders_along(store_of: Any, tmp_path: Path, poptorch: Any) -> None:
    config = ipu_job(tmp_path, {"half": True})
    with open_job(config, store_of(is_rich=True, chunk_batches=4), PopTorchBackend(config.ipu, tmp_path)) as opened:
        model = opened.compiled._model
        encoders = [*model.encoders.parameters(), *model.edge_encoders.parameters()]
        assert encoders and {parameter.dtype for parameter in encoders} == {torch.float16}
