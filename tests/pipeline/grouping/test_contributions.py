"""What seeds bring to a batch is the size that sampling finds."""

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.pipeline.grouping import groups as grouping_module
from heteroshards.pipeline.grouping import kernels
from heteroshards.pipeline.grouping.contributions import trace
from heteroshards.pipeline.grouping.groups import _blocks as blocks_of
from tests.pipeline.build import hetero_graph, sampler
from tests.pipeline.grouping.cases import load_of, one_block, spec_of
from tests.strategies import graphs


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(1, 3), st.integers(-1, 4), st.integers(0, 2**32 - 1))
def test_what_a_seed_brings_alone_is_the_size_of_its_batch(data, num_hops, fanout, rng_seed):
    """With one fanout for all hops exactly, where nothing is open; a loop over sets is the reference."""
    block, fresh = one_block(data, [fanout] * num_hops, rng_seed)
    traced = trace(fresh, block.seeds, block.key)
    for row, seed in enumerate(block.seeds):
        alone = fresh.count(np.array([[seed]]), np.array([block.key]))
        assert np.array_equal(traced.own[row], np.concatenate([alone.node_totals[0], alone.edge_totals[0]]))


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_where_nothing_is_drawn_what_seeds_bring_is_the_size_of_their_batch(data, num_hops, rng_seed):
    assert_loads(data, [-1] * num_hops, rng_seed, np.array_equal)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.lists(st.integers(-1, 4), min_size=2, max_size=3), st.integers(0, 2**32 - 1))
def test_what_seeds_bring_is_never_too_little(data, fanouts, rng_seed):
    assert_loads(data, fanouts, rng_seed, lambda load, real: (load >= real).all())


def assert_loads(data, fanouts, rng_seed, holds):
    """Of batches of three, whichever nodes are taken as open."""
    block, fresh = one_block(data, fanouts, rng_seed)
    rng, starts = np.random.default_rng(rng_seed), np.concatenate([[0], np.cumsum(block.sizes)])
    for share in (0, 0.5, 1):
        is_open = (rng.random(fresh.graph.node_offset[-1]) < share).astype(np.uint8)
        traced = trace(fresh, block.seeds, block.key, 0, is_open)
        for first, last in itertools.pairwise(starts):
            sizes = fresh.count(block.seeds[None, first:last], np.array([block.key]))
            real = np.concatenate([sizes.node_totals[0], sizes.edge_totals[0]])
            assert holds(load_of(traced, np.arange(first, last)), real)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_nodes_before_the_last_hop_are_counted_by_seed(data, num_hops, fanout, rng_seed):
    block, fresh = one_block(data, [fanout] * num_hops, rng_seed)
    expected = Counter()
    for seed in block.seeds:
        batch = fresh.sample([seed], block.key)
        for t, (name, ids) in enumerate(batch.n_id.items()):
            before = sum(batch.num_nodes[name][:-1])
            expected.update((fresh.graph.node_offset[t] + ids[:before]).tolist())
    reached = fresh.count_reached(block.seeds, block.key)
    assert {node: reached[node] for node in np.flatnonzero(reached)} == expected


@settings(max_examples=40, deadline=None)
@given(graphs(), st.lists(st.integers(-1, 4), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_bundles_are_what_several_seeds_share_and_no_two_are_alike(data, fanouts, key):
    seeds = hetero_graph(data).seeds.ids_of("train")
    traced = trace(sampler(data, fanouts), seeds, np.uint64(key))
    brought_by = [set() for _ in traced.part[1:]]
    for seed, (first, last) in enumerate(itertools.pairwise(traced.first)):
        for bundle in traced.bundle[first:last]:
            assert seed not in brought_by[bundle]
            brought_by[bundle].add(seed)
    assert all(len(some) > 1 for some in brought_by)
    assert len({frozenset(some) for some in brought_by}) == len(brought_by)
    assert (np.diff(traced.part) > 0).all() and (traced.weight > 0).all()


@settings(max_examples=40, deadline=None)
@given(graphs(max_nodes=40), st.integers(1, 5), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_tables_and_loads_stay_true_in_a_search(data, batch_size, room, key):
    """Bundles and loads that were kept up to date through all exchanges are those of the members in the end."""
    (block,) = blocks_of(
        "train", hetero_graph(data).seeds.ids_of("train"), spec_of(data, "packed", [4, 4], batch_size, 1), 1
    )
    traced = trace(sampler(data, [4, 4]), block.seeds, np.uint64(key))
    groups = grouping_module._start(traced, block.sizes, batch_size + room)
    with np.errstate(over="ignore"):
        kernels.level(traced, groups, traced.own.sum(axis=0), block.state, 20, 20, 10**6, 20, room > 0)
    seen = []
    for g, size in enumerate(groups.size):
        members = groups.members[g, :size]
        seen += members.tolist()
        lists = [traced.bundle[traced.first[m] : traced.first[m + 1]].tolist() for m in members]
        held = Counter(itertools.chain(*lists))
        is_used = groups.keys[g] >= 0
        assert dict(zip(groups.keys[g][is_used].tolist(), groups.counts[g][is_used].tolist(), strict=True)) == held
        assert groups.used[g] == len(held) <= 3 * len(is_used) // 4
        assert np.array_equal(groups.load[g], load_of(traced, members))
    assert sorted(seen) == list(range(len(block.seeds)))
