"""The budgets of a config: which splits share one, and how many each of them has. One budget is made in `budgets`.

Training and inference are compiled apart, so each may have the budget that its own batches need.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sizing.budgets import TRAIN, plus_one, raw_budget, resolve_budget
from heteroshards.pipeline.sizing.certificate import are_enough
from heteroshards.pipeline.sizing.shape_classes import Shaping, shape_batches
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.inputs import device_bytes, usual_inputs
from heteroshards.schemas.layout import purpose_of


def resolve_budgets(
    config: BudgetConfig, schema: GraphSchema, sizes: Mapping[str, Sizes], max_seeds: int, rng_seed: int
) -> tuple[tuple[Budget, ...], dict[str, np.ndarray]]:
    """The budgets of a config, none twice, and the index of its budget for every batch of every split.

    Splits that share one (see `sharing`) have one budget, or where the config asks for several shapes at most as many
    as that, cheapest first. Arguments and errors as for `resolve_budget`.

    With mode `quantile`, splits that are only inferred and have too few batches for its guarantee get the budget of
    mode `exact`, which needs none: it holds all of them.
    """
    budgets: list[Budget] = []
    shape_of: dict[str, np.ndarray] = {}
    for names in sharing(config, list(sizes)):
        own = {name: sizes[name] for name in names}
        is_apart = len(own) < len(sizes)
        is_unsure = is_apart and TRAIN not in own and not _can_certify(config, sum(map(len, own.values())))
        own_config = BudgetConfig(mode="exact") if is_unsure else config
        found, of_batch = _shared_budgets(own_config, schema, own, max_seeds, rng_seed)
        if is_apart:
            found = [_certified_of(budget, names) for budget in found]
        places = np.array([_place(budgets, budget) for budget in found])
        shape_of.update({name: places[shapes] for name, shapes in of_batch.items()})
    return _train_first(budgets, shape_of)


def _train_first(
    budgets: Sequence[Budget], shape_of: Mapping[str, np.ndarray]
) -> tuple[tuple[Budget, ...], dict[str, np.ndarray]]:
    """The same with the budgets that train has before those that only other splits have."""
    of_train = np.isin(np.arange(len(budgets)), shape_of.get(TRAIN, ()))
    order = np.argsort(~of_train, kind="stable")
    place = np.argsort(order)
    return tuple(budgets[i] for i in order), {name: place[shapes] for name, shapes in shape_of.items()}


def sharing(config: BudgetConfig, splits: Sequence[str]) -> list[list[str]]:
    """Which splits share their budgets; those of train come first. A given budget is one for all."""
    if config.scope == "all" or config.mode in ("uniform", "explicit"):
        return [list(splits)]
    groups = [[name for name in splits if purpose_of(name) == purpose] for purpose in ("train", "inference")]
    return [names for names in groups if names]


def _shared_budgets(
    config: BudgetConfig, schema: GraphSchema, sizes: Mapping[str, Sizes], max_seeds: int, rng_seed: int
) -> tuple[list[Budget], dict[str, np.ndarray]]:
    """The budgets of splits that share them, and the place of its budget among these for every batch."""
    largest = resolve_budget(config, schema, sizes, max_seeds, rng_seed)
    if config.shapes == 1:
        return [largest], {name: np.zeros(len(of_split), np.int64) for name, of_split in sizes.items()}
    shaping = shape_sizes(schema, sizes, max_seeds, config.shapes)
    num_types = len(schema.node_types)
    budgets = [
        raw_budget(
            config.mode,
            plus_one(schema.node_names, most[:num_types]),
            plus_one(schema.edge_keys, most[num_types:]),
            max_seeds,
        )
        for most in shaping.most
    ]
    ends = np.cumsum([len(of_split) for of_split in sizes.values()])
    return budgets, dict(zip(sizes, np.split(shaping.shape_of, ends[:-1]), strict=True))


def _can_certify(config: BudgetConfig, num_batches: int) -> bool:
    """Whether so many batches are enough for what the config wants to be certain of, if it does."""
    counted = min(num_batches, config.num_batches)
    return config.mode != "quantile" or are_enough(counted, config.quantile, config.confidence)


def _certified_of(budget: Budget, splits: Sequence[str]) -> Budget:
    """Its certificate, if it has one, says whose batches it is about."""
    if budget.certificate is None:
        return budget
    return budget.model_copy(update={"certificate": budget.certificate.model_copy(update={"splits": tuple(splits)})})


def _place(budgets: list[Budget], budget: Budget) -> int:
    """Where a budget stands, added where none has its sizes: readers tell shapes apart by them.

    Of two certificates for the same sizes the one that allows more overflows stays, which is true of either's batches.
    """
    for place, other in enumerate(budgets):
        if (other.num_nodes, other.num_edges) == (budget.num_nodes, budget.num_edges):
            if budget.certificate and _risk(budget) > _risk(other):
                budgets[place] = budget
            return place
    budgets.append(budget)
    return len(budgets) - 1


def _risk(budget: Budget) -> float:
    return budget.certificate.joint.probability if budget.certificate else 0.0


def shape_sizes(schema: GraphSchema, sizes: Mapping[str, Sizes], max_seeds: int, num_shapes: int) -> Shaping:
    """At most `num_shapes` budgets for these batches (split after split), by the bytes that a device receives.

    Of types that none of them has it receives nothing. Types are in the order of the schema, node types first. Rows of
    the seed type are at least the seeds'.
    """
    counted = Sizes.concatenate(list(sizes.values()))
    nodes = counted.node_totals
    seed_column = schema.node_index[schema.seed_type]
    nodes[:, seed_column] = np.maximum(nodes[:, seed_column], max_seeds)
    counts = np.concatenate([nodes, counted.edge_totals], axis=1)
    return shape_batches(counts, _row_bytes(schema) * counts.any(axis=0), num_shapes)


def _row_bytes(schema: GraphSchema) -> np.ndarray:
    """int64 [node types + edge types]: bytes of one row as every model receives it."""
    one = raw_budget("exact", dict.fromkeys(schema.node_names, 1), dict.fromkeys(schema.edge_keys, 1), 1)
    found = device_bytes(usual_inputs(schema, one))
    types = [("nodes", name) for name in schema.node_names] + [("edges", key) for key in schema.edge_keys]
    return np.array([found[of] for of in types], np.int64)
