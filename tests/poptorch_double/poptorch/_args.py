"""Arguments of a call: bound to the signature, and compared with those of the compile call (15-22)."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from poptorch._errors import Error, host_error
from poptorch._structure import flatten, map_tensors
from torch import Tensor

logger = logging.getLogger("poptorch")
_POSITIONAL, _KEYWORDS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


class Arguments:
    """Positional arguments with their names, and keyword arguments."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        self.names.append(name)
        self.args.append(value)

    def tensors(self, canonical: Arguments | None = None) -> list[Tensor]:
        """Flat, in the order of the compile call."""
        twin = canonical or self
        return flatten([self.args, self.kwargs], [twin.args, twin.kwargs])


class ArgumentParser:
    """Binds arguments to the signature of a model's forward."""

    def __init__(self, forward: Any) -> None:
        self._parameters = list(inspect.signature(forward).parameters.values())
        self._is_warned = False

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        names = [parameter.name for parameter in self._parameters]
        if not any(parameter.kind in (_POSITIONAL, _KEYWORDS) for parameter in self._parameters):
            given = len(args) + len(kwargs)
            assert given <= len(names), f"Too many arguments provided: expected {names} ({len(names)}) but got {given}"
            for name in kwargs:
                assert name in names, f"{name} is not a valid parameter. Allowed values are {names}"
        return self._contiguous(self._bind(args, kwargs))

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        bound, is_named = Arguments(), False
        for i, parameter in enumerate(self._parameters):
            name = parameter.name
            if parameter.kind is _KEYWORDS:
                used = [earlier.name for earlier in self._parameters[:i]]
                bound.kwargs.update({key: value for key, value in kwargs.items() if key not in used})
            elif parameter.kind is _POSITIONAL:
                for j, value in enumerate(args[i:]):
                    bound.add(f"*{name}[{j}]", value)
                args, is_named = args[:i], True
            elif i < len(args):
                assert name not in kwargs, f"Parameter {name} was passed more than once"
                bound.add(name, args[i])
            else:
                if name not in kwargs and parameter.default is inspect.Parameter.empty:
                    raise host_error(f"Mandatory parameter {name} missing")
                value = kwargs.get(name, parameter.default)
                if is_named:
                    bound.kwargs[name] = value
                else:
                    bound.add(name, value)
        return bound

    def _contiguous(self, bound: Arguments) -> Arguments:
        if all(tensor.is_contiguous() for tensor in bound.tensors()):
            return bound
        if not self._is_warned:
            logger.warning("At least one input tensor is not contiguous: non-contiguous tensors will be converted.")
            self._is_warned = True
        bound.args, bound.kwargs = map_tensors([bound.args, bound.kwargs], Tensor.contiguous)
        return bound


def validate(compiled: Arguments, given: Arguments) -> None:
    """A later call against the compile call, at its full combined shape (19)."""
    if len(compiled.args) != len(given.args):
        raise _mismatch("Number of positional arguments", "", len(compiled.args), len(given.args))
    for name, expected, actual in zip(compiled.names, compiled.args, given.args):
        _validate(name, expected, actual)
    _validate("named arguments", compiled.kwargs, given.kwargs)


def _validate(name: str, compiled: Any, given: Any) -> None:
    if type(compiled) is not type(given):
        raise _mismatch("Type", name, type(compiled), type(given))
    if isinstance(compiled, tuple):
        if len(compiled) != len(given):
            raise _mismatch("Length", name, len(compiled), len(given))
        for i, item in enumerate(compiled):
            _validate(f"{name}[{i}]", item, given[i])
    elif isinstance(compiled, dict):
        _validate_keys(name, compiled, given)
        for key, item in compiled.items():
            _validate(f"{name}[{key}]", item, given[key])
    elif isinstance(compiled, Tensor):
        if compiled.dtype != given.dtype:  # before any cast (20)
            raise _mismatch("Data type", name, compiled.dtype, given.dtype)
        if compiled.shape != given.shape:
            raise _mismatch("Shape", name, tuple(compiled.shape), tuple(given.shape))
    elif flatten(compiled):  # lists and types with a parser: their tensors only (22, 24)
        _validate(name, tuple(flatten(compiled)), tuple(flatten(given)))
    elif compiled != given:  # baked into the graph (16)
        raise _mismatch("Value", name, compiled, given)


def _validate_keys(name: str, compiled: dict[Any, Any], given: dict[Any, Any]) -> None:
    extra, missing = set(given) - set(compiled), set(compiled) - set(given)
    if extra or missing:
        # Keys that are tuples cannot be joined: a TypeError, as in PopTorch (21).
        details = f"Unexpected: {', '.join(sorted(extra))}. Missing: {', '.join(sorted(missing))}"
        raise _mismatch("Keys", name, sorted(compiled), details)


def _mismatch(what: str, name: str, expected: Any, actual: Any) -> Error:
    return host_error(
        f"{what} mismatch for {name}: expected {expected} but got {actual}.\n"
        "This error occurred because the inputs passed at runtime don't match the inputs used to compile the model.\n"
        "To recompile the model for the new inputs create a new inferenceModel / trainingModel wrapper or call "
        "destroy() on the current one and try again."
    )


def narrow(tensor: Tensor, extra: int, index: int = 0) -> Tensor:
    """Micro-batch `index` of `extra` along dim 0 (29-31).

    Raises:
        AssertionError: dim 0 is not divisible; a tensor without dimensions counts as one row.
    """
    rows = tensor.shape[0] if tensor.dim() else 1
    assert rows % extra == 0, (
        f"Invalid batch dimension: In the input {tuple(tensor.shape)}, the batch dimension ({rows}) must be a multiple "
        f"of Options.deviceIterations * Options.replicationFactor * Options.Training.gradientAccumulation = {extra}"
    )
    return tensor.narrow(0, index * (rows // extra), rows // extra) if tensor.dim() else tensor


_PASSED = {torch.float32, torch.float16, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}


def to_device(tensor: Tensor) -> Tensor:
    """The values that reach the device: 64 bit types lose half their bits but keep their declared type (26).

    bfloat16 is refused: the two halves of PopTorch disagree about it.
    """
    if tensor.dtype == torch.int64:
        return tensor.to(torch.int32).to(torch.int64)
    if tensor.dtype == torch.float64:
        return tensor.to(torch.float32).to(torch.float64)
    if tensor.dtype not in _PASSED:
        raise host_error(f"Unsupported tensor type {tensor.dtype}")
    return tensor


def to_host(tensor: Tensor) -> Tensor:
    """Outputs of 64 bit types come back with 32 (27)."""
    narrow_types = {torch.int64: torch.int32, torch.float64: torch.float32}
    return tensor.to(narrow_types.get(tensor.dtype, tensor.dtype))
