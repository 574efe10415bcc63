"""Errors of the user's own code, told in one line: the text, and the line of theirs that it came from."""

import textwrap
import traceback

from schemas.errors import ModelError

_NOT_THEIRS = ("trainer", "schemas", "torch", "torch_geometric", "importlib")


def model_failed(what: str, error: BaseException, name: str, hint: str = "") -> ModelError:
    """The error to raise from `error`; `name` is the model's."""
    return ModelError(what, actual=one_line(error), where=name + _place(error), hint=hint or None)


def one_line(error: BaseException, width: int = 300) -> str:
    """Type and text of an error, cut where it is long."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", width, placeholder=" ...")


def first_line(error: BaseException) -> str:
    """The first line of an error's text: what torch says before its advice and traces."""
    return str(error).strip().split("\n")[0]


def _place(error: BaseException) -> str:
    """ " (file:line)" of the innermost call that is neither ours nor a library's, or nothing."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        root = str(frame.f_globals.get("__name__", "")).split(".")[0]
        if root not in _NOT_THEIRS and not frame.f_code.co_filename.startswith("<"):
            place = f" ({frame.f_code.co_filename}:{line})"
    return place
