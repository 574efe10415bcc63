"""From a config to resolved choices of sampling: fanouts per edge type, rounds per split."""

import difflib

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.schemas.config import JobConfig, SamplingConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.sampling import SamplingSpec

DEFAULT_FANOUT = "default"


def resolve_sampling(job: JobConfig, graph: HeteroGraph) -> SamplingSpec:
    """Fanouts per edge type, rounds per split, and how neighbors are drawn.

    Raises:
        ConfigError: a fanout table names an unknown edge type or leaves one out.
    """
    config, is_full = job.sampling, job.sampling.mode == "full"
    rounds = {
        split: 1 if is_full else config.rounds if split == "train" else config.eval_rounds
        for split in graph.seeds.splits
    }
    batch_size = max(map(len, graph.seeds.splits.values())) if is_full else config.batch_size
    return SamplingSpec(
        mode=config.mode,
        fanouts={} if is_full else _fanouts(config, graph.schema.edge_keys),
        replace=config.replace,
        is_disjoint=job.is_disjoint,
        strategy=config.strategy,
        window=config.window,
        batch_size=batch_size,
        grouping="random" if is_full else config.grouping,
        max_seeds=batch_size if config.grouping != "packed" else config.max_seeds or 2 * batch_size,
        rounds=rounds,
        rng_seed=config.rng_seed,
    )


def _fanouts(config: SamplingConfig, edge_keys: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    if not isinstance(config.fanout, dict):
        return dict.fromkeys(edge_keys, tuple(config.fanout))
    for key in config.fanout:
        if key not in edge_keys and key != DEFAULT_FANOUT:
            nearest = difflib.get_close_matches(key, edge_keys, n=1)
            hint = f"Did you mean '{nearest[0]}'?" if nearest else f"Edge types: {', '.join(edge_keys)}."
            raise ConfigError("the fanout names an unknown edge type", actual=key, where="[sampling] fanout", hint=hint)
    resolved = {}
    for key in edge_keys:
        fanout = config.fanout.get(key, config.fanout.get(DEFAULT_FANOUT))
        if fanout is None:
            hint = f"Add it, or a '{DEFAULT_FANOUT}'."
            raise ConfigError("the fanout leaves an edge type out", actual=key, where="[sampling] fanout", hint=hint)
        resolved[key] = tuple(fanout)
    return resolved
