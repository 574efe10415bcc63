"""Counting: what `prepare` and `plan` do alike, before a budget is fixed and when it is."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.executors.executor import Executor
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.graph.seeds import SeedTable
from heteroshards.pipeline.grouping.groups import GroupLimits, make_plans
from heteroshards.pipeline.grouping.split_plan import SplitPlan
from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.rng import keyed, stream_root
from heteroshards.pipeline.sizing.budgets import given_sizes
from heteroshards.pipeline.sizing.fitting import Fitted, fit_split, parts_of
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.manifest import EdgeDraws
from heteroshards.schemas.sampling import SamplingSpec

COUNT_BLOCK_SEEDS = 65536


@dataclass(frozen=True)
class Counted:
    """All batches of a job, sampled once and counted.

    Attributes:
        workers: of the graph.
        seeds: what is asked, numbered as the plans have them.
        plans: split -> which seeds make which batch.
        sizes: split -> untrimmed sizes of every planned batch.
        edge_draws: split -> edge type -> what was drawn in its first round.
    """

    workers: Executor
    seeds: SeedTable
    plans: dict[str, SplitPlan]
    sizes: dict[str, Sizes]
    edge_draws: dict[str, dict[str, EdgeDraws]]

    @property
    def max_seeds(self) -> int:
        """Seed rows of every batch, in all splits."""
        return next(iter(self.plans.values())).max_seeds

    @property
    def most_edges(self) -> np.ndarray:
        """int64 [edge types]: the most in any batch, untrimmed."""
        most: np.ndarray = np.max([sizes.edge_totals.max(axis=0) for sizes in self.sizes.values()], axis=0)
        return most


@dataclass(frozen=True)
class Coverage:
    """What was counted of one split: its first rounds and, where there are more, some random seeds."""

    num_rounds: int
    num_rounds_counted: int
    num_seeds: int
    num_seeds_counted: int

    @property
    def is_whole(self) -> bool:
        return self.num_rounds == self.num_rounds_counted and self.num_seeds == self.num_seeds_counted

    def num_batches(self, counted: int) -> int:
        """Batches of the whole split, where `counted` were counted."""
        if self.is_whole:
            return counted
        per_round = counted * self.num_seeds / (self.num_rounds_counted * self.num_seeds_counted)
        return math.ceil(per_round * self.num_rounds - 1e-6)


def count_all(
    workers: Executor, graph: HeteroGraph, spec: SamplingSpec, budget: BudgetConfig, progress: Progress
) -> Counted:
    """Group the seeds of every split into batches, and count each.

    Raises:
        ConfigError, BudgetError: see `given_sizes` and `make_plans`.
    """
    plans = make_plans(workers, graph.seeds.splits, spec, _limits(budget, graph.schema))
    sizes, draws = {}, {}
    for name, plan in plans.items():
        seen = np.zeros(0 if spec.mode == "full" else graph.packed.row.size, np.uint8)
        sizes[name] = _count(workers, plan, seen, progress)
        draws[name] = _edge_draws(graph, sizes[name], int(plan.planned_rounds[1]), seen) if seen.size else {}
    return Counted(workers, graph.seeds, plans, sizes, draws)


def _edge_draws(graph: HeteroGraph, sizes: Sizes, num_batches: int, seen: np.ndarray) -> dict[str, EdgeDraws]:
    """Of the first batches, whose edges are those that are `seen` (uint8 [all edges])."""
    sampled = sizes.edge_totals[:num_batches].sum(axis=0, dtype=np.int64)
    starts = graph.packed.edge_offset
    distinct = [int(np.count_nonzero(seen[first:last])) for first, last in itertools.pairwise(starts)]
    pairs = zip(graph.schema.edge_keys, sampled.tolist(), distinct, strict=True)
    return {key: EdgeDraws(sampled=one, distinct=other) for key, one, other in pairs}


def _limits(budget: BudgetConfig, schema: GraphSchema) -> GroupLimits | None:
    """A given budget as what grouping may fill."""
    given = given_sizes(budget, schema)
    if not given:
        return None
    sizes = [*given[0].values(), *given[1].values()]
    return GroupLimits(np.array(sizes) - 1, schema.node_names + schema.edge_keys, is_strict=budget.oversize == "error")


class CountJob(NamedTuple):
    """Batches to count: seeds int32 [B, S], keys uint64 [B]; and whether it is to be told which edges they have."""

    seeds: np.ndarray
    keys: np.ndarray
    wants_edges: bool = False


class Counts(NamedTuple):
    """Untrimmed sizes, and which edges (int64, positions in the packed graph, distinct) are in these batches."""

    sizes: Sizes
    edges: np.ndarray


def count_batches(worker: Worker, job: CountJob) -> Counts:
    """Count some batches."""
    sampler = worker.sampler
    if not job.wants_edges or not isinstance(sampler, NeighborSampler):
        return Counts(sampler.count(job.seeds, job.keys), np.empty(0, np.int64))
    seen = worker.keep("seen edges", lambda: np.zeros(sampler.graph.row.size, np.uint8))
    sizes, edges = sampler.count(job.seeds, job.keys, seen), np.flatnonzero(seen)
    seen[edges] = 0
    return Counts(sizes, edges)


def _count(workers: Executor, plan: SplitPlan, seen: np.ndarray, progress: Progress) -> Sizes:
    """Untrimmed sizes of every batch of a split. Edges of its first round are noted in `seen`, unless it is empty."""
    step, first_round = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds), int(plan.planned_rounds[1])
    cuts = sorted({*range(0, plan.num_batches, step), first_round, plan.num_batches})
    ranges = list(itertools.pairwise(cuts))
    jobs = (CountJob(*plan.block(*part)[:2], part[1] <= first_round and seen.size > 0) for part in ranges)
    parts = []
    for (_, stop), counts in zip(ranges, workers.map(count_batches, jobs), strict=True):
        parts.append(counts.sizes)
        seen[counts.edges] = 1
        progress(f"counting {plan.name}", stop, plan.num_batches)
    return Sizes.concatenate(parts)


def fit_all(
    counted: Counted,
    budgets: Sequence[Budget],
    shape_of: Mapping[str, np.ndarray],
    config: BudgetConfig,
    schema: GraphSchema,
) -> dict[str, list[Fitted]]:
    """The parts of every split, with room for the largest batch in every worker.

    With one shape a split is one part, after the over-size policy; several shapes hold all batches.

    Args:
        shape_of: split -> int64, the index of each batch's budget.

    Raises:
        BudgetError: see `fit_split`.
    """
    if config.shapes > 1:
        return {name: parts_of(plan, counted.sizes[name], shape_of[name]) for name, plan in counted.plans.items()}
    return {
        name: [_fit_one(counted, plan, budgets, int(shape_of[name][0]), config, schema)]
        for name, plan in counted.plans.items()
    }


def _fit_one(
    counted: Counted, plan: SplitPlan, budgets: Sequence[Budget], shape: int, config: BudgetConfig, schema: GraphSchema
) -> Fitted:
    """A split whose batches are all of one shape."""
    budget, is_trimming = budgets[shape], config.oversize not in ("error", "skip")

    def recount(plan: SplitPlan, positions: np.ndarray) -> Sizes:
        return count_trimmed(counted, plan, positions, budget)

    def count_alone(plan: SplitPlan, position: int) -> tuple[np.ndarray, Sizes]:
        block = plan.keep(np.array([position])).block(0, 1)
        seeds = block.seeds[block.seeds >= 0].reshape(-1, 1)
        keys, nodes = block.keys.repeat(len(seeds)), counted.seeds.nodes(seeds)[:, 0]
        if is_trimming:
            return nodes, next(counted.workers.map(trim_batches, [TrimJob(seeds, keys, budget, counted.most_edges)]))
        return nodes, next(counted.workers.map(count_batches, [CountJob(seeds, keys)])).sizes

    return fit_split(plan, counted.sizes[plan.name], budget, config, schema, recount, count_alone, shape)


class TrimJob(NamedTuple):
    """Batches to count after trimming: seeds int32 [B, S], keys uint64 [B], and see `Counted.most_edges`."""

    seeds: np.ndarray
    keys: np.ndarray
    budget: Budget
    most_edges: np.ndarray


def trim_batches(worker: Worker, job: TrimJob) -> Sizes:
    """Sizes of some batches, trimmed to a budget."""
    sampler = worker.neighbor_sampler
    sampler.reserve_edges(job.most_edges)
    return sampler.count_trimmed(job.seeds, job.keys, job.budget)


def count_trimmed(counted: Counted, plan: SplitPlan, positions: np.ndarray, budget: Budget) -> Sizes:
    """Sizes of the planned batches at some positions, trimmed to the budget."""
    step, most_edges = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds), counted.most_edges
    parts = [positions[start : start + step] for start in range(0, len(positions), step)]
    jobs = (TrimJob(*plan.keep(part).block(0, len(part))[:2], budget, most_edges) for part in parts)
    return Sizes.concatenate(list(counted.workers.map(trim_batches, jobs)))


def cover(
    graph: HeteroGraph, spec: SamplingSpec, max_batches: int, max_rounds: int | None = None
) -> tuple[HeteroGraph, SamplingSpec, dict[str, Coverage]]:
    """The first rounds of a job, about `max_batches` batches of all splits together, for counting.

    Where one round is more than that, random seeds stand for all.

    Returns:
        the graph with the seeds and the spec with the rounds to count, and what they are of each split.
    """
    per_round = {name: -(-len(rows) // spec.batch_size) for name, rows in graph.seeds.splits.items()}
    one = sum(per_round.values())
    more = sum(num * (spec.rounds[name] - 1) for name, num in per_round.items())
    share_of_rounds = min(1.0, max(0, max_batches - one) / more) if more else 1.0
    share_of_seeds = min(1.0, max_batches / one)
    seeds, rounds, coverage = {}, {}, {}
    for name, rows in graph.seeds.splits.items():
        num = min(len(rows), spec.batch_size * max(1, int(per_round[name] * share_of_seeds)))
        order = np.argsort(keyed(stream_root(spec.rng_seed, "forecast", name, 0), rows), kind="stable")
        seeds[name] = np.sort(rows[order[:num]])
        rounds[name] = min(1 + int((spec.rounds[name] - 1) * share_of_rounds), max_rounds or spec.rounds[name])
        coverage[name] = Coverage(spec.rounds[name], rounds[name], len(rows), num)
    return replace(graph, seeds=graph.seeds.only(seeds)), spec.model_copy(update={"rounds": rounds}), coverage
