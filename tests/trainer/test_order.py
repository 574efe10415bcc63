"""Orders: every batch once, shard by shard, a pure function of coordinates."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.manifest import SplitInfo
from trainer.order import random_keys, sequential_order, shard_runs, shuffled_order, whole_calls


@st.composite
def rounds(draw):
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    starts = tuple(int(n) for n in np.cumsum([0, *sizes]))
    info = SplitInfo(name=draw(st.sampled_from(["train", "val", "test"])), num_seeds=1, round_starts=starts)
    return info, draw(st.integers(0, len(sizes) - 1)), draw(st.integers(1, 12))


seeds = st.integers(0, 2**63 - 1)


@given(rounds(), seeds, st.integers(0, 1000))
def test_each_batch_of_the_round_once_and_each_shard_in_one_run(case, rng_seed, epoch):
    info, round, chunk_batches = case
    order = shuffled_order(info, round, chunk_batches, rng_seed, epoch)
    expected = sequential_order(info, round)
    assert expected.tolist() == list(range(info.round_starts[round], info.round_starts[round + 1]))
    assert sorted(order.tolist()) == expected.tolist()
    runs = shard_runs(order, chunk_batches)
    shards = [set((order[begin:end] // chunk_batches).tolist()) for begin, end in runs]
    assert all(len(shard) == 1 for shard in shards)
    assert len(set.union(*shards)) == len(runs)
    assert [i for begin, end in runs for i in range(begin, end)] == list(range(len(order)))


@given(rounds(), seeds, st.integers(0, 1000))
def test_an_order_is_a_function_of_its_coordinates(case, rng_seed, epoch):
    info, round, chunk_batches = case
    first = shuffled_order(info, round, chunk_batches, rng_seed, epoch)
    assert (first == shuffled_order(info, round, chunk_batches, rng_seed, epoch)).all()


@given(rounds(), seeds, st.integers(1, 8))
def test_groups_of_consecutive_batches_stay_together(case, rng_seed, group):
    info, round, chunk_batches = case
    order = shuffled_order(info, round, chunk_batches, rng_seed, 0, group)
    assert sorted(order.tolist()) == sequential_order(info, round).tolist()
    for begin, end in shard_runs(order, chunk_batches):
        run = order[begin:end]
        first = run.min()
        groups = (run - first) // group
        assert [list(g) for g in np.split(run, np.flatnonzero(np.diff(groups)) + 1)] == [
            list(range(first + g * group, min(first + (g + 1) * group, run.max() + 1))) for g in dict.fromkeys(groups)
        ]


@given(st.integers(1, 40), st.integers(1, 9))
def test_whole_calls_repeat_the_beginning(count, group):
    order = np.random.default_rng(count).permutation(count)
    whole = whole_calls(order, group)
    assert len(whole) % group == 0 and 0 <= len(whole) - count < group
    assert whole.tolist() == (order.tolist() * group)[: len(whole)]


def test_every_coordinate_matters():
    def order(name="train", round=0, rng_seed=0, epoch=0):
        info = SplitInfo(name=name, num_seeds=1, round_starts=(0, 64, 128))
        return tuple(shuffled_order(info, round, 8, rng_seed, epoch) - 64 * round)

    variants = [order(), order(name="val"), order(round=1), order(rng_seed=1), order(epoch=1)]
    assert len(set(variants)) == len(variants)
    # what `seed + epoch` would make equal
    assert order(rng_seed=1, epoch=0) != order(rng_seed=0, epoch=1)


def test_keys_are_the_same_in_every_numpy():
    assert random_keys(2, 7, 1, 2).tolist() == [15269645353390740542, 9327902333133577596]


def test_shards_and_batches_are_both_shuffled_evenly():
    """Over many epochs, each batch comes first about equally often."""
    info = SplitInfo(name="train", num_seeds=1, round_starts=(0, 6))
    firsts = [int(shuffled_order(info, 0, 2, 3, epoch)[0]) for epoch in range(600)]
    assert (np.abs(np.bincount(firsts, minlength=6) - 100) < 45).all()


def test_an_empty_order_has_no_runs():
    assert shard_runs(np.zeros(0, dtype=np.int64), 3) == []
