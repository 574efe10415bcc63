"""One class of several for each seed."""

from dataclasses import dataclass
from typing import Any, Dict, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from heteroshards.schemas.task import TargetSpec
from heteroshards.trainer.tasks.metrics import scores


@dataclass(frozen=True)
class Classification:
    """Logits and cross entropy; answers are probabilities. See `Objective`."""

    target: TargetSpec
    lower_is_better = ("loss",)

    @property
    def width(self) -> int:
        return self.target.num_classes

    @property
    def row_holds(self) -> str:
        return "a logit per class"

    def loss(self, out: Tensor, targets: Mapping[str, Tensor], is_real: Tensor) -> Tensor:
        pad = self.target.pad_value
        classes = torch.where(is_real, targets[self.target.name].long(), pad)
        return cross_entropy(out.float(), classes, ignore_index=pad)

    def askable(self, name: str, target: Tensor) -> Tensor:
        return torch.where(target < 0, 0, target)

    def answers(self, out: Tensor) -> Tensor:
        return torch.softmax(out.float(), dim=-1)

    def is_known(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        known: np.ndarray = targets[self.target.name] >= 0
        return known

    def loss_sum(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> float:
        known, tiny = np.flatnonzero(self.is_known(targets)), np.finfo(np.float32).tiny
        shares = answers[known, targets[self.target.name][known]]
        return float(-np.log(np.maximum(shares, tiny), dtype=np.float64).sum())

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """The most probable class."""
        return answers.argmax(axis=1)

    def scores(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, float]:
        return scores(targets[self.target.name], self.predictions(answers))

    def columns(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """`label` (null where unknown), `prediction`, and `probability`, a list with one for each class."""
        import pyarrow as pa

        classes = targets[self.target.name]
        flat = pa.array(answers.astype(np.float32).reshape(-1))
        return {
            "label": pa.array(classes, pa.int64(), mask=classes < 0),
            "prediction": pa.array(self.predictions(answers), pa.int64()),
            "probability": pa.FixedSizeListArray.from_arrays(flat, self.width).cast(pa.list_(pa.float32())),
        }
