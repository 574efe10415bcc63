"""Each target of a config as it is stored, whatever its kind, and what split train says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.targets import classes, flags, numbers
from heteroshards.pipeline.sources.targets.class_notes import class_notes
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig, TargetConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.notes import Note
from heteroshards.schemas.targets import ClassTarget, MultilabelTarget, RegressionTarget, TargetSpec

if TYPE_CHECKING:
    from torch import Tensor


def require_labels(store: Any, config: DatasetConfig, targets: Sequence[TargetConfig]) -> None:
    """Raise ConfigError where an attribute is missing.

    Only who predicts may do without it, and who says what a model answers.
    """
    for target in (target for target in targets if store.get(target.label) is None):
        where = "[[task.target]] label" if len(targets) > 1 else "[dataset] label"
        what = f"node type '{config.seed_type}' has no label '{target.label}'"
        if config.predict is None:
            raise ConfigError(what, where=where, hint=nearest(target.label, store.keys()))
        if target.num_classes is None and target.kind in ("classification", "multilabel"):
            hint = "Say how many classes the model knows: [dataset] num_classes."
            raise ConfigError(f"{what}, so the number of classes is unknown", where="[dataset] num_classes", hint=hint)


def unlabelled(num_nodes: int, target: TargetConfig) -> Tensor:
    """A target of which nothing is known, as one gives it."""
    import torch

    is_matrix = target.kind in ("multilabel", "regression") and target.num_classes is not None
    columns = (target.num_classes,) if is_matrix and target.num_classes else ()
    return torch.full((num_nodes, *columns), float("nan") if target.kind == "regression" else -1)


def read_target(
    values: Tensor, target: TargetConfig, num_nodes: int, where: str, config: DatasetConfig
) -> tuple[TargetSpec, Tensor, list[Note]]:
    """What an attribute is as a target, its checked values, and lines worth reading.

    Raises:
        GraphError: it is malformed for its kind.
    """
    if target.kind == "classification":
        return classes.read(values, target, num_nodes, where)
    if target.kind == "regression":
        return numbers.read(values, target, num_nodes, where, config)
    return flags.read(values, target, num_nodes, where)


def with_statistics(spec: TargetSpec, train: np.ndarray, where: str) -> TargetSpec:
    """The target with what split train says about it; `train` are its values there.

    Raises:
        GraphError: a column of which split train knows nothing.
    """
    if isinstance(spec, ClassTarget):
        return classes.with_counts(spec, train)
    if isinstance(spec, RegressionTarget):
        return numbers.with_moments(spec, train, where)
    return flags.with_counts(spec, train, where)


def target_notes(
    spec: TargetSpec, values: np.ndarray, seeds: Mapping[str, np.ndarray], target: TargetConfig, where: str
) -> list[Note]:
    """Lines on what is odd about the values that the seeds have; `seeds` int64 ids by split."""
    if isinstance(spec, ClassTarget):
        return list(class_notes(values, seeds, spec.num_classes, target.num_classes is not None, where))
    unknown = int((~spec.is_known(values)).sum())
    notes = []
    if unknown:
        things = "nodes have no label" if values.ndim == 1 else "entries are unknown"
        text = f"{unknown} of {values.size} {things}"
        notes.append(Note(code="unlabelled", level="note", concerns=where, message=text))
    if isinstance(spec, RegressionTarget):
        return notes
    columns = spec.num_labels if isinstance(spec, MultilabelTarget) else 1
    return [*notes, *flags.side_notes(values.reshape(len(values), columns), seeds, where)]
