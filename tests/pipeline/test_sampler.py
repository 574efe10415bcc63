"""The sampling kernel against a plain loop, against counting, and against the binomial distribution."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch_geometric.data import HeteroData

from heteroshards.schemas.graph import edge_key
from tests.pipeline.build import keys_of, sampler
from tests.strategies import graphs


def loop_reference(data, seeds, num_hops):
    """Directional sampling with fanout -1, written as PyG describes it, in plain Python."""
    seed_type = data.node_types[0]
    nodes = {t: [] for t in data.node_types}
    local = {t: {} for t in data.node_types}
    edges = {edge_key(t): [] for t in data.edge_types}
    per_hop_nodes = {t: [0] * (num_hops + 1) for t in data.node_types}
    per_hop_edges = {edge_key(t): [0] * num_hops for t in data.edge_types}
    for seed in seeds:
        local[seed_type][seed] = len(nodes[seed_type])
        nodes[seed_type].append(seed)
    per_hop_nodes[seed_type][0] = len(seeds)
    frontier = {t: list(nodes[t]) for t in data.node_types}
    for hop in range(num_hops):
        before = {t: len(nodes[t]) for t in data.node_types}
        for edge_type in data.edge_types:
            src, _, dst = edge_type
            pairs = data[edge_type].edge_index.t().tolist()
            for v in frontier[dst]:
                for e, (u, w) in enumerate(pairs):
                    if w == v:
                        if u not in local[src]:
                            local[src][u] = len(nodes[src])
                            nodes[src].append(u)
                        edges[edge_key(edge_type)].append((local[src][u], local[dst][v], e))
                        per_hop_edges[edge_key(edge_type)][hop] += 1
        frontier = {t: nodes[t][before[t] :] for t in data.node_types}
        for t in data.node_types:
            per_hop_nodes[t][hop + 1] = len(frontier[t])
    return nodes, edges, per_hop_nodes, per_hop_edges


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_all_neighbors_equal_the_loop(data, num_hops, rng_seed):
    count = data[data.node_types[0]].num_nodes
    seeds = np.random.default_rng(rng_seed).permutation(count)[: max(1, count // 2)]
    batch = sampler(data, [-1] * num_hops).sample(seeds, np.uint64(1))
    nodes, edges, per_hop_nodes, per_hop_edges = loop_reference(data, seeds.tolist(), num_hops)
    assert {t: ids.tolist() for t, ids in batch.n_id.items()} == nodes
    assert batch.num_nodes == per_hop_nodes
    assert batch.num_edges == per_hop_edges
    for key, expected in edges.items():
        assert list(zip(*batch.edge_index[key].tolist(), batch.e_id[key].tolist(), strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(graphs(), st.lists(st.integers(0, 6), min_size=1, max_size=3), st.booleans(), st.integers(0, 2**32 - 1))
def test_sampled_edges_are_real_and_within_the_fanout(data, fanout, replace, rng_seed):
    seed_type = data.node_types[0]
    seeds = np.random.default_rng(rng_seed).permutation(data[seed_type].num_nodes)[:4]
    batch = sampler(data, fanout, replace).sample(seeds, np.uint64(rng_seed))
    assert batch.n_id[seed_type][: len(seeds)].tolist() == seeds.tolist()
    for ids in batch.n_id.values():
        assert len(set(ids.tolist())) == len(ids)
    for edge_type in data.edge_types:
        key, (src, _, dst) = edge_key(edge_type), edge_type
        edge_index, e_id = batch.edge_index[key], batch.e_id[key]
        ends = np.stack([batch.n_id[src][edge_index[0]], batch.n_id[dst][edge_index[1]]])
        assert np.array_equal(ends, data[edge_type].edge_index.numpy()[:, e_id])
        degree = np.bincount(data[edge_type].edge_index[1].numpy(), minlength=data[dst].num_nodes)
        hop_end = np.cumsum([0] + batch.num_nodes[dst])
        for hop, k in enumerate(fanout):
            for v in range(hop_end[hop], hop_end[hop + 1]):
                drawn = e_id[edge_index[1] == v]
                d = degree[batch.n_id[dst][v]]
                assert len(drawn) == (k * (d > 0) if replace else min(k, d))
                assert replace or len(set(drawn.tolist())) == len(drawn)


def star(degree):
    data = HeteroData()
    data["hub"].num_nodes = 1
    data["leaf"].num_nodes = degree
    data["leaf", "to", "hub"].edge_index = torch.stack([torch.arange(degree), torch.zeros(degree, dtype=torch.long)])
    data["hub"].y = torch.zeros(1, dtype=torch.long)
    data["hub"].train_mask = torch.ones(1, dtype=torch.bool)
    return data


def draws(degree, fanout, replace, count):
    one = sampler(star(degree), [fanout], replace)
    return [tuple(sorted(one.sample([0], key).e_id["leaf__to__hub"].tolist())) for key in keys_of(count)]


@pytest.mark.parametrize(("degree", "fanout"), [(2, 1), (4, 2), (5, 3), (6, 5)])
def test_every_subset_is_equally_likely(degree, fanout):
    found = Counter(draws(degree, fanout, False, 4000))
    subsets = list(combinations(range(degree), fanout))
    assert set(found) <= set(subsets)
    assert stats.chisquare([found[s] for s in subsets]).pvalue > 1e-4


@pytest.mark.parametrize(("degree", "fanout"), [(100, 3), (60, 40)], ids=["Floyd's algorithm", "selection sampling"])
def test_frequency_of_each_neighbor_is_binomial(degree, fanout):
    count = 3000
    found = Counter(e for draw in draws(degree, fanout, False, count) for e in draw)
    low, high = stats.binom.interval(1 - 1e-4 / degree, count, fanout / degree)
    assert all(low <= found[e] <= high for e in range(degree))


def test_with_replacement_each_draw_is_uniform():
    found = Counter(e for draw in draws(7, 3, True, 4000) for e in draw)
    assert stats.chisquare([found[e] for e in range(7)]).pvalue > 1e-4


def test_neighborhoods_of_different_nodes_and_types_are_independent():
    """Two hubs share their leaves: equal draws must be as rare as chance has it."""
    data = star(10)
    data["hub"].num_nodes = 2
    data["hub"].y, data["hub"].train_mask = torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.bool)
    both = torch.cat([torch.arange(10), torch.arange(10)]), torch.arange(2).repeat_interleave(10)
    data["leaf", "to", "hub"].edge_index = torch.stack(both)
    data["leaf", "also", "hub"].edge_index = torch.stack(both)
    two = sampler(data, [1])
    equal_nodes = equal_types = 0
    for key in keys_of(4000):
        batch = two.sample([0, 1], key)
        to, also = batch.e_id["leaf__to__hub"] % 10, batch.e_id["leaf__also__hub"] % 10
        equal_nodes += int(to[0] == to[1])
        equal_types += int(to[0] == also[0])
    low, high = stats.binom.interval(1 - 1e-5, 4000, 0.1)
    assert low <= equal_nodes <= high
    assert low <= equal_types <= high


@settings(max_examples=20, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_a_batch_depends_on_its_seeds_and_key_alone(data, rng_seed):
    rng = np.random.default_rng(rng_seed)
    count = data[data.node_types[0]].num_nodes
    seeds = np.stack([rng.permutation(count)[:2] for _ in range(5)]).astype(np.int32)
    used, fresh = sampler(data, [2, 2]), sampler(data, [2, 2])
    for row, key in zip(seeds, keys_of(5), strict=True):
        used.sample(row, key)
    again, alone = used.sample(seeds[3], keys_of(5)[3]), fresh.sample(seeds[3], keys_of(5)[3])
    for name, ids in alone.n_id.items():
        assert np.array_equal(again.n_id[name], ids)
    for key, edges in alone.edge_index.items():
        assert np.array_equal(again.edge_index[key], edges)


@settings(max_examples=30, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_counting_equals_sampling(data, rng_seed):
    count = data[data.node_types[0]].num_nodes
    rng = np.random.default_rng(rng_seed)
    seeds = np.stack([rng.permutation(count)[:3] for _ in range(4)]).astype(np.int32)
    one = sampler(data, [3, 2])
    sizes = one.count(seeds, keys_of(4))
    for b in range(4):
        batch = one.sample(seeds[b], keys_of(4)[b])
        assert sizes.num_nodes[b].tolist() == list(batch.num_nodes.values())
        assert sizes.num_edges[b].tolist() == list(batch.num_edges.values())


def test_fanout_per_edge_type_and_zero():
    data = star(10)
    data["leaf", "also", "hub"].edge_index = data["leaf", "to", "hub"].edge_index
    batch = sampler(data, {"leaf__to__hub": [0], "leaf__also__hub": [4]}).sample([0], np.uint64(3))
    assert {key: len(ids) for key, ids in batch.e_id.items()} == {"leaf__to__hub": 0, "leaf__also__hub": 4}


def test_draws_are_the_same_on_every_machine_and_without_jit():
    """Fixed expectations: one for Floyd's algorithm, one for selection sampling, one with replacement."""
    found = [
        sampler(star(degree), [fanout], replace).sample([0], np.uint64(7)).e_id["leaf__to__hub"].tolist()
        for degree, fanout, replace in [(1000, 4, False), (40, 35, False), (10, 5, True)]
    ]
    assert found == EXPECTED_DRAWS


EXPECTED_DRAWS = [
    [607, 408, 995, 101],
    [
        0,
        1,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        17,
        18,
        19,
        21,
        23,
        24,
        25,
        26,
        27,
        28,
        29,
        30,
        31,
        32,
        33,
        34,
        35,
        36,
        37,
        39,
    ],
    [6, 4, 9, 1, 5],
]
