"""One TOML file per job. `[dataset]`, `[task]`, `[sampling]`, `[budget]` and `[store]` decide the content of a store;
`[model]`, `[train]` and `[ipu]` say what is trained on it. Every key has its meaning and default in the class of its
section, and an unknown key is an error that names the nearest known one. A new section is a file here and a line in
`JobConfig`.
"""

from heteroshards.schemas.config.budget import BudgetConfig, BudgetScope
from heteroshards.schemas.config.dataset import DatasetConfig, RandomSplit
from heteroshards.schemas.config.ipu import IpuConfig
from heteroshards.schemas.config.job import JobConfig, load_config, parse_value, single_target
from heteroshards.schemas.config.model import ModelConfig
from heteroshards.schemas.config.sampling import MAX_FANOUT, SamplingConfig
from heteroshards.schemas.config.store import StoreConfig
from heteroshards.schemas.config.task import BALANCED, MAX_CLASSES, TargetConfig, TaskConfig
from heteroshards.schemas.config.train import TrainConfig

__all__ = [
    "BALANCED",
    "MAX_CLASSES",
    "MAX_FANOUT",
    "BudgetConfig",
    "BudgetScope",
    "DatasetConfig",
    "IpuConfig",
    "JobConfig",
    "ModelConfig",
    "RandomSplit",
    "SamplingConfig",
    "StoreConfig",
    "TargetConfig",
    "TaskConfig",
    "TrainConfig",
    "load_config",
    "parse_value",
    "single_target",
]
