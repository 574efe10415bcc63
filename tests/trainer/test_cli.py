"""The commands as a person meets them."""

import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from heteroshards.schemas.config import load_config
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.cli import main
from heteroshards.trainer.runs.folders import locked, move_aside
from tests.trainer.store_factory import publish

CONFIG = """
name = "tiny"
[store]
root = "{root}/stores"
[model]
hidden_channels = 8
[train]
epochs = 2
backend = "eager"
root = "{root}/runs"
cache = "{root}/cache"
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A config file whose store is prepared, and its folder."""
    root = tmp_path_factory.mktemp("job")
    path = root / "job.toml"
    path.write_text(CONFIG.format(root=root))
    publish(root / "stores", load_config(path, {"name": "tiny"}))
    return path


def call(*args, job=None):
    result = CliRunner().invoke(main, [*args, *(["--config", str(job)] if job else [])])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1] if hasattr(result, "stdout") else result)


def test_help_tells_the_commands_and_codes():
    assert "130" in call("--help").output
    for command in ("train", "evaluate", "predict"):
        text = call(command, "--help").output
        assert "--config" in text
        assert "--store" in text
    assert "original_id" in call("predict", "--help").output


def test_train_evaluate_predict_and_train_again(job, tmp_path):
    trained = call("train", "--seed", "5", job=job)
    assert trained.exit_code == 0, trained.output
    result = last_json(trained)
    run = job.parent / "runs" / "tiny-to_hetero-eager-s5"
    assert (run / "best.pt").exists()
    evaluated = call("evaluate", "--seed", "5", job=job)
    assert last_json(evaluated) == {"split": "test", **result["test"], "left_out": []}
    predicted = call("predict", "--seed", "5", "--split", "val", job=job)
    assert last_json(predicted) == {"output": str(run / "predictions.parquet"), "num_rows": 11, "left_out": []}
    before = (run / "last.pt").stat().st_mtime_ns
    again = call("train", "--seed", "5", job=job)
    assert again.exit_code == 0
    assert "--fresh" in again.output
    assert last_json(again) == result
    assert (run / "last.pt").stat().st_mtime_ns == before


def test_more_epochs_go_on(job):
    run = str(job.parent / "more")
    call("train", "--run", run, job=job)
    more = call("train", "--run", run, "--epochs", "3", job=job)
    assert "resuming" in more.output
    assert last_json(more)["epochs"] == 3
    whole = call("train", "--run", str(job.parent / "whole"), "--epochs", "3", job=job)
    assert last_json(more) == last_json(whole)


def test_fresh_keeps_the_old_run(job):
    run = job.parent / "again"
    first = last_json(call("train", "--run", str(run), job=job))
    second = last_json(call("train", "--run", str(run), "--fresh", job=job))
    assert first == second
    assert json.loads((job.parent / "again.old-1" / "result.json").read_text())["epochs"] == 2


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["train", "--model", "nope"], 6, "nope"),
        (["train", "--backend", "nope"], 2, "train.backend"),
        (["train", "--epochs", "0"], 2, "train.epochs"),
        (["train", "--store", "nowhere"], 5, "make prepare"),
        (["train", "--resume", "--run", "{root}/empty"], 8, "nothing to resume"),
        (["evaluate", "--run", "{root}/empty"], 8, "no checkpoint"),
        (["train", "--run", "{root}/stores"], 8, "holds no run"),
        (["train", "--run", "{root}/stores", "--fresh"], 8, "holds no run"),
        (["train", "--run", "{root}/job.toml/run"], 8, "job.toml"),
        (["train", "--run", "{root}/job.toml"], 8, "job.toml"),
    ],
)
def test_errors_are_one_line_and_a_code(job, args, code, text):
    result = call(*(arg.format(root=job.parent) for arg in args), job=job)
    assert result.exit_code == code, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert text in lines[0]
    assert "Traceback" not in result.output


def test_resume_and_fresh_exclude_each_other(job):
    result = call("train", "--resume", "--fresh", job=job)
    assert result.exit_code == 2
    assert "--resume and --fresh exclude each other" in result.output


def test_a_misspelt_model_leaves_nothing_behind(job, tmp_path):
    assert call("train", "--model", "to_hetro", "--run", str(tmp_path / "new" / "run"), job=job).exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_fewer_epochs_are_an_error(job, tmp_path):
    call("train", "--run", str(tmp_path / "run"), job=job)
    result = call("train", "--run", str(tmp_path / "run"), "--epochs", "1", job=job)
    assert result.exit_code == 8
    assert "begun 2 epochs already, more than the 1 asked for" in result.output


def test_a_lost_best_is_no_circle(job, tmp_path):
    run = tmp_path / "run"
    call("train", "--run", str(run), job=job)
    (run / "best.pt").unlink()
    result = call("train", "--run", str(run), job=job)
    assert result.exit_code == 8
    assert "--fresh" in result.output
    assert "Train first" not in result.output
    assert call("train", "--run", str(run), "--fresh", job=job).exit_code == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "[]"),
        ("run.json", "{"),
        ("result.json", "7"),
        ("result.json", '{"epochs": 2}'),
        (
            "result.json",
            '{"epochs": 2, "best_epoch": 1, "monitor": "loss", "test": {}, "limits": {"epochs": 2, "patience": 0}}',
        ),
        ("metrics.jsonl", '{"epoch": 0}\n{"ep\n{"epoch": 1}\n'),
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", '{"epoch": null}\n'),
    ],
)
def test_malformed_files_of_a_run_are_named(job, tmp_path, name, text):
    run = tmp_path / "run"
    call("train", "--run", str(run), "--epochs", "1", job=job)
    (run / name).write_text(text)
    result = call("train", "--run", str(run), job=job)
    assert result.exit_code == 8, result.output
    assert f"{run / name}: " in result.output


def test_outputs_that_cannot_be_written_are_named(job, tmp_path):
    call("train", "--seed", "8", job=job)
    for output in (tmp_path, job / "file"):
        result = call("predict", "--seed", "8", "--output", str(output), job=job)
        assert result.exit_code == 8
        assert f"error: {output}: " in result.output


def test_leftovers_are_removed_and_do_not_bar_the_way(job, tmp_path):
    (tmp_path / ".run.json.99999999.tmp").touch()
    assert call("train", "--run", str(tmp_path), job=job).exit_code == 0
    assert not list(tmp_path.glob(".*.tmp"))


def test_ctrl_c_says_what_the_next_command_does(job, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("heteroshards.trainer.reading.store.resolve_store", stop)
    for command, text in (("train", "goes on"), ("evaluate", "begins anew"), ("predict", "begins anew")):
        result = call(command, job=job)
        assert result.exit_code == 130
        assert text in result.output


def test_another_jobs_run_is_left_alone(job):
    run = str(job.parent / "other")
    call("train", "--run", run, job=job)
    result = call("train", "--run", run, "--seed", "9", job=job)
    assert result.exit_code == 8
    assert "train.rng_seed: 0 -> 9" in result.output
    assert "--fresh" in result.output


def test_a_backend_that_stands_in_is_named(job, monkeypatch):
    def resolve(name, cache, ipu):
        warnings.warn(f"backend '{name}' runs as 'eager'", UserWarning, stacklevel=2)
        return EagerBackend()

    monkeypatch.setattr("heteroshards.trainer.job.resolve_backend", resolve)
    result = call("train", "--seed", "6", "--backend", "inductor", job=job)
    assert "warning: backend 'inductor' runs as 'eager'" in result.output
    assert (job.parent / "runs" / "tiny-to_hetero-eager-s6").exists()


def test_one_process_at_a_time(job, tmp_path):
    with locked(tmp_path / "run"):
        result = call("train", "--run", str(tmp_path / "run"), job=job)
    assert result.exit_code == 8
    assert "another process" in result.output


def test_moving_aside_loses_nothing(tmp_path):
    for number in (1, 2):
        (tmp_path / "run").mkdir()
        assert move_aside(tmp_path / "run").name == f"run.old-{number}"


def test_a_real_process_stops_at_ctrl_c_and_goes_on(job):
    """Exit 130 with a hint; the same command then goes on; --help does not import torch."""
    run = job.parent / "interrupted"
    command = [sys.executable, "-m", "trainer", "train", "--config", str(job), "--run", str(run), "--epochs", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (run / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted: the same command goes on" in errors
    assert "Traceback" not in errors
    assert "\r" not in errors  # no progress bar without a terminal
    done = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["epoch"]
    resumed = call("train", "--run", str(run), "--epochs", str(done + 1), job=job)
    assert resumed.exit_code == 0, resumed.output
    assert last_json(resumed)["epochs"] == done + 1


def test_help_is_quick():
    code = "import sys, trainer, trainer.cli; sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


ROOT = Path(__file__).resolve().parents[2]
