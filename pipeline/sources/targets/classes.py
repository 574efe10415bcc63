"""One class of several for each node: integers, negative where a node has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heteroshards.schemas.config import MAX_CLASSES, TargetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.notes import Note
from heteroshards.schemas.targets import ClassTarget

if TYPE_CHECKING:
    from torch import Tensor

INTEGERS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")


def read(y: Tensor, target: TargetConfig, num_nodes: int, where: str) -> tuple[ClassTarget, Tensor, list[Note]]:
    """The target, after checking that there is one integer class per node; its values; and lines worth reading."""
    _require_integers(y, num_nodes, where)
    most, num_classes = int(y.max()) if len(y) else -1, target.num_classes
    if most < 0 and num_classes is None:
        hint = "Classes count from 0; negative ones mean that a node has no label."
        raise GraphError(
            "no node has a label", actual=f"largest class {most}", limit="0 or more", where=where, hint=hint
        )
    if most >= MAX_CLASSES:
        hint = "Number the classes from 0: torch.unique(y, return_inverse=True)."
        limit = f"0 to {MAX_CLASSES - 1}"
        raise GraphError("the largest class is out of range", actual=most, limit=limit, where=where, hint=hint)
    if num_classes is not None and most >= num_classes:
        limit, hint = f"below num_classes = {num_classes}", "Raise num_classes, or leave it out."
        raise GraphError("the largest class is out of range", actual=most, limit=limit, where=where, hint=hint)
    notes, num_labelled = [], int((y >= 0).sum())
    if num_classes is None and most + 1 > num_labelled:
        text = f"{most + 1} classes (the largest is {most}), but only {num_labelled} nodes with a label"
        notes.append(Note(code="many_classes", concerns=where, message=f"{text}; a model predicts all of them"))
    return ClassTarget(name=target.label, num_classes=num_classes or most + 1), y, notes


def _require_integers(y: Tensor, num_nodes: int, where: str) -> None:
    if y.dim() != 1 or len(y) != num_nodes:
        hint = "Unlabelled nodes have label -1."
        if y.dim() > 1:
            hint = "y.argmax(1) makes classes of one-hot rows; several labels of a node are [task] kind = 'multilabel'."
        raise GraphError(
            "labels must be one class per node",
            actual=f"shape {tuple(y.shape)}",
            limit=f"({num_nodes},)",
            where=where,
            hint=hint,
        )
    if str(y.dtype) not in INTEGERS:
        hint = "Convert classes with .long(); numbers are [task] kind = 'regression', bools 'binary'."
        raise GraphError("labels must be integers", actual=y.dtype, where=where, hint=hint)


def with_counts(spec: ClassTarget, train: np.ndarray) -> ClassTarget:
    """With how many seeds of split train have each class."""
    counts = np.bincount(train[train >= 0], minlength=spec.num_classes)
    return spec.model_copy(update={"train_counts": tuple(counts.tolist())})
