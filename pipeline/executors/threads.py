"""Threads that share one graph: the kernels, the codecs and file writes all run without the interpreter lock."""

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from heteroshards.pipeline.executors.executor import Function, Item, Result, require_plain
from heteroshards.pipeline.executors.worker import Worker

AHEAD = 2


class Threads:
    """An `Executor` of `count` threads, a worker each.

    Args:
        make_worker: builds one thread's worker.
    """

    def __init__(self, make_worker: Callable[[], Worker], count: int) -> None:
        self.count = count
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(make_worker())

    def map(self, function: Function[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Executor`."""
        require_plain(function)
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

    def _run(self, function: Function[Item, Result], item: Item) -> Result:
        worker = self._idle.get()
        try:
            return function(worker, item)
        finally:
            self._idle.put(worker)
