"""Graphs, specifications, plans and loads that tests of grouping share."""

import itertools
from collections import Counter

import numpy as np

from heteroshards.pipeline.executors.threads import Threads
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.grouping.groups import _blocks as blocks_of
from heteroshards.pipeline.grouping.groups import make_plans
from heteroshards.schemas.sampling import SamplingSpec
from tests.pipeline.build import hetero_graph, sampler

MOVIES = {
    ("movie", "to", "director"): 60,
    ("movie", "to", "actor"): 180,
    ("director", "to", "movie"): 60,
    ("actor", "to", "movie"): 180,
}
COUNTS = {"movie": 60, "director": 12, "actor": 40}


def spec_of(data, grouping, fanout, batch_size=4, rounds=2, max_seeds=0, rng_seed=0):
    return SamplingSpec(
        mode="neighbor",
        fanouts={key: tuple(fanout) for key in hetero_graph(data).schema.edge_keys},
        replace=False,
        batch_size=batch_size,
        grouping=grouping,
        max_seeds=max_seeds or (2 * batch_size if grouping == "packed" else batch_size),
        rounds={"train": rounds, "val": 1, "test": 1},
        rng_seed=rng_seed,
    )


def plans_of(data, spec, limits=None, workers=1):
    fanout = next(iter(spec.fanouts.values()))
    graph = hetero_graph(data)
    pool = Threads(lambda: Worker(graph, sampler(data, list(fanout))), workers)
    return make_plans(pool, {name: graph.seeds.ids_of(name) for name in graph.seeds.splits}, spec, limits)


def totals(data, plan, fanout):
    """Real sizes of every planned batch, int64 [B, D]."""
    block = plan.block(0, plan.num_batches)
    sizes = sampler(data, fanout).count(block.seeds, block.keys)
    return np.concatenate([sizes.node_totals, sizes.edge_totals], axis=1)


def one_block(data, fanouts, rng_seed):
    spec = spec_of(data, "balanced", fanouts, batch_size=3, rounds=1, rng_seed=rng_seed)
    (block,) = blocks_of("train", hetero_graph(data).seeds.ids_of("train"), spec, 1)
    return block, sampler(data, fanouts)


def load_of(traced, members):
    """What some seeds bring together, int64 [D]: each alone, less what more than one of them brings."""
    load = traced.own[members].sum(axis=0)
    held = Counter(itertools.chain(*(traced.bundle[traced.first[m] : traced.first[m + 1]].tolist() for m in members)))
    for bundle, times in held.items():
        parts = slice(traced.part[bundle], traced.part[bundle + 1])
        np.subtract.at(load, traced.kind[parts], (times - 1) * traced.weight[parts])
    return load
