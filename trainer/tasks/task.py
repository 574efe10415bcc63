"""All that is asked of a model at once: a loss that is the weighted sum over targets, and each target's answers."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np
import torch
from torch import Tensor, nn

from heteroshards.schemas.config import JobConfig, TargetConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.task import Task
from heteroshards.trainer.tasks.classification import Classification
from heteroshards.trainer.tasks.flags import Binary, Multilabel
from heteroshards.trainer.tasks.metrics import LOWER_IS_BETTER, UNDEFINED
from heteroshards.trainer.tasks.objective import Objective
from heteroshards.trainer.tasks.regression import Regression

OBJECTIVES: Dict[str, Type[Any]] = {
    "classification": Classification,
    "binary": Binary,
    "multilabel": Multilabel,
    "regression": Regression,
}


class TaskObjective(nn.Module):
    """The objectives of a task's targets. Letters as in `Objective`; W is the sum of theirs, in the task's order.

    Attributes:
        width: W. row_holds: what the columns of a row are, for errors.
        is_torch_loss: as in `Objective`.
    """

    def __init__(self, objectives: Sequence[Objective], weights: Sequence[float]) -> None:
        super().__init__()
        self.objectives = nn.ModuleList(objectives)
        self.weights = tuple(weights)
        ends = np.cumsum([of.target.columns for of in objectives]).tolist()
        self._columns = [slice(end - of.target.columns, end) for of, end in zip(objectives, ends)]
        self.width = ends[-1]
        self.is_torch_loss = len(objectives) == 1 and objectives[0].is_torch_loss and self.weights == (1.0,)

    @property
    def parts(self) -> List[Objective]:
        return list(self.objectives)  # type: ignore[arg-type]

    @property
    def row_holds(self) -> str:
        if len(self.objectives) == 1:
            return self.parts[0].row_holds
        return "; ".join(f"{of.target.name}: {of.row_holds}" for of in self.parts)

    @property
    def metrics(self) -> Tuple[str, ...]:
        """What a split is scored by, the loss included."""
        return (*(self._named(of, name) for of in self.parts for name in of.metrics), "loss")

    @property
    def metric(self) -> str:
        """The score that decides where none is named."""
        return self.metrics[0] if len(self.objectives) == 1 else "loss"

    def loss(self, out: Tensor, targets: Mapping[str, Tensor], is_real: Tensor) -> Tensor:
        """In the compiled step: `out` [S, W], `targets` by name [S, ...], `is_real` [S]."""
        losses = [
            of.loss(out[:, columns], targets[of.target.name], is_real) for of, columns in zip(self.parts, self._columns)
        ]
        if len(losses) == 1 and self.weights == (1.0,):
            return losses[0]
        return torch.stack([loss * weight for loss, weight in zip(losses, self.weights)]).sum()

    def askable(self, name: str, target: Tensor) -> Tensor:
        """A target of which all is known, for a step whose loss is not used."""
        return next(of for of in self.parts if of.target.name == name).askable(target)

    def answers(self, out: Tensor) -> Tensor:
        """float64 [S, W]."""
        return torch.cat([of.answers(out[:, columns]) for of, columns in zip(self.parts, self._columns)], dim=1)

    def is_known(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool [N]: of which seeds anything is known."""
        return np.logical_or.reduce([of.target.has_known(targets[of.target.name]) for of in self.parts])

    def loss_sums(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [targets, 2]: of each the losses of all known entries, added up, and how many they are."""
        return np.array([of.loss_sum(own, targets[of.target.name]) for of, own in self._each(answers)], np.float64)

    def mean_loss(self, sums: np.ndarray) -> float:
        """The loss over all seeds, of what `loss_sums` found; NaN where nothing is known."""
        known = sums[:, 1] > 0
        means = sums[known, 0] / sums[known, 1]
        return float((means * np.array(self.weights)[known]).sum()) if known.any() else float("nan")

    def predictions(self, answers: np.ndarray) -> Dict[str, np.ndarray]:
        """By target: what the model says in the end."""
        return {of.target.name: of.predictions(own) for of, own in self._each(answers)}

    def scores(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """Metrics, of several targets as `<target>.<metric>`; see `Objective.scores`."""
        found: Dict[str, Any] = {}
        reasons: Dict[str, str] = {}
        for of, own in self._each(answers):
            scores = of.scores(own, targets[of.target.name])
            reasons.update({self._named(of, name): why for name, why in scores.pop(UNDEFINED, {}).items()})
            found.update({self._named(of, name): value for name, value in scores.items()})
        return {**found, **({UNDEFINED: reasons} if reasons else {})}

    def columns(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """Columns of a table of predictions, of several targets as `<target>.<column>`."""
        found: Dict[str, Any] = {}
        for of, own in self._each(answers):
            columns = of.columns(own, targets[of.target.name])
            found.update({self._named(of, name): column for name, column in columns.items()})
        return found

    def resolved(self) -> Dict[str, Any]:
        """What was computed from split train, as plain values, by target."""
        found = {of.target.name: of.resolved() for of in self.parts}
        return {name: values for name, values in found.items() if values}

    def _each(self, answers: np.ndarray) -> List[Tuple[Objective, np.ndarray]]:
        return [(of, answers[:, columns]) for of, columns in zip(self.parts, self._columns)]

    def _named(self, of: Objective, name: str) -> str:
        return name if len(self.objectives) == 1 else f"{of.target.name}.{name}"


def objective_of(task: Task, config: Optional[JobConfig] = None) -> TaskObjective:
    """That of a store's task, with the weights and losses that a config asks for.

    A config without a section [task] asks for nothing special, whatever the store holds.

    Raises:
        ConfigError: the config has other targets than the store, or weights that do not fit.
    """
    options = _options(task, config)
    is_partial = len(task.targets) > 1
    objectives = [OBJECTIVES[of.kind](of, asked, is_partial) for of, asked in zip(task.targets, options)]
    return TaskObjective(objectives, [asked.weight for asked in options])


def _options(task: Task, config: Optional[JobConfig]) -> Sequence[TargetConfig]:
    """What a config says of each of a task's targets."""
    plain = tuple(TargetConfig(label=of.name, kind=of.kind) for of in task.targets)
    if config is None or config.task.asks_for_nothing:
        return plain
    asked = config.targets
    found = {of.label: of for of in asked} if config.task.target else {task.targets[0].name: asked[0]}
    wanted, present = [(name, of.kind) for name, of in found.items()], [(of.label, of.kind) for of in plain]
    if sorted(wanted) != sorted(present):
        raise ConfigError(
            "the config asks for other targets than the store has",
            actual=_listed(wanted),
            limit=_listed(present),
            where="[task]",
            hint="Prepare a store for this config: make prepare.",
        )
    return [found[of.name] for of in task.targets]


def _listed(targets: Sequence[Tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in targets)


def is_better(monitor: str, score: Optional[float], best: Optional[float]) -> bool:
    """Whether `score` of metric `monitor` beats the best so far, None before there is one.

    An equal score does not, nor does one that is no finite number.
    """
    if score is None or not np.isfinite(score):
        return False
    if best is None:
        return True
    return score < best if monitor.rpartition(".")[2] in LOWER_IS_BETTER else score > best
