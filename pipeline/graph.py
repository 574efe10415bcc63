"""The source graph as checked numpy arrays: what everything after loading works on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from pipeline.csc import PackedGraph, pack_graph
from schemas.batch import LABEL_PAD
from schemas.errors import GraphError
from schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema, edge_key

if TYPE_CHECKING:
    from pipeline.datasets import SourceGraph

MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class HeteroGraph:
    """A heterogeneous graph, checked.

    Attributes:
        features: node type -> float32 or float16 [num_nodes, F], for the types that have `x`.
        edge_attr: edge type key -> float32 or float16 [num_edges, D], likewise.
        edge_index: edge type key -> integers [2, num_edges], global ids per type.
        labels: int32 [nodes of the seed type], -100 for every node that is no seed of any split.
        seeds: split -> int64 ids of its seed nodes, ascending.
        original_ids: node type -> int64 [num_nodes], only where a subset renumbered the nodes.
        description: where the graph came from, in words.
    """

    schema: GraphSchema
    features: dict[str, np.ndarray]
    edge_attr: dict[str, np.ndarray]
    edge_index: dict[str, np.ndarray]
    labels: np.ndarray
    seeds: dict[str, np.ndarray]
    original_ids: dict[str, np.ndarray]
    description: dict[str, Any]

    def packed(self) -> PackedGraph:
        """All edge types in compressed sparse columns."""
        index = self.schema.node_index
        return pack_graph(
            [node.num_nodes for node in self.schema.node_types],
            [(index[edge.src], index[edge.dst]) for edge in self.schema.edge_types],
            [self.edge_index[key] for key in self.schema.edge_keys],
        )

    def digest(self) -> str:
        """sha256 over the whole content: schema, edges, features, labels and splits."""
        digest = hashlib.sha256(self.schema.model_dump_json().encode())
        groups: list[Mapping[str, np.ndarray]] = [self.features, self.edge_attr, self.edge_index]
        groups += [{"labels": self.labels}, self.seeds, self.original_ids]
        for group in groups:
            for name in sorted(group):
                array = np.ascontiguousarray(group[name])
                digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
                digest.update(array.data)
        return digest.hexdigest()


def build_graph(source: "SourceGraph", allow_nonfinite: bool = False) -> HeteroGraph:
    """Take the tensors of a loaded graph over as numpy arrays. Edges, labels and masks were checked on loading.

    Raises:
        GraphError: malformed or non-finite features, types without nodes or with unusable names, no edge type, or
            more nodes or edges than 32-bit ids.
    """
    data = source.data
    features: dict[str, np.ndarray] = {}
    nodes = []
    for name in data.node_types:
        if "x" in data[name]:
            features[name] = _features(data[name].x, f"node type '{name}'", "x", allow_nonfinite)
        nodes.append(_node_schema(name, int(data[name].num_nodes), features.get(name)))
    edge_index: dict[str, np.ndarray] = {}
    edge_attr: dict[str, np.ndarray] = {}
    edges = []
    for edge_type in data.edge_types:
        key, store = edge_key(edge_type), data[edge_type]
        edge_index[key] = store.edge_index.detach().cpu().numpy()
        if "edge_attr" in store:
            edge_attr[key] = _features(store.edge_attr, f"edge type '{key}'", "edge_attr", allow_nonfinite)
        edges.append(_edge_schema(edge_type, edge_index[key], edge_attr.get(key)))
    if not edges:
        raise GraphError("the graph has no edge types", hint="Neighbor sampling needs at least one.")
    try:
        schema = GraphSchema(
            node_types=tuple(nodes),
            edge_types=tuple(edges),
            seed_type=source.seed_type,
            num_classes=source.num_classes,
        )
    except ValidationError as problem:
        raise GraphError(problem.errors()[0]["msg"], hint="Rename the types.") from None
    return HeteroGraph(
        schema,
        features,
        edge_attr,
        edge_index,
        _labels(source),
        dict(source.seeds),
        dict(source.node_ids),
        source.description,
    )


def _node_schema(name: str, num_nodes: int, x: np.ndarray | None) -> NodeTypeSchema:
    where = f"node type '{name}'"
    if num_nodes == 0:
        raise GraphError(
            "a node type has no nodes",
            where=where,
            hint="Remove the type, or keep more of it: [dataset] subset, remove_isolated.",
        )
    if num_nodes > MAX_ID:
        raise GraphError("node ids do not fit 32 bits", actual=num_nodes, limit=f"at most {MAX_ID}", where=where)
    if x is not None and len(x) != num_nodes:
        raise GraphError("x has another number of rows than nodes", actual=len(x), limit=num_nodes, where=where)
    try:
        return NodeTypeSchema(
            name=name,
            num_nodes=num_nodes,
            num_features=None if x is None else x.shape[1],
            feature_dtype=None if x is None else str(x.dtype),
        )
    except ValidationError as problem:
        raise GraphError(problem.errors()[0]["msg"], where=where, hint="Rename the type.") from None


def _edge_schema(edge_type: tuple[str, str, str], edge_index: np.ndarray, attr: np.ndarray | None) -> EdgeTypeSchema:
    where = f"edge type '{edge_key(edge_type)}'"
    num_edges = edge_index.shape[1]
    if num_edges > MAX_ID:
        raise GraphError("edge ids do not fit 32 bits", actual=num_edges, limit=f"at most {MAX_ID}", where=where)
    if attr is not None and len(attr) != num_edges:
        raise GraphError(
            "edge_attr has another number of rows than edges", actual=len(attr), limit=num_edges, where=where
        )
    src, relation, dst = edge_type
    try:
        return EdgeTypeSchema(
            src=src,
            relation=relation,
            dst=dst,
            num_edges=num_edges,
            num_attributes=None if attr is None else attr.shape[1],
            attribute_dtype=None if attr is None else str(attr.dtype),
        )
    except ValidationError as problem:
        raise GraphError(problem.errors()[0]["msg"], where=where, hint="Rename the relation.") from None


def _features(tensor: Any, where: str, name: str, allow_nonfinite: bool) -> np.ndarray:
    if not hasattr(tensor, "dim"):
        raise GraphError(f"{name} is not a tensor", actual=type(tensor).__name__, where=where)
    tensor = tensor.detach().cpu()
    if tensor.layout is not None and str(tensor.layout) != "torch.strided":
        tensor = tensor.to_dense()
    if tensor.dim() != 2 or tensor.size(1) == 0:
        hint = f"Reshape {name} to [rows, features]."
        raise GraphError(f"{name} must be a matrix", actual=f"shape {list(tensor.shape)}", where=where, hint=hint)
    if tensor.is_complex():
        raise GraphError(f"{name} must be real numbers", actual=tensor.dtype, where=where)
    values = tensor.numpy() if str(tensor.dtype) == "torch.float16" else tensor.float().numpy()
    if not allow_nonfinite and not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise GraphError(
            f"{name}[{row}, {column}] is not a finite number",
            actual=values[row, column],
            where=where,
            hint="Clean the features, or set [dataset] feature_values = 'allow'.",
        )
    return np.ascontiguousarray(values)


def _labels(source: "SourceGraph") -> np.ndarray:
    """Classes of the seeds; every other node's label is withheld, so that none can leak into a store."""
    values = source.data[source.seed_type][source.label].detach().cpu().numpy()
    labels = np.full(len(values), LABEL_PAD, np.int32)
    for seeds in source.seeds.values():
        labels[seeds] = values[seeds]
    return labels
