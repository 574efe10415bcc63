"""The whole trainer through the double: training, evaluation, going on, offline compilation."""

import json
import sys

import numpy as np
import pytest
import torch

from heteroshards.schemas.errors import ConfigError
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, compile_offline, open_job
from heteroshards.trainer.runs.report import Console
from heteroshards.trainer.training import fit
from tests.trainer.poptorch_backend.cases import (
    FEEDING,
    MODELS,
    built,
    calls_of,
    example_of,
    ipu_job,
    on_double,
)


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_trainer_as_an_ipu_user_runs_it(store_of, tmp_path, poptorch, name):
    """`auto` picks poptorch where it is installed; calls wrap around (training) and fill up (evaluation)."""
    store = store_of(rounds={"train": 2, "val": 1, "test": 2})
    model = {"name": name, "hidden_channels": 8, "heads": 2}
    config = ipu_job(tmp_path, FEEDING, model, backend="auto", epochs=2)
    assert backend_of(config).name == "poptorch"
    result = fit(config, store, tmp_path / "run")
    assert result["backend"] == "poptorch"
    assert result["num_compilations"] == {"train": 1, "infer": 1}
    assert 0 <= result["test"]["accuracy"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


def test_evaluation_drops_what_fills_up_the_last_call(store_of, tmp_path, poptorch):
    """Answers on a split whose batches are no multiple of a call are those of the eager backend."""
    store = store_of(rounds={"train": 1, "test": 2})
    answers = []
    for backend, ipu in (("eager", {}), ("poptorch", {"device_iterations": 4})):
        config = ipu_job(tmp_path, ipu, backend=backend)
        with open_job(config, store, backend_of(config)) as job:
            assert store.split("test").num_batches % job.compiled.infer_batches or backend == "eager"
            answers.append(answer(job, "test"))
    np.testing.assert_allclose(answers[0].values, answers[1].values, atol=1e-5)
    assert answers[0].node_id.tolist() == answers[1].node_id.tolist()
    assert answers[0].loss == pytest.approx(answers[1].loss, rel=1e-5)


def test_an_interrupted_run_goes_on(store_of, tmp_path, poptorch):
    store = store_of()
    model = {"hidden_channels": 8}  # no dropout: the device's random state is not part of a checkpoint
    config = ipu_job(tmp_path, {"device_iterations": 2}, model, epochs=3)
    whole = fit(config, store, tmp_path / "whole")
    fit(ipu_job(tmp_path, {"device_iterations": 2}, model, epochs=1), store, tmp_path / "parts")
    parts = fit(config, store, tmp_path / "parts", resume_run=True)
    assert parts["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=1e-4)


def test_weights_are_interchangeable_with_eager(store_of, tmp_path, poptorch):
    """(43): a state loads without poptorch, in float32, under the same names."""
    store = store_of()
    compiled, _ = on_double(store, tmp_path)
    state = compiled.model_state()
    compiled.close()
    plain = built(store)
    plain.initialise(example_of(store, plain))
    assert state.keys() == plain.state_dict().keys()
    assert {type(value) for value in state.values()} == {torch.Tensor}
    plain.load_state_dict(state)


def test_executables_are_kept_beside_the_runs_and_found_again(store_of, tmp_path, poptorch):
    """(47)"""
    store = store_of()
    for _ in range(2):
        compiled, model = on_double(store, tmp_path)
        compiled.step(calls_of(store, model, 1, 1)[0])
        compiled.close()
    assert list((tmp_path / "poptorch").iterdir())
    assert poptorch.double.cache_hits == 1
    compiled, model = on_double(store, tmp_path / "none", executable_cache="off")
    compiled.step(calls_of(store, model, 1, 1)[0])
    assert not (tmp_path / "none").exists()


def test_compiling_for_a_device_that_is_not_here(store_of, tmp_path, poptorch):
    """(52): executables for both kinds, nothing run."""
    config = ipu_job(tmp_path, {"device_iterations": 2, "ipu_version": 21})
    folder = compile_offline(config, store_of())
    assert len(list(folder.iterdir())) >= 2 and poptorch.double.compilations == 2
    with pytest.raises(ConfigError, match="executable_cache"):
        compile_offline(ipu_job(tmp_path, {"executable_cache": "off"}), store_of())


def test_offline_every_program_of_a_run_is_compiled(store_of, tmp_path, poptorch):
    compile_offline(ipu_job(tmp_path), store_of(apart=True))
    assert poptorch.double.compilations == 2
    compile_offline(ipu_job(tmp_path), store_of(rounds={"predict": 1}))
    assert poptorch.double.compilations == 3, "nothing to train on"


def test_devices_are_given_back_when_training_fails(store_of, tmp_path, poptorch):
    """(45): destroy() in a finally."""
    compiled, model = on_double(store_of(), tmp_path)
    executor = compiled._executors["train"]
    compiled.step(calls_of(store_of(), model, 1, 1)[0])
    compiled.close()
    compiled.close()
    assert not executor.isCompiled() and type(model).__name__ == "SeedModel"


def test_a_call_larger_than_a_round_is_told(store_of, tmp_path, poptorch, capsys):
    console = Console(sys.stderr)
    fit(ipu_job(tmp_path, {"device_iterations": 64}, epochs=1), store_of(), tmp_path / "run", console=console)
    assert "warning: one call takes 64 batches" in capsys.readouterr().err
