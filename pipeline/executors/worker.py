"""What a worker has at hand while it counts, groups or writes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sampling.trees import TreeSampler
from heteroshards.pipeline.sampling.whole import WholeGraph
from heteroshards.schemas.budget import OverSizePolicy
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.sampling import SamplingSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """One thread's (or process') own: its sampler's scratch is not shared.

    Attributes:
        graph: the graph with its seeds.
        sampler: of its batches.
    """

    graph: HeteroGraph
    sampler: Sampler
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def keep(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gave for this key the first time: what is dear to make, and the same for many items."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    @property
    def neighbor_sampler(self) -> NeighborSampler:
        """The sampler, where it is one that draws."""
        assert isinstance(self.sampler, NeighborSampler), "the whole graph is neither grouped nor trimmed"
        return self.sampler


def worker_factory(graph: HeteroGraph, spec: SamplingSpec, oversize: OverSizePolicy) -> Callable[[], Worker]:
    """Makes workers that share one packed graph.

    Raises:
        ConfigError: an over-size policy for the whole graph, which always fits.
    """
    if spec.mode == "full":
        if oversize != "error":
            raise ConfigError(f"[budget] oversize = '{oversize}' has no meaning with [sampling] mode = 'full'")
        return lambda: Worker(graph, WholeGraph(graph))
    packed, seeds = graph.packed, graph.seeds
    if spec.is_disjoint:
        return lambda: Worker(graph, TreeSampler(packed, graph.schema, spec, oversize, seeds))
    return lambda: Worker(graph, NeighborSampler(packed, graph.schema, spec, oversize, seeds.ids))
