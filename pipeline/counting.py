"""Counting: what `prepare` and `plan` do alike, before a budget is fixed and when it is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.encode import Sampler
from pipeline.estimate import Fitted, fit_split, given_sizes
from pipeline.full import WholeGraph
from pipeline.graph import HeteroGraph
from pipeline.grouping import Limits, make_plans
from pipeline.plan import SplitPlan
from pipeline.sampler import NeighborSampler
from pipeline.shapes import Sizes
from pipeline.workers import Workers
from schemas.budget import Budget
from schemas.config import BudgetConfig
from schemas.errors import ConfigError
from schemas.graph import GraphSchema
from schemas.sampling import SamplingSpec

COUNT_BLOCK_SEEDS = 65536

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Counted:
    """All batches of a job, sampled once and counted.

    Attributes:
        workers: samplers of the graph.
        plans: split -> which seeds make which batch.
        sizes: split -> untrimmed sizes of every planned batch.
    """

    workers: Workers[Sampler]
    plans: dict[str, SplitPlan]
    sizes: dict[str, Sizes]

    @property
    def max_seeds(self) -> int:
        """Seed rows of every batch, in all splits."""
        return next(iter(self.plans.values())).max_seeds


def sampler_factory(graph: HeteroGraph, spec: SamplingSpec, budget: BudgetConfig) -> Callable[[], Sampler]:
    """Makes samplers that share one packed graph.

    Raises:
        ConfigError: an over-size policy for the whole graph, which always fits.
    """
    if spec.mode == "full":
        if budget.oversize != "error":
            raise ConfigError(f"[budget] oversize = '{budget.oversize}' has no meaning with [sampling] mode = 'full'")
        return lambda: WholeGraph(graph)
    packed = graph.packed()
    return lambda: NeighborSampler(packed, graph.schema, spec, budget.oversize)


def count_all(
    workers: Workers[Sampler], graph: HeteroGraph, spec: SamplingSpec, budget: BudgetConfig, progress: Progress
) -> Counted:
    """Group the seeds of every split into batches, and count each.

    Raises:
        ConfigError, BudgetError: see `given_sizes` and `make_plans`.
    """
    seeds = {name: ids.astype(np.int32) for name, ids in graph.seeds.items()}
    plans = make_plans(workers, seeds, spec, _limits(budget, graph.schema))
    return Counted(workers, plans, {name: _count(workers, plan, progress) for name, plan in plans.items()})


def _limits(budget: BudgetConfig, schema: GraphSchema) -> Limits | None:
    """A given budget as what grouping may fill."""
    given = given_sizes(budget, schema)
    if not given:
        return None
    sizes = [*given[0].values(), *given[1].values()]
    return Limits(np.array(sizes) - 1, schema.node_names + schema.edge_keys, is_strict=budget.oversize == "error")


def _count(workers: Workers[Sampler], plan: SplitPlan, progress: Progress) -> Sizes:
    """Untrimmed sizes of every batch of a split."""
    step = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds)
    ranges = [(start, min(start + step, plan.num_batches)) for start in range(0, plan.num_batches, step)]

    def count(sampler: Sampler, part: tuple[int, int]) -> Sizes:
        block = plan.block(*part)
        return sampler.count(block.seeds, block.keys)

    parts = []
    for (_, stop), sizes in zip(ranges, workers.map(count, ranges), strict=True):
        parts.append(sizes)
        progress(f"counting {plan.name}", stop, plan.num_batches)
    return Sizes.concatenate(parts)


def fit_all(counted: Counted, budget: Budget, config: BudgetConfig, schema: GraphSchema) -> dict[str, Fitted]:
    """Apply the over-size policy to every split, and give every worker room for the largest batch.

    Raises:
        BudgetError: see `fit_split`.
    """
    workers = counted.workers
    reserve_edges(counted)

    def recount(plan: SplitPlan, positions: np.ndarray) -> Sizes:
        def count(sampler: Sampler, part: np.ndarray) -> Sizes:
            assert isinstance(sampler, NeighborSampler), "the whole graph is never trimmed"
            block = plan.keep(part).block(0, len(part))
            return sampler.count_trimmed(block.seeds, block.keys, budget)

        step = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds)
        parts = [positions[start : start + step] for start in range(0, len(positions), step)]
        return Sizes.concatenate(list(workers.map(count, parts)))

    def count_alone(plan: SplitPlan, position: int) -> Sizes:
        block = plan.keep(np.array([position])).block(0, 1)
        seeds = block.seeds[block.seeds >= 0].reshape(-1, 1)
        return next(workers.map(lambda sampler, keys: sampler.count(seeds, keys), [block.keys.repeat(len(seeds))]))

    return {
        name: fit_split(plan, counted.sizes[name], budget, config, schema, recount, count_alone)
        for name, plan in counted.plans.items()
    }


def reserve_edges(counted: Counted) -> None:
    """Give every worker room for the largest batch, untrimmed."""
    most = np.max([sizes.edge_totals.max(axis=0) for sizes in counted.sizes.values()], axis=0)
    counted.workers.each(lambda sampler: sampler.reserve_edges(most) if isinstance(sampler, NeighborSampler) else None)
