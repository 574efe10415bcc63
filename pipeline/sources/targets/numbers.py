"""Numbers: one for each node, or a row of them; NaN where unknown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from heteroshards.pipeline.formatting import as_ranges
from heteroshards.pipeline.sources.precision import precision_notes
from heteroshards.schemas.config import DatasetConfig, TargetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.notes import Note
from heteroshards.schemas.targets import RegressionTarget

if TYPE_CHECKING:
    from torch import Tensor


def read(
    y: Tensor, target: TargetConfig, num_nodes: int, where: str, config: DatasetConfig
) -> tuple[RegressionTarget, Tensor, list[Note]]:
    """The target; its values, float32 [nodes] or [nodes, width]; and lines on what float32 cannot hold."""
    import torch

    if y.dim() == 1 and target.num_classes == 1:
        y = y.unsqueeze(1)
    wanted = target.num_classes
    is_fit = y.dim() in (1, 2) and len(y) == num_nodes and (y.dim() == 1 or y.size(1) > 0)
    if not is_fit or (wanted is not None and (y.dim() == 1 or y.size(1) != wanted)):
        limit = f"({num_nodes},) or ({num_nodes}, width)" if wanted is None else f"({num_nodes}, {wanted})"
        hint = "Unknown numbers are NaN."
        what = "a regression target has a number, or a row of them, per node"
        raise GraphError(what, actual=f"shape {tuple(y.shape)}", limit=limit, where=where, hint=hint)
    if y.is_complex() or y.dtype == torch.bool:
        hint = "Bools are [task] kind = 'binary'." if y.dtype == torch.bool else "Use torch.view_as_real."
        raise GraphError("a regression target must be real numbers", actual=y.dtype, where=where, hint=hint)
    columns = y if y.dim() == 2 else y.unsqueeze(1)
    notes = precision_notes(columns, f"target {target.label}", where, config)
    values = y.to(torch.float32)
    infinite = int(torch.isinf(values).sum())
    if infinite:
        text = f"{infinite} of {values.numel()} numbers of a regression target are infinite as float32"
        raise GraphError(text, actual=y[torch.isinf(values)][0].item(), where=where, hint="Unknown numbers are NaN.")
    width = y.size(1) if y.dim() == 2 else None
    spec = RegressionTarget(name=target.label, width=width, mean=(0.0,) * (width or 1), std=(1.0,) * (width or 1))
    return spec, values, notes


def with_moments(spec: RegressionTarget, train: np.ndarray, where: str) -> RegressionTarget:
    """With mean and standard deviation of split train, by column.

    Sums are exactly rounded, so that they are the same on every machine.
    """
    means, stds, empty = [], [], []
    for index, column in enumerate(train.reshape(len(train), spec.columns).T):
        known = column[~np.isnan(column)].astype(np.float64)
        if not len(known):
            empty.append(index)
            continue
        means.append(math.fsum(known.tolist()) / len(known))
        variance = math.fsum(((known - means[-1]) ** 2).tolist()) / len(known)
        std = math.sqrt(variance)
        stds.append(std if std >= np.finfo(np.float32).tiny else 1.0)
    if empty:
        what = "a number" if spec.width is None else f"column {as_ranges(np.array(empty), 5)}"
        hint = "Leave it out, or put nodes that have it into split train."
        raise GraphError(f"no seed of split train has {what}", actual=f"{len(train)} seeds", where=where, hint=hint)
    return spec.model_copy(update={"mean": tuple(means), "std": tuple(stds)})
