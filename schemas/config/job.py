"""A whole job file."""

import hashlib
import json
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser, under the name it had before it joined the standard library
    import tomli as tomllib

from typing import Any, Dict, Mapping, Optional, Tuple, Union

from pydantic import Field, ValidationError, model_validator

from heteroshards.schemas.base import Frozen, explain
from heteroshards.schemas.config.budget import BudgetConfig
from heteroshards.schemas.config.dataset import DatasetConfig
from heteroshards.schemas.config.ipu import IpuConfig
from heteroshards.schemas.config.model import ModelConfig
from heteroshards.schemas.config.sampling import SamplingConfig
from heteroshards.schemas.config.store import StoreConfig
from heteroshards.schemas.config.task import COUNTED, FREE_KEYS, TargetConfig, TargetOptions, TaskConfig
from heteroshards.schemas.config.train import TrainConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.paths import as_path


class JobConfig(Frozen):
    """A whole file. `name` names stores and runs.

    Raises:
        ConfigError: an unknown or contradictory key; it names the nearest known one.
    """

    name: str = Field(default="job", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dataset: DatasetConfig = DatasetConfig()
    task: TaskConfig = TaskConfig()
    sampling: SamplingConfig = SamplingConfig()
    budget: BudgetConfig = BudgetConfig()
    store: StoreConfig = StoreConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    ipu: IpuConfig = IpuConfig()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as problem:
            raise explain(problem, type(self), ConfigError) from None

    @model_validator(mode="after")
    def _check_shapes(self) -> Any:
        if self.budget.shapes > 1 and self.sampling.mode == "full":
            raise ValueError("[budget] 'shapes' has no meaning with [sampling] mode = 'full': there is one size")
        return self

    @model_validator(mode="after")
    def _check_times(self) -> Any:
        if self.sampling.time is not None and self.task.time is None:
            raise ValueError("[sampling] 'time' needs [task] 'time', the attribute that says when seeds ask")
        if self.task.time is not None and self.sampling.time is None:
            raise ValueError("[task] 'time' needs [sampling] 'time', or neighbors would be drawn whatever their time")
        needs = [key for key in ("seeds", "time") if getattr(self.task, key) is not None]
        if needs and self.sampling.is_disjoint is False:
            raise ValueError(f"[task] '{needs[0]}' needs [sampling] is_disjoint = true: seeds see different things")
        if needs and self.sampling.mode == "full":
            raise ValueError(f"[task] '{needs[0]}' has no meaning with [sampling] mode = 'full': all seeds see all")
        if self.task.seeds is not None and (self.dataset.subset or self.dataset.remove_isolated):
            raise ValueError("[dataset] 'subset' and 'remove_isolated' renumber nodes, so [task] 'seeds' excludes them")
        return self

    @property
    def is_disjoint(self) -> bool:
        """Whether every seed has a sample of its own."""
        asked = self.sampling.is_disjoint
        return self.task.seeds is not None or self.task.time is not None if asked is None else asked

    @model_validator(mode="after")
    def _check_targets(self) -> Any:
        given = [key for key in ("label", "num_classes") if key in self.dataset.model_fields_set]
        if self.task.target and given:
            raise ValueError(f"[dataset] '{given[0]}' has no meaning beside [[task.target]], which has one of its own")
        if self.dataset.num_classes is not None and self.task.kind not in COUNTED:
            raise ValueError(f"[dataset] 'num_classes' has no meaning with [task] kind = '{self.task.kind}'")
        return self

    @property
    def monitor(self) -> Optional[str]:
        """The score that decides which epoch is the best, where one is named."""
        return self.train.monitor or self.task.metric

    @property
    def asking_type(self) -> str:
        """The type that has labels, masks and times of the seeds: theirs, or a table of questions."""
        return self.task.seeds or self.dataset.seed_type

    @property
    def targets(self) -> Tuple[TargetConfig, ...]:
        """What is predicted: each `[[task.target]]`, or the one that `[dataset]` and `[task]` describe."""
        options = {key: getattr(self.task, key) for key in TargetOptions.model_fields}
        return tuple(self.task.target) or single_target(self.dataset, **options)

    def content(self) -> Dict[str, Any]:
        """The part that decides the content of a store, as plain values (what the manifest records)."""
        values = self.model_dump(mode="json", include={"dataset", "task", "sampling", "budget", "store"})
        values["store"].pop("root")
        for options in (values["task"], *values["task"]["target"]):
            for key in FREE_KEYS:
                options.pop(key, None)
        return values

    def content_digest(self) -> str:
        """Digest of `content()`: equal configs over equal data make equal stores."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()[:16]


def single_target(dataset: DatasetConfig, **options: Any) -> Tuple[TargetConfig, ...]:
    """The only target of a dataset; `options` are those of `TargetOptions`."""
    return (TargetConfig(label=dataset.label, num_classes=dataset.num_classes, **options),)


def parse_value(text: str) -> Any:
    """A value as TOML writes it; what is none is a string, so that quotes may be left out.

    >>> parse_value("[5, 5]"), parse_value("true"), parse_value("hgt"), parse_value('"7"')
    ([5, 5], True, 'hgt', '7')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def load_config(path: Union[str, Path], overrides: Optional[Mapping[str, Any]] = None) -> JobConfig:
    """Read a TOML job file. `overrides` maps dotted keys ("model.name") to values that win; None is no override.

    Raises:
        ConfigError: the file is unreadable, not TOML, or has an unknown or contradictory key.
    """
    path = as_path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        hint = f"Configs there: {', '.join(known)}." if known else None
        raise ConfigError("the config file does not exist", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the config file cannot be read", actual=error, where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the config file is not TOML", actual=error, where=str(path)) from None
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "job")
    for dotted, value in (overrides or {}).items():
        if value is not None:
            *sections, key = dotted.split(".")
            table = values
            for depth, section in enumerate(sections):
                table = table.setdefault(section, {})
                if not isinstance(table, dict):
                    name = ".".join(sections[: depth + 1])
                    raise ConfigError(f"[{name}] must be a table", actual=repr(table), where=str(path))
            table[key] = value
    try:
        return JobConfig(**values)
    except ConfigError as error:
        raise error.at(str(path)) from None
