"""Short ways to the pipeline's objects, for tests."""

from typing import Any

import numpy as np
import torch
from torch_geometric.data import HeteroData

from heteroshards.pipeline.graph.hetero import HeteroGraph, build_graph
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.config import DatasetConfig, JobConfig
from heteroshards.schemas.graph import edge_key
from heteroshards.schemas.sampling import SamplingSpec


def mask(ids: list[int], size: int) -> torch.Tensor:
    """bool [size], True at `ids`."""
    result = torch.zeros(size, dtype=torch.bool)
    result[ids] = True
    return result


def hetero_graph(data: HeteroData, seed_type: str | None = None, **dataset: Any) -> HeteroGraph:
    config = DatasetConfig(seed_type=seed_type or data.node_types[0], **dataset)
    return build_graph(from_data(data, config, {"dataset": "test"}))


def sampler(
    data: HeteroData, fanout: Any, replace: bool = False, oversize: str = "error", of_rows: bool = False
) -> NeighborSampler:
    """Seeds are nodes, or with `of_rows` rows of the seed table."""
    graph = hetero_graph(data)
    table = fanout if isinstance(fanout, dict) else {edge_key(t): fanout for t in data.edge_types}
    spec = SamplingSpec(
        mode="neighbor",
        fanouts={key: tuple(hops) for key, hops in table.items()},
        replace=replace,
        batch_size=1,
        grouping="random",
        max_seeds=1,
        rounds={},
        rng_seed=0,
    )
    return NeighborSampler(graph.packed, graph.schema, spec, oversize, graph.seeds.ids if of_rows else None)


def keys_of(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def job(data: HeteroData, root: Any, **sections: Any) -> JobConfig:
    """A config for a graph whose first node type is the seed type."""
    dataset = {"seed_type": data.node_types[0], **sections.pop("dataset", {})}
    store = {"root": str(root), **sections.pop("store", {})}
    return JobConfig.model_validate({"name": "test", "dataset": dataset, "store": store, **sections})


def as_toml(value: Any) -> str:
    """Plain values as TOML: a table per section, inline tables below."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key!r} = {inline(entry)}" for key, entry in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return repr(value)

    top = [f"{key} = {inline(entry)}" for key, entry in value.items() if not isinstance(entry, dict)]
    tables = [f"{key} = {inline(entry)}" for key, entry in value.items() if isinstance(entry, dict)]
    return "\n".join(top + tables)
