"""A number, or a row of them, for each seed."""

from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from heteroshards.schemas.config import TargetConfig
from heteroshards.schemas.targets import RegressionTarget
from heteroshards.trainer.tasks.metrics import mae, mean_over_labels, r2, rmse, score
from heteroshards.trainer.tasks.objective import Objective, lists, masked_mean

LOSSES = {"l2": mse_loss, "l1": l1_loss, "huber": smooth_l1_loss}


class Regression(Objective):
    """A model learns (value - mean) / std of split train; answers are in the target's own units.

    The loss is of standardised values: the square of the error, its size, or Huber's (half the square up to an error of
    1, size - 1/2 beyond it).
    """

    row_holds = "a number per column"
    metrics = ("mae", "rmse", "r2")
    target: RegressionTarget
    mean: Tensor
    std: Tensor

    def __init__(self, target: RegressionTarget, config: TargetConfig, is_partial: bool = False) -> None:
        super().__init__(target)
        self._loss, self._name = LOSSES[config.loss], config.loss
        self.constant("mean", target.mean)
        self.constant("std", target.std)

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        target = target.view(out.shape)
        is_known = ~torch.isnan(target) & is_real.unsqueeze(1)
        wanted = (torch.where(is_known, target, self.mean) - self.mean) / self.std
        return masked_mean(self._loss(out.float(), wanted, reduction="none"), is_known)

    def answers(self, out: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(of, dtype=torch.float64, device=out.device) for of in (self.target.mean, self.target.std)
        )
        return out.double() * std + mean

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> Tuple[float, int]:
        target = target.reshape(answers.shape)
        known = ~np.isnan(target)
        errors = np.abs((answers - target) / np.array(self.target.std))[known]
        if self._name == "l2":
            errors = errors**2
        elif self._name == "huber":
            errors = np.where(errors < 1, errors**2 / 2, errors - 0.5)
        return float(errors.sum()), int(known.sum())

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """float64 [N], or [N, W] where the target is a matrix: the answers."""
        return answers.reshape((len(answers), *self.target.shape))

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`mae` and `rmse` over known entries, in the target's units; `r2`, the mean over columns."""
        target = target.reshape(answers.shape).astype(np.float64)
        known = ~np.isnan(target)
        return score(
            [
                ("mae", lambda: mae(target[known], answers[known])),
                ("rmse", lambda: rmse(target[known], answers[known])),
                ("r2", lambda: mean_over_labels(r2, target, answers, known)),
            ]
        )

    def resolved(self) -> Dict[str, Any]:
        return {"mean": self.target.mean, "std": self.target.std}

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`label` (null where unknown) and `prediction`; lists where the target is a matrix."""
        import pyarrow as pa

        said = self.predictions(answers).astype(np.float32)
        if said.ndim == 2:
            return {"label": lists(target, np.isnan(target), "float32"), "prediction": lists(said, None, "float32")}
        return {"label": pa.array(target, pa.float32(), mask=np.isnan(target)), "prediction": pa.array(said)}
