"""`[task]`: what is predicted of each seed, and what counts as a mistake."""

from typing import Any, List, Literal, Optional, Union

from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.config.variants import Section, With, only
from heteroshards.schemas.names import repeated

MAX_CLASSES = 2**20
Kind = Literal["classification", "binary", "multilabel", "regression"]  # see schemas/targets.py
BALANCED = "balanced"
COUNTED = ("classification", "multilabel", "regression")  # kinds of which one may say how many columns there are
Weights = Union[Literal["none", "balanced"], List[float]]


def _require_positive(weights: Any) -> Any:
    if isinstance(weights, list) and not (weights and all(0 <= weight < float("inf") for weight in weights)):
        raise ValueError(f"weights are numbers from 0, one or more; got {weights}")
    return weights


class TargetOptions(Section):
    """What every target has.

    Attributes:
        kind: `classification` (a class of several: integers), `binary` (no or yes: 0 and 1, or bools), `multilabel`
            (no or yes for each column) or `regression` (numbers, of one column or several).
        class_weights: how much the loss of a seed counts, by its class: `none`, `balanced` (as much as makes all
            classes of split train count alike: seeds / (classes * seeds of the class)), or a list.
        pos_weight: how much the loss of a 1 counts beside that of a 0, by label: `none`, `balanced` (zeros / ones of
            split train), or a list.
        loss: `l2` (squared error), `l1` (absolute error) or `huber` (squared up to an error of one standard deviation
            of split train, absolute beyond it), of standardised values.
    """

    kind: Kind = "classification"
    class_weights: Weights = only("none", With("kind", "classification"))
    pos_weight: Weights = only("none", With("kind", "binary", "multilabel"))
    loss: Literal["l2", "l1", "huber"] = only("l2", With("kind", "regression"))

    _check_weights = field_validator("class_weights", "pos_weight")(_require_positive)


class TargetConfig(TargetOptions):
    """One of several targets: a table `[[task.target]]`.

    Attributes:
        label: the attribute of the seed type that it is read from; it names the target.
        num_classes: as in `[dataset]`, of this target.
        weight: what its loss is multiplied with in the sum of all.
    """

    label: str
    num_classes: Optional[int] = only(None, With("kind", *COUNTED), ge=1, le=MAX_CLASSES)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)


# What is done with answers, not what a store holds.
FREE_KEYS = ("class_weights", "pos_weight", "loss", "weight", "metric")


class TaskConfig(TargetOptions):
    """What is predicted of each seed, and what counts as a mistake. The seeds, and the attribute of a single target,
    stand in `[dataset]`.

    Attributes:
        kind, class_weights, pos_weight, loss: of the only target, `[dataset] label`.
        seeds: a type of the data whose rows are the seeds, instead of the nodes of the seed type: its attribute `node`
            says which node each row asks about, and labels and masks are attributes of this type. A node may be asked
            about in any number of rows. The type is no part of the graph.
        time: the attribute of the seeds that says when they ask, integers in the unit of `[sampling] time`.
        target: several targets instead, each a table `[[task.target]]` with `label`, `weight` (of its loss in the sum)
            and the keys above, and `num_classes`: `[{ label = "genre" }, { label = "rating", kind = "regression" }]`.
        metric: the score that decides which epoch is the best: `accuracy`, `macro_f1`, `auroc`, `average_precision`,
            `mae`, `rmse`, `r2` or `loss`; of several targets `<label>.<score>`. By default `accuracy`, of binary and
            multilabel targets `auroc`, of regression `mae`, of several targets `loss`.
    """

    seeds: Optional[str] = Field(default=None, min_length=1)
    time: Optional[str] = Field(default=None, min_length=1)
    target: List[TargetConfig] = []
    metric: Optional[str] = None

    @model_validator(mode="after")
    def _check_targets(self) -> Any:
        given = [key for key in TargetOptions.model_fields if self.target and key in self.model_fields_set]
        if given:
            raise ValueError(f"'{given[0]}' stands in each [[task.target]] where there are several targets")
        twice = repeated(target.label for target in self.target)
        if twice is not None:
            raise ValueError(f"two targets have the label '{twice}'")
        return self

    @property
    def asks_for_nothing(self) -> bool:
        """Whether everything but the metric is as it is by default."""
        return not self.target and all(
            getattr(self, key) == of.default for key, of in TargetOptions.model_fields.items()
        )
