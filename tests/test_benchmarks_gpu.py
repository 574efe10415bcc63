"""The command for a GPU goes through all of its lines here, on the double; what it measures is not checked."""

import json
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu, measure
from benchmarks.card import DryCard
from benchmarks.step import MODELS

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*options: str):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(gpu.main, list(options), catch_exceptions=False)


def test_a_dry_run_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setenv("DATASETS_DIR", str(tmp_path / "none"))
    result = run("--dry-run", "--seconds", "100000", "--json", str(tmp_path / "new" / "gpu.json"), "--write")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "new" / "gpu.json").read_text())
    assert found["failures"] == [] and "no GPU" in found["card"]
    assert len(found["left_out"]) == 1 and "IMDB" in found["left_out"][0]
    ways = [f"{way}, {kind}" for way in (gpu.CARD, gpu.HOST) for kind in ("resident", "stream")]
    expected = {(model, way) for model in MODELS for way in (*ways, gpu.PYG, gpu.CAPTURING)}
    assert {(row["model"], row["way"]) for row in found["rates"]} == expected
    assert all(row["steps_per_s"] > 0 and 0 <= row["waiting"] < 1 for row in found["rates"])
    assert [(row["model"], row["tf32"]) for row in found["losses"]] == [(m, t) for t in (False, True) for m in MODELS]
    assert all(row["difference"] < 1e-5 for row in found["losses"])
    assert "skipped" in found["tests"] or torch.cuda.is_available()
    written = (tmp_path / "RESULTS.md").read_text()
    assert written.count("| hgt |") == 6 and "stream / plain PyG:" in written and "reach 0.95" in written


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path) -> None:
    result = run("--json", str(tmp_path / "gpu.json"))
    assert result.exit_code == 0 and len(result.output.splitlines()) == 1 and "no GPU" in result.output
    assert not (tmp_path / "gpu.json").exists()


def test_the_time_is_kept_and_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "run_tests", lambda session: time.sleep(3600))
    result = run("--dry-run", "--seconds", "0.5", "--json", str(tmp_path / "gpu.json"))
    assert result.exit_code == 0
    assert "the time is over" in result.output and "left out: tests on the GPU" in result.output
    assert json.loads((tmp_path / "gpu.json").read_text())["rates"] == []


def test_a_failure_is_kept_and_the_next_measurement_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: misaligned address")

    for name in ("run_tests", "compare_losses", "measure_model", "measure_capturing"):
        monkeypatch.setattr(gpu, name, fail)
    result = run("--dry-run", "--json", str(tmp_path / "gpu.json"))
    assert result.exit_code == 1
    failures = json.loads((tmp_path / "gpu.json").read_text())["failures"]
    assert len(failures) >= 1 + 2 * 3 + 3 + 3 and all("RuntimeError: CUDA error: misaligned" in f for f in failures)


def test_failing_tests_on_the_card_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "GPU_TESTS", ("tests/no_such_file.py",))
    session = gpu.Session(DryCard(), gpu.Results("a card", "a feeder"), 60)
    gpu.run_tests(session)
    assert len(session.results.failures) == 1 and "no_such_file" in session.results.failures[0]
