"""What every kind of executor offers: threads here, other kinds are files beside this one."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from heteroshards.pipeline.executors.worker import Worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Function = Callable[[Worker, Item], Result]


class Executor(Protocol):
    """Runs functions of (worker, item) on some workers."""

    def map(self, function: Function[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of items; only a few items are in flight, so memory stays bounded.

        `function` is one of a module, and items and results are plain data: they may cross to other processes, which
        know of each other nothing but that. See `require_plain`.
        """


def require_plain(function: Callable[..., object]) -> None:
    """Raises TypeError for a function that carries something of its own: a closure, a lambda, a bound method."""
    if "<" in getattr(function, "__qualname__", "<") or hasattr(function, "__self__"):
        raise TypeError(f"{function!r} cannot cross to other workers: it must be a function of a module")
