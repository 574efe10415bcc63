"""Where the questions are: attributes of the seed type, or of a table beside the graph whose rows are the seeds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.tensors import INTEGERS, plain_column
from heteroshards.pipeline.sources.times import times_of
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig, JobConfig
from heteroshards.schemas.errors import ConfigError, GraphError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

NODE = "node"  # the attribute of a table that says which node a row asks about


def without_table(data: HeteroData, job: JobConfig) -> HeteroData:
    """The graph, without the type that only holds questions.

    Raises:
        ConfigError: there is no such type.
    """
    name = job.task.seeds
    if name is None:
        return data
    if name not in data.node_types:
        hint = nearest(name, data.node_types)
        raise ConfigError(f"the data have no type '{name}'", where="[task] seeds", hint=hint)
    if name == job.dataset.seed_type:
        hint = "Its nodes are the seeds without that: leave [task] seeds out."
        raise ConfigError("the table of seeds is the seed type itself", actual=name, where="[task] seeds", hint=hint)
    joined = [of for of in data.edge_types if name in (of[0], of[2])]
    if joined:
        hint = f"Leave them out: attribute '{NODE}' says which node a row asks about."
        raise ConfigError("the type of questions has edges", actual=joined[0], where="[task] seeds", hint=hint)
    graph = copy.copy(data)
    del graph[name]
    return graph


def asked_config(job: JobConfig, config: DatasetConfig) -> DatasetConfig:
    """The same config, whose seed type is where labels and masks are."""
    return config.model_copy(update={"seed_type": job.asking_type})


def plain_table(data: HeteroData, name: str, attributes: list[str]) -> Any:
    """A table's attributes as plain tensors, with `num_nodes`.

    Raises:
        GraphError: they are of different lengths, or the table has no rows.
    """
    from torch_geometric.data import HeteroData

    where = f"node type '{name}'"
    if data[name].get(NODE) is None:
        hint = f"data['{name}'].{NODE}: integers [rows], the node that each row asks about."
        raise ConfigError(f"{where} has no attribute '{NODE}'", where="[task] seeds", hint=hint)
    plain = HeteroData()
    for key in (NODE, *attributes):
        plain[name][key] = plain_column(data[name][key], f"'{key}'", where)
    plain[name].num_nodes = len(plain[name][NODE]) if plain[name][NODE].dim() else 0
    return plain[name]


def nodes_asked_about(rows: Any, num_nodes: int, job: JobConfig) -> np.ndarray:
    """int64 [rows]: the node of the seed type that each row of a table asks about.

    Raises:
        GraphError: they are no ids of its nodes.
    """
    where, ids = f"node type '{job.task.seeds}'", rows[NODE]
    if ids.dim() != 1 or str(ids.dtype) not in INTEGERS:
        raise GraphError(f"'{NODE}' must be integers [rows]", actual=f"{ids.dtype} {tuple(ids.shape)}", where=where)
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
    if low < 0 or high >= num_nodes:
        raise GraphError(
            f"a row asks about a node of type '{job.dataset.seed_type}' that does not exist",
            actual=low if low < 0 else high,
            limit=f"0 to {num_nodes - 1}",
            where=where,
        )
    found: np.ndarray = ids.long().numpy()
    return found


def times_asked_at(rows: Any, job: JobConfig) -> np.ndarray | None:
    """int64 [rows]: when each question is asked; None where that plays no part.

    Raises:
        ConfigError: there is no such attribute. GraphError: it is malformed.
    """
    name = job.task.time
    if name is None:
        return None
    found: np.ndarray = times_of(rows[name], name, rows.num_nodes, f"node type '{job.asking_type}'").numpy()
    return found


def require_time(data: HeteroData, job: JobConfig) -> list[str]:
    """The attribute that says when seeds ask, in a list; empty where that plays no part.

    Raises:
        ConfigError: there is no such attribute.
    """
    name, of = job.task.time, job.asking_type
    if name is None:
        return []
    if data[of].get(name) is None:
        what = f"node type '{of}' has no attribute '{name}'"
        raise ConfigError(what, where="[task] time", hint=nearest(name, data[of].keys()))
    return [name]
