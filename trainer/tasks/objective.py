"""What is asked of a model about one target: the loss, its answers, and how they count.

A new kind of target is a file beside this one, and a line in `task.OBJECTIVES`.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from heteroshards.schemas.config import BALANCED
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.targets import Target


class Objective(nn.Module):
    """One target. Letters: S seed rows of a batch, W columns that a model returns per seed, N seeds of a split.

    A module for the sake of its constants, which have to be where a step runs; it has no parameters and no state.

    Attributes:
        target: what is predicted, `target.columns` is W.
        row_holds: what the columns of a row are, for errors.
        metrics: what `scores` has; the first decides where none is named.
        is_torch_loss: whether `loss` is what one of torch's loss functions returns, and nothing done to it.
        weights: what losses are multiplied with, where they are.
    """

    row_holds: str = ""
    metrics: Tuple[str, ...] = ()
    is_torch_loss: bool = False
    weights: Optional[List[float]] = None

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def constant(self, name: str, values: Optional[Sequence[float]]) -> None:
        """Float32 numbers for `loss`, as attribute `name`; None stays None."""
        self.register_buffer(name, None if values is None else torch.tensor(values), persistent=False)

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        """The mean over what is known of real seeds, in the compiled step: `out` [S, W], `target` [S, ...], `is_real`
        [S]. 0 where nothing is known."""
        raise NotImplementedError

    def askable(self, target: Tensor) -> Tensor:
        """A target of which all is known, for a step whose loss is not used."""
        unknown = torch.isnan(target) if target.is_floating_point() else target < 0
        return torch.where(unknown, torch.zeros_like(target), target)

    def answers(self, out: Tensor) -> Tensor:
        """float64 [S, W], such that the mean over resampling rounds is an answer, too."""
        raise NotImplementedError

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> Tuple[float, int]:
        """The losses of all known entries of [N, ...], added up, and how many they are."""
        raise NotImplementedError

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """[N] or [N, W]: what the model says in the end."""
        raise NotImplementedError

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """Metrics of what is known, None where one has no value, and why under `metrics.UNDEFINED`."""
        raise NotImplementedError

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """Columns of a table of predictions, as pyarrow arrays."""
        raise NotImplementedError

    def resolved(self) -> Dict[str, Any]:
        """What was computed from split train, as plain values."""
        return {"weights": self.weights} if self.weights else {}


def masked_mean(losses: Tensor, is_known: Tensor) -> Tensor:
    """The mean of the known entries; 0 where there are none."""
    weights = is_known.to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp(min=1)


def given_weights(
    asked: Union[str, List[float]], balanced: Optional[Sequence[float]], num: int, key: str, target: Target
) -> Optional[List[float]]:
    """The numbers that a config asks for: none, a list of `num`, or `balanced`, None without a split train."""
    if isinstance(asked, list):
        if len(asked) != num:
            where = f"[task] {key} of target '{target.name}'"
            raise ConfigError("the list of weights has another length", actual=len(asked), limit=num, where=where)
        return [float(weight) for weight in asked]
    if asked != BALANCED:
        return None
    if balanced is None:
        what, hint = "balanced weights come from split train, which the store lacks", "Write them as a list."
        raise ConfigError(what, where=f"[task] {key} of target '{target.name}'", hint=hint)
    return list(balanced)


def lists(values: np.ndarray, mask: Optional[np.ndarray], dtype: str) -> Any:
    """A pyarrow array of a list for each row of [N, W]; entries where `mask` [N, W] is True are null."""
    import pyarrow as pa

    flat = pa.array(values.reshape(-1), getattr(pa, dtype)(), mask=None if mask is None else mask.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1]).cast(pa.list_(getattr(pa, dtype)()))
