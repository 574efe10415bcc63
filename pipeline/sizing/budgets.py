"""From counted batches to a budget: one for all splits given. Which splits share one is in `sharing`."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sampling.rng import keyed, stream_root
from heteroshards.pipeline.sizing.certificate import quantile_sizes
from heteroshards.schemas.budget import Budget, BudgetMode, Certificate
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.errors import BudgetError, ConfigError
from heteroshards.schemas.graph import GraphSchema

TRAIN = "train"
MAX_COUNT = 2**31 - 2


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
