"""Padding and trimming of sampled batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards.schemas.budget import Budget
from tests.pipeline.build import keys_of, sampler
from tests.strategies import graphs


def budget_of(schema, num_nodes, num_edges, max_seeds):
    return Budget(
        mode="explicit",
        num_nodes=num_nodes,
        num_edges=num_edges,
        max_seeds=max_seeds,
        hop_nodes={name: (size,) for name, size in num_nodes.items()},
        hop_edges={key: (size,) for key, size in num_edges.items()},
    )


def some_seeds(data, rng_seed, num_batches=3, batch_size=3):
    rng = np.random.default_rng(rng_seed)
    count = data[data.node_types[0]].num_nodes
    return np.stack([rng.permutation(count)[:batch_size] for _ in range(num_batches)]).astype(np.int32)


@settings(max_examples=50, deadline=None)
@given(graphs(), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_unpad_of_pad_is_the_batch_and_pads_touch_only_pads(data, extra, rng_seed):
    """With `extra` = 0 the largest batch fits exactly: only the reserved pad slots are left."""
    seeds, keys = some_seeds(data, rng_seed), keys_of(3, rng_seed)
    one = sampler(data, [3, 2])
    sizes = one.count(seeds, keys)
    schema = one.schema
    num_nodes = dict(zip(schema.node_names, (sizes.node_totals.max(0) + 1 + extra).tolist(), strict=True))
    num_edges = dict(zip(schema.edge_keys, (sizes.edge_totals.max(0) + 1 + extra).tolist(), strict=True))
    one.reserve_edges(sizes.edge_totals.max(0))
    padded = one.pad(seeds, keys, budget_of(schema, num_nodes, num_edges, 3))
    for b in range(3):
        batch = one.sample(seeds[b], keys[b])
        for name, n_id in batch.n_id.items():
            row = padded.n_id(name)[b]
            assert row[: len(n_id)].tolist() == n_id.tolist()
            assert (row[len(n_id) :] == -1).all()
            assert row[-1] == -1, "the last row of every type is padding"
        for edge in schema.edge_types:
            edges = padded.edge_index(edge.key)[b]
            count = batch.edge_index[edge.key].shape[1]
            assert edges[:, :count].tolist() == batch.edge_index[edge.key].tolist()
            assert (edges[0, count:] == num_nodes[edge.src] - 1).all()
            assert (edges[1, count:] == num_nodes[edge.dst] - 1).all()
            e_id = padded.e_id(edge.key)[b]
            assert e_id[:count].tolist() == batch.e_id[edge.key].tolist()
            assert (e_id[count:] == -1).all()


def tight_budget(one, sizes, share):
    """A budget of `share` of the largest batch, but room for all seeds."""
    schema = one.schema
    nodes = np.maximum((sizes.node_totals.max(0) * share).astype(int), sizes.num_nodes[:, :, 0].max(0)) + 1
    edges = (sizes.edge_totals.max(0) * share).astype(int) + 1
    return (
        nodes,
        edges,
        budget_of(
            schema,
            dict(zip(schema.node_names, nodes.tolist(), strict=True)),
            dict(zip(schema.edge_keys, edges.tolist(), strict=True)),
            int(sizes.num_nodes[:, :, 0].max()),
        ),
    )


@settings(max_examples=80, deadline=None)
@given(
    graphs(),
    st.sampled_from(["trim_nodes", "trim_edges", "trim_nodes_and_edges"]),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32 - 1),
)
def test_trimming_keeps_seeds_and_a_consistent_batch_within_the_budget(data, policy, share, rng_seed):
    seeds, keys = some_seeds(data, rng_seed), keys_of(3, rng_seed)
    one = sampler(data, [3, 3, 2], oversize=policy)
    sizes = one.count(seeds, keys)
    nodes, edges, budget = tight_budget(one, sizes, share)
    one.reserve_edges(sizes.edge_totals.max(0))
    after = one.count_trimmed(seeds, keys, budget)
    assert (after.num_nodes <= sizes.num_nodes).all()
    assert (after.num_edges <= sizes.num_edges).all()
    assert (after.num_nodes[:, :, 0] == sizes.num_nodes[:, :, 0]).all(), "seeds always stay"
    if "nodes" in policy:
        assert (after.node_totals < nodes).all()
    if "edges" in policy:
        assert (after.edge_totals < edges).all()
    if (after.node_totals >= nodes).any() or (after.edge_totals >= edges).any():
        return  # what the policy may not trim is over the budget: `fit_split` refuses such a plan
    padded, schema = one.pad(seeds, keys, budget), one.schema
    for b in range(len(seeds)):
        n_id = {name: padded.n_id(name)[b][: after.node_totals[b, t]] for t, name in enumerate(schema.node_names)}
        assert n_id[schema.seed_type][: len(seeds[b])].tolist() == seeds[b].tolist()
        reached = {name: set(range(after.num_nodes[b, t, 0])) for t, name in enumerate(schema.node_names)}
        for e, edge in enumerate(schema.edge_types):
            count = after.edge_totals[b, e]
            ends = padded.edge_index(edge.key)[b][:, :count]
            truth = data[edge.type].edge_index.numpy()[:, padded.e_id(edge.key)[b][:count]]
            assert np.array_equal(np.stack([n_id[edge.src][ends[0]], n_id[edge.dst][ends[1]]]), truth)
            reached[edge.src] |= set(ends[0].tolist())
        for t, name in enumerate(schema.node_names):
            assert (n_id[name] >= 0).all()
            assert reached[name] == set(range(after.node_totals[b, t])), "every kept node serves a kept edge"


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_trimming_to_a_budget_that_fits_changes_nothing(data, rng_seed):
    seeds, keys = some_seeds(data, rng_seed), keys_of(3, rng_seed)
    one = sampler(data, [2, 2], oversize="trim_nodes_and_edges")
    sizes = one.count(seeds, keys)
    _, _, budget = tight_budget(one, sizes, 1.0)
    one.reserve_edges(sizes.edge_totals.max(0))
    after = one.count_trimmed(seeds, keys, budget)
    assert np.array_equal(after.num_nodes, sizes.num_nodes)
    assert np.array_equal(after.num_edges, sizes.num_edges)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))
def test_node_trimming_takes_the_farthest_hop_first(data, share, rng_seed):
    """A type loses nodes of a hop for want of room only when no farther hop of that type is kept."""
    seeds, keys = some_seeds(data, rng_seed), keys_of(3, rng_seed)
    one = sampler(data, [3, 3], oversize="trim_nodes")
    sizes = one.count(seeds, keys)
    nodes, _, budget = tight_budget(one, sizes, share)
    one.reserve_edges(sizes.edge_totals.max(0))
    after = one.count_trimmed(seeds, keys, budget)
    for b, t in np.ndindex(after.node_totals.shape):
        near_is_cut = after.num_nodes[b, t, 1] < sizes.num_nodes[b, t, 1]
        if near_is_cut:  # hop 1 hangs on the seeds, so only want of room can cut it
            assert after.node_totals[b, t] == nodes[t] - 1
            assert after.num_nodes[b, t, 2] == 0


def test_the_trimmed_subset_of_a_hop_is_random_over_batches_and_repeatable():
    from tests.pipeline.test_sampler import star

    one = sampler(star(20), [-1], oversize="trim_nodes")
    seeds, keys = np.zeros((500, 1), np.int32), keys_of(500)
    budget = budget_of(one.schema, {"hub": 2, "leaf": 6}, {"leaf__to__hub": 6}, 1)
    one.reserve_edges(one.count(seeds, keys).edge_totals.max(0))
    first, second = (one.pad(seeds, keys, budget).n_id("leaf")[:, :5].copy() for _ in range(2))
    assert np.array_equal(first, second)
    frequency = np.bincount(first.ravel(), minlength=20)
    assert frequency.sum() == 2500
    assert frequency.min() > 75 and frequency.max() < 180, "each leaf stays in a quarter of the batches"


def test_seeds_that_fill_the_budget_are_refused():
    from heteroshards.pipeline.sizing.budgets import resolve_budget
    from heteroshards.schemas.config import BudgetConfig
    from heteroshards.schemas.errors import BudgetError
    from tests.pipeline.test_sampler import star

    one = sampler(star(3), [1])
    sizes = {"train": one.count(np.zeros((1, 1), np.int32), keys_of(1))}
    config = BudgetConfig(mode="uniform", nodes=1, edges=9)
    with pytest.raises(BudgetError, match=r"'hub'.*1 seeds.*at least 2"):
        resolve_budget(config, one.schema, sizes, 1, 0)
