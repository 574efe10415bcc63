"""How a long job tells what it does."""

from collections.abc import Callable

Report = Callable[[str], None]  # called with a line worth reading
Progress = Callable[[str, int, int], None]  # called with what, done and total, in batches


def silent(*_: object) -> None:
    """Neither report nor progress."""
