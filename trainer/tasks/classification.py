"""One class of several for each seed."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from heteroshards.schemas.config import TargetConfig
from heteroshards.schemas.targets import ClassTarget
from heteroshards.trainer.tasks.metrics import of_answers, of_shares, score
from heteroshards.trainer.tasks.objective import Objective, given_weights, lists, masked_mean


class Classification(Objective):
    """Logits and cross entropy; answers are probabilities.

    Class weights w multiply the losses: sum of w[class] * loss over the number of seeds. Balanced ones have the mean 1
    over split train, and are 1 for a class that it lacks.

    Args:
        is_partial: whether seeds of a scored split may be without a class, as beside other targets.
    """

    row_holds = "a logit per class"
    target: ClassTarget
    class_weights: Optional[Tensor]

    def __init__(self, target: ClassTarget, config: TargetConfig, is_partial: bool = False) -> None:
        super().__init__(target)
        balanced = None if target.train_counts is None else _balanced(np.array(target.train_counts))
        self.weights = given_weights(config.class_weights, balanced, target.num_classes, "class_weights", target)
        self.constant("class_weights", self.weights)
        self.metrics = ("accuracy", "macro_f1", *(("auroc", "average_precision") if target.num_classes == 2 else ()))
        self.is_torch_loss = self.weights is None and not is_partial

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        pad = int(self.target.pad_value)
        classes = torch.where(is_real, target.long(), pad)
        if self.is_torch_loss:
            return cross_entropy(out.float(), classes, ignore_index=pad)
        is_known = classes >= 0
        safe = torch.where(is_known, classes, 0)
        losses = cross_entropy(out.float(), safe, reduction="none")
        if self.class_weights is not None:
            losses = losses * self.class_weights[safe]
        return masked_mean(losses, is_known)

    def answers(self, out: Tensor) -> Tensor:
        return torch.softmax(out.double(), dim=-1)

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> Tuple[float, int]:
        known, tiny = np.flatnonzero(target >= 0), np.finfo(np.float64).tiny
        losses = -np.log(np.maximum(answers[known, target[known]], tiny))
        if self.weights is not None:
            losses *= np.array(self.weights)[target[known]]
        return float(losses.sum()), len(known)

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """The most probable class."""
        return answers.argmax(axis=1)

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`accuracy` and `macro_f1`; of two classes also `auroc` and `average_precision` of class 1."""
        known = target >= 0
        answers, target = answers[known], target[known]
        of_two = of_shares(target, answers[:, 1]) if self.target.num_classes == 2 else []
        return score([*of_answers(target, self.predictions(answers)), *of_two])

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`label` (null where unknown), `prediction`, and `probability`, a list with one for each class."""
        import pyarrow as pa

        return {
            "label": pa.array(target, pa.int64(), mask=target < 0),
            "prediction": pa.array(self.predictions(answers), pa.int64()),
            "probability": lists(answers.astype(np.float32), None, "float32"),
        }


def _balanced(counts: np.ndarray) -> List[float]:
    """seeds / (classes that occur * seeds of the class), as scikit-learn has it; 1 for classes that do not occur."""
    present = max(1, int((counts > 0).sum()))
    weights: List[float] = np.where(counts > 0, counts.sum() / (present * np.maximum(counts, 1)), 1.0).tolist()
    return weights
