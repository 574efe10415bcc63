"""`package.module:function`, called with the config's arguments, must return a `HeteroData` or a `Data`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


def call_function(name: str, args: dict[str, Any], base: Path) -> HeteroData | Data:
    """Import and call it; modules are looked for in `base` too.

    Raises:
        ConfigError: there is no such module or function, or it does not take `args`.
        DatasetError: it raised, or returned something else.
    """
    from torch_geometric.data import Data, HeteroData

    function = _find(name, base)
    check_arguments(function, args, name)
    try:
        data = function(**args)
    except Exception as error:
        raise DatasetError(
            "the dataset function raised", actual=f"{type(error).__name__}: {error}", where=name
        ) from error
    if not isinstance(data, (HeteroData, Data)):
        what, limit = "the dataset function returned something else", "a HeteroData or a Data"
        raise DatasetError(what, actual=type(data).__name__, limit=limit, where=name)
    return data


def check_arguments(function: Callable[..., Any], args: dict[str, Any], where: str) -> None:
    """Raise `ConfigError` when `function(**args)` does not match its signature."""
    try:
        parameters = inspect.signature(function).parameters
        inspect.signature(function).bind(**args)
    except TypeError as error:
        unknown = [name for name in args if name not in parameters]
        hint = nearest(unknown[0], parameters) if unknown else None
        raise ConfigError(
            "the arguments do not fit", actual=error, where=f"[dataset] args of {where}", hint=hint
        ) from None


def _find(name: str, base: Path) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    folder = str(base.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError("the module cannot be imported", actual=error, where=f"[dataset] function {name}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        hint = nearest(attribute, [key for key in vars(module) if not key.startswith("_")])
        raise ConfigError("no such function", where=f"[dataset] function {name}", hint=hint)
    return found
