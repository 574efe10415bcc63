"""Threads that share one graph: the kernels, the codecs and file writes all run without the interpreter lock."""

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

S = TypeVar("S")
Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2


class Workers(Generic[S]):
    """Runs functions of (sampler, item) on `count` threads, one sampler each.

    Args:
        make_sampler: builds one thread's sampler (its scratch is not shared).
    """

    def __init__(self, make_sampler: Callable[[], S], count: int) -> None:
        self.count = count
        self._all = [make_sampler() for _ in range(count)]
        self._samplers: queue.SimpleQueue[S] = queue.SimpleQueue()
        for sampler in self._all:
            self._samplers.put(sampler)

    def each(self, function: Callable[[S], None]) -> None:
        """Call a function on every sampler, while none is at work."""
        for sampler in self._all:
            function(sampler)

    def map(self, function: Callable[[S, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of items; only a few items are in flight, so memory stays bounded."""
        if self.count == 1:
            yield from (self._run(function, item) for item in items)
            return
        pending: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(self.count, thread_name_prefix="prepare")
        try:
            for item in items:
                pending.append(pool.submit(self._run, function, item))
                if len(pending) >= AHEAD * self.count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable[[S, Item], Result], item: Item) -> Result:
        sampler = self._samplers.get()
        try:
            return function(sampler, item)
        finally:
            self._samplers.put(sampler)
