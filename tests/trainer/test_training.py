"""Training learns, resumes bit for bit, stops early, and refuses what is not its own."""

import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from heteroshards.schemas.errors import CheckpointError, ConfigError, ModelError
from heteroshards.trainer.backends.eager import EagerBackend, TorchModel
from heteroshards.trainer.checkpoint import load_model
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.models import build_model
from heteroshards.trainer.predict import predict
from heteroshards.trainer.runs.names import BEST, LAST
from heteroshards.trainer.runs.report import Console, read_metrics, result_line
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.factory_graph import source
from tests.trainer.run_cases import losses, stop_at


def test_learns_and_leaves_everything_behind(table_store, tmp_path):
    config = make_config(tmp_path, epochs=25)
    config = config.model_copy(update={"model": config.model.model_copy(update={"edge_features": "never"})})  # noise
    result = fit(config, table_store, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert len(found) == result["epochs"] == 25
    assert found[-1] < 0.6 * found[0]
    assert result["test"]["accuracy"] > 0.6  # one class in three
    assert result["backend"] == "eager"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    record = read_metrics(tmp_path / "run")[3]
    assert (record["epoch"], record["round"]) == (4, 1)
    assert record["steps_per_s"] == pytest.approx(8 / record["seconds"])
    assert 0 <= record["waited_s"] <= record["seconds"]
    assert {"val_loss", "val_accuracy", "val_macro_f1"} <= set(record)
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    contents = torch.load(tmp_path / "run" / BEST, weights_only=True)
    assert contents["progress"]["best_epoch"] == result["best_epoch"]
    assert contents["job"]["store"] == table_store.fingerprint
    best = max(record["val_accuracy"] for record in read_metrics(tmp_path / "run"))
    assert result["val"]["accuracy"] == best == contents["progress"]["best_score"]


def test_the_loss_weighs_every_seed_alike(table_store, tmp_path, monkeypatch):
    """Epochs have 7 batches of 4 seeds and one of 2."""
    seen = []
    original = TorchModel.step

    def step(self, batch):
        out, loss = original(self, batch)
        seen.append((float(loss), int(batch[-1].sum())))
        return out, loss

    monkeypatch.setattr(TorchModel, "step", step)
    fit(make_config(tmp_path, epochs=1), table_store, tmp_path / "run")
    values, counts = np.array(seen).T
    assert sorted(counts) == [2] + [4] * 7
    assert losses(tmp_path / "run") == [pytest.approx(np.average(values, weights=counts))]


def test_two_runs_are_equal_and_another_seed_is_not(table_store, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(make_config(tmp_path, rng_seed=seed), table_store, tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


@pytest.mark.parametrize("at", [0, 11, 15])  # of epoch 1, amid epoch 2, at its very end
def test_an_interrupted_run_resumes_bit_for_bit(table_store, tmp_path, at):
    config = make_config(tmp_path)
    whole = fit(config, table_store, tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(config, table_store, tmp_path / "cut", backend=stop_at(EagerBackend(), at))
    assert signal.getsignal(signal.SIGINT) is before
    progress = torch.load(tmp_path / "cut" / LAST, weights_only=True)["progress"]
    assert (progress["epoch"], progress["position"]) == ((at + 1) // 8, (at + 1) % 8)
    resumed = fit(config, table_store, tmp_path / "cut", resume_run=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert resumed == whole
    states = [torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(states[0]["model"][key], states[1]["model"][key]) for key in states[0]["model"])


def test_records_after_the_checkpoint_are_dropped(table_store, tmp_path):
    """As after a crash between the metrics and the checkpoint of an epoch."""
    config = make_config(tmp_path, epochs=2)
    fit(config, table_store, tmp_path / "run")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "loss": 9.0}\n{"epo')
    fit(make_config(tmp_path, epochs=3), table_store, tmp_path / "run", resume_run=True)
    fit(make_config(tmp_path, epochs=3), table_store, tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_stops_early(table_store, tmp_path):
    config = make_config(tmp_path, epochs=60, patience=3, lr=1e-9)
    result = fit(config, table_store, tmp_path / "run")
    assert result["best_epoch"] == 1
    assert result["epochs"] == 4


@pytest.mark.parametrize("monitor", ["accuracy", "macro_f1", "loss"])
def test_the_best_epoch_is_the_earliest_with_the_best_score(table_store, tmp_path, monkeypatch, monitor):
    """What decides, in which direction, ties, early stopping; and one number everywhere, also after an interruption."""
    given = {
        "accuracy": [0.5, 0.75, 0.75, 0.25, 0.25, 0.25],
        "macro_f1": [0.25, float("nan"), 0.5, 0.5, 0.25, 0.25],
        "loss": [3.0, 2.0, 2.5, 1.0, 1.0, float("inf")],
    }
    best = {"accuracy": (2, 0.75), "macro_f1": (3, 0.5), "loss": (4, 1.0)}[monitor]

    def score(job, split, console):
        epoch = 0 if split == "test" else len(read_metrics(run))
        return {name: values[min(epoch, 5)] for name, values in given.items()}

    monkeypatch.setattr("heteroshards.trainer.training.evaluate", score)
    config = make_config(tmp_path, epochs=60, patience=2, monitor=monitor)
    run, lines = tmp_path / "whole", io.StringIO()
    whole = fit(config, table_store, run, console=Console(lines))
    assert (whole["best_epoch"], whole["best_score"], whole["monitor"]) == (*best, monitor)
    assert whole["epochs"] == best[0] + 2
    for name in (BEST, LAST):
        progress = torch.load(run / name, weights_only=True)["progress"]
        assert (progress["best_epoch"], progress["best_score"]) == best
    assert (
        torch.load(run / BEST, weights_only=True)["progress"]["epoch"] == best[0] - 1
    )  # none but the earlier are done
    assert f"best {best[0]} by {monitor}" in result_line(whole)
    marked = [line for line in lines.getvalue().splitlines() if "(best)" in line]
    assert marked[-1].startswith(f"epoch {best[0]:>3}/60")
    run = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        fit(config, table_store, run, backend=stop_at(EagerBackend(), 20))
    assert fit(config, table_store, run, resume_run=True) == whole


def test_a_score_that_never_is_a_number(table_store, tmp_path, monkeypatch):
    found = {"accuracy": float("nan"), "macro_f1": float("nan"), "loss": 1.0}
    monkeypatch.setattr("heteroshards.trainer.training.evaluate", lambda *_: found)
    lines = io.StringIO()
    result = fit(make_config(tmp_path, epochs=2), table_store, tmp_path / "run", console=Console(lines))
    assert (result["best_epoch"], result["best_score"]) == (2, None)
    assert "warning: val accuracy never was a number" in lines.getvalue()
    assert fit(make_config(tmp_path, monitor="loss"), table_store, tmp_path / "loss")["best_epoch"] == 1


def test_validates_when_due(table_store, tmp_path):
    config = make_config(tmp_path, epochs=5, eval_every=2)
    fit(config, table_store, tmp_path / "run")
    due = ["val_accuracy" in record for record in read_metrics(tmp_path / "run")]
    assert due == [False, True, False, True, False]


def test_more_epochs_give_what_a_long_run_gives(table_store, tmp_path):
    """Whatever `eval_every` is: the last epoch of the short run is validated only where it is due anyway."""
    for first, last in ((1, 5), (3, 4)):  # 1: before the first validation
        for name, epochs in (("a", first), ("a", last), ("b", last)):
            config = make_config(tmp_path, epochs=epochs, eval_every=2)
            run = tmp_path / f"{name}{first}"
            result = fit(config, table_store, run, resume_run=(run / LAST).exists())
            if epochs == 1:
                assert (result["best_epoch"], result["epochs"]) == (1, 1)
        results = [json.loads((tmp_path / f"{name}{first}" / "result.json").read_text()) for name in "ab"]
        assert results[0] == results[1]
        assert results[0]["best_epoch"] % 2 == 0
        for key in ("loss", "val_accuracy"):
            found = [[record.get(key) for record in read_metrics(tmp_path / f"{name}{first}")] for name in "ab"]
            assert found[0] == found[1]


def test_fewer_epochs_than_there_are_is_an_error(table_store, tmp_path):
    run = tmp_path / "run"
    fit(make_config(tmp_path, epochs=3), table_store, run)
    before = (run / "result.json").read_text()
    with pytest.raises(CheckpointError, match=r"begun 3 epochs already, more than the 2 asked for.*--fresh"):
        fit(make_config(tmp_path, epochs=2), table_store, run, resume_run=True)
    assert (run / "result.json").read_text() == before


@pytest.mark.parametrize("name", [BEST, LAST])
def test_a_flipped_bit_in_a_checkpoint_is_found(table_store, tmp_path, name):
    config = make_config(tmp_path, epochs=1)
    fit(config, table_store, tmp_path)
    contents = torch.load(tmp_path / name, weights_only=True)
    weights = max(contents["model"].values(), key=torch.numel).numpy().tobytes()
    data = bytearray((tmp_path / name).read_bytes())
    data[data.index(weights) + 5] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with open_job(config, table_store, EagerBackend()) as job, pytest.raises(CheckpointError, match="checksum"):
        load_model(tmp_path / name, job)


def test_what_torch_advises_is_not_shown(table_store, tmp_path):
    """It advises `weights_only=False`, which runs code from the file."""
    torch.save({"model": Path("x")}, tmp_path / BEST)
    with open_job(make_config(tmp_path), table_store, EagerBackend()) as job:
        with pytest.raises(CheckpointError, match="no checkpoint of this program") as caught:
            load_model(tmp_path / BEST, job)
    assert "weights_only" not in str(caught.value)


def test_a_model_whose_code_has_changed_is_named(table_store, tmp_path, monkeypatch):
    config = make_config(tmp_path, epochs=1)
    fit(config, table_store, tmp_path)
    wide = config.model.model_copy(update={"hidden_channels": 16})
    monkeypatch.setattr("heteroshards.trainer.job.build_model", lambda _, graph: build_model(wide, graph))
    with pytest.raises(CheckpointError, match=r"code has changed since; got RuntimeError: .*size mismatch"):
        fit(make_config(tmp_path, epochs=2), table_store, tmp_path, resume_run=True)


def test_lost_best_weights_are_named(table_store, tmp_path):
    config = make_config(tmp_path, epochs=1)
    fit(config, table_store, tmp_path)
    (tmp_path / BEST).unlink()
    with pytest.raises(CheckpointError, match=r"best\.pt: the best weights of the run are lost\. .*--fresh"):
        fit(config, table_store, tmp_path, resume_run=True)


def test_evaluating_another_model_does_not_hint_at_fresh(table_store, tmp_path):
    config = make_config(tmp_path, epochs=1)
    fit(config, table_store, tmp_path)
    wider = config.model_copy(update={"model": config.model.model_copy(update={"hidden_channels": 16})})
    with open_job(wider, table_store, EagerBackend()) as job:
        with pytest.raises(CheckpointError, match=r"8 -> 16\. .*--model") as caught:
            load_model(tmp_path / BEST, job)
    assert "--fresh" not in str(caught.value)


def test_without_a_validation_split(store_of, tmp_path):
    store = store_of(rounds={"train": 1})
    result = fit(make_config(tmp_path), store, tmp_path / "run")
    assert result["best_epoch"] == 4
    assert "test" not in result
    assert "val" not in result
    with pytest.raises(ConfigError, match="patience"):
        fit(make_config(tmp_path, patience=1), store, tmp_path / "run")
    with pytest.raises(ConfigError, match="no split 'train'"):
        fit(make_config(tmp_path), store_of(rounds={"test": 1}), tmp_path / "run")


def test_a_diverging_run_says_so(table_store, tmp_path):
    with pytest.raises(ModelError, match=r"not finite.*--fresh"):
        fit(make_config(tmp_path, lr=1e30, epochs=9), table_store, tmp_path / "run")


def test_foreign_checkpoints_are_refused(table_store, store_of, tmp_path):
    run = tmp_path / "run"
    config = make_config(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fit(config, table_store, run, resume_run=True)
    fit(config, table_store, run)
    with pytest.raises(CheckpointError, match="store"):
        fit(config, store_of(rng_seed=1), run, resume_run=True)
    wider = config.model_copy(update={"model": config.model.model_copy(update={"hidden_channels": 16})})
    with pytest.raises(CheckpointError, match=r"model.hidden_channels: 8 -> 16"):
        fit(wider, table_store, run, resume_run=True)
    with pytest.raises(CheckpointError, match=r"train.lr: 0.02 -> 0.5"):
        fit(make_config(tmp_path, epochs=2, lr=0.5), table_store, run, resume_run=True)
    with open_job(make_config(tmp_path, lr=0.5), table_store, EagerBackend()) as job:
        load_model(run / BEST, job)  # other training options do not matter to evaluation
    for content in (b"", b"no checkpoint", (run / LAST).read_bytes()[:200]):
        (run / LAST).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            fit(config, table_store, run, resume_run=True)
    torch.save({"model": {}}, run / LAST)
    with pytest.raises(CheckpointError, match="no checkpoint of this program"):
        fit(config, table_store, run, resume_run=True)


def test_answers_average_the_rounds(store_of, tmp_path):
    """By a loop over seeds and rounds."""
    store = store_of(rounds={"train": 1, "test": 3})
    config = make_config(tmp_path)
    with open_job(config, store, backend_of(config)) as job:
        found = answer(job, "test")
        order = np.arange(store.split("test").num_batches)
        sums = {}
        with job.stream("test", order) as stream:
            for (batch,), tensors in stream:
                probabilities = torch.softmax(job.compiled.infer(tensors)[0], -1).double().numpy()
                for row, node in enumerate(store.read("test/seeds/n_id")[batch]):
                    if node >= 0:
                        sums.setdefault(int(node), []).append(probabilities[row])
    assert found.node_id.tolist() == sorted(sums) == list(range(41, 60))
    for node, row, label in zip(found.node_id, found.values, found.targets["y"]):
        assert len(sums[node]) == 3
        np.testing.assert_allclose(row, np.mean(sums[node], axis=0), rtol=1e-6)
        assert label == source().targets["y"][node]
    assert found.scores()["accuracy"] == np.mean(found.predictions["y"] == found.targets["y"])


def test_predictions_as_parquet(table_store, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    config = make_config(tmp_path)
    with open_job(config, table_store, backend_of(config)) as job:
        assert predict(job, ["test", "val"], tmp_path / "new" / "p.parquet") == 19 + 11
        expected = answer(job, "val")
    rows = [row for row in pq.read_table(str(tmp_path / "new" / "p.parquet")).to_pylist() if row["split"] == "val"]
    assert [row["node_id"] for row in rows] == list(range(30, 41))
    assert [row["label"] for row in rows] == source().targets["y"][30:41].tolist()
    assert [row["prediction"] for row in rows] == expected.predictions["y"].tolist()
    np.testing.assert_allclose([row["probability"] for row in rows], expected.values, rtol=1e-6)


def test_predictions_name_the_source_graphs_ids(store_of, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    config, store = make_config(tmp_path), store_of()
    has_tensor, read = store.has_tensor, store.read
    path = "features/movie/original_id"
    monkeypatch.setattr(store, "has_tensor", lambda asked: asked == path or has_tensor(asked))
    monkeypatch.setattr(store, "read", lambda asked, **o: np.arange(60) + 1000 if asked == path else read(asked, **o))
    with open_job(config, store, backend_of(config)) as job:
        predict(job, ["val"], tmp_path / "p.parquet")
    assert pq.read_table(str(tmp_path / "p.parquet"))["original_id"].to_pylist() == list(range(1030, 1041))
