"""No or yes for each node (binary), or for each label of a node (multilabel); unknown where negative or NaN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from heteroshards.pipeline.formatting import as_ranges
from heteroshards.schemas.config import TargetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.layout import SCORED_SPLITS
from heteroshards.schemas.notes import Note
from heteroshards.schemas.targets import BinaryTarget, MultilabelTarget

if TYPE_CHECKING:
    from torch import Tensor

Flags = BinaryTarget | MultilabelTarget


def read(y: Tensor, target: TargetConfig, num_nodes: int, where: str) -> tuple[Flags, Tensor, list[Note]]:
    """The target; its values, int64 [nodes] or [nodes, labels]: 0, 1, or -1 where unknown; no notes."""
    import torch

    if y.dim() == 1 and target.kind == "multilabel":
        y = y.unsqueeze(1)
    width = y.size(1) if y.dim() == 2 else None
    labels = width if target.num_classes is None else target.num_classes
    limit = f"({num_nodes},)" if target.kind == "binary" else f"({num_nodes}, {labels or 'labels'})"
    is_fit = y.dim() == 1 if target.kind == "binary" else y.dim() == 2 and width == labels and bool(labels)
    if len(y) != num_nodes or not is_fit:
        hint = "Unknown entries are -1 or NaN."
        if target.kind == "binary" and y.dim() == 2:
            hint = "Several columns are [task] kind = 'multilabel'."
        what = "a binary target has one value per node" if target.kind == "binary" else _MULTILABEL
        raise GraphError(what, actual=f"shape {tuple(y.shape)}", limit=limit, where=where, hint=hint)
    if y.is_complex():
        raise GraphError("labels must be 0 or 1", actual=y.dtype, where=where, hint="Convert them with .long().")
    unknown = (y < 0) | (y != y)
    odd = y[~(unknown | (y == 0) | (y == 1))]
    if len(odd):
        hint = "Unknown is -1 or NaN; several classes are [task] kind = 'classification', numbers 'regression'."
        raise GraphError("labels must be 0 or 1", actual=odd[0].item(), limit="0, 1", where=where, hint=hint)
    values = torch.where(unknown, -1, torch.where(unknown, 0, y).long())
    if labels is not None and target.kind == "multilabel":
        return MultilabelTarget(name=target.label, num_labels=labels), values, []
    return BinaryTarget(name=target.label), values, []


_MULTILABEL = "a multilabel target has a row of labels per node"


def with_counts(spec: Flags, train: np.ndarray, where: str) -> Flags:
    """With how many seeds of split train have 0 and 1, by label."""
    columns = train.reshape(len(train), spec.columns)
    zeros, ones = ((columns == value).sum(axis=0) for value in (0, 1))
    empty = np.flatnonzero(zeros + ones == 0)
    if len(empty):
        labels = f"label {as_ranges(empty, 5)}" if isinstance(spec, MultilabelTarget) else "the label"
        hint = "Leave the column out, or put nodes that have it into split train."
        raise GraphError(f"no seed of split train knows {labels}", actual=f"{len(train)} seeds", where=where, hint=hint)
    if isinstance(spec, BinaryTarget):
        return spec.model_copy(update={"train_counts": (int(zeros[0]), int(ones[0]))})
    return spec.model_copy(update={"train_zeros": tuple(zeros.tolist()), "train_ones": tuple(ones.tolist())})


def side_notes(values: np.ndarray, seeds: Mapping[str, np.ndarray], where: str) -> Iterator[Note]:
    """A line on each split where a label is always 0, or always 1: nothing is learned from it, and it has no AUROC."""
    for split in (split for split in SCORED_SPLITS if split in seeds):
        rows = values[seeds[split]]
        for side in (0, 1):
            missing = np.flatnonzero(~(rows == side).any(axis=0))
            if len(missing):
                which = f", label {as_ranges(missing, 5)}" if values.shape[1] > 1 else ""
                message = f"no seed of split {split} has {side}{which}"
                yield Note(code="one_sided", concerns=where, message=message)
