"""Where a public function or a command ends: whatever goes wrong inside leaves as an error of ours, with its cause.

Errors that say what a user can do are raised where they are understood. This is for the rest: what the operating
system refuses anywhere, and faults of this program or of code that was handed to it.
"""

import functools
import os
import sys
import tempfile
import textwrap
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Type, TypeVar, Union, cast

from heteroshards.schemas.errors import ConfigError, HeteroShardsError, UnexpectedError
from heteroshards.schemas.paths import as_path

F = TypeVar("F", bound=Callable[..., Any])

SHOW = "HETEROSHARDS_TRACEBACK"
# A reader that went away ends a command quietly; a warning that was made an error is its maker's business.
_NOT_OURS = (HeteroShardsError, BrokenPipeError, Warning)


def typed(doing: str, error: Type[HeteroShardsError]) -> Callable[[F], F]:
    """A decorator of public functions: every `Exception` leaves as `error` or `UnexpectedError`, raised from its cause.

    Args:
        doing: what the function does, in words.
        error: what the system's refusals become.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with seam(doing, error):
                return function(*args, **options)

        return cast(F, call)

    return decorate


@contextmanager
def seam(doing: str, error: Type[HeteroShardsError]) -> Iterator[None]:
    """`typed` for a block."""
    try:
        yield
    except _NOT_OURS:
        raise
    except Exception as problem:
        raise translated(problem, doing, error) from problem


def translated(problem: Exception, doing: str, error: Type[HeteroShardsError]) -> HeteroShardsError:
    """An exception that nobody expected where it came up, as an error of ours."""
    if isinstance(problem, MemoryError):
        hint = "Use less of it: smaller batches, fewer workers, fewer features; or a machine with more."
        return error("memory does not suffice", actual=_one_line(problem), where=doing, hint=hint)
    if isinstance(problem, OSError) or "embedded null" in str(problem):  # a ValueError: no path can hold one
        file = getattr(problem, "filename", None)
        place = f"{doing}: {file}" if file else doing
        hint = "Look for a missing permission, a full disk, a lost connection, or a folder where a file should be."
        return error("the system refuses it", actual=_one_line(problem), where=place, hint=hint)
    if isinstance(problem, ImportError):
        hint = "Install what is missing, or mend what fails to import."
        return error("a package cannot be imported", actual=_one_line(problem), where=doing, hint=hint)
    hint = f"Its cause is attached: {SHOW}=1 shows it. If it is no fault of code of your own, report it."
    return UnexpectedError(
        "it failed unexpectedly", actual=_one_line(problem), where=doing + _place(problem), hint=hint
    )


def require(value: Any, kinds: Any, name: str) -> None:
    """Raise ConfigError unless an argument is of one of the `kinds`; a bool is no number."""
    known = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, known) and not (isinstance(value, bool) and bool not in known):
        return
    names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in known)
    actual = f"{type(value).__name__} {textwrap.shorten(repr(value), 60, placeholder='...')}"
    raise ConfigError(f"argument '{name}' has the wrong type", actual=actual, limit=names)


def require_count(value: Any, name: str) -> None:
    """Raise ConfigError unless an argument is a whole number from 1."""
    require(value, int, name)
    if value < 1:
        raise ConfigError(f"argument '{name}' is too small", actual=value, limit="1 or more")


def require_path(value: Any, name: str) -> Path:
    """An argument as a path; ConfigError where it cannot be one."""
    require(value, (str, os.PathLike), name)
    text = os.fspath(value)
    if not isinstance(text, str) or not text:
        raise ConfigError(f"argument '{name}' is no path", actual=repr(text), limit="a text that is not empty")
    return as_path(value)


def told(error: HeteroShardsError) -> str:
    """The line that a command ends with; what was unexpected leaves its traceback in a file, named in the line.

    With the environment variable HETEROSHARDS_TRACEBACK=1 the traceback of any error goes before it.
    """
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if os.environ.get(SHOW, "") not in ("", "0"):
        return f"{trace}error: {error}"
    if not isinstance(error, UnexpectedError):
        return f"error: {error}"
    try:
        descriptor, path = tempfile.mkstemp(prefix="heteroshards-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(trace)
    except OSError:
        return f"error: {error}"
    return f"error: {error} The traceback is in {path}"


def prepare_streams() -> None:
    """Let characters that a terminal or a pipe cannot show come out escaped, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Union[Callable[..., None], None] = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _one_line(error: BaseException) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")


def _place(error: BaseException) -> str:
    """ " (file:line)" of the innermost call."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
