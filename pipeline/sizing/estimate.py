"""From counted batches to a budget, and what becomes of batches that do not fit it."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.grouping.split_plan import SplitPlan
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sampling.rng import keyed, stream_root
from heteroshards.pipeline.sizing.certificate import quantile_sizes
from heteroshards.schemas.budget import Budget, BudgetMode, Certificate
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.errors import BudgetError, ConfigError
from heteroshards.schemas.graph import GraphSchema

TRAIN = "train"
MAX_COUNT = 2**31 - 2
MOST_SEARCHED = 1000  # batches over the budget, for a seed that alone is too much


def resolve_budget(
    config: BudgetConfig, schema: GraphSchema, sizes: Mapping[str, Sizes], max_seeds: int, rng_seed: int
) -> Budget:
    """One budget for all splits given, by the counted (untrimmed) sizes of every batch of each.

    `exact` is the most over all batches, `sampled` over `num_batches` random ones (of the train split where it is
    among them), `quantile` what holds a share of all batches, as random ones of them prove; each plus the pad slot.
    `uniform` and `explicit` are as given.

    Raises:
        BudgetError: the seeds alone do not fit, or there are too few batches for what `quantile` shall guarantee.
        ConfigError: an explicit budget leaves a type out or names an unknown one.
    """
    counted = Sizes.concatenate(list(sizes.values()))
    _require_32_bits(counted, schema)
    given, certificate = given_sizes(config, schema), None
    if given:
        num_nodes, num_edges = given
    else:
        nodes, edges, certificate = _needed(config, schema, sizes, rng_seed)
        num_nodes, num_edges = plus_one(schema.node_names, nodes), plus_one(schema.edge_keys, edges)
        num_nodes[schema.seed_type] = max(num_nodes[schema.seed_type], max_seeds + 1)
    if num_nodes[schema.seed_type] < max_seeds + 1:
        raise BudgetError(
            "the seeds alone do not fit the budget",
            actual=f"{max_seeds} seeds, budget {num_nodes[schema.seed_type]} (one row is reserved for padding)",
            limit=f"a budget of at least {max_seeds + 1}",
            where=f"node type '{schema.seed_type}'",
            hint="Raise its budget or lower [sampling] batch_size.",
        )
    budget = raw_budget(config.mode, num_nodes, num_edges, max_seeds, certificate)
    return with_hop_capacities(budget, schema, [counted])


def raw_budget(
    mode: BudgetMode,
    num_nodes: dict[str, int],
    num_edges: dict[str, int],
    max_seeds: int,
    certificate: Certificate | None = None,
) -> Budget:
    """A budget whose capacities up to each hop are not known yet."""
    return Budget(
        mode=mode,
        num_nodes=num_nodes,
        num_edges=num_edges,
        max_seeds=max_seeds,
        hop_nodes={name: (size,) for name, size in num_nodes.items()},
        hop_edges={key: (size,) for key, size in num_edges.items()},
        certificate=certificate,
    )


def given_sizes(config: BudgetConfig, schema: GraphSchema) -> tuple[dict[str, int], dict[str, int]] | None:
    """Rows by node type and columns by edge type key where the config gives them, else None.

    Raises:
        ConfigError: an explicit budget leaves a type out or names an unknown one.
    """
    if config.mode == "uniform":
        num_nodes = {name: _integer(config.nodes) for name in schema.node_names}
        return num_nodes, {key: _integer(config.edges) for key in schema.edge_keys}
    if config.mode == "explicit":
        num_nodes = _explicit("nodes", config.nodes, schema.node_names)
        return num_nodes, _explicit("edges", config.edges, schema.edge_keys)
    return None


def with_hop_capacities(budget: Budget, schema: GraphSchema, sizes: Sequence[Sizes]) -> Budget:
    """The budget with the capacities up to each hop that batches of these (final) sizes need."""
    written = Sizes.concatenate(list(sizes))
    seeds = {schema.seed_type: budget.max_seeds}
    return budget.model_copy(
        update={
            "hop_nodes": _hop_capacities(budget.num_nodes, written.num_nodes, seeds),
            "hop_edges": _hop_capacities(budget.num_edges, written.num_edges, {}),
        }
    )


def _require_32_bits(counted: Sizes, schema: GraphSchema) -> None:
    """Local ids are int32, and so are counts, which the kernels hold at their largest value rather than wrap."""
    for names, totals in ((schema.node_names, counted.node_totals), (schema.edge_keys, counted.edge_totals)):
        for name, most in zip(names, totals.max(axis=0), strict=True):
            if most >= MAX_COUNT:
                hint = "Lower the fanout or the batch size."
                raise BudgetError("a batch is too large for 32-bit ids", where=f"type '{name}'", hint=hint)


def _integer(value: object) -> int:
    assert isinstance(value, int), "checked by BudgetConfig"
    return value


def plus_one(names: tuple[str, ...], most: np.ndarray) -> dict[str, int]:
    """By name, the most with a pad slot."""
    return {name: int(count) + 1 for name, count in zip(names, most, strict=True)}


def _explicit(kind: str, given: object, names: tuple[str, ...]) -> dict[str, int]:
    assert isinstance(given, dict), "checked by BudgetConfig"
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f"Did you mean '{nearest[0]}'?" if nearest else f"Known: {', '.join(names)}."
        raise ConfigError("the budget names an unknown type", actual=unknown[0], where=f"[budget] {kind}", hint=hint)
    if missing:
        raise ConfigError("the budget leaves a type out", actual=missing[0], where=f"[budget] {kind}")
    return {name: given[name] for name in names}


def _needed(
    config: BudgetConfig, schema: GraphSchema, sizes: Mapping[str, Sizes], rng_seed: int
) -> tuple[np.ndarray, np.ndarray, Certificate | None]:
    """The most nodes and edges per type that batches need, by the modes that follow from the data."""
    is_of_train = config.mode == "sampled" and TRAIN in sizes
    counted = sizes[TRAIN] if is_of_train else Sizes.concatenate(list(sizes.values()))
    if config.mode != "exact":
        order = np.argsort(keyed(stream_root(rng_seed, "budget", TRAIN, 0), np.arange(len(counted))))
        counted = counted[order[: config.num_batches]]
    if config.mode == "quantile":
        return quantile_sizes(counted, config.quantile, config.confidence, schema)
    return counted.node_totals.max(axis=0), counted.edge_totals.max(axis=0), None


def _hop_capacities(
    budget: Mapping[str, int], per_hop: np.ndarray, at_least: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """One more than the most up to each hop, per type; per_hop is [batches, types, hops]."""
    most = per_hop.cumsum(axis=2).max(axis=0)
    return {
        name: tuple(min(max(int(count), at_least.get(name, 0)) + 1, size) for count in row)
        for (name, size), row in zip(budget.items(), most, strict=True)
    }


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
