"""Every page about a question has a config that runs, and names the scores that it gives."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from heteroshards import fit, open_store
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import load_config
from heteroshards.schemas.config.task import Kind
from heteroshards.schemas.targets import TargetSpec
from heteroshards.trainer.trained import predict

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs").glob("task-*.md"))


def test_every_kind_has_a_page() -> None:
    assert {f"task-{kind}" for kind in Kind.__args__} <= {page.stem for page in PAGES}
    targets = TargetSpec.__origin__.__args__
    assert [of.model_fields["kind"].default for of in targets] == list(Kind.__args__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_config_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    (tmp_path / "job.toml").write_text(block, encoding="utf-8")
    short = {"train.epochs": 1, "train.root": str(tmp_path), "store.root": str(tmp_path), "dataset.args.scale": 0.1}
    config = load_config(tmp_path / "job.toml", short)
    source = load_dataset(config.dataset, job=config)
    store = prepare_source(source, config).path
    assert verify(store, source, config).is_sound
    result = fit(config, store, tmp_path / "run")
    assert result["monitor"] == config.task.metric and result["best_score"] is not None
    scores = {name.rpartition(".")[2] for name in result["test"]} - {"loss", "undefined"}
    assert len(source.targets) > 1 or all(f"`{score}`" in text for score in scores)
    predict(config, tmp_path / "run", tmp_path / "p.parquet", ["val"], store=open_store(store))
    columns = {name.rpartition(".")[2] for name in pq.read_table(tmp_path / "p.parquet").column_names}
    assert len(source.targets) > 1 or all(f"`{name}`" in text for name in columns - {"split", "node_id"})
