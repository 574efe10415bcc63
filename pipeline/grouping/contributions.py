"""What each seed of a block brings into a batch of its round: what grouping works on.

A seed's sample is a set of *elements*: one per node of a type, and one per expansion of a node along an edge type,
weighted by the edges drawn. Elements that the very same seeds bring form a *bundle*, for a batch holds all of them or
none. What only one seed brings is never shared: it counts in the seed's own load and in no bundle.

Letters: N seeds, D types (node types, then edge types), U elements, C bundles.
"""

from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.grouping import contribution_kernels as kernels
from heteroshards.pipeline.grouping.contribution_kernels import EMPTY
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.trees import TreeSampler


class Contributions(NamedTuple):
    """What each seed brings into a batch.

    Attributes:
        first: int64 [N + 1], where each seed's bundles start in `bundle`.
        bundle: int32 [all], distinct within a seed; each is brought by two seeds or more.
        part: int64 [C + 1], where each bundle's parts start in `kind` and `weight`.
        kind: int32 [parts], a type that a bundle counts for. weight: int32 [parts], how much.
        own: int32 [N, D], load of each seed alone, its bundles included.
    """

    first: np.ndarray
    bundle: np.ndarray
    part: np.ndarray
    kind: np.ndarray
    weight: np.ndarray
    own: np.ndarray

    @property
    def num_bundles(self) -> np.ndarray:
        """int64 [N]: of each seed."""
        return np.diff(self.first)

    def of(self, rows: np.ndarray) -> "Contributions":
        """Those of some seeds, in the order of `rows`."""
        parts = [self.bundle[self.first[i] : self.first[i + 1]] for i in rows]
        first = np.concatenate([[0], np.cumsum(self.num_bundles[rows])]).astype(np.int64)
        return self._replace(first=first, bundle=np.concatenate(parts), own=self.own[rows])


def power_of_two(least: int) -> int:
    """The least power of two that is no less, and at least 8."""
    return 1 << max(3, int(least - 1).bit_length())


def _alone(sampler: TreeSampler, seeds: np.ndarray, key: np.uint64) -> Contributions:
    sizes = sampler.count(seeds[:, None], np.full(len(seeds), key))
    own = np.concatenate([sizes.node_totals, sizes.edge_totals], axis=1).astype(np.int32)
    nothing = np.zeros(0, np.int32)
    return Contributions(np.zeros(len(seeds) + 1, np.int64), nothing, np.zeros(1, np.int64), nothing, nothing, own)


def trace(
    sampler: NeighborSampler,
    seeds: np.ndarray,
    key: np.uint64,
    expected: int = 0,
    is_open: np.ndarray | None = None,
) -> Contributions:
    """What each seed (int32 [N]) brings into a batch whose draws have this key; see `NeighborSampler.trace`.

    Where trees are disjoint, that is its own tree, and nothing is shared: a batch needs exactly the sum.
    """
    if isinstance(sampler, TreeSampler):
        return _alone(sampler, seeds, key)
    first, keys, kinds, weights = sampler.trace(seeds, key, expected, is_open)
    num_types = sampler.graph.num_node_types + sampler.graph.num_edge_types
    slots = np.full(power_of_two(2 * len(keys)), EMPTY, np.int32)
    with np.errstate(over="ignore"):
        element, example, degree = kernels.number_elements(keys, slots)
    own = kernels.own_loads(first, kinds, weights, num_types)
    bundle_of, num_bundles = kernels.bundle_elements(first, element, degree)
    part, order = kernels.order_by_bundle(bundle_of, num_bundles)
    example = example[order]
    first, bundle = kernels.list_bundles(first, element, bundle_of, num_bundles)
    return Contributions(first, bundle, part, kinds[example], weights[example], own)
