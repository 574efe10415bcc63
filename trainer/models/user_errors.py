"""Errors of the user's own code, told in one line: the text, and the line of theirs that it came from."""

import sysconfig
import textwrap
import traceback
from contextlib import contextmanager
from typing import Callable, Iterator

from heteroshards.schemas.errors import HeteroShardsError, ModelError

_NOT_THEIRS = ("heteroshards", "torch", "torch_geometric", "importlib", "poptorch", "poptorch_geometric")
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]
HINTS = {
    "optimizer": "The trainer makes the optimizer ([train] optimizer); it updates every parameter with its gradient.",
    "state_dict": "What state_dict() returns is what a checkpoint keeps: tensors, by name.",
}


def model_failed(what: str, error: BaseException, name: str, hint: str = "") -> ModelError:
    """The error to raise from `error`; `name` is the model's."""
    return ModelError(what, actual=one_line(error), where=name + _place(error), hint=hint or None)


def phase_failed(phase: str, error: BaseException, name: str) -> ModelError:
    """The error to raise from `error`, which the model `name` caused in a phase of a run: "forward pass", "backward
    pass", "optimizer", "evaluation", "building" or "state_dict"."""
    return model_failed(f"the model's {phase} failed", error, name, HINTS.get(phase, ""))


@contextmanager
def telling(
    phase: str, name: str, translate: Callable[[str, Exception, str], Exception] = phase_failed
) -> Iterator[None]:
    """What the user's model raises in this phase as one error that says so. Typed errors pass, and so do Ctrl-C and
    SIGTERM. This is the seam: nothing that a model raises reaches a user as anything else.

    Args:
        translate: makes another error of it, for a backend that knows better.
    """
    try:
        yield
    except HeteroShardsError:
        raise
    except Exception as error:
        told = translate(phase, error, name)
        if told is error:
            raise
        raise told from error


def one_line(error: BaseException, width: int = 300) -> str:
    """Type and text of an error, cut where it is long."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", width, placeholder=" ...")


def first_line(error: BaseException) -> str:
    """The first line of an error's text: what torch says before its advice and traces."""
    return str(error).strip().split("\n")[0]


def is_theirs(error: BaseException) -> bool:
    """Whether a line of the user's own code was at work when it was raised."""
    return bool(_place(error))


def _place(error: BaseException) -> str:
    """A text " (file:line)" of the innermost call that is neither ours nor a library's; "" where there is none."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_theirs(str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename):
            place = f" ({frame.f_code.co_filename}:{line})"
    return place


def _is_theirs(module: str, file: str) -> bool:
    if module.split(".")[0] in _NOT_THEIRS or file.startswith("<"):
        return False
    return not file.startswith(_STANDARD_LIBRARY) or "-packages" in file
