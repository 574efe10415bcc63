"""As many seeds as a budget holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.pipeline.grouping import groups as grouping_module
from heteroshards.pipeline.grouping.contributions import trace
from heteroshards.pipeline.grouping.groups import GroupLimits, random_plan
from heteroshards.pipeline.grouping.groups import _blocks as blocks_of
from heteroshards.schemas.errors import BudgetError
from tests.pipeline.build import hetero_graph, sampler
from tests.pipeline.grouping.cases import COUNTS, MOVIES, one_block, plans_of, spec_of, totals
from tests.strategies import graphs, random_graph


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=40), st.integers(1, 8), st.integers(0, 30))
def test_packing_fills_a_given_budget_and_never_overflows_it(data, max_seeds, extra):
    """Also where the fanouts differ, so that what seeds bring is only an upper bound."""
    fanout = [4, 2]
    spec = spec_of(data, "packed", fanout, batch_size=1, rounds=1, max_seeds=max_seeds)
    schema = hetero_graph(data).schema
    alone = totals(data, random_plan("train", np.unique(plans_of(data, spec)["train"].seeds), 1, 1, 0), fanout)
    fresh = sampler(data, fanout)
    most = np.full(alone.shape[1], 0)
    seeds = hetero_graph(data).seeds
    for name in seeds.splits:
        for block in blocks_of(name, seeds.ids_of(name), spec, 1):
            most = np.maximum(most, trace(fresh, block.seeds, block.key).own.max(axis=0))
    limits = GroupLimits(most + extra, schema.node_names + schema.edge_keys, is_strict=True)
    for name, plan in plans_of(data, spec, limits).items():
        assert (totals(data, plan, fanout) <= limits.most).all()
        assert np.array_equal(np.sort(plan.seeds[: plan.seeds_per_round]), hetero_graph(data).seeds.ids_of(name))
        assert plan.num_seeds().max() <= max_seeds


def test_packing_takes_few_batches():
    data = random_graph(np.random.default_rng(3), {"a": 900, "b": 300}, {("b", "to", "a"): 1500}, "a")
    schema = hetero_graph(data).schema
    limits = GroupLimits(np.array([100, 60, 60]), schema.node_names + schema.edge_keys, is_strict=True)
    plan = plans_of(data, spec_of(data, "packed", [5], 1, 1, max_seeds=100), limits)["train"]
    needed = totals(data, plan, [5]).sum(axis=0) / limits.most
    assert plan.num_batches <= np.ceil(1.06 * needed.max())


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=40), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_batches_that_turn_out_too_large_are_halved_until_they_fit(data, extra, rng_seed):
    """With more than three hops what seeds bring may be too little; here all of them are put into one batch."""
    block, fresh = one_block(data, [1, 3, 4, 1, 4], rng_seed)
    alone = grouping_module._sizes(fresh, block, np.arange(len(block.seeds))[:, None])
    limits = GroupLimits(alone.max(axis=0) + extra, (), is_strict=True)
    groups = grouping_module._halved_until_they_fit(fresh, block, [np.arange(len(block.seeds))], limits)
    assert np.array_equal(np.sort(np.concatenate(groups)), np.arange(len(block.seeds)))
    for group in groups:
        assert (grouping_module._sizes(fresh, block, group[None])[0] <= limits.most).all()
    if len(groups) > 1:
        assert (grouping_module._sizes(fresh, block, np.arange(len(block.seeds))[None])[0] > limits.most).any()


def test_packed_batches_of_many_hops_are_counted(monkeypatch):
    data = random_graph(np.random.default_rng(3), {"a": 60}, {("a", "to", "a"): 200}, "a")
    counted = []
    real = grouping_module._halved_until_they_fit
    monkeypatch.setattr(grouping_module, "_halved_until_they_fit", lambda *args: counted.append(1) or real(*args))
    schema = hetero_graph(data).schema
    limits = GroupLimits(np.array([60, 200]), schema.node_names + schema.edge_keys, is_strict=True)
    for num_hops in (3, 4):
        plans_of(data, spec_of(data, "packed", [2] * num_hops, 1, 1, max_seeds=6), limits)
        assert bool(counted) == (num_hops > grouping_module.SAFE_HOPS)


def test_room_for_more_seeds_than_there_are_costs_nothing():
    data = random_graph(np.random.default_rng(8), COUNTS, MOVIES, "movie")
    some, many = (plans_of(data, spec_of(data, "packed", [3, 3], 3, 1, max_seeds=m))["train"] for m in (60, 2**24 - 1))
    assert np.array_equal(some.seeds, many.seeds) and np.array_equal(some.starts, many.starts)


def test_blocks_have_fewer_seeds_the_more_each_brings(monkeypatch):
    data = random_graph(np.random.default_rng(9), COUNTS, MOVIES, "movie")
    spec, ids = spec_of(data, "balanced", [3, 3], 1, 1), np.arange(20 * grouping_module.BLOCK_SEEDS, dtype=np.int32)
    for brought in (1, 600, 10**5):
        blocks = list(blocks_of("train", ids, spec, brought))
        assert np.array_equal(np.sort(np.concatenate([block.seeds for block in blocks])), ids)
        most = min(grouping_module.BLOCK_SEEDS, grouping_module.BLOCK_ELEMENTS // brought)
        assert most <= max(len(block.seeds) for block in blocks) < 2 * most + spec.batch_size
    traced = []
    monkeypatch.setattr(grouping_module, "trace", lambda *args: traced.append(args) or trace(*args))
    monkeypatch.setattr(grouping_module, "BLOCK_ELEMENTS", 64)
    plan = plans_of(data, spec)["train"]
    is_train = [np.isin(seeds, plan.seeds).all() for _, seeds, *_ in traced]
    assert sum(is_train) == 20 // grouping_module.MIN_BLOCK_GROUPS
    assert np.array_equal(np.sort(plan.seeds), hetero_graph(data).seeds.ids_of("train"))


def test_a_seed_that_does_not_fit_is_named():
    data = random_graph(np.random.default_rng(4), {"a": 30, "b": 50}, {("b", "to", "a"): 200}, "a")
    schema = hetero_graph(data).schema
    limits = GroupLimits(np.array([30, 3, 100]), schema.node_names + schema.edge_keys, is_strict=True)
    spec = spec_of(data, "packed", [-1], 2, 1)
    with pytest.raises(BudgetError, match=r"seed \d+ alone does not fit.* of type 'b'.*at most 3"):
        plans_of(data, spec, limits)
    plan = plans_of(data, spec, limits._replace(is_strict=False))["train"]
    over = (totals(data, plan, [-1]) > limits.most).any(axis=1)
    assert over.any() and (plan.num_seeds()[over] == 1).all()
