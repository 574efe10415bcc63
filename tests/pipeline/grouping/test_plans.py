"""Plans: every seed once per round, batches alike in size, the same whoever makes them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.pipeline.grouping import groups as grouping_module
from heteroshards.pipeline.grouping.contributions import trace
from heteroshards.pipeline.grouping.groups import _blocks as blocks_of
from tests.pipeline.build import hetero_graph, sampler
from tests.pipeline.grouping.cases import COUNTS, MOVIES, load_of, plans_of, spec_of, totals
from tests.strategies import graphs, random_graph


@settings(max_examples=40, deadline=None)
@given(
    graphs(),
    st.sampled_from(["random", "balanced", "packed"]),
    st.integers(1, 7),
    st.integers(1, 3),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_each_seed_exactly_once_per_round(data, grouping, batch_size, rounds, fanout):
    spec = spec_of(data, grouping, fanout, batch_size, rounds)
    seeds = hetero_graph(data).seeds
    for name, plan in plans_of(data, spec).items():
        block, starts = plan.block(0, plan.num_batches), plan.round_starts()
        assert plan.num_rounds == spec.rounds[name]
        for r in range(plan.num_rounds):
            part = block.seeds[starts[r] : starts[r + 1]]
            assert np.array_equal(np.sort(part[part >= 0]), seeds.ids_of(name))
            assert (block.rounds[starts[r] : starts[r + 1]] == r).all()
            sizes = (part >= 0).sum(axis=1)
            assert sizes.min() >= 1 and sizes.max() <= (spec.max_seeds if grouping == "packed" else batch_size)
            assert grouping != "balanced" or sizes.max() - sizes.min() <= 1
            assert grouping == "random" or len(part) == -(-len(seeds.splits[name]) // batch_size)


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=40), st.sampled_from(["balanced", "packed"]), st.integers(2, 6))
def test_no_type_needs_more_than_before_the_search(data, grouping, batch_size):
    """As far as loads are known before a batch is sampled."""
    spec = spec_of(data, grouping, [3, 3], batch_size, rounds=1)
    plan, fresh = plans_of(data, spec)["train"], sampler(data, [3, 3])
    (block,) = blocks_of("train", hetero_graph(data).seeds.ids_of("train"), spec, 1)
    traced = trace(fresh, block.seeds, block.key, 0, grouping_module._open_nodes(fresh, block))
    row_of = {seed: row for row, seed in enumerate(block.seeds.tolist())}
    found = [[row_of[s] for s in row[row >= 0].tolist()] for row in plan.block(0, plan.num_batches).seeds]
    starts = np.concatenate([[0], np.cumsum(block.sizes)])
    before = [np.arange(first, last) for first, last in itertools.pairwise(starts)]
    most = np.max([load_of(traced, rows) for rows in before], axis=0)
    assert (np.max([load_of(traced, rows) for rows in found], axis=0) <= most).all()


def test_batches_come_closer_to_one_another():
    rng = np.random.default_rng(0)
    data = random_graph(rng, {"a": 600, "b": 300}, {("b", "to", "a"): 900, ("a", "to", "b"): 1500}, "a")
    fill = {}
    for grouping in ("random", "balanced", "packed"):
        sizes = totals(data, plans_of(data, spec_of(data, grouping, [5, 5], 10))["train"], [5, 5])
        fill[grouping] = sizes.mean(axis=0).sum() / sizes.max(axis=0).sum()
    assert fill["random"] < 0.8 and min(fill["balanced"], fill["packed"]) > 0.93, fill


@pytest.mark.parametrize("grouping", ["balanced", "packed"])
def test_workers_and_repetition_change_nothing(grouping):
    data = random_graph(np.random.default_rng(5), COUNTS, MOVIES, "movie")
    spec = spec_of(data, grouping, [3, 3], 3, 4)
    one, three, again = (plans_of(data, spec, workers=n) for n in (1, 3, 1))
    for name in one:
        assert np.array_equal(one[name].seeds, three[name].seeds) and np.array_equal(one[name].seeds, again[name].seeds)
        assert np.array_equal(one[name].keys, three[name].keys) and np.array_equal(one[name].starts, three[name].starts)


def test_rounds_differ():
    data = random_graph(np.random.default_rng(6), COUNTS, MOVIES, "movie")
    plan = plans_of(data, spec_of(data, "balanced", [3, 3], 4, 2))["train"]
    block, (_, middle, end) = plan.block(0, plan.num_batches), plan.round_starts()
    groups = [
        {frozenset(row[row >= 0].tolist()) for row in block.seeds[part]}
        for part in (slice(0, middle), slice(middle, end))
    ]
    assert len(groups[0] & groups[1]) <= 1
    assert len(np.unique(block.keys)) == 2, "one key per round"


def test_groups_are_the_same_on_every_machine():
    """A fixed expectation, as for the order of `random`."""
    data = random_graph(np.random.default_rng(7), COUNTS, MOVIES, "movie")
    plan = plans_of(data, spec_of(data, "balanced", [3, 3], 5, 1))["train"]
    assert plan.block(0, 4).seeds.tolist() == EXPECTED


EXPECTED = [[11, 58, 6, 35, 15], [24, 59, 4, 55, 10], [8, 50, 39, 37, 40], [29, 16, 43, 17, 2]]
