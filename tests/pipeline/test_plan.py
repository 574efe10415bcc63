"""The plan is pure integers: coverage, independence of rounds, and positions after skipping."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.pipeline.grouping.groups import random_plan
from heteroshards.pipeline.grouping.split_plan import shards_of

plans = st.builds(
    lambda count, batch, rounds, seed: random_plan("train", np.arange(count, dtype=np.int32) * 3, batch, rounds, seed),
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 12),
    st.integers(0, 2**32),
)


@settings(max_examples=100, deadline=None)
@given(plans)
def test_each_seed_exactly_once_per_round(plan):
    block = plan.block(0, plan.num_batches)
    starts = plan.round_starts()
    assert len(starts) == plan.num_rounds + 1
    for r in range(plan.num_rounds):
        part = block.seeds[starts[r] : starts[r + 1]]
        assert np.array_equal(np.sort(part[part >= 0]), np.sort(plan.seeds[: plan.seeds_per_round]))
        assert (block.rounds[starts[r] : starts[r + 1]] == r).all()
    assert np.array_equal((block.seeds >= 0).sum(axis=1), plan.num_seeds())
    assert (np.diff((block.seeds >= 0).astype(int), axis=1) <= 0).all(), "real seeds come first"
    assert plan.num_seeds().min() >= 1, "no batch without a seed"
    assert np.array_equal(block.rounds, plan.rounds())
    assert len(np.unique(block.keys)) == plan.num_batches


@settings(max_examples=60, deadline=None)
@given(plans, st.data())
def test_any_cut_gives_the_same_batches(plan, data):
    start = data.draw(st.integers(0, plan.num_batches))
    stop = data.draw(st.integers(start, plan.num_batches))
    whole, part = plan.block(0, plan.num_batches), plan.block(start, stop)
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one[start:stop], other)


@settings(max_examples=60, deadline=None)
@given(plans, st.data())
def test_kept_batches_are_those_of_the_whole_plan(plan, data):
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, plan.num_batches - 1), min_size=1))))
    whole, part = plan.block(0, plan.num_batches), plan.keep(kept).block(0, len(kept))
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one[kept], other)
    starts = plan.keep(kept).round_starts()
    assert [np.sum(part.rounds == r) for r in range(plan.num_rounds)] == np.diff(starts).tolist()


def test_rounds_and_splits_and_seeds_of_the_generator_differ():
    seeds = np.arange(100, dtype=np.int32)
    orders = [
        random_plan(split, seeds, 100, 2, rng_seed).block(r, r + 1)
        for split in ("train", "val")
        for rng_seed in (0, 1)
        for r in (0, 1)
    ]
    assert len({block.seeds.tobytes() for block in orders}) == 8
    assert len({int(block.keys[0]) for block in orders}) == 8


def test_the_order_is_the_same_on_every_machine():
    """A fixed expectation: stores made anywhere, by any version of numpy, hold the same batches."""
    plan = random_plan("train", np.arange(8, dtype=np.int32), 4, 1, 0)
    block = plan.block(0, 2)
    assert block.seeds.tolist() == EXPECTED_SEEDS
    assert block.keys.tolist() == EXPECTED_KEYS


EXPECTED_SEEDS = [[0, 6, 4, 7], [3, 1, 5, 2]]
EXPECTED_KEYS = [10934172237546787174, 7389376354441061154]


def test_position_in_a_permutation_is_uniform():
    rounds = 3000
    plan = random_plan("train", np.arange(6, dtype=np.int32), 6, rounds, 5)
    positions = np.argsort(plan.block(0, rounds).seeds, axis=1)
    counts = np.stack([np.bincount(positions[:, seed], minlength=6) for seed in range(6)])
    assert abs(counts - rounds / 6).max() < 5 * np.sqrt(rounds / 6)


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 10))
def test_shards_tile_the_batches(num_batches, chunk, run):
    shards = list(shards_of("train", num_batches, chunk))
    assert [b for s in shards for b in range(s.start, s.stop)] == list(range(num_batches))
    assert all(s.start == s.chunk * chunk and s.stop - s.start <= chunk for s in shards)
    runs = [shards_of("train", num_batches, chunk, i, min(i + run, len(shards))) for i in range(0, len(shards), run)]
    assert [s for some in runs for s in some] == shards
