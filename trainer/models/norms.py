"""Normalisation over the real rows of a batch, for models of your own.

Layers of torch and PyG that look across rows (a mean, a variance, a number of nodes) take pad rows for nodes: what they
compute then depends on the size of the budget. These forms of them also take `node_mask`, True in real rows
(`extra_inputs = ("node_mask",)` brings one per node type), and compute on those rows what the layer of the same name
computes on an unpadded batch: outputs, running statistics and gradients. Constructors, parameters and `state_dict` are
those of that layer, for one graph per batch.

Pad rows count as zeros: whatever stands in them, NaN included, reaches nothing, and no gradient goes back to them.
Where a batch has no real row, outputs and gradients are finite, and running statistics stay as they are. One real row
alone has the variance 0, while torch refuses it in training. Shapes and operators are static, so every backend runs
them.
"""

from typing import Any, NamedTuple, Optional, Tuple

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn


class _Rows(NamedTuple):
    """The rows of a type, in float32 at least; pad rows are zeros.

    Attributes:
        x: `[rows, channels]`. is_real: 1 or 0, `[rows, 1]`. num_real: the number of real rows, at least 1.
    """

    x: Tensor
    is_real: Tensor
    num_real: Tensor

    @classmethod
    def of(cls, x: Tensor, node_mask: Tensor) -> "_Rows":
        dtype = torch.promote_types(x.dtype, torch.float32)
        is_real = node_mask.unsqueeze(-1)
        kept = _without_pads(x, node_mask).to(dtype)
        return cls(kept, is_real.to(dtype), is_real.to(dtype).sum().clamp(min=1))

    def mean(self) -> Tensor:
        """`[channels]`."""
        return self.x.sum(dim=0) / self.num_real

    def less(self, shift: Tensor) -> "_Rows":
        """The same rows less `shift`, pad rows still zeros."""
        return self._replace(x=(self.x - shift) * self.is_real)

    def variance(self) -> Tuple[Tensor, Tensor]:
        """Mean, and mean square deviation from it (biased), both `[channels]`."""
        mean = self.mean()
        return mean, self.less(mean).x.square().sum(dim=0) / self.num_real


class BatchNorm(nn.BatchNorm1d):
    """As `torch.nn.BatchNorm1d`. PyG's `BatchNorm` holds one of these as `module`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:  # type: ignore[override]
        """`x` `[rows, num_features]`, `node_mask` bool `[rows]` -> `[rows, num_features]`."""
        return _by_channel(self, x, _Rows.of(x, node_mask), counts_batches=True)


class InstanceNorm(pyg.InstanceNorm):
    """As `torch_geometric.nn.InstanceNorm`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, in_channels]`, `node_mask` bool `[rows]` -> `[rows, in_channels]`."""
        return _by_channel(self, x, _Rows.of(x, node_mask), counts_batches=False)


class LayerNorm(pyg.LayerNorm):
    """As `torch_geometric.nn.LayerNorm`, whose mode is "graph" unless it is told otherwise."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, in_channels]`, `node_mask` bool `[rows]` -> `[rows, in_channels]`."""
        if self.mode == "node":
            return super().forward(_without_pads(x, node_mask))
        rows = _Rows.of(x, node_mask)
        rows = rows.less(rows.mean().mean())
        variance = rows.x.square().sum() / (rows.num_real * x.size(-1))
        is_spread = variance > 0  # the root's gradient is infinite at 0
        deviation = torch.where(is_spread, torch.where(is_spread, variance, torch.ones_like(variance)).sqrt(), variance)
        return _affine(rows.x / (deviation + self.eps), self.weight, self.bias).to(x.dtype)


class GraphNorm(pyg.GraphNorm):
    """As `torch_geometric.nn.GraphNorm`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, in_channels]`, `node_mask` bool `[rows]` -> `[rows, in_channels]`."""
        rows = _Rows.of(x, node_mask)
        rows = rows.less(rows.mean() * self.mean_scale)
        variance = rows.x.square().sum(dim=0) / rows.num_real
        return _affine(rows.x / (variance + self.eps).sqrt(), self.weight, self.bias).to(x.dtype)


class PairNorm(pyg.PairNorm):
    """As `torch_geometric.nn.PairNorm`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, channels]`, `node_mask` bool `[rows]` -> `[rows, channels]`."""
        rows = _Rows.of(x, node_mask)
        rows = rows.less(rows.mean())
        if self.scale_individually:
            length = self.eps + rows.x.norm(2, -1, keepdim=True)
        else:
            length = (self.eps + rows.x.square().sum() / rows.num_real).sqrt()
        return (self.scale * rows.x / length).to(x.dtype)


class MeanSubtractionNorm(pyg.MeanSubtractionNorm):
    """As `torch_geometric.nn.MeanSubtractionNorm`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, channels]`, `node_mask` bool `[rows]` -> `[rows, channels]`."""
        rows = _Rows.of(x, node_mask)
        return rows.less(rows.mean()).x.to(x.dtype)


class GraphSizeNorm(pyg.GraphSizeNorm):
    """As `torch_geometric.nn.GraphSizeNorm`."""

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, channels]`, `node_mask` bool `[rows]` -> `[rows, channels]`."""
        rows = _Rows.of(x, node_mask)
        return (rows.x / rows.num_real.sqrt()).to(x.dtype)


class DiffGroupNorm(pyg.DiffGroupNorm):
    """As `torch_geometric.nn.DiffGroupNorm`."""

    def __init__(self, in_channels: int, groups: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(in_channels, groups, *args, **kwargs)
        norm: Any = self.get_submodule("norm")
        self.norm: nn.Module = BatchNorm(
            groups * in_channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )

    def forward(self, x: Tensor, node_mask: Tensor) -> Tensor:
        """`x` `[rows, in_channels]`, `node_mask` bool `[rows]` -> `[rows, in_channels]`."""
        x = _without_pads(x, node_mask)
        grouped = self.lin(x).softmax(dim=-1).unsqueeze(-1) * x.unsqueeze(-2)  # [rows, groups, channels]
        normed = self.norm(grouped.flatten(1), node_mask).view(-1, self.groups, self.in_channels)
        return x + self.lamda * normed.sum(dim=-2)


def _without_pads(x: Tensor, node_mask: Tensor) -> Tensor:
    return torch.where(node_mask.unsqueeze(-1), x, torch.zeros_like(x))


def _by_channel(norm: Any, x: Tensor, rows: _Rows, counts_batches: bool) -> Tensor:
    """Each channel to mean 0 and variance 1: of this batch, or in evaluation those that were tracked."""
    if norm.training or norm.running_mean is None:
        mean, variance = rows.variance()
        if norm.training and norm.running_mean is not None:
            _track(norm, rows, mean.detach(), variance.detach(), counts_batches)
    else:
        mean, variance = norm.running_mean, norm.running_var
    return _affine(rows.less(mean).x / (variance + norm.eps).sqrt(), norm.weight, norm.bias).to(x.dtype)


def _track(norm: Any, rows: _Rows, mean: Tensor, variance: Tensor, counts_batches: bool) -> None:
    """Running statistics, in place: addresses stay. The variance that is kept is the unbiased one."""
    is_any = rows.is_real.sum().clamp(max=1)
    if counts_batches:
        norm.num_batches_tracked.add_(is_any.to(norm.num_batches_tracked.dtype))
    if norm.momentum is None:
        share = is_any / norm.num_batches_tracked.clamp(min=1).to(is_any.dtype)
    else:
        share = is_any * norm.momentum
    unbiased = variance * (rows.num_real / (rows.num_real - 1).clamp(min=1))
    for running, now in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.copy_((1 - share) * running + share * now)


def _affine(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
    """`weight` and `bias` `[channels]`, or none."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
