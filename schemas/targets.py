"""What is predicted of each seed: a class of several, yes or no, several of these, or numbers. A kind is a class here.

A store keeps each as `seeds/targets/<name>`, with a pad value in pad rows and wherever nothing is known: -100 where
values are integers, NaN where they are floats.
"""

import sys
from typing import Any, ClassVar, Literal, Optional, Tuple, Union

import numpy as np
from pydantic import Field, field_validator, model_validator

if sys.version_info >= (3, 9):
    from typing import Annotated
else:
    from typing_extensions import Annotated

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.names import check_name

INTEGER_PAD = -100
Counts = Tuple[int, ...]


class Target(Frozen):
    """What all kinds have in common.

    Attributes:
        name: of the attribute that it comes from.
        dtype, pad_value: of what is stored.
        shape: of what is stored for one seed.
        columns: that a model returns for one seed.
    """

    dtype: ClassVar[str] = "int32"
    pad_value: ClassVar[float] = INTEGER_PAD

    name: str

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name, "target")

    @property
    def shape(self) -> Tuple[int, ...]:
        return ()

    @property
    def columns(self) -> int:
        return 1

    @property
    def num_values(self) -> Optional[int]:
        """What is known is an integer from 0 up to, and without, this; None where it is a number."""
        return 2

    @property
    def limits(self) -> str:
        """What a known value may be, in words."""
        return "a finite number" if self.num_values is None else f"0..{self.num_values - 1}"

    def is_known(self, values: np.ndarray) -> np.ndarray:
        """bool, of the shape of `values`: which entries say something."""
        return np.asarray(values >= 0)

    def is_valid(self, values: np.ndarray) -> np.ndarray:
        """bool, of the shape of `values`: which entries are known and can be."""
        return np.asarray((values >= 0) & (values < (self.num_values or 0)))

    def is_pad(self, values: np.ndarray) -> np.ndarray:
        """bool, of the shape of `values`: which entries are the pad value."""
        return np.asarray(values == self.pad_value)

    def has_known(self, values: np.ndarray) -> np.ndarray:
        """bool [N], of values [N, *shape]: which rows say anything."""
        return np.asarray(self.is_known(values).any(axis=self._columns))

    def says_nothing(self, values: np.ndarray) -> np.ndarray:
        """bool [N], of values [N, *shape]: which rows are pads throughout."""
        return np.asarray(self.is_pad(values).all(axis=self._columns))

    def is_same(self, values: np.ndarray, others: np.ndarray) -> np.ndarray:
        """bool [N], of two times [N, *shape]: which rows say the same, a pad being like a pad."""
        return np.asarray(((values == others) | (self.is_pad(values) & self.is_pad(others))).all(axis=self._columns))

    @property
    def _columns(self) -> Tuple[int, ...]:
        """The dimensions of stored values but for that of seeds."""
        return tuple(range(1, 1 + len(self.shape)))


class ClassTarget(Target):
    """One class of several: int32 [seeds].

    Attributes:
        num_classes: classes are 0 to this - 1.
        train_counts: seeds of split train by class; None without such a split.
    """

    kind: Literal["classification"] = "classification"
    num_classes: int = Field(ge=1, lt=2**31)
    train_counts: Optional[Counts] = None

    @model_validator(mode="after")
    def _check_counts(self) -> Any:
        return _checked(self, self.train_counts, self.num_classes)

    @property
    def columns(self) -> int:
        return self.num_classes

    @property
    def num_values(self) -> int:
        return self.num_classes


class BinaryTarget(Target):
    """No or yes: int32 [seeds], 0 or 1.

    Attributes:
        train_counts: seeds of split train with 0 and with 1; None without such a split.
    """

    kind: Literal["binary"] = "binary"
    train_counts: Optional[Counts] = None

    @model_validator(mode="after")
    def _check_counts(self) -> Any:
        return _checked(self, self.train_counts, 2)


class MultilabelTarget(Target):
    """No or yes for each of several labels: int32 [seeds, num_labels], 0 or 1, each entry known or not.

    Attributes:
        train_zeros, train_ones: seeds of split train by label; None without such a split.
    """

    kind: Literal["multilabel"] = "multilabel"
    num_labels: int = Field(ge=1, lt=2**31)
    train_zeros: Optional[Counts] = None
    train_ones: Optional[Counts] = None

    @model_validator(mode="after")
    def _check_counts(self) -> Any:
        _checked(self, self.train_zeros, self.num_labels)
        return _checked(self, self.train_ones, self.num_labels)

    @property
    def shape(self) -> Tuple[int, ...]:
        return (self.num_labels,)

    @property
    def columns(self) -> int:
        return self.num_labels


class RegressionTarget(Target):
    """Numbers: float32 [seeds], or [seeds, width], in their own units.

    Attributes:
        width: numbers of each seed where they are a row of a matrix; None where each seed has one.
        mean, std: of what is known of split train, by column, in double precision; std divides by the count, and is 1
            for a column that is constant. Models learn (value - mean) / std. 0 and 1 without a split train.
    """

    dtype: ClassVar[str] = "float32"
    pad_value: ClassVar[float] = float("nan")

    kind: Literal["regression"] = "regression"
    width: Optional[int] = Field(default=None, ge=1, lt=2**31)
    mean: Tuple[float, ...] = (0.0,)
    std: Tuple[float, ...] = (1.0,)

    @model_validator(mode="after")
    def _check_statistics(self) -> Any:
        _checked(self, self.mean, self.columns)
        _checked(self, self.std, self.columns)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and min(self.std) > 0):
            raise ValueError(f"target {self.name!r} has mean {self.mean} and std {self.std}")
        return self

    @property
    def shape(self) -> Tuple[int, ...]:
        return () if self.width is None else (self.width,)

    @property
    def columns(self) -> int:
        return self.width or 1

    @property
    def num_values(self) -> None:
        return None

    def is_known(self, values: np.ndarray) -> np.ndarray:
        return ~np.isnan(values)

    def is_valid(self, values: np.ndarray) -> np.ndarray:
        return np.isfinite(values)

    def is_pad(self, values: np.ndarray) -> np.ndarray:
        return np.isnan(values)


TargetSpec = Annotated[
    Union[ClassTarget, BinaryTarget, MultilabelTarget, RegressionTarget], Field(discriminator="kind")
]


def _checked(target: Target, found: Optional[Tuple[Any, ...]], num: int) -> Any:
    if found is not None and len(found) != num:
        raise ValueError(f"target {target.name!r} has statistics of {len(found)} columns, not of {num}")
    return target
