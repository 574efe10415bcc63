"""A strict double of the `poptorch` package, for hosts without the Poplar SDK.

It runs on the CPU what PopTorch's host rules allow and rejects what they forbid, with PopTorch's error classes. The
numbers in its comments are those of the facts it follows. It proves nothing about an IPU's arithmetic or memory.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PACKAGES = ("poptorch", "poptorch_geometric")


@contextlib.contextmanager
def installed() -> Iterator[ModuleType]:
    """`import poptorch` finds the double inside the block, and nothing after it.

    Yields the package. `poptorch.double` holds what only tests use: counters, injected failures, replica order.
    """
    folder = str(Path(__file__).parent)
    before = _take_out()
    sys.path.insert(0, folder)
    try:
        import poptorch

        yield poptorch
    finally:
        sys.path.remove(folder)
        _take_out()
        sys.modules.update(before)


def _take_out() -> dict[str, ModuleType]:
    """What was imported under the names of our packages, imported no longer."""
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}
