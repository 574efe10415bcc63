"""Targets of every kind for the stores of `store_factory`, made from a movie's features, and jobs that ask for them."""

from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.targets import BinaryTarget, ClassTarget, MultilabelTarget, RegressionTarget

ROUNDS = {"train": 2, "val": 1, "test": 1, "predict": 1}
PLAIN = (ClassTarget(name="y", num_classes=3),)
TARGETS: Dict[str, Tuple[Any, ...]] = {
    "balanced": (ClassTarget(name="y", num_classes=3, train_counts=(6, 10, 14)),),
    "binary": (BinaryTarget(name="hit", train_counts=(20, 10)),),
    "multilabel": (MultilabelTarget(name="tags", num_labels=4, train_zeros=(9, 9, 9, 9), train_ones=(3, 6, 9, 18)),),
    "regression": (RegressionTarget(name="rating", mean=(100.0,), std=(20.0,)),),
    "matrix": (RegressionTarget(name="rating", width=2, mean=(100.0, -1.0), std=(20.0, 0.5)),),
    "several": (
        ClassTarget(name="y", num_classes=3, train_counts=(6, 10, 14)),
        RegressionTarget(name="rating", mean=(100.0,), std=(20.0,)),
        MultilabelTarget(name="tags", num_labels=4),
    ),
}
TASKS: Dict[str, Dict[str, Any]] = {
    "balanced": {"class_weights": "balanced", "metric": "macro_f1"},
    "binary": {"kind": "binary", "pos_weight": "balanced"},
    "multilabel": {"kind": "multilabel", "pos_weight": [1.0, 2.0, 1.0, 1.0], "metric": "macro_f1"},
    "regression": {"kind": "regression", "loss": "l1"},
    "matrix": {"kind": "regression", "loss": "huber", "metric": "r2"},
    "several": {
        "target": [
            {"label": "y", "class_weights": "balanced"},
            {"label": "rating", "kind": "regression", "weight": 0.5},
            {"label": "tags", "kind": "multilabel"},
        ],
        "metric": "rating.mae",
    },
}


def values_of(target: Any, x: np.ndarray) -> np.ndarray:
    """What movies with features `x` [movies, 6] have, [movies, ...]; an entry of a matrix here and there is unknown."""
    if target.kind == "classification":
        return x[:, : target.num_classes].argmax(1).astype(target.dtype)
    if target.kind == "binary":
        return (x[:, 0] > 0).astype(target.dtype)
    if target.kind == "multilabel":
        values = x[:, : target.num_labels] > 0
    else:
        values = np.array(target.mean) + np.array(target.std) * x[:, : target.columns]
    values = values.astype(target.dtype).reshape(len(x), *target.shape)
    if target.shape:
        values[np.add.outer(np.arange(len(x)), np.arange(target.columns)) % 7 == 3] = target.pad_value
    return values


def task_job(root: Path, name: str, ipu: Any = (), **train: Any) -> JobConfig:
    """A job over a store of `TARGETS[name]`."""
    from tests.trainer.conftest import make_config

    config = make_config(root, **train)
    values = {**config.model_dump(), "task": TASKS[name], "ipu": dict(ipu)}
    if "target" not in TASKS[name]:
        values["dataset"]["label"] = TARGETS[name][0].name
    else:
        del values["dataset"]
    values["model"].update(dropout=0.0, hidden_channels=32)
    return JobConfig(**values)
