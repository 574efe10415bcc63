"""benchmarks/padding.py runs, tiny, and its numbers are those of the stores that it times."""

import pytest
from click.testing import CliRunner

from benchmarks import measure, padding

JOB = """
[dataset]
source = "synthetic"
args = {scale = 0.02, num_features = 12}
[model]
hidden_channels = 8
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(JOB)
    return path


def table_of(output):
    lines = [line for line in output.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_table_with_times(config, tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    arguments = [str(config), "--seeds", "8", "--rounds", "2", "--epochs", "1", "--write"]
    result = CliRunner().invoke(padding.main, arguments, catch_exceptions=False)
    rows = table_of(result.stdout)
    assert [(row["grouping"], row["budget"]) for row in rows] == [
        (grouping, mode) for grouping in ("random", "balanced", "packed") for mode in ("exact", "sampled")
    ]
    for row in rows:
        assert 0 < float(row["node fill"].strip("%")) <= 100 and float(row["stream s"]) >= 0
        assert row["budget"] != "exact" or row["over"] == "0.00%"
    assert result.stdout.count("Left out") == 3, "22 batches are too few for a quantile of 0.99"
    section = (tmp_path / "RESULTS.md").read_text()
    assert section.startswith("\n## Padding, tiny: 86 seeds") and section.strip() in result.stdout


def test_no_times_when_none_are_wanted(config):
    result = CliRunner().invoke(padding.main, [str(config), "--seeds", "8", "--rounds", "1", "--epochs", "0"])
    rows = table_of(result.stdout)
    assert len(rows) == 6 and all("stream s" not in row for row in rows)
