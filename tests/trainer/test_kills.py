"""Killed or terminated at any moment, the same command goes on, and the run is the one that was never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from heteroshards.schemas.config import load_config
from heteroshards.schemas.signals import Terminated
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.runs.names import BEST, LAST
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.run_cases import equal, losses, stop_at, weights
from tests.trainer.store_factory import publish

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
name = "tiny"
[store]
root = "{root}/stores"
[model]
hidden_channels = 8
dropout = 0.2
[train]
epochs = {epochs}
lr = 0.02
backend = "eager"
root = "{root}/runs"
cache = "{root}/cache"
"""


def written_job(root, epochs):
    path = root / "job.toml"
    path.write_text(CONFIG.format(root=root, epochs=epochs))
    publish(root / "stores", load_config(path))
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_again_and_again(tmp_path, seed):
    job = written_job(tmp_path, epochs=60)
    command = [sys.executable, "-m", "tests.trainer.kill_trials", str(job), str(tmp_path), "8", str(seed)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = [(tmp_path / f"{name}.log").read_text() for name in ("whole", "cut") if (tmp_path / f"{name}.log").exists()]
    assert shown.returncode == 0, shown.stderr
    kills = json.loads(shown.stdout)
    assert len(kills) >= 5, said
    assert any(kill["epochs"] for kill in kills), "some were killed after the first epoch"
    assert any(kill["was_writing"] for kill in kills), "some while a checkpoint was written"
    runs = tmp_path / "whole", tmp_path / "cut"
    assert len(losses(runs[0])) == 60, said
    assert losses(runs[0]) == losses(runs[1])
    for name in (BEST, LAST):
        assert equal(weights(runs[0], name), weights(runs[1], name))
    assert (runs[0] / "result.json").read_text() == (runs[1] / "result.json").read_text()
    assert not list(runs[1].glob(".*.tmp"))


@pytest.mark.parametrize("at", [0, 5, 11, 15])
def test_terminated_in_the_middle_of_an_epoch(table_store, tmp_path, at):
    """SIGTERM ends the step under way and keeps it."""
    config = make_config(tmp_path, epochs=3)
    whole = fit(config, table_store, tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated):
        fit(config, table_store, tmp_path / "cut", backend=stop_at(EagerBackend(), at, signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is before
    progress = torch.load(tmp_path / "cut" / LAST, weights_only=True)["progress"]
    assert (progress["epoch"], progress["position"]) == ((at + 1) // 8, (at + 1) % 8)
    assert fit(config, table_store, tmp_path / "cut", resume_run=True) == whole
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_real_process_ends_at_sigterm_with_143_and_goes_on(tmp_path):
    job, run = written_job(tmp_path, epochs=100_000), tmp_path / "run"
    command = [sys.executable, "-m", "trainer", "train", "--config", str(job), "--run", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (run / LAST).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "terminated: the same command goes on where it stopped."
    assert "Traceback" not in said
    progress = torch.load(run / LAST, weights_only=True)["progress"]
    done = progress["epoch"] + (progress["position"] > 0)
    resumed = subprocess.run([*command, "--epochs", str(done + 1)], capture_output=True, text=True, cwd=ROOT)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["epochs"] == done + 1


def test_sigterm_before_training_has_begun(tmp_path):
    code = (
        "import os, signal, sys, heteroshards.trainer.cli as cli, heteroshards.trainer.reading.store as store; "
        "store.resolve_store = lambda *_: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    )
    command = [sys.executable, "-c", code, "train", "--config", str(written_job(tmp_path, 1))]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ})
    assert shown.returncode == 143, shown.stderr
    assert "Traceback" not in shown.stderr
