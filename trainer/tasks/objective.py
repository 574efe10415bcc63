"""What is asked of a model: the loss, its answers, and how they count. A new kind of task is a file beside this one."""

from typing import Any, Dict, Optional, Protocol, Tuple

import numpy as np
from torch import Tensor

from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.tasks.classification import Classification


class Objective(Protocol):
    """One task. Letters: S seed rows of a batch, W columns that a model returns per seed, N seeds of a split.

    Attributes:
        width: W. row_holds: what the columns of a row are, for errors.
        target_pad: what stands in the targets of pad rows, and of seeds of which none is known.
        lower_is_better: metrics of which less is more.
    """

    @property
    def target_pad(self) -> int: ...

    @property
    def lower_is_better(self) -> Tuple[str, ...]: ...

    @property
    def width(self) -> int: ...

    @property
    def row_holds(self) -> str: ...

    def loss(self, out: Tensor, target: Tensor, is_real: Tensor) -> Tensor:
        """Scalar, the mean over real seeds; part of the compiled step. `out` [S, W], `target` and `is_real` [S]."""

    def askable(self, target: Tensor) -> Tensor:
        """Targets with which the loss is a number although some are unknown."""

    def answers(self, out: Tensor) -> Tensor:
        """float32 [S, W], such that the mean over resampling rounds is an answer, too."""

    def is_known(self, target: np.ndarray) -> np.ndarray:
        """bool [N]: which seeds have a target."""

    def loss_sum(self, answers: np.ndarray, target: np.ndarray) -> float:
        """The loss of the seeds with a target, added up."""

    def predictions(self, answers: np.ndarray) -> np.ndarray:
        """[N]: what the model says in the end."""

    def scores(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, float]:
        """Metrics of seeds that have a target."""

    def columns(self, answers: np.ndarray, target: np.ndarray) -> Dict[str, Any]:
        """Columns of a table of predictions, as pyarrow arrays."""


def objective_of(graph: GraphSchema) -> Objective:
    """That of a store."""
    return Classification(graph.num_classes)


def is_better(objective: Objective, monitor: str, score: float, best: Optional[float]) -> bool:
    """Whether `score` of metric `monitor` beats the best so far, None before there is one.

    An equal score does not, nor does one that is no finite number.
    """
    if not np.isfinite(score):
        return False
    if best is None:
        return True
    return score < best if monitor in objective.lower_is_better else score > best
