"""No or yes for each seed, and for each label of a seed."""

from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from heteroshards.schemas.config import TargetConfig
from heteroshards.schemas.targets import BinaryTarget, MultilabelTarget
from heteroshards.trainer.tasks.metrics import (
    accuracy,
    auroc,
    average_precision,
    f1,
    mean_over_labels,
    of_answers,
    of_shares,
    score,
)
from heteroshards.trainer.tasks.objective import Objective, given_weights, lists, masked_mean


class Multilabel(Objective):
    """A logit per label and binary cross entropy over what is known; answers are probabilities of 1.

    `pos_weight` multiplies the losses of ones, and the sum of losses is divided by the number of known entries, as in
    `torch.nn.BCEWithLogitsLoss`. Balanced: zeros / ones of split train, 1 for a label that lacks either.
    """

    row_holds = "a logit per label"
    metrics = ("auroc", "average_precision", "macro_f1", "accuracy")
    pos_weight: Optional[Tensor]

    def __init__(
        self, target: Union[BinaryTarget, MultilabelTarget], config: TargetConfig, is_partial: bool = False
    ) -> None:
        super().__init__(target)
        self.weights = given_weights(config.pos_weight, _balanced(target), target.columns, "pos_weight", target)
        self.constant("pos_weight", self.weights)

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        target = target.view(out.shape)
        is_known = (target >= 0) & is_real.unsqueeze(1)
        ones = (target > 0).float()
        losses = binary_cross_entropy_with_logits(out.float(), ones, reduction="none")
        if self.pos_weight is not None:
            losses = losses * (1 + ones * (self.pos_weight - 1))
        return masked_mean(losses, is_known)

    def answers(self, out: Tensor) -> Tensor:
        return torch.sigmoid(out.double())

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> Tuple[float, int]:
        target, tiny = target.reshape(answers.shape), np.finfo(np.float64).tiny
        likely = np.where(target > 0, answers, 1 - answers)
        losses = -np.log(np.maximum(likely, tiny))
        if self.weights is not None:
            losses = np.where(target > 0, losses * np.array(self.weights), losses)
        known = target >= 0
        return float(losses[known].sum()), int(known.sum())

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """1 where it is at least as probable as 0."""
        return (answers >= 0.5).astype(np.int64)

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`accuracy` over known entries; means over labels of F1 (`macro_f1`), `auroc` and `average_precision`, over
        the labels that have one."""
        known, said = target >= 0, self.predictions(answers)
        return score(
            [
                ("accuracy", lambda: accuracy(target[known], said[known])),
                ("macro_f1", lambda: mean_over_labels(f1, target, said, known)),
                ("auroc", lambda: mean_over_labels(auroc, target, answers, known)),
                ("average_precision", lambda: mean_over_labels(average_precision, target, answers, known)),
            ]
        )

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`label` (a list, null where unknown), `prediction` and `probability`, each with an entry per label."""
        return {
            "label": lists(target, target < 0, "int64"),
            "prediction": lists(self.predictions(answers), None, "int64"),
            "probability": lists(answers.astype(np.float32), None, "float32"),
        }


class Binary(Multilabel):
    """The same with one label, which is that of the seed."""

    row_holds = "a logit"

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """[N]: 1 where it is at least as probable as 0."""
        return super().predictions(answers[:, 0])

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`accuracy`, `macro_f1` (mean of the F1 of ones and of zeros), `auroc` and `average_precision`."""
        known = target >= 0
        answers, target = answers[known], target[known]
        return score([*of_answers(target, self.predictions(answers)), *of_shares(target, answers[:, 0])])

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`label` (null where unknown), `prediction`, and `probability` of 1."""
        import pyarrow as pa

        return {
            "label": pa.array(target, pa.int64(), mask=target < 0),
            "prediction": pa.array(self.predictions(answers), pa.int64()),
            "probability": pa.array(answers[:, 0].astype(np.float32)),
        }


def _balanced(target: Union[BinaryTarget, MultilabelTarget]) -> Optional[List[float]]:
    if isinstance(target, BinaryTarget):
        counts = None if target.train_counts is None else np.array(target.train_counts).reshape(2, 1)
    else:
        is_there = target.train_zeros is not None and target.train_ones is not None
        counts = np.array([target.train_zeros, target.train_ones]) if is_there else None
    if counts is None:
        return None
    zeros, ones = counts
    weights: List[float] = np.where((zeros > 0) & (ones > 0), zeros / np.maximum(ones, 1), 1.0).tolist()
    return weights
