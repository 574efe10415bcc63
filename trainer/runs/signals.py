"""Ctrl-C and SIGTERM: training stops between two steps, everything else at once."""

import signal
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from heteroshards.schemas.signals import Terminated, handled


class Stop:
    """Whether a signal has asked for a stop, and which."""

    def __init__(self) -> None:
        self.number: Optional[int] = None

    def is_set(self) -> bool:
        return self.number is not None

    def error(self) -> BaseException:
        """What the signal is as an exception."""
        return Terminated() if self.number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM is noted, so that training stops between two steps; the next one acts at once."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        for other, handler in before.items():
            signal.signal(other, handler)
        stop.number = number

    with handled(dict.fromkeys(before, note)):
        yield stop
