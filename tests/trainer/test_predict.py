"""Predictions of split predict: of nodes that may be in no other split, and whose label may be unknown."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from heteroshards.schemas.errors import ConfigError
from heteroshards.trainer import fit
from heteroshards.trainer.cli import main
from heteroshards.trainer.evaluate import answer, evaluate
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.predict import default_splits, predict
from tests.trainer.conftest import make_config
from tests.trainer.factory_graph import NUM_MOVIES, source
from tests.trainer.store_factory import SEEDS, is_unknown, publish

pq = pytest.importorskip("pyarrow.parquet")
ROUNDS = {"train": 2, "test": 1, "predict": 2}
IDS = np.arange(NUM_MOVIES)


@pytest.fixture(params=[1, 2], ids=["one shape", "two shapes"])
def store(request, store_of):
    return store_of(rounds=ROUNDS, shapes=request.param)


@pytest.fixture
def job(store, tmp_path):
    config = make_config(tmp_path)
    with open_job(config, store, backend_of(config)) as job:
        yield job


def test_every_node_is_answered_and_labels_are_null_where_unknown(job, store, tmp_path):
    assert default_splits(store) == ("predict",)
    assert predict(job, ["predict"], tmp_path / "p.parquet") == NUM_MOVIES
    table = pq.read_table(str(tmp_path / "p.parquet")).to_pydict()
    assert table["node_id"] == IDS.tolist()
    known = [None if unknown else label for unknown, label in zip(is_unknown(IDS), source().targets["y"].tolist())]
    assert table["label"] == known
    owner = {node: split for split in ("train", "test") for node in SEEDS[split]}
    assert table["split"] == [owner.get(node) for node in IDS.tolist()]
    assert table["split"].count(None) == len(SEEDS["val"])
    assert np.allclose(np.sum(table["probability"], axis=1), 1)


def test_a_node_of_several_splits_is_written_once(job, tmp_path):
    assert predict(job, ["test", "predict", "test"], tmp_path / "p.parquet") == NUM_MOVIES
    table = pq.read_table(str(tmp_path / "p.parquet")).to_pydict()
    assert table["node_id"][: len(SEEDS["test"])] == list(SEEDS["test"])
    assert sorted(table["node_id"]) == IDS.tolist()


def test_only_known_labels_are_scored(job):
    found, known = answer(job, "predict"), ~is_unknown(IDS)
    assert (found.targets["y"][~known] == -100).all()
    assert (found.targets["y"][known] == source().targets["y"][known]).all()
    scored = evaluate(job, "predict")
    assert scored["accuracy"] == np.mean(found.predictions["y"][known] == found.targets["y"][known])
    assert np.isfinite(scored["loss"])


def test_the_loss_is_that_of_the_labelled_seeds_of_every_round(job, store):
    """As the model itself computes it where every label is known."""
    found = answer(job, "test")
    shares = found.values[np.arange(len(found.targets["y"])), found.targets["y"]]
    assert found.loss == pytest.approx(-np.log(shares).mean(), rel=1e-5)  # one round, so means are the shares


def test_nothing_to_score_is_said(job, store, monkeypatch):
    read = store.read_target
    monkeypatch.setattr(store, "read_target", lambda *asked: np.full_like(read(*asked), -100))
    assert np.isnan(answer(job, "predict").loss)
    with pytest.raises(ConfigError, match="no seed has a label"):
        evaluate(job, "predict")


def test_it_is_never_trained_on_nor_scored(store, tmp_path):
    result = fit(make_config(tmp_path, epochs=1), store, tmp_path / "run")
    assert "predict" not in result
    with_it = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "predict" not in with_it


def test_the_command_writes_every_node(tmp_path):
    config = make_config(tmp_path)
    publish(tmp_path / "stores", config, rounds=ROUNDS)
    (tmp_path / "job.toml").write_text(
        f"name = 'tiny'\n[store]\nroot = '{tmp_path}/stores'\n[model]\nhidden_channels = 8\ndropout = 0.2\n"
        f"[train]\nepochs = 1\nlr = 0.02\nbackend = 'eager'\nroot = '{tmp_path}/runs'\ncache = '{tmp_path}/c'\n"
    )
    options = ["--config", str(tmp_path / "job.toml")]
    assert CliRunner().invoke(main, ["train", *options]).exit_code == 0
    result = CliRunner().invoke(main, ["predict", *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["num_rows"] == NUM_MOVIES
    result = CliRunner().invoke(main, ["predict", *options, "--split", "train"])
    assert json.loads(result.stdout.splitlines()[-1])["num_rows"] == len(SEEDS["train"])
    assert CliRunner().invoke(main, ["evaluate", *options, "--split", "predict"]).exit_code == 2
