"""The first call of each kind and shape compiles: say so while it lasts, and count its seconds apart."""

import contextlib
import time
from typing import Callable, ContextManager, Dict, Iterator, Set, Tuple

Tell = Callable[[str], ContextManager[None]]
NAMES = {"train": "training", "infer": "inference"}


class Compiling:
    """What a compiled model's first calls took.

    Attributes:
        tell: called with what begins; the context it returns lasts as long as that.
        seconds: {"train": s, "infer": s}, of first calls so far; each includes one run of what it compiled.
        num_first: {"train": n, "infer": n}, how many first calls.
    """

    def __init__(self) -> None:
        self.tell: Tell = lambda what: contextlib.nullcontext()
        self.seconds: Dict[str, float] = dict.fromkeys(NAMES, 0.0)
        self.num_first: Dict[str, int] = dict.fromkeys(NAMES, 0)
        self._met: Set[Tuple[str, int]] = set()

    def is_first(self, kind: str, shape: int = 0) -> bool:
        """Whether the next call of that kind ("train" or "infer") on that shape compiles."""
        return (kind, shape) not in self._met

    @contextlib.contextmanager
    def first(self, kind: str, shape: int = 0, verb: str = "compiling") -> Iterator[None]:
        """Around a call: if it is the first one of its kind and shape, it is told and counted."""
        if not self.is_first(kind, shape):
            yield
            return
        which = f", shape {shape}" if shape else ""
        started = time.perf_counter()
        with self.tell(f"{verb} the {NAMES[kind]} step{which}"):
            yield
        self._met.add((kind, shape))
        self.num_first[kind] += 1
        self.seconds[kind] += time.perf_counter() - started
