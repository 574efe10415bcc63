"""Nothing a user does through the API or the commands ends in a raw traceback."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from heteroshards import pipeline, trainer
from heteroshards.pipeline.forecast.job import forecast
from heteroshards.pipeline.inspect.command import look_at
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import from_data, load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import HeteroShardsError
from heteroshards.trainer import ShardDataset, ShardIterable, fit, open_store, resolve_store
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.evaluate import answer, evaluate
from heteroshards.trainer.job import open_job
from heteroshards.trainer.predict import predict

ROOT = Path(__file__).resolve().parents[2]


def graph(kind="p") -> HeteroData:
    data, ids = HeteroData(), torch.arange(12)
    data[kind].x, data[kind].y = torch.ones(12, 2), ids % 2
    data[kind].train_mask, data[kind].test_mask = ids < 8, ids >= 8
    data[kind, "to", kind].edge_index = torch.stack([ids, ids.flip(0)])
    return data


def job(root, **train) -> JobConfig:
    return JobConfig(
        name="job",
        dataset={"seed_type": "p"},
        sampling={"fanout": [2], "batch_size": 4, "rounds": 1},
        store={"root": str(root / "stores")},
        model={"hidden_channels": 4, "num_layers": 1},
        train={"epochs": 1, "backend": "eager", "root": str(root / "runs"), "cache": str(root / "c"), **train},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(folder, config, path of a store)"""
    root = tmp_path_factory.mktemp("job")
    return root, job(root), pipeline.prepare(graph(), job(root))


ODD = [None, 5, 1.5, True, b"x", [], {}, object(), "", "nowhere", "a\0b", ROOT, ROOT / "README.md", np.zeros(2)]
NOT_A_JOB = [None, {}, "job.toml", JobConfig().dataset, JobConfig().train, JobConfig]


def name_of(odd) -> str:
    """The same in every process, unlike repr: pytest-xdist compares them."""
    return re.sub(r" at 0x\w+|\W+", "-", repr(odd)).strip("-") or type(odd).__name__


def refused(call, *arguments, **options) -> None:
    """It raises an error of ours, or nothing."""
    try:
        call(*arguments, **options)
    except HeteroShardsError as error:
        assert str(error)


@pytest.mark.parametrize("odd", [*ODD, *NOT_A_JOB], ids=name_of)
def test_wrong_arguments_of_the_pipeline(place, tmp_path, odd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, config, _ = place
    source = from_data(graph(), config.dataset, {})
    refused(from_data, odd, config.dataset, {})
    refused(from_data, graph(), odd, {})
    refused(load_dataset, odd)
    refused(pipeline.prepare, odd, config)
    refused(prepare_source, odd, config)
    refused(prepare_source, source, config, store=odd)
    refused(look_at, odd)
    refused(verify, odd)
    refused(verify, odd, source, config)
    refused(forecast, odd, config)
    for call in (
        lambda: pipeline.prepare(graph(), odd),
        lambda: forecast(source, odd),
        lambda: prepare_source(source, odd),
    ):
        with pytest.raises(HeteroShardsError):
            call()
    if not (isinstance(odd, int) and odd is not True):
        for option in ("workers", "max_batches"):
            with pytest.raises(HeteroShardsError, match=option):
                forecast(source, config, **{option: odd})


@pytest.mark.parametrize("odd", [*ODD, *NOT_A_JOB], ids=name_of)
def test_wrong_arguments_of_the_trainer(place, tmp_path, odd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, config, path = place
    store = open_store(path)
    for call in (
        lambda: open_store(odd),
        lambda: resolve_store(odd),
        lambda: fit(odd, store, tmp_path / "run"),
        lambda: fit(config, odd, tmp_path / "run"),
        lambda: open_job(odd, store, EagerBackend()).__enter__(),
        lambda: open_job(config, odd, EagerBackend()).__enter__(),
        lambda: ShardDataset(odd, "train"),
        lambda: ShardDataset(store, odd),
        lambda: ShardIterable(odd),
        lambda: answer(odd, "test"),
        lambda: evaluate(odd, "test"),
        lambda: predict(odd, ["test"], tmp_path / "p.parquet"),
    ):
        with pytest.raises(HeteroShardsError):
            call()
    dataset = ShardDataset(store, "train")
    if not (isinstance(odd, int) and odd is not True):
        with pytest.raises(HeteroShardsError):
            dataset[odd]
    if odd is not None and not isinstance(odd, (str, os.PathLike)):
        with pytest.raises(HeteroShardsError):
            fit(config, store, odd)
    with open_job(config, store, EagerBackend()) as opened:
        for call in (lambda: answer(opened, odd), lambda: predict(opened, [odd], tmp_path / "p.parquet")):
            with pytest.raises(HeteroShardsError):
                call()


def test_a_store_may_be_named_where_it_is_trained_on(place, tmp_path):
    _, config, path = place
    assert fit(config, path, tmp_path / "run")["test"] == fit(config, open_store(path), str(tmp_path / "again"))["test"]


def test_sequences_end_and_errors_of_hooks_keep_their_cause(place, tmp_path):
    _, config, path = place
    assert len(list(ShardDataset(path, "train"))) == 2
    with pytest.raises(IndexError) as ended:
        ShardDataset(path, "train")[2]
    assert isinstance(ended.value, HeteroShardsError)

    def fail(*_):
        raise ZeroDivisionError("mine")

    with pytest.raises(HeteroShardsError, match="ZeroDivisionError: mine") as caught:
        pipeline.prepare(graph(), config, store=tmp_path / "s", progress=fail)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("name", ["tensorboard", "metrics.jsonl", "last.pt", "best.pt", "result.json"])
def test_something_in_the_way_in_a_run_folder(place, tmp_path, name):
    _, config, path = place
    in_the_way = tmp_path / name
    in_the_way.write_text("x") if name == "tensorboard" else (in_the_way / "sub").mkdir(parents=True)
    with pytest.raises(HeteroShardsError, match=name):
        fit(config, path, tmp_path)


def test_a_run_folder_that_vanishes_or_a_disk_that_is_full(place, tmp_path, monkeypatch):
    _, config, path = place

    class Full:
        def __init__(self, *_, **__):
            pass

        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Full)
    with pytest.raises(HeteroShardsError, match=r"tensorboard.*No space left"):
        fit(config, path, tmp_path / "run")


def command(room, *args, cwd=None, stdin="", **environment):
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", room, *map(str, args)],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    data = graph("p\u2603per")
    config = JobConfig(dataset={"seed_type": "p\u2603per"}, sampling={"fanout": [2], "batch_size": 4, "rounds": 1})
    path = pipeline.prepare(data, config, store=tmp_path / "s")
    shown = command("pipeline", "inspect", path, PYTHONIOENCODING="iso-8859-1")
    assert shown.returncode == 0, shown.stderr
    assert "p\\u2603per" in shown.stdout


@pytest.mark.parametrize("room", ["pipeline", "trainer"])
def test_faults_leave_a_file_and_one_line(room, tmp_path):
    code = (
        f"import sys, click; from {room}.cli import main\n"
        "@main.command()\ndef fail(): raise ValueError('odd')\n"
        "@main.command()\ndef refuse(): raise OSError(28, 'No space left on device')\n"
        "main(sys.argv[1:])"
    )
    run = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    failed = subprocess.run([sys.executable, "-c", code, "fail"], env={**os.environ, "TMPDIR": str(tmp_path)}, **run)
    assert failed.returncode == 70
    assert len(failed.stderr.splitlines()) == 1 and "ValueError: odd" in failed.stderr
    (kept,) = tmp_path.glob("heteroshards-*.txt")
    assert str(kept) in failed.stderr and "Traceback" in kept.read_text()
    shown = subprocess.run(
        [sys.executable, "-c", code, "fail"], env={**os.environ, "HETEROSHARDS_TRACEBACK": "1"}, **run
    )
    assert "Traceback" in shown.stderr and shown.returncode == 70
    full = subprocess.run([sys.executable, "-c", code, "refuse"], **run)
    assert full.returncode == 1 and full.stderr.startswith("error: ") and "No space left" in full.stderr


def test_a_reader_that_goes_away_ends_a_command_quietly(place):
    _, _, path = place
    script = f"{sys.executable} -m pipeline inspect {path} --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr and "error" not in ended.stderr


def test_no_stdout_no_stderr_and_no_folder(place, tmp_path):
    _, _, path = place
    for closed in (">&- 2>&-", ">&-", "2>&-", ">/dev/full"):
        script = f"{sys.executable} -m pipeline inspect {path} {closed}"
        ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert "Traceback" not in ended.stderr, (closed, ended.stderr)
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone && rmdir ../gone && PYTHONPATH={ROOT} {sys.executable} -m pipeline inspect s"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode and "Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("room", ["pipeline", "trainer"])
def test_an_interrupt_while_importing(room, tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    ended = command(room, "--help", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert ended.returncode == 130 and "Traceback" not in ended.stderr


def test_every_public_name_is_here():
    """What is added to the rooms' public names has to be tried above, too."""
    assert set(pipeline.__all__) == {"prepare"}
    assert set(trainer.__all__) == {"ShardDataset", "ShardIterable", "fit", "open_store", "resolve_store"}
    assert shutil.which("bash")
