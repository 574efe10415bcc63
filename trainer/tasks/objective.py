"""What is asked of a model: the loss, its answers, and how they count. A new kind of task is a file beside this one."""

from typing import Any, Dict, Mapping, Optional, Protocol, Tuple

import numpy as np
from torch import Tensor

from heteroshards.schemas.task import Task
from heteroshards.trainer.tasks.classification import Classification


class Objective(Protocol):
    """One task. Letters: S seed rows of a batch, W columns that a model returns per seed, N seeds of a split.

    Attributes:
        width: W. row_holds: what the columns of a row are, for errors.
        lower_is_better: metrics of which less is more.
    """

    @property
    def lower_is_better(self) -> Tuple[str, ...]: ...

    @property
    def width(self) -> int: ...

    @property
    def row_holds(self) -> str: ...

    def loss(self, out: Tensor, targets: Mapping[str, Tensor], is_real: Tensor) -> Tensor:
        """The mean over real seeds, in the compiled step: `out` [S, W], `targets` by name, `is_real` [S]."""

    def askable(self, name: str, target: Tensor) -> Tensor:
        """A target with which the loss is a number although some are unknown."""

    def answers(self, out: Tensor) -> Tensor:
        """float32 [S, W], such that the mean over resampling rounds is an answer, too."""

    def is_known(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool [N]: which seeds have a target."""

    def loss_sum(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> float:
        """The loss of the seeds with a target, added up."""

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """[N]: what the model says in the end."""

    def scores(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, float]:
        """Metrics of the seeds that have a target."""

    def columns(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """Columns of a table of predictions, as pyarrow arrays."""


def objective_of(task: Task) -> Objective:
    """That of a store's task."""
    return Classification(task.target)


def is_better(objective: Objective, monitor: str, score: float, best: Optional[float]) -> bool:
    """Whether `score` of metric `monitor` beats the best so far, None before there is one.

    An equal score does not, nor does one that is no finite number.
    """
    if not np.isfinite(score):
        return False
    if best is None:
        return True
    return score < best if monitor in objective.lower_is_better else score > best
