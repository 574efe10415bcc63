"""What becomes of a split's batches under its budgets: whether each fits, and what is done where one does not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.grouping.split_plan import SplitPlan
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.graph import GraphSchema

MOST_SEARCHED = 1000  # batches over the budget, for a seed that alone is too much


@dataclass(frozen=True)
class Fitted:
    """What will be written of one part of a split: its batches of one shape.

    Attributes:
        plan: its batches, without skipped ones.
        sizes: their real counts, after trimming.
        trimmed: what trimming dropped, per type and hop.
        shape: index of its budget.
    """

    plan: SplitPlan
    sizes: Sizes
    trimmed: Sizes
    num_batches_skipped: int
    num_seeds_skipped: int
    shape: int = 0


Recount = Callable[[SplitPlan, np.ndarray], Sizes]
CountAlone = Callable[[SplitPlan, int], tuple[np.ndarray, Sizes]]


def fit_split(
    plan: SplitPlan,
    sizes: Sizes,
    budget: Budget,
    config: BudgetConfig,
    schema: GraphSchema,
    recount: Recount,
    count_alone: CountAlone,
    shape: int = 0,
) -> Fitted:
    """Apply the over-size policy to the batches of a split that do not fit.

    Args:
        shape: index of the budget.
        sizes: untrimmed sizes of every planned batch.
        recount: counts the batches at some positions anew, trimmed to the budget.
        count_alone: counts each seed of the batch at a position as if it were a batch, trimmed as is allowed.

    Raises:
        BudgetError: a batch does not fit and may not be trimmed, or still does not fit when trimmed as allowed,
            or skipping leaves nothing of a round. It names a seed that alone is too much, where there is one.
    """
    over = np.flatnonzero(exceeding(sizes, budget, schema))
    trimmed = Sizes(np.zeros_like(sizes.num_nodes), np.zeros_like(sizes.num_edges))
    if len(over) == 0:
        return Fitted(plan, sizes, trimmed, 0, 0, shape)
    if config.oversize == "error":
        _refuse(plan, sizes[over], over, budget, schema, count_alone)
    if config.oversize == "skip":
        kept = np.setdiff1d(np.arange(plan.num_planned), over)
        _require_every_round(plan.keep(kept))
        skipped_seeds = int(plan.num_seeds_at(over).sum())
        return Fitted(plan.keep(kept), sizes[kept], trimmed[kept], len(over), skipped_seeds, shape)
    after = recount(plan, over)
    still = exceeding(after, budget, schema)
    if still.any():
        _refuse(plan, after[still], over[still], budget, schema, count_alone)
    fitted = Sizes(sizes.num_nodes.copy(), sizes.num_edges.copy())
    fitted.num_nodes[over], fitted.num_edges[over] = after.num_nodes, after.num_edges
    trimmed = Sizes(sizes.num_nodes - fitted.num_nodes, sizes.num_edges - fitted.num_edges)
    return Fitted(plan, fitted, trimmed, 0, 0, shape)


def _require_every_round(plan: SplitPlan) -> None:
    """An epoch reads one round, so skipping must leave a batch of each."""
    empty = np.flatnonzero(np.diff(plan.round_starts()) == 0)
    if len(empty):
        some = f" in {len(empty)} of {plan.num_rounds} rounds" if len(empty) < plan.num_rounds else ""
        raise BudgetError(
            f"no batch fits the budget{some}, so skipping leaves none",
            where=f"split '{plan.name}'" + (f", round {empty[0]}" if some else ""),
            hint="Raise the budget or trim.",
        )


def parts_of(plan: SplitPlan, sizes: Sizes, shape_of: np.ndarray) -> list[Fitted]:
    """The batches of a split by shape; those are made from the counts, so nothing is skipped or trimmed."""
    parts = []
    for shape in np.unique(shape_of):
        kept = np.flatnonzero(shape_of == shape)
        of_part = sizes[kept]
        trimmed = Sizes(np.zeros_like(of_part.num_nodes), np.zeros_like(of_part.num_edges))
        parts.append(Fitted(plan.keep(kept), of_part, trimmed, 0, 0, int(shape)))
    return parts


def exceeding(sizes: Sizes, budget: Budget, schema: GraphSchema) -> np.ndarray:
    """bool [B]: which batches leave no room for the pad slot of some type."""
    nodes = np.array([budget.num_nodes[name] - 1 for name in schema.node_names])
    edges = np.array([budget.num_edges[key] - 1 for key in schema.edge_keys])
    return np.logical_or((sizes.node_totals > nodes).any(axis=1), (sizes.edge_totals > edges).any(axis=1))


def _refuse(
    plan: SplitPlan,
    sizes: Sizes,
    positions: np.ndarray,
    budget: Budget,
    schema: GraphSchema,
    count_alone: CountAlone,
) -> None:
    """Raise for the batches that do not fit: for a seed that alone does not, if there is one, else for the first."""
    for position in positions[:MOST_SEARCHED]:
        nodes, alone = count_alone(plan, int(position))
        for row in np.flatnonzero(exceeding(alone, budget, schema)):
            seed = f"seed {nodes[row]} of type '{schema.seed_type}' alone"
            _require_fits(alone, int(row), budget, schema, _where(plan, int(position)), seed)
    where = f"{_where(plan, int(positions[0]))} (the first of {len(positions)} such batches out of {plan.num_planned})"
    _require_fits(sizes, 0, budget, schema, where, "the batch")


def _where(plan: SplitPlan, position: int) -> str:
    round_index, in_round = plan.place(position)
    return f"split '{plan.name}', round {round_index}, batch {in_round}"


def _require_fits(sizes: Sizes, row: int, budget: Budget, schema: GraphSchema, where: str, what: str) -> None:
    nodes = _by_type(schema.node_names, sizes.node_totals[row])
    budget.require_fits(nodes, _by_type(schema.edge_keys, sizes.edge_totals[row]), where, what)


def _by_type(names: tuple[str, ...], counts: np.ndarray) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True)}
