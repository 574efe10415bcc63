"""One class of several for each seed."""

from dataclasses import dataclass
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from heteroshards.schemas.batch import LABEL_PAD
from heteroshards.trainer.tasks.metrics import scores


@dataclass(frozen=True)
class Classification:
    """Logits and cross entropy; answers are probabilities. See `Objective`."""

    num_classes: int
    target_pad = LABEL_PAD
    lower_is_better = ("loss",)

    @property
    def width(self) -> int:
        return self.num_classes

    @property
    def row_holds(self) -> str:
        return "a logit per class"

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        target = torch.where(is_real, target.long(), LABEL_PAD)
        return cross_entropy(out.float(), target, ignore_index=LABEL_PAD)

    def askable(self, target: Tensor) -> Tensor:
        return torch.where(target < 0, 0, target)

    def answers(self, out: Tensor) -> Tensor:
        return torch.softmax(out.float(), dim=-1)

    def is_known(self, target: np.ndarray) -> np.ndarray:
        return target >= 0

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> float:
        known = np.flatnonzero(target >= 0)
        tiny = np.finfo(np.float32).tiny
        return float(-np.log(np.maximum(answers[known, target[known]], tiny), dtype=np.float64).sum())

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """The most probable class."""
        return answers.argmax(axis=1)

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, float]:
        return scores(target, self.predictions(answers))

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """`label` (null where unknown), `prediction`, and `probability`, a list with one for each class."""
        import pyarrow as pa

        flat = pa.array(answers.astype(np.float32).reshape(-1))
        return {
            "label": pa.array(target, pa.int64(), mask=target < 0),
            "prediction": pa.array(self.predictions(answers), pa.int64()),
            "probability": pa.FixedSizeListArray.from_arrays(flat, self.width).cast(pa.list_(pa.float32())),
        }
