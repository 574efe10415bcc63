"""Disjoint trees, times and weights: against plain loops, by enumeration, and against exact distributions."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heteroshards.pipeline.graph.csc import ALWAYS, PackedGraph, pack_graph
from heteroshards.pipeline.graph.seeds import SeedTable
from heteroshards.pipeline.sampling.batches import PaddedBatches
from heteroshards.pipeline.sampling.trees import TreeSampler
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.task import Task
from tests.pipeline.build import keys_of

SIZES = {"a": 7, "b": 5}
TYPES = [("a", "to", "b"), ("b", "to", "a"), ("a", "on", "a")]


def schema(num_edges: list[int]) -> GraphSchema:
    return GraphSchema(
        node_types=tuple(NodeTypeSchema(name=name, num_nodes=num) for name, num in SIZES.items()),
        edge_types=tuple(
            EdgeTypeSchema(src=src, relation=relation, dst=dst, num_edges=num)
            for (src, relation, dst), num in zip(TYPES, num_edges, strict=True)
        ),
        task=Task.classification("a", 2),
    )


def spec(fanouts: list[int], **options: Any) -> SamplingSpec:
    return SamplingSpec(
        mode="neighbor",
        fanouts={"__".join(of): tuple(fanouts) for of in TYPES},
        **{"replace": False, "is_disjoint": True, **options},
        batch_size=1,
        grouping="random",
        max_seeds=1,
        rounds={},
        rng_seed=0,
    )


class World:
    """Random edges, some with times, and seeds that ask about the same nodes again and again."""

    def __init__(self, rng_seed: int, timed: float = 0.7, num_seeds: int = 6) -> None:
        rng = np.random.default_rng(rng_seed)
        counts = rng.integers(0, 25, 3)
        index = {name: i for i, name in enumerate(SIZES)}
        self.pairs = [(index[src], index[dst]) for src, _, dst in TYPES]
        self.edges = [
            np.stack([rng.integers(0, SIZES[src], n), rng.integers(0, SIZES[dst], n)])
            for (src, _, dst), n in zip(TYPES, counts, strict=True)
        ]
        self.times = [rng.integers(0, 10, n) if rng.random() < timed else None for n in counts]
        self.seeds = SeedTable(
            rng.integers(0, SIZES["a"], num_seeds).astype(np.int32),
            {},
            {"train": np.arange(num_seeds, dtype=np.int32)},
            rng.integers(-1, 12, num_seeds),
        )
        self.schema = schema([int(n) for n in counts])

    def packed(self) -> PackedGraph:
        return pack_graph(list(SIZES.values()), self.pairs, self.edges, self.times)

    def sampler(self, fanouts: list[int], oversize: Any = "error", **options: Any) -> TreeSampler:
        return TreeSampler(self.packed(), self.schema, spec(fanouts, **options), oversize, self.seeds)

    def visible(self, e: int, node: int, time: int, window: int | None = None) -> list[int]:
        """Edges of type e into a node that are there at a time, the latest last."""
        times = self.times[e]
        into = np.flatnonzero(self.edges[e][1] == node)
        if times is None:
            return into.tolist()
        there = [i for i in into if times[i] <= time and (window is None or times[i] >= time - window)]
        return sorted(there, key=lambda i: (times[i], i))


def loop_tree(world: World, row: int, fanouts: list[int], window: int | None, is_last: bool) -> Any:
    """A seed's tree in plain Python, where every draw takes all, or the latest."""
    time, seed = int(world.seeds.times[row]), int(world.seeds.ids[row])
    nodes: list[list[list[int]]] = [[[seed]], [[]]]
    edges: list[list[list[tuple[int, int, int]]]] = [[] for _ in TYPES]
    known = [{seed: 0}, {}]
    for fanout in fanouts:
        fresh: list[list[int]] = [[], []]
        for e, (src, dst) in enumerate(world.pairs):
            edges[e].append([])
            for node in nodes[dst][-1]:
                found = world.visible(e, node, time, window)
                for i in found[max(0, len(found) - fanout) :] if is_last and fanout >= 0 else found:
                    source = int(world.edges[e][0][i])
                    if source not in known[src]:
                        known[src][source] = len(known[src])
                        fresh[src].append(source)
                    edges[e][-1].append((source, node, int(i)))
        for t in range(2):
            nodes[t].append(fresh[t])
    return nodes, edges


def budget_for(sampler: TreeSampler, seeds: np.ndarray, keys: np.ndarray, extra: int = 0) -> Budget:
    sizes = sampler.count(seeds, keys)
    sampler.reserve_edges(sizes.edge_totals.max(0))
    return budget_of(sampler.schema, sizes.node_totals.max(0) + 1 + extra, sizes.edge_totals.max(0) + 1 + extra)


def budget_of(graph: GraphSchema, nodes: np.ndarray, edges: np.ndarray) -> Budget:
    num_nodes = dict(zip(graph.node_names, nodes.tolist(), strict=True))
    num_edges = dict(zip(graph.edge_keys, edges.tolist(), strict=True))
    return Budget(
        mode="explicit",
        num_nodes=num_nodes,
        num_edges=num_edges,
        max_seeds=1,
        hop_nodes={name: (size,) for name, size in num_nodes.items()},
        hop_edges={key: (size,) for key, size in num_edges.items()},
    )


def edges_of(padded: PaddedBatches, graph: GraphSchema, b: int) -> Iterator[tuple[str, int, int, int, int, int]]:
    """key, seed, source, destination (global ids), edge id; with the seed told by both ends."""
    for edge in graph.edge_types:
        e_id = padded.e_id(edge.key)[b]
        for (src, dst), i in zip(padded.edge_index(edge.key)[b].T, e_id, strict=True):
            if i >= 0:
                ends = padded.tree(edge.src)[b, src], padded.tree(edge.dst)[b, dst]
                assert ends[0] == ends[1], "an edge joins nodes of one tree"
                yield edge.key, int(ends[0]), padded.n_id(edge.src)[b, src], padded.n_id(edge.dst)[b, dst], int(i)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(-1, 3), min_size=1, max_size=3),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
def test_trees_are_those_of_the_loop(rng_seed: int, fanouts: list[int], window: int | None, is_last: bool) -> None:
    world = World(rng_seed, 1.0 if is_last else 0.7)
    fanouts = fanouts if is_last else [-1] * len(fanouts)
    sampler = world.sampler(fanouts, strategy="last" if is_last else "uniform", window=window)
    seeds, keys = np.array([[0, 1, 2], [3, 4, -1]], np.int32), keys_of(2, rng_seed % 2**31)
    padded = sampler.pad(seeds, keys, budget_for(sampler, seeds, keys))
    sizes = sampler.count(seeds, keys)
    for b, rows in enumerate(seeds):
        trees = [loop_tree(world, int(row), fanouts, window, is_last) for row in rows if row >= 0]
        for t, name in enumerate(SIZES):
            expected = [
                (n, i) for h in range(len(fanouts) + 1) for i, (nodes, _) in enumerate(trees) for n in nodes[t][h]
            ]
            count = sizes.node_totals[b, t]
            found = list(zip(padded.n_id(name)[b, :count].tolist(), padded.tree(name)[b, :count].tolist(), strict=True))
            assert found == expected
            assert (padded.n_id(name)[b, count:] == -1).all() and (padded.tree(name)[b, count:] == -1).all()
            per_hop = [sum(len(nodes[t][h]) for nodes, _ in trees) for h in range(len(fanouts) + 1)]
            assert sizes.num_nodes[b, t].tolist() == per_hop
        found_edges = list(edges_of(padded, world.schema, b))
        expected_edges = [
            (key, i, *ends)
            for e, key in enumerate(world.schema.edge_keys)
            for h in range(len(fanouts))
            for i, (_, edges) in enumerate(trees)
            for ends in edges[e][h]
        ]
        assert found_edges == expected_edges


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.booleans())
def test_nothing_is_later_than_its_seed_and_draws_are_within_the_fanout(
    rng_seed: int, fanouts: list[int], replace: bool
) -> None:
    world = World(rng_seed)
    sampler = world.sampler(fanouts, replace=replace)
    seeds, keys = np.arange(6, dtype=np.int32).reshape(2, 3), keys_of(2, rng_seed % 2**31)
    padded = sampler.pad(seeds, keys, budget_for(sampler, seeds, keys, extra=2))
    for b in range(2):
        drawn: Counter[Any] = Counter()
        for key, tree, _, dst, i in edges_of(padded, world.schema, b):
            e, time = world.schema.edge_keys.index(key), int(world.seeds.times[seeds[b, tree]])
            assert i in world.visible(e, dst, time)
            drawn[key, tree, dst] += 1
        most = max(fanouts)
        for (key, tree, dst), count in drawn.items():
            there = len(world.visible(world.schema.edge_keys.index(key), dst, int(world.seeds.times[seeds[b, tree]])))
            assert count <= (most if replace else min(most, there))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_seeds_tree_is_its_own_whoever_is_beside_it(rng_seed: int) -> None:
    """So a batch is exactly as large as its seeds' trees, and rows of one node have other draws."""
    world = World(rng_seed)
    sampler = world.sampler([2, 2])
    key = keys_of(1, rng_seed % 2**31)
    together = sampler.count(np.arange(6, dtype=np.int32)[None], key)
    alone = sampler.count(np.arange(6, dtype=np.int32)[:, None], key.repeat(6))
    assert (together.num_nodes[0] == alone.num_nodes.sum(axis=0)).all()
    assert (together.num_edges[0] == alone.num_edges.sum(axis=0)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["trim_nodes", "trim_edges", "trim_nodes_and_edges"]))
def test_trimmed_trees_fit_and_keep_their_seeds(rng_seed: int, oversize: str) -> None:
    world = World(rng_seed)
    sampler = world.sampler([-1, -1], oversize)
    seeds, keys = np.array([[0, 1, 2]], np.int32), keys_of(1, rng_seed % 2**31)
    sizes = sampler.count(seeds, keys)
    sampler.reserve_edges(sizes.edge_totals.max(0))
    rng = np.random.default_rng(rng_seed)
    nodes = np.maximum(sizes.num_nodes[0, :, 0], rng.integers(0, sizes.node_totals[0] + 1)) + 1
    edges = rng.integers(0, sizes.edge_totals[0] + 1) + 1
    if oversize == "trim_nodes":
        edges = sizes.edge_totals[0] + 1
    if oversize == "trim_edges":
        nodes = sizes.node_totals[0] + 1
    limits = budget_of(world.schema, nodes, edges)
    counted = sampler.count_trimmed(seeds, keys, limits)
    padded = sampler.pad(seeds, keys, limits)
    assert (counted.node_totals[0] < nodes).all() and (counted.edge_totals[0] < edges).all()
    assert padded.n_id("a")[0, :3].tolist() == world.seeds.ids[:3].tolist()
    assert padded.tree("a")[0, :3].tolist() == [0, 1, 2]
    for name in SIZES:
        assert ((padded.n_id(name)[0] >= 0) == (padded.tree(name)[0] >= 0)).all()
    real = {(edge[0], *edge[2:]) for edge in edges_of(padded, world.schema, 0)}
    assert real <= {
        (key, *ends)
        for e, key in enumerate(world.schema.edge_keys)
        for row in range(3)
        for hop in loop_tree(world, row, [-1, -1], None, is_last=False)[1][e]
        for ends in hop
    }


def star(weights: list[float] | None, times: list[int] | None = None) -> PackedGraph:
    """Everything leads into node 0 of `a`, along the last type."""
    count = len(weights or times or [])
    into = np.stack([np.arange(count) % SIZES["a"], np.zeros(count, np.int64)])
    nothing = np.zeros((2, 0), np.int64)
    return pack_graph(
        list(SIZES.values()),
        [(0, 1), (1, 0), (0, 0)],
        [nothing, nothing, into],
        [None, None, None if times is None else np.array(times)],
        [None, None, None if weights is None else np.array(weights)],
    )


def drawn_sets(graph: PackedGraph, fanout: int, num: int, time: int = 0, **options: Any) -> Counter[tuple[int, ...]]:
    """Which edges are drawn for one node, over `num` keys."""
    table = SeedTable(np.zeros(1, np.int32), {}, {}, np.array([time]))
    sampler = TreeSampler(graph, schema([0, 0, len(graph.e_id) + 9]), spec([fanout], **options), "error", table)
    seeds, keys = np.zeros((num, 1), np.int32), keys_of(num)
    sampler.reserve_edges(np.array([0, 0, fanout + 1]))
    limits = budget_of(sampler.schema, np.array([fanout + 9, 9]), np.array([9, 9, fanout + 9]))
    e_id = sampler.pad(seeds, keys, limits).e_id("a__on__a")
    return Counter(tuple(row[row >= 0].tolist()) for row in e_id)


def chances(weights: list[float], count: int) -> dict[tuple[int, ...], float]:
    """The exact probability of each set of `count`, drawn one after another in proportion to what is left."""
    found: dict[tuple[int, ...], float] = {}
    for order in permutations([i for i, w in enumerate(weights) if w > 0], count):
        chance, left = 1.0, sum(weights)
        for i in order:
            chance *= weights[i] / left
            left -= weights[i]
        found[tuple(sorted(order))] = found.get(tuple(sorted(order)), 0.0) + chance
    return found


@pytest.mark.parametrize("weights", [[1.0, 2.0, 3.0, 4.0], [5.0, 0.0, 1.0, 1.0], [1e3, 1.0, 1.0, 1.0, 2.0]])
@pytest.mark.parametrize("count", [1, 2])
def test_weighted_draws_have_the_exact_distribution(weights: list[float], count: int) -> None:
    expected, num = chances(weights, count), 40000
    found: Counter[tuple[int, ...]] = Counter()
    for drawn, times in drawn_sets(star(weights), count, num).items():
        found[tuple(sorted(drawn))] += times
    assert set(found) <= set(expected), "an edge of weight zero is never drawn"
    likely = {of: chance for of, chance in expected.items() if chance * num >= 5}
    rest = max(0.0, 1 - sum(likely.values())) * num
    observed = [found[of] for of in likely] + ([num - sum(found[of] for of in likely)] if rest >= 5 else [])
    wanted = [chance * num for chance in likely.values()] + ([rest] if rest >= 5 else [])
    assert stats.chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 1e-4


def test_weighted_draws_with_replacement() -> None:
    weights, num = [1.0, 2.0, 0.0, 5.0], 20000
    found: Counter[int] = Counter()
    for drawn, times in drawn_sets(star(weights), 3, num, replace=True).items():
        for i in drawn:
            found[i] += times
    assert found[2] == 0
    expected = np.array([1, 2, 5]) / 8 * 3 * num
    assert stats.chisquare([found[0], found[1], found[3]], expected).pvalue > 1e-4


def test_weights_among_what_is_there() -> None:
    """Times hide some edges; the others are drawn by weight."""
    weights, times = [1.0, 3.0, 9.0, 2.0], [0, 1, 5, 2]
    found, num = drawn_sets(star(weights, times), 1, 20000, time=3, window=2), 20000
    assert set(found) == {(1,), (3,)}
    assert stats.chisquare([found[(1,)], found[(3,)]], [0.6 * num, 0.4 * num]).pvalue > 1e-4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_subset_of_the_visible_is_equally_likely(count: int) -> None:
    num = 20000
    found: Counter[tuple[int, ...]] = Counter()
    for drawn, times in drawn_sets(star(None, [0, 7, 1, 2, 3, 9]), count, num, time=5).items():
        found[tuple(sorted(drawn))] += times
    subsets = list(combinations([0, 2, 3, 4], count))
    assert set(found) == set(subsets)
    assert stats.chisquare([found[of] for of in subsets]).pvalue > 1e-4


def test_all_of_few_are_taken_but_those_of_weight_zero() -> None:
    assert set(drawn_sets(star([2.0, 0.0, 1.0]), 5, 10)) == {(0, 2)}


def test_edges_without_times_are_always_there() -> None:
    world = World(3)
    packed = world.packed()
    for e, times in enumerate(world.times):
        part = packed.time[packed.edge_offset[e] : packed.edge_offset[e + 1]]
        assert times is not None or (part == ALWAYS).all()
