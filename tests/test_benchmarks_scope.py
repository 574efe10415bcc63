"""benchmarks/scope.py runs, tiny, and says what the stores of both scopes are like."""

from click.testing import CliRunner

from benchmarks import measure, scope
from heteroshards.pipeline.inspect import statistics
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.schemas.config import load_config
from tests.test_benchmarks_padding import JOB, table_of


def test_fills_are_those_of_the_stores(tmp_path, monkeypatch):
    path = tmp_path / "tiny.toml"
    path.write_text(JOB)
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    result = CliRunner().invoke(scope.main, [str(path), "--seeds", "8", "--write"], catch_exceptions=False)
    rows = {(row["scope"], row["split"]): row for row in table_of(result.stdout)}
    assert (tmp_path / "RESULTS.md").read_text().strip() in result.stdout
    for name in ("all", "purpose"):
        values = {"sampling.batch_size": 8, "budget.scope": name, "store.root": str(tmp_path)}
        config = load_config(path, values)
        outcome = prepare_source(load_dataset(config.dataset), config)
        for split in statistics.store_use(outcome.path).splits:
            totals, row = split.totals, rows[name, split.name]
            assert (row["node fill"], row["edge fill"]) == (f"{totals.node_fill:.1%}", f"{totals.edge_fill:.1%}")
            assert row["MiB/batch"] == f"{totals.bytes / totals.num_batches / 2**20:.2f}"
