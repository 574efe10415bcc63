"""Orders: every batch once, shard by shard, a pure function of coordinates."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heteroshards.schemas.manifest import PartInfo, SplitInfo
from heteroshards.trainer.reading.order import (
    random_keys,
    rest_of,
    sequential_order,
    shard_numbers,
    shard_runs,
    shuffled_order,
)


def split_of(*round_starts, name="train"):
    """A split with one part per argument."""
    parts = tuple(PartInfo(shape=shape, round_starts=starts) for shape, starts in enumerate(round_starts))
    return SplitInfo(name=name, num_seeds=1, parts=parts)


@st.composite
def rounds(draw):
    """A split of one to three parts, each round of the first with a batch at least."""
    num_rounds = draw(st.integers(1, 4))
    parts = []
    for fewest in (1, 0, 0)[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(st.integers(fewest, 20), min_size=num_rounds, max_size=num_rounds))
        parts.append(tuple(int(n) for n in np.cumsum([0, *sizes])))
    info = split_of(*parts, name=draw(st.sampled_from(["train", "val", "test"])))
    return info, draw(st.integers(0, num_rounds - 1)), draw(st.integers(1, 12))


def batches_by_loop(info, chunk_batches):
    """(round, shard) of every batch of a split, by a loop over its parts."""
    found, shard = [], 0
    for part in info.parts:
        for batch in range(part.num_batches):
            round = max(r for r in range(info.num_rounds) if part.round_starts[r] <= batch)
            found.append((round, shard + batch // chunk_batches))
        shard += -(-part.num_batches // chunk_batches)
    return found


seeds = st.integers(0, 2**63 - 1)


@given(rounds(), seeds, st.integers(0, 1000))
def test_each_batch_of_the_round_once_and_each_shard_in_one_run(case, rng_seed, epoch):
    info, round, chunk_batches = case
    order = shuffled_order(info, round, chunk_batches, rng_seed, epoch)
    expected = sequential_order(info, round)
    places = batches_by_loop(info, chunk_batches)
    assert expected.tolist() == [batch for batch, (of, _) in enumerate(places) if of == round]
    assert len(expected) == info.round_sizes[round]
    assert sorted(order.tolist()) == expected.tolist()
    numbers = shard_numbers(info, order, chunk_batches)
    assert numbers.tolist() == [places[batch][1] for batch in order]
    runs = shard_runs(numbers)
    shards = [set(numbers[begin:end].tolist()) for begin, end in runs]
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
    for begin, end in shard_runs(shard_numbers(info, order, chunk_batches)):
        run = order[begin:end]
        first = run.min()
        groups = (run - first) // group
        assert [list(g) for g in np.split(run, np.flatnonzero(np.diff(groups)) + 1)] == [
            list(range(first + g * group, min(first + (g + 1) * group, run.max() + 1))) for g in dict.fromkeys(groups)
        ]


@given(st.integers(1, 40), st.integers(1, 9))
def test_whole_calls_repeat_the_beginning(count, group):
    order = np.random.default_rng(count).permutation(count)
    whole, ends = rest_of(order, np.zeros(count, bool), 0, group)
    assert len(whole) % group == 0 and 0 <= len(whole) - count < group
    assert whole.tolist() == (order.tolist() * group)[: len(whole)]
    assert ends.tolist() == [min(end, count) for end in range(group, len(whole) + 1, group)]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5), st.data())
def test_what_is_trained_does_not_depend_on_when_damage_is_found(damage, group, data):
    """Found when it is first read, or known from the start; read in one go, or in several."""
    damaged = np.array(damage)
    order = np.random.default_rng(len(damage)).permutation(len(damage))
    expected, _ = rest_of(order, damaged[order], 0, group)
    known, position, trained, restarts = np.zeros(len(order), bool), 0, [], 3
    while position < len(order) and not known.all():
        if restarts and data.draw(st.booleans()):  # what was found is forgotten
            known[:], restarts = False, restarts - 1
        batches, ends = rest_of(order, known[order], position, group)
        position = position if len(batches) else len(order)
        for call, end in zip(batches.reshape(-1, group), ends):
            met = [batch for batch in call if damaged[batch]]
            if met:
                known[met[0]] = True
                break
            trained += call.tolist()
            position = int(end)
    assert trained == expected.tolist()


def test_every_coordinate_matters():
    def order(name="train", round=0, rng_seed=0, epoch=0):
        info = split_of((0, 64, 128), name=name)
        return tuple(shuffled_order(info, round, 8, rng_seed, epoch) - 64 * round)

    variants = [order(), order(name="val"), order(round=1), order(rng_seed=1), order(epoch=1)]
    assert len(set(variants)) == len(variants)
    # what `seed + epoch` would make equal
    assert order(rng_seed=1, epoch=0) != order(rng_seed=0, epoch=1)


def test_keys_are_the_same_in_every_numpy():
    assert random_keys(2, 7, 1, 2).tolist() == [15269645353390740542, 9327902333133577596]


def test_shards_and_batches_are_both_shuffled_evenly():
    """Over many epochs, each batch comes first about equally often."""
    info = split_of((0, 6))
    firsts = [int(shuffled_order(info, 0, 2, 3, epoch)[0]) for epoch in range(600)]
    assert (np.abs(np.bincount(firsts, minlength=6) - 100) < 45).all()


def test_an_empty_order_has_no_runs():
    assert shard_runs(np.zeros(0, dtype=np.int64)) == []


def test_the_order_of_one_part_is_pinned():
    info = split_of((0, 5, 17), name="val")
    assert shuffled_order(info, 1, 4, 3, 2).tolist() == [16, 7, 6, 5, 9, 10, 11, 8, 15, 12, 14, 13]
    assert shuffled_order(info, 1, 4, 3, 2, group=2).tolist() == [16, 7, 5, 6, 10, 11, 8, 9, 12, 13, 14, 15]
