"""A `Data`, PyG's graph of one type of node, as the `HeteroData` that everything after loading works on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import GraphError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

NODE = "node"
EDGE = (NODE, "to", NODE)
OF_NODES = ("x", "y", "num_nodes")  # whatever their shapes, so that a wrong one is said to be wrong


def as_hetero(data: Any) -> HeteroData:
    """`data` itself, or of a `Data` the graph with node type "node" and edge type ("node", "to", "node"). Nothing is
    copied.

    An attribute is one of edges where its name says so ("edge..." or "adj..."), or where it has a row per edge and not
    per node; masks, `x` and `y` are of nodes, and so is what has a row per node; all else is of the graph.

    Raises:
        GraphError: it is neither; or a `Data` without edges, or whose number of nodes is unknown.
    """
    from torch_geometric.data import Data, HeteroData

    if isinstance(data, HeteroData):
        return data
    if not isinstance(data, Data):
        hint = "Use HeteroData.from_dict for a dictionary."
        limit = "HeteroData, or Data where there is one type of node"
        raise GraphError("the graph is no HeteroData", actual=type(data).__name__, limit=limit, hint=hint)
    values = data.to_dict()
    of_edges = {name: value for name, value in values.items() if name.startswith(("edge", "adj"))}
    if not of_edges:
        hint = "Set data.edge_index to integers [2, edges]: row 0 sources, row 1 targets."
        actual = f"a Data with {', '.join(values) or 'nothing'}"
        raise GraphError("the graph has no edge_index", actual=actual, hint=hint)
    of_nodes = {name: value for name, value in values.items() if name not in of_edges}
    num_nodes, num_edges = _num_nodes(of_nodes), _size(of_edges.get("edge_index"), -1)
    graph = HeteroData()
    graph[EDGE].update(of_edges)
    graph[NODE].num_nodes = num_nodes
    for name, value in of_nodes.items():
        is_of_nodes = name in OF_NODES or name.endswith("mask") or _size(value) == num_nodes
        is_of_edges = not is_of_nodes and _size(value) == num_edges is not None
        (graph[NODE] if is_of_nodes else graph[EDGE] if is_of_edges else graph.stores[0])[name] = value
    return graph


def with_seed_type(config: DatasetConfig, data: HeteroData) -> DatasetConfig:
    """The config with the seed type, which need not be named where there is one node type."""
    if "seed_type" in config.model_fields_set or len(data.node_types) != 1:
        return config
    return config.model_copy(update={"seed_type": data.node_types[0]})


def _num_nodes(of_nodes: dict[str, Any]) -> Any:
    """As PyG finds it, but that it is not guessed from edges."""
    from torch_geometric.data import HeteroData

    graph = HeteroData({NODE: of_nodes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count = graph[NODE].num_nodes if of_nodes else None
    if count is None:
        raise GraphError("the number of nodes is unknown", where="a Data", hint="Set data.num_nodes.")
    return count


def _size(value: Any, axis: int = 0) -> int | None:
    """Of a tensor, or anything that has a shape; None where there is no such axis."""
    shape = getattr(value, "shape", ())
    return int(shape[axis]) if len(shape) else None
