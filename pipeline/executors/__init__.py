"""Who runs partitions, and the one place where it is chosen."""

from heteroshards.pipeline.executors.executor import Executor
from heteroshards.pipeline.executors.threads import Threads
from heteroshards.pipeline.executors.worker import worker_factory
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.schemas.budget import OverSizePolicy
from heteroshards.schemas.sampling import SamplingSpec


def make_executor(graph: HeteroGraph, spec: SamplingSpec, oversize: OverSizePolicy, workers: int) -> Executor:
    """What counts, groups and writes the batches of a graph: threads, so many.

    All arguments are plain data, so that another kind can make its workers wherever they are.

    Raises:
        ConfigError: see `worker_factory`.
    """
    return Threads(worker_factory(graph, spec, oversize), workers)
