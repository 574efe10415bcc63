"""The user's model while a training executor owns it: reading weights fetches them from the device (3, 41)."""
# ruff: noqa: N802

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from poptorch._errors import host_error
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def is_wrapped(model: nn.Module) -> bool:
    return "_poptorch_executor" in vars(type(model))


def wrap(executor: Any, model: nn.Module) -> None:
    """Rewrite the classes of a model, its parameters and its buffers.

    Raises:
        RuntimeError: it is wrapped already.
        poptorch.Error: a buffer is no plain tensor, or a parameter was never initialised (80).
    """
    if is_wrapped(model):
        raise RuntimeError(f"{type(model).__name__} has already been wrapped: call destroy() on its executor first")
    parent = weakref.ref(executor)
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise host_error(f"{name} is a lazy parameter: run the model once on the CPU before wrapping it")
    for buffer in model.buffers():
        if type(buffer) is not Tensor:
            raise host_error(f"All buffers must be an instance of torch.Tensor (Got {type(buffer)})")
    wrapped_parameter = _watched(nn.Parameter, parent)
    wrapped_buffer = _watched(Tensor, parent)
    for parameter in model.parameters():
        parameter.__class__ = wrapped_parameter
    for buffer in model.buffers():
        buffer.__class__ = wrapped_buffer
    model.__class__ = _watched_model(type(model), parent)


def unwrap(model: nn.Module) -> None:
    """Undo `wrap`. Plain models stay as they are."""
    state = [*nn.Module.parameters(model), *nn.Module.buffers(model)]
    for item in [model, *state]:
        if "_poptorch_executor" in vars(type(item)):
            object.__setattr__(item, "__class__", type(item)._poptorch_base)


@contextlib.contextmanager
def plain(model: nn.Module) -> Iterator[nn.Module]:
    """The model with its own classes, so that reading it fetches nothing."""
    with _silence(model):
        items = [model, *model.parameters(), *model.buffers()]
        classes = [type(item) for item in items]
        unwrap(model)
        try:
            yield model
        finally:
            for item, cls in zip(items, classes):
                item.__class__ = cls


_silent: list[bool] = []


@contextlib.contextmanager
def _silence(model: nn.Module) -> Iterator[None]:
    _silent.append(True)
    try:
        yield
    finally:
        _silent.pop()


def _fetch(parent: Any) -> None:
    executor = parent()
    if executor is not None and not _silent:
        executor.copyWeightsToHostIfNeeded()


def _watched(base: type, parent: Any) -> type:
    """A tensor class that fetches before any attribute is read."""

    class Watched(base):  # type: ignore[misc]
        _poptorch_executor = parent
        _poptorch_base = base
        __torch_function__ = torch._C._disabled_torch_function_impl

        def __getattribute__(self, name: str) -> Any:
            _fetch(parent)
            return object.__getattribute__(self, name)

    Watched.__name__ = Watched.__qualname__ = "PoptorchParameter" if base is nn.Parameter else "PoptorchBuffer"
    return Watched


def _watched_model(base: type, parent: Any) -> type:
    class Watched(base):  # type: ignore[misc]
        _poptorch_executor = parent
        _poptorch_base = base

        def __getattribute__(self, name: str) -> Any:
            if name in ("_buffers", "_parameters", "forward"):
                _fetch(parent)
            return object.__getattribute__(self, name)

        def copyWeightsToHostIfNeeded(self) -> bool:
            executor = parent()
            return executor is not None and executor.copyWeightsToHostIfNeeded()

        def parameters(self, recurse: bool = True) -> Any:
            _fetch(parent)
            return super().parameters(recurse)

        def destroy(self) -> None:
            if parent() is not None:
                parent().destroy()

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            """Plain tensors that share memory with the model (43)."""
            _fetch(parent)
            state = super().state_dict(*args, **kwargs)
            return collections.OrderedDict((name, tensor.detach()) for name, tensor in state.items())

    Watched.__name__ = Watched.__qualname__ = f"Poptorch{base.__name__}"
    return Watched
