"""The commands, as a shell sees them."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from heteroshards.pipeline.cli import main

JOB = """
[dataset]
source = "synthetic"
args = {scale = 0.02, num_features = 40}
[sampling]
batch_size = 8
rounds = 2
[store]
root = "ROOT"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(JOB.replace("ROOT", str(tmp_path / "stores")))
    return path


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_prepare_then_find_then_inspect(config, tmp_path):
    first = run("prepare", "--config", config)
    assert first.exit_code == 0, first.output
    assert "written" in first.output and "synthetic" in first.output
    second = run("prepare", "--config", config)
    assert second.exit_code == 0 and "nothing changed" in second.output
    shown = run("inspect", "--config", config)
    assert "nodes movie" in shown.output and "fill:" in shown.output
    values = json.loads(run("inspect", "--config", config, "--json").output)
    assert [split["name"] for split in values["splits"]] == ["train", "val", "test"]
    for split in values["splits"]:
        (part,) = split["parts"]
        for use in part["types"]:
            assert use["fill"] == pytest.approx(use["mean"] / use["budget"])
            assert use["p50"] <= use["p95"] <= use["max"] < use["budget"]


def test_one_changed_number_makes_a_second_store_and_the_first_is_found_again(config, tmp_path):
    run("prepare", "--config", config)
    text = config.read_text()
    config.write_text(text.replace("batch_size = 8", "batch_size = 9"))
    assert "written" in run("prepare", "--config", config).output
    config.write_text(text)
    assert "found" in run("prepare", "--config", config).output
    assert len([p for p in (tmp_path / "stores").iterdir() if p.is_dir()]) == 2


def test_force_writes_again(config):
    run("prepare", "--config", config)
    assert "written" in run("prepare", "--config", config, "--force").output


def test_a_store_that_was_removed_is_written_again(config, tmp_path):
    import shutil

    run("prepare", "--config", config)
    for path in (tmp_path / "stores").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    assert "written" in run("prepare", "--config", config).output


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("batch_size = 8", "batch_sise = 8"), 2, "Did you mean 'batch_size'"),
        (("batch_size = 8", "batch_size = 0"), 2, "greater than or equal to 1"),
        (("rounds = 2", "rounds = 2\nfanout = []"), 2, "at least one hop"),
        (('source = "synthetic"', 'source = "synthetic"\nseed_type = "film"'), 3, "film"),
        (("[store]", "[budget]\nmode = 'uniform'\nnodes = 20\nedges = 20\n[store]"), 4, "mode = 'exact'"),
    ],
)
def test_errors_are_one_line_with_their_own_exit_code_and_leave_nothing(config, tmp_path, change, code, message):
    config.write_text(config.read_text().replace(*change))
    result = run("prepare", "--config", config)
    assert result.exit_code in (code, 2) and result.exit_code != 0, result.output
    assert message in result.output
    assert len([line for line in result.output.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "stores").exists() or list((tmp_path / "stores").iterdir()) == []


def test_inspect_without_a_store_says_what_to_do(config):
    result = run("inspect", "--config", config)
    assert result.exit_code == 5 and "make prepare" in result.output


def test_help_needs_neither_torch_nor_numba():
    code = (
        "import sys; from heteroshards.pipeline.cli import main; "
        "print([m for m in ('torch', 'numba', 'zarr') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    out = subprocess.run([sys.executable, "-m", "pipeline", "prepare", "--help"], capture_output=True, text=True)
    assert out.returncode == 0 and "--workers" in out.stdout


def test_inspect_refuses_a_config_that_changed(config):
    run("prepare", "--config", config)
    config.write_text(config.read_text().replace("rounds = 2", "rounds = 3"))
    result = run("inspect", "--config", config)
    assert result.exit_code == 5 and "config has changed" in result.output


def test_verify_says_sound_or_damaged_by_its_exit_code(config, tmp_path):
    assert run("verify").exit_code == 2 and run("verify", "--config", config).exit_code == 5
    run("prepare", "--config", config)
    store = next(path for path in (tmp_path / "stores").iterdir() if (path / ".zattrs").exists())
    compared = run("verify", "--config", config)
    assert compared.exit_code == 0 and "sampled anew" in compared.output, compared.output
    alone = run("verify", store)
    assert alone.exit_code == 0 and "sampled anew" not in alone.output
    (store / "train/seeds/targets/y/0.0").write_bytes(b"")
    damaged = run("verify", store)
    assert damaged.exit_code == 9
    assert (
        "train/seeds/targets/y/0.0 (split 'train', batch 0): the file has the wrong size; got 0 bytes" in damaged.output
    )
    values = json.loads(run("verify", store, "--json", "--limit", "1").output)
    assert values["is_sound"] is False and values["num_findings"] >= 1 and len(values["findings"]) == 1
    assert values["findings"][0]["where"] == "train/seeds/targets/y/0.0" and values["findings"][0]["batches"] == [0, 1]
    assert run("verify", tmp_path).exit_code == 5


def test_set_overrides_what_verify_compares_with_and_is_refused_where_no_config_is_read(config, tmp_path):
    run("prepare", "--config", config)
    store = next(path for path in (tmp_path / "stores").iterdir() if (path / ".zattrs").exists())
    other = run("verify", store, "--config", config, "--set", "sampling.rounds=3")
    assert other.exit_code == 9 and "[sampling] rounds is not what the store was made with" in other.output
    for command in ("verify", "inspect"):
        refused = run(command, store, "--set", "sampling.rounds=3")
        assert refused.exit_code == 2 and "no config that --set could override" in refused.output


def test_plan_writes_nothing_and_agrees_with_inspect(config, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    text, values = run("plan", "--config", config), json.loads(run("plan", "--config", config, "--json").output)
    assert text.exit_code == 0 and "Alternatives" in text.output and "Smaller budgets" in text.output
    assert sorted(tmp_path.rglob("*")) == before
    run("prepare", "--config", config)
    shown = json.loads(run("inspect", "--config", config, "--json").output)
    assert values["path"] == shown["path"]
    of_inspect = shown["splits"][0]["parts"][0]["types"]
    for key in ("kind", "name", "budget", "bytes_per_batch"):
        assert [use[key] for use in values["shapes"][0]["types"]] == [use[key] for use in of_inspect]
    disk = {part["name"]: part for part in shown["disk"]}
    for part in values["disk"]["parts"]:
        assert part["num_files"] == disk[part["name"]]["num_files"]
        tolerance = 0 if part["is_exact"] else 0.01
        assert part["stored_bytes"] == pytest.approx(disk[part["name"]]["stored_bytes"], rel=tolerance)
    assert run("plan", "--config", config, "--max-batches", "0").exit_code == 2


def test_plan_ends_with_the_error_of_prepare_after_its_tables(config):
    text = config.read_text()
    config.write_text(text.replace("[store]", "[budget]\nmode = 'uniform'\nnodes = 20\nedges = 20\n[store]"))
    result = run("plan", "--config", config)
    assert result.exit_code == 4 and "Alternatives" in result.output and "prepare would refuse" in result.output
