"""Groupings and budgets that a config does not have, tried on some of its batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.forecast.disk import spread
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sampling.reach import unreached
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sizing.budgets import given_sizes
from heteroshards.pipeline.sizing.counting import (
    Counted,
    count_all,
    count_trimmed,
    cover,
)
from heteroshards.pipeline.sizing.fitting import exceeding
from heteroshards.pipeline.sizing.sharing import resolve_budgets
from heteroshards.schemas.budget import Budget, OverSizePolicy
from heteroshards.schemas.config import BudgetConfig, JobConfig
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.inputs import bytes_to_device, usual_inputs

MAX_BATCHES = 4000
MAX_ROUNDS = 4
MAX_TRIMMED_BATCHES = 1000
GROUPINGS = ("random", "balanced", "packed")
MODES = ("exact", "sampled", "quantile")  # those whose budget follows from the data
SCALES = (0.95, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class Alternative:
    """Another grouping and budget for the same seeds, over the batches of all splits.

    Attributes:
        mode: of the budget; a given budget is an alternative, too.
        batches_per_epoch: of train (or the first split), the mean over rounds.
        node_budget, edge_budget: sums over types; of train (or the first split).
        node_fill, edge_fill, seed_fill: real over budget of all batches; of a type over its budget, what fits.
        bytes_per_batch: as a device receives it, pads included; of train (or the first split).
        bytes_per_epoch: of all batches of an epoch.
        share_over: share of batches that do not fit.
    """

    grouping: str
    mode: str
    batches_per_epoch: float
    node_budget: int
    edge_budget: int
    node_fill: float
    edge_fill: float
    seed_fill: float
    bytes_per_batch: int
    bytes_per_epoch: int
    share_over: float


@dataclass(frozen=True)
class Trim:
    """What oversize = "trim_nodes_and_edges" would do with `scale` times the exact budget.

    Grouping `packed` fills a given budget, so there a smaller one means more batches rather than trimmed ones.

    Attributes:
        share_over: share of batches that do not fit.
        share_nodes, share_edges: of sampled nodes and edges, dropped; recounted on `num_recounted` batches.
    """

    scale: float
    node_budget: int
    edge_budget: int
    bytes_per_batch: int
    batches_per_epoch: float
    share_over: float
    share_nodes: float
    share_edges: float
    num_recounted: int


class Trial:
    """Counts some batches under other groupings and budgets.

    Args:
        config: its grouping is the one that trims are tried with.
        max_batches, max_rounds: about as many are counted at most.

    Attributes:
        coverage: split -> what it counts.
    """

    def __init__(
        self,
        graph: HeteroGraph,
        config: JobConfig,
        workers: int = 1,
        progress: Progress = lambda what, done, total: None,
        *,
        max_batches: int = MAX_BATCHES,
        max_rounds: int = MAX_ROUNDS,
    ) -> None:
        self.config, self.progress = config, progress
        self.spec = resolve_sampling(config, graph)
        oversize: OverSizePolicy = "error" if self.spec.mode == "full" else "trim_nodes_and_edges"
        self.pool = make_executor(graph, self.spec, oversize, workers)
        self.graph, part, self.coverage = cover(graph, self.spec, max_batches, max_rounds)
        self.rounds = part.rounds
        self.given = None if given_sizes(config.budget, graph.schema) is None else config.budget

    def _counted(self, grouping: str, budget: BudgetConfig) -> Counted:
        sampling = self.config.sampling.model_copy(update={"grouping": grouping})
        job = self.config.model_copy(update={"sampling": sampling})
        spec = resolve_sampling(job, self.graph).model_copy(update={"rounds": self.rounds})
        return count_all(self.pool, self.graph, spec, budget, self.progress)

    def alternatives(self) -> tuple[tuple[Alternative, ...], tuple[str, ...]]:
        """Every grouping with every budget that follows from the data, and with the given one; and what cannot be.

        What cannot be: too few counted batches for what `quantile` guarantees, seeds that alone do not fit.
        """
        found: list[Alternative] = []
        left_out: list[str] = []
        if self.spec.mode == "full":
            return (), ()
        for grouping in GROUPINGS:
            counted = self._counted(grouping, BudgetConfig())
            for config in self._budget_configs():
                try:
                    fills = grouping == "packed" and config is self.given
                    part = self._counted(grouping, config) if fills else counted
                    found.append(self._alternative(grouping, config, part))
                except BudgetError as error:
                    left_out.append(f"{grouping}, {config.mode}: {error}")
        return tuple(found), tuple(left_out)

    def _budget_configs(self) -> list[BudgetConfig]:
        """The config's own section for its mode, the defaults of every other mode that follows from the data."""
        own = self.config.budget
        common = {"scope": own.scope}
        others = [own if own.mode == mode else BudgetConfig.model_validate({"mode": mode, **common}) for mode in MODES]
        return others + ([] if self.given is None else [self.given])

    def _resolved(self, config: BudgetConfig, counted: Counted) -> dict[str, Budget]:
        """The budget of every split; of several shapes the one that holds all batches."""
        config = config.model_copy(update={"shapes": 1})
        seed = self.spec.rng_seed
        budgets, shape_of = resolve_budgets(config, self.graph.schema, counted.sizes, counted.max_seeds, seed)
        return {name: budgets[shapes[0]] for name, shapes in shape_of.items()}

    def _alternative(self, grouping: str, config: BudgetConfig, counted: Counted) -> Alternative:
        budgets = self._resolved(config, counted)
        budget = budgets[self._first_split(counted)]
        both = [(counted.sizes[name], budgets[name]) for name in counted.sizes]
        seeds = np.concatenate([plan.num_seeds() for plan in counted.plans.values()])
        num_bytes = self._bytes_per_batch(counted, budget)
        batches = self._batches_per_epoch(counted)
        return Alternative(
            grouping=grouping,
            mode=config.mode,
            batches_per_epoch=batches,
            node_budget=sum(budget.num_nodes.values()),
            edge_budget=sum(budget.num_edges.values()),
            node_fill=_fill([(sizes.node_totals, list(budget.num_nodes.values())) for sizes, budget in both]),
            edge_fill=_fill([(sizes.edge_totals, list(budget.num_edges.values())) for sizes, budget in both]),
            seed_fill=float(seeds.mean() / budget.max_seeds),
            bytes_per_batch=num_bytes,
            bytes_per_epoch=round(num_bytes * batches),
            share_over=self._share_over(counted, budgets),
        )

    def _share_over(self, counted: Counted, budgets: Mapping[str, Budget]) -> float:
        is_over = [exceeding(sizes, budgets[name], self.graph.schema) for name, sizes in counted.sizes.items()]
        return float(np.concatenate(is_over).mean())

    def _bytes_per_batch(self, counted: Counted, budget: Budget) -> int:
        left = unreached(self.graph.schema, counted.sizes.values())
        return bytes_to_device(usual_inputs(self.graph.schema.without(left.nodes, left.edges), budget))

    def _first_split(self, counted: Counted) -> str:
        return "train" if "train" in counted.plans else next(iter(counted.plans))

    def _batches_per_epoch(self, counted: Counted) -> float:
        name = self._first_split(counted)
        plan = counted.plans[name]
        per_round = plan.num_batches / plan.num_rounds
        return per_round * self.coverage[name].num_seeds / plan.seeds_per_round

    def trims(self, counted: Counted) -> tuple[Trim, ...]:
        """Smaller budgets, all of them given and so shared by all splits, than the exact one of all splits.

        Args:
            counted: the config's own batches. They are not used where they were made for a given budget.
        """
        if self.spec.mode == "full":
            return ()
        if self.given is not None:
            counted = self._counted(self.spec.grouping, BudgetConfig())
        exact = next(iter(self._resolved(BudgetConfig(scope="all"), counted).values()))
        return tuple(self._trim(scale, exact, counted) for scale in SCALES)

    def _trim(self, scale: float, exact: Budget, counted: Counted) -> Trim:
        config = smaller_budget(exact, scale, self.graph.schema.seed_type)
        if self.spec.grouping == "packed":
            counted = self._counted("packed", config)
        budgets = self._resolved(config, counted)
        budget = next(iter(budgets.values()))
        counted = replace(counted, workers=self.pool)
        sampled, kept, num = np.zeros(2), np.zeros(2), 0
        for before, after in self._recounted(counted, budget):
            sampled += [before.num_nodes.sum(), before.num_edges.sum()]
            kept += [after.num_nodes.sum(), after.num_edges.sum()]
            num += len(before)
        nodes, edges = (1 - kept / np.maximum(sampled, 1)).tolist() if num else (0.0, 0.0)
        return Trim(
            scale=scale,
            node_budget=sum(budget.num_nodes.values()),
            edge_budget=sum(budget.num_edges.values()),
            bytes_per_batch=self._bytes_per_batch(counted, budget),
            batches_per_epoch=self._batches_per_epoch(counted),
            share_over=self._share_over(counted, budgets),
            share_nodes=nodes,
            share_edges=edges,
            num_recounted=num,
        )

    def _recounted(self, counted: Counted, budget: Budget) -> Iterator[tuple[Sizes, Sizes]]:
        """Sizes before and after trimming of batches that are evenly spread over every split."""
        total = sum(len(sizes) for sizes in counted.sizes.values())
        for name, sizes in counted.sizes.items():
            most = max(1, len(sizes) * MAX_TRIMMED_BATCHES // total)
            positions = np.array(spread(len(sizes), most))
            yield sizes[positions], count_trimmed(counted, counted.plans[name], positions, budget)


def smaller_budget(budget: Budget, scale: float, seed_type: str) -> BudgetConfig:
    """An explicit budget of `scale` times this one, never below what the seeds and the pad slots need."""
    nodes = {name: max(1, int(scale * size)) for name, size in budget.num_nodes.items()}
    nodes[seed_type] = max(nodes[seed_type], budget.max_seeds + 1)
    edges = {key: max(1, int(scale * size)) for key, size in budget.num_edges.items()}
    return BudgetConfig(mode="explicit", nodes=nodes, edges=edges, oversize="trim_nodes_and_edges")


def _fill(parts: Sequence[tuple[np.ndarray, list[int]]]) -> float:
    """Real over budget, where of a type over its budget only what fits counts; of (totals [B, types], budget)."""
    real = sum(int(np.minimum(totals, np.array(budget) - 1).sum()) for totals, budget in parts)
    return real / max(1, sum(len(totals) * sum(budget) for totals, budget in parts))
