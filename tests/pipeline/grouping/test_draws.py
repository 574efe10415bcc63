"""Who else is in a batch changes nothing of what a seed draws, nor how likely."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from tests.pipeline.build import sampler
from tests.pipeline.grouping.cases import COUNTS, MOVIES, plans_of, spec_of
from tests.strategies import random_graph


@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_a_seeds_sample_is_the_same_in_every_group(grouping):
    """Alone under the batch's key a seed has the same neighbors as among others."""
    data = random_graph(np.random.default_rng(1), COUNTS, MOVIES, "movie")
    plan = plans_of(data, spec_of(data, grouping, [2], 5))["train"]
    block = plan.block(0, plan.num_batches)
    fresh = sampler(data, [2])
    for seeds, key in zip(block.seeds, block.keys, strict=True):
        batch = fresh.sample(seeds[seeds >= 0], key)
        for i, seed in enumerate(seeds[seeds >= 0]):
            alone = fresh.sample(np.array([seed]), key)
            for name, e_id in alone.e_id.items():
                mine = batch.edge_index[name][1] == i
                into_seeds = name.endswith("__movie")
                assert not into_seeds or np.array_equal(np.sort(batch.e_id[name][mine]), np.sort(e_id))


@pytest.mark.parametrize("grouping", ["balanced", "packed"])
def test_neighbors_stay_equally_likely(grouping):
    """Grouping sees the sizes of samples, and yet every subset of a seed's neighbors is drawn equally often."""
    rounds, degree = 1500, 5
    rng = np.random.default_rng(2)
    data = random_graph(rng, {"a": 24, "b": 40}, {("b", "to", "a"): 90, ("a", "to", "b"): 120}, "a")
    spec = spec_of(data, grouping, [2, 2], 4, rounds)
    plan, fresh = plans_of(data, spec)["train"], sampler(data, [2, 2])
    edges = data["b", "to", "a"].edge_index.numpy()
    degrees = np.bincount(edges[1], minlength=24)
    train = np.unique(plan.seeds)
    seed = int(train[np.argmax(degrees[train])])
    degree = int(degrees[seed])
    assert degree > 2
    counts = np.zeros(edges.shape[1], np.int64)
    block = plan.block(0, plan.num_batches)
    for row in np.flatnonzero((block.seeds == seed).any(axis=1)):
        batch = fresh.sample(block.seeds[row][block.seeds[row] >= 0], block.keys[row])
        at = int(np.flatnonzero(block.seeds[row] == seed)[0])
        hop_1 = batch.e_id["b__to__a"][: batch.num_edges["b__to__a"][0]]
        counts[hop_1[batch.edge_index["b__to__a"][1][: len(hop_1)] == at]] += 1
    drawn = counts[edges[1] == seed]
    assert drawn.sum() == 2 * rounds
    probability = 2 / degree
    bound = stats.norm.isf(1e-4 / degree) * np.sqrt(rounds * probability * (1 - probability))
    assert abs(drawn - rounds * probability).max() < bound


def hub_graph(num_papers=400, num_hubs=3, hub_degree=200):
    """Every seed has one hub (and another a few), every hub many neighbors: what `fanout` of them are drawn matters."""
    rng = np.random.default_rng(12)
    data = random_graph(rng, {"paper": num_papers, "hub": num_hubs, "author": 600}, {}, "paper")
    papers = np.arange(num_papers)
    into_papers = np.stack([papers % num_hubs, papers])
    into_hubs = np.stack([rng.integers(0, 600, num_hubs * hub_degree), np.repeat(np.arange(num_hubs), hub_degree)])
    data["hub", "of", "paper"].edge_index = torch.from_numpy(into_papers)
    data["author", "at", "hub"].edge_index = torch.from_numpy(into_hubs)
    return data


def hub_draws(data, grouping, rounds, fanout=3):
    """Every batch's edges into hubs, as {hub: ids of its drawn edges}, and the plan."""
    plan = plans_of(data, spec_of(data, grouping, [fanout, fanout], 4, rounds))["train"]
    fresh, block, drawn = sampler(data, [fanout, fanout]), plan.block(0, plan.num_batches), []
    for seeds, key in zip(block.seeds, block.keys, strict=True):
        batch = fresh.sample(seeds[seeds >= 0], key)
        hubs = batch.n_id["hub"][batch.edge_index["author__at__hub"][1]]
        drawn.append({h: frozenset(batch.e_id["author__at__hub"][hubs == h].tolist()) for h in np.unique(hubs)})
    return drawn, plan


@pytest.mark.parametrize("grouping", ["balanced", "packed"])
def test_what_many_batches_reach_is_drawn_anew_in_each(grouping):
    """Distinct over sampled edges into hubs are as with `random`, and no draw is shared by two batches of a round."""
    data, distinct = hub_graph(), {}
    for name in ("random", grouping):
        drawn, _ = hub_draws(data, name, 1)
        edges = [edge for batch in drawn for edges in batch.values() for edge in edges]
        distinct[name] = len(set(edges)) / len(edges)
    assert distinct[grouping] > 0.9 * distinct["random"], distinct


@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_draws_of_a_hub_are_uniform_and_independent_from_batch_to_batch(grouping):
    """Inclusion frequencies, co-occurrence of pairs in a batch, and what two batches of a round have in common."""
    fanout, degree = 2, 8
    data = hub_graph(num_papers=60, num_hubs=2, hub_degree=degree)
    drawn, plan = hub_draws(data, grouping, rounds=200, fanout=fanout)
    starts = plan.round_starts()
    for hub in (0, 1):
        draws = [batch[hub] for batch in drawn if hub in batch]
        pairs = Counter(draws)
        assert len(pairs) == degree * (degree - 1) // 2, "every pair of neighbors is drawn"
        assert stats.chisquare(list(pairs.values())).pvalue > 1e-6, "each as often as any other, so each neighbor, too"
        same = total = 0
        for first, last in itertools.pairwise(starts):
            in_round = [batch[hub] for batch in drawn[first:last] if hub in batch]
            same += sum(a == b for a, b in itertools.combinations(in_round, 2))
            total += len(in_round) * (len(in_round) - 1) // 2
        probability = 1 / len(pairs)
        assert abs(same - total * probability) < 6 * np.sqrt(total * probability), "as often as by chance"
