"""The names of PopTorch that a trainer needs. `poptorch.double` is for tests only."""
# ruff: noqa: N802

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from poptorch import double, optim
from poptorch._errors import ConfigFileError, Error, RecoverableError, UnrecoverableError
from poptorch._executor import VERSION, PoplarExecutor, read_saved
from poptorch._graph import identity_loss
from poptorch._graph import is_running_on_ipu as isRunningOnIpu
from poptorch._structure import ICustomArgParser, registerCustomArgParser
from poptorch.enums import ConnectionType, MeanReductionStrategy, OutputMode, ReductionType, SyncPattern
from poptorch.options import Options, TensorLocationSettings

__version__ = VERSION
__all__ = [
    "ConfigFileError",
    "ConnectionType",
    "Error",
    "ICustomArgParser",
    "MeanReductionStrategy",
    "Options",
    "OutputMode",
    "PoplarExecutor",
    "RecoverableError",
    "ReductionType",
    "SyncPattern",
    "TensorLocationSettings",
    "UnrecoverableError",
    "double",
    "identity_loss",
    "inferenceModel",
    "isRunningOnIpu",
    "load",
    "optim",
    "registerCustomArgParser",
    "trainingModel",
]


def trainingModel(model: Any, options: Options | None = None, optimizer: Any = None) -> PoplarExecutor:
    """Each call runs forward, backward and updates (1, 14)."""
    return PoplarExecutor(_user_model(model), options, True, optimizer)


def inferenceModel(model: Any, options: Options | None = None) -> PoplarExecutor:
    """Each call runs forward only."""
    return PoplarExecutor(_user_model(model), options, False)


def load(filename: str, edit_opts_fn: Callable[[Options], None] | None = None) -> PoplarExecutor:
    """The executor that `save` wrote with its model; pickles are executed, so trusted files only (46)."""
    content = read_saved(filename)
    assert "model" in content, "The model was not exported: wrap it again and use loadExecutable()"
    options = content["options"].clone()
    if edit_opts_fn:
        edit_opts_fn(options)
    executor = PoplarExecutor(content["model"], options, content["is_training"], content["optimizer"])
    executor.loadExecutable(filename)
    return executor


def _user_model(model: Any) -> torch.nn.Module:
    return model._user_model if isinstance(model, PoplarExecutor) else model


with contextlib.suppress(ImportError):  # as PopTorch does: absent PyG goes unnoticed (77)
    import poptorch_geometric  # noqa: F401
