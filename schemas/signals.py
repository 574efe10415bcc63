"""Signals as exceptions."""

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator


class Terminated(BaseException):
    """SIGTERM as an exception: what is at work unwinds as it does after Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises `Terminated` wherever the program is."""

    def terminate(*_: Any) -> None:
        raise Terminated

    with handled({signal.SIGTERM: terminate}):
        yield


@contextmanager
def handled(handlers: Any) -> Iterator[None]:
    """Signal handlers for a while; only the main thread can have any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
