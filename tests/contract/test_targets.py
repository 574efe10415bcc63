"""From a graph to predictions for every kind of target: prepared alike by all workers, proven, trained, predicted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heteroshards import evaluate, fit, open_store
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer.trained import predict
from tests.pipeline.stores import files_of, rewrite

ARGS = {"scale": 0.1, "num_features": 64, "targets": ["hit", "tags", "rating"]}
TASKS: dict[str, dict[str, Any]] = {
    "binary": {"dataset": {"label": "hit"}, "task": {"kind": "binary", "pos_weight": "balanced"}},
    "multilabel": {"dataset": {"label": "tags"}, "task": {"kind": "multilabel"}},
    "regression": {"dataset": {"label": "rating"}, "task": {"kind": "regression", "loss": "huber"}},
    "several": {
        "task": {
            "target": [
                {"label": "y", "class_weights": "balanced"},
                {"label": "rating", "kind": "regression", "weight": 0.5},
                {"label": "tags", "kind": "multilabel"},
            ]
        }
    },
}


def job(root: Path, name: str, **sections: Any) -> JobConfig:
    sections = {**TASKS[name], **sections}
    dataset = {
        "args": ARGS,
        "predict": "all",
        "random_split": {"train": 0.5, "val": 0.2, "test": 0.3},
        **sections.pop("dataset", {}),
    }
    return JobConfig(
        name="targets",
        dataset=dataset,
        model={"hidden_channels": 16, "featureless": "constant"},
        train={"epochs": 3, "backend": "eager", "root": str(root)},
        **{"store": {"root": str(root)}, "sampling": {"fanout": [4, 4], "batch_size": 32}, **sections},
    )


def source_of(config: JobConfig) -> Any:
    return load_dataset(config.dataset, job=config)


@pytest.mark.parametrize("name", TASKS)
def test_every_step_of_the_way(tmp_path: Path, name: str) -> None:
    config = job(tmp_path, name)
    source = source_of(config)
    store = prepare_source(source, config, workers=1).path
    other = prepare_source(source, config, workers=3, store=tmp_path / "other").path
    assert files_of(store) == files_of(other)
    assert verify(store, source, config).is_sound and verify(store).is_sound
    result = fit(config, store, tmp_path / "run")
    assert evaluate(config, tmp_path / "run", "val", store=open_store(store)) == pytest.approx(result["val"])
    rows = predict(config, tmp_path / "run", tmp_path / "p.parquet", store=open_store(store))
    table = pq.read_table(tmp_path / "p.parquet")
    assert rows == table.num_rows == source.data["movie"].num_nodes
    for target in source.targets:
        column = f"{target.name}.label" if len(source.targets) > 1 else "label"
        truth = source.data["movie"][target.name].numpy()
        for node, label in zip(table["node_id"].to_pylist(), table[column].to_pylist(), strict=True):
            shown = np.array([np.nan if x is None else x for x in np.atleast_1d(np.array(label, object))], float)
            known = np.where(target.is_known(truth[node]), truth[node].astype(float), np.nan)
            np.testing.assert_allclose(shown, np.atleast_1d(known))


@pytest.mark.parametrize("name", TASKS)
def test_other_budgets_and_layouts_give_the_same_scores(tmp_path: Path, name: str) -> None:
    """Padding changes no answer: the same batches in twice the room, and in one array per kind."""
    config = job(tmp_path, name)
    source = source_of(config)
    first = prepare_source(source, config).path
    fit(config, first, tmp_path / "run")
    every = [open_store(first).manifest.budgets[i] for i in range(2)]
    roomy = {
        "mode": "explicit",
        "nodes": {of: 3 * max(budget.num_nodes[of] for budget in every) for of in every[0].num_nodes},
        "edges": {of: 3 * max(budget.num_edges[of] for budget in every) for of in every[0].num_edges},
    }
    expected = evaluate(config, tmp_path / "run", "val", store=open_store(first))
    for sections in ({"budget": roomy}, {"store": {"layout": "packed", "root": str(tmp_path)}}):
        changed = job(tmp_path, name, **sections)
        store = prepare_source(source, changed).path
        found = evaluate(changed, tmp_path / "run", "val", store=open_store(store))
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_rare_class_is_not_given_up(tmp_path: Path) -> None:
    """Of 94% and 6%, a model with class weights says both."""
    for task, kind in (
        ({"class_weights": "balanced", "metric": "macro_f1"}, "classification"),
        ({"kind": "binary", "pos_weight": "balanced", "metric": "macro_f1"}, "binary"),
    ):
        config = job(tmp_path / kind, "binary", task=task, dataset={"label": "hit", "args": {**ARGS, "scale": 0.3}})
        config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 12, "lr": 0.01})})
        result = fit(config, prepare_source(source_of(config), config).path, tmp_path / kind / "run")
        majority = 0.94 * 2 / 1.94 / 2  # F1 of nothing but zeros, and none of ones
        assert result["test"]["macro_f1"] > majority + 0.1, result["test"]
        assert result["statistics"]["hit"]["weights"][-1] > 5


def test_verify_finds_wrong_targets(tmp_path: Path) -> None:
    config = job(tmp_path, "several", dataset={"predict": None})
    source = source_of(config)

    for number, (target, value, batch, words) in enumerate(
        [
            ("rating", np.inf, 0, "a label lies outside a finite number"),
            ("tags", 2, 0, "a label lies outside 0..1"),
            ("rating", 5.25, 0, "have another label than the source data"),
            ("rating", 0.0, -1, "a pad row is not nan"),
            ("tags", 0, -1, "a pad row is not -100"),
        ]
    ):
        store = prepare_source(source, config, store=tmp_path / str(number)).path
        chunk, row = (0, 0) if batch == 0 else _last_batch(store)
        rewrite(store, layout.target_path("train", target), _put(value, row, batch), index=chunk)
        assert words in " ".join(verify(store, source, config).lines())


def _last_batch(store: Path) -> tuple[int, int]:
    """The chunk and the row of the last batch of split train, which has pads."""
    manifest = open_store(store).manifest
    (part,) = manifest.splits[0].parts
    return divmod(part.num_batches - 1, min(manifest.chunk_batches, part.num_batches))


def _put(value: float, row: int, seed: int) -> Callable[[np.ndarray], None]:
    """Put a value to the first, or with -1 the last, seed of a batch, and its last column."""

    def change(rows: np.ndarray) -> None:
        rows[row].reshape(rows.shape[1], -1)[seed, -1] = value

    return change
