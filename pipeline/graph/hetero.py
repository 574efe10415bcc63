"""The source graph as checked numpy arrays: what everything after loading works on."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from heteroshards.pipeline.graph.csc import PackedGraph, pack_graph
from heteroshards.pipeline.graph.seeds import SeedTable, take_rows
from heteroshards.pipeline.memory import require_memory
from heteroshards.pipeline.sources.times import TIME, WEIGHT
from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.graph import EdgeTypeSchema, EdgeTypeTuple, GraphSchema, NodeTypeSchema, edge_key, type_name
from heteroshards.schemas.notes import Note
from heteroshards.schemas.task import Task
from heteroshards.schemas.tensors import ID_PAD

if TYPE_CHECKING:
    from heteroshards.pipeline.sources import SourceGraph

MAX_ID = 2**31 - 1
WORKER_BYTES = 12  # per node of the graph: three int32 arrays, see `workspace.Workspace`


@dataclass(frozen=True)
class HeteroGraph:
    """A heterogeneous graph, checked.

    Attributes:
        features: node type or edge type key -> attribute -> float32, float16 or codes in int32, [nodes or edges,
            columns], in the order of the schema.
        edge_index: edge type key -> integers [2, num_edges], global ids per type.
        seeds: what is asked. The labels of all other nodes are withheld, so that none can leak into a store.
        original_ids: node type -> int64 [num_nodes], only where a subset renumbered the nodes.
        description: where the graph came from, in words.
        told: what was said when it was loaded.
        times: node type or edge type key -> int64 [nodes or edges], when each came to be, for the types that know.
        weights: edge type key -> float64 [num_edges], from 0, likewise.
        day: how many units of time are one unit of age.
    """

    schema: GraphSchema
    features: dict[str, dict[str, np.ndarray]]
    edge_index: dict[str, np.ndarray]
    seeds: SeedTable
    original_ids: dict[str, np.ndarray]
    description: dict[str, Any]
    told: tuple[Note, ...] = ()
    times: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    day: int = 1

    @cached_property
    def packed(self) -> PackedGraph:
        """All edge types in compressed sparse columns."""
        index = self.schema.node_index
        num_bytes = sum(
            8 * (self.schema.node(edge.dst).num_nodes + 1) + 8 * edge.num_edges for edge in self.schema.edge_types
        )
        num_bytes += WORKER_BYTES * sum(node.num_nodes for node in self.schema.node_types)
        hint = "Leave out nodes and edges that no seed reaches, or prepare on a larger machine."
        require_memory(num_bytes, "the index of all edges, with a worker's scratch,", "the graph", hint)
        return pack_graph(
            [node.num_nodes for node in self.schema.node_types],
            [(index[edge.src], index[edge.dst]) for edge in self.schema.edge_types],
            [self.edge_index[key] for key in self.schema.edge_keys],
            [self._there_from(edge) for edge in self.schema.edge_types],
            [self.weights.get(key) for key in self.schema.edge_keys],
        )

    def _there_from(self, edge: EdgeTypeSchema) -> np.ndarray | None:
        """int64 [num_edges]: when each edge and its source are both there. None: always."""
        own, of_nodes = self.times.get(edge.key), self.times.get(edge.src)
        of_source = None if of_nodes is None else of_nodes[self.edge_index[edge.key][0]]
        if own is None or of_source is None:
            return of_source if own is None else own
        return np.maximum(own, of_source)

    def ages(self, node_type: str, n_id: np.ndarray, tree: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """float32 [B, rows]: how much earlier than its seed each node is, in units of age; 0 in pads.

        Subtracted in whole numbers, before anything is rounded.

        Args:
            n_id, tree: int32 [B, rows], nodes and the seeds of the batch that they belong to. seeds: int32 [B, S].
        """
        if self.seeds.times is None or not len(self.times[node_type]):
            return np.zeros(n_id.shape, np.float32)
        asked = take_rows(self.seeds.times, np.take_along_axis(seeds, np.maximum(tree, 0), axis=1), 0)
        return np.where(n_id == ID_PAD, 0, (asked - self.times[node_type][n_id]) / self.day).astype(np.float32)

    @cached_property
    def _edge_digests(self) -> dict[str, str]:
        """Edge type key -> sha256 of its `edge_index`: edges are the larger part of many graphs, and hashed once."""
        return {key: _digest({key: edges}) for key, edges in self.edge_index.items()}

    def digest(self) -> str:
        """sha256 over the whole content: schema, edges, features, labels and splits."""
        groups: list[Mapping[str, np.ndarray]] = [*self.features.values()]
        groups += [{"ids": self.seeds.ids}, self.seeds.targets, self.seeds.splits, self.original_ids]
        asked = {} if self.seeds.times is None else {"times": self.seeds.times}
        groups += [asked, self.times, self.weights, {"day": np.array(self.day)}]
        parts = [_digest(group) for group in groups]
        text = json.dumps([self.schema.model_dump_json(), parts, self._edge_digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def numbering(self) -> dict[str, str]:
        """Node type -> sha256 of what tells its nodes apart by their ids: how many there are, every edge at them, edge
        by edge, and the ids that they had before they were renumbered.

        Equal digests in two stores: id i is the same node in both, so what was learned for it may be used.
        """
        found = {}
        for node in self.schema.node_types:
            edges = {e.key: self._edge_digests[e.key] for e in self.schema.edge_types if node.name in (e.src, e.dst)}
            before = {name: ids for name, ids in self.original_ids.items() if name == node.name}
            text = json.dumps([node.name, node.num_nodes, edges, _digest(before)], sort_keys=True)
            found[node.name] = hashlib.sha256(text.encode()).hexdigest()
        return found


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def build_graph(source: "SourceGraph") -> HeteroGraph:
    """Take the tensors of a loaded graph over as numpy arrays. Sizes and values were checked on loading.

    Raises:
        GraphError: types with names that cannot name folders, or that two types share; more edges than 32-bit ids.
    """
    data = source.data
    _require_distinct(data.node_types, data.edge_types)
    keys = {edge_key(edge_type): edge_type for edge_type in data.edge_types}
    edge_index = {key: data[edge_type].edge_index.numpy() for key, edge_type in keys.items()}
    types = {**{name: name for name in data.node_types}, **keys}
    features = {of: {name: data[types[of]][name].numpy() for name in source.attributes[of]} for of in types}
    attributes = {of: _attributes(of, arrays, source) for of, arrays in features.items()}
    times = {type_name(of): data[of][TIME].numpy() for of in source.times}
    weights = {edge_key(of): data[of][WEIGHT].numpy() for of in source.weights}
    nodes = [_node_schema(name, data[name].num_nodes, attributes[name], name in times) for name in data.node_types]
    edges = [_edge_schema(of, edge_index[key], attributes[key]) for key, of in keys.items()]
    task = Task(
        seed_type=source.seed_type,
        targets=source.targets,
        is_table=source.asked_of is not None,
        has_time=source.asked_at is not None,
    )
    with _naming("the graph", "Rename the types."):
        schema = GraphSchema(node_types=tuple(nodes), edge_types=tuple(edges), task=task)
    return HeteroGraph(
        schema,
        features,
        edge_index,
        _seeds(source),
        dict(source.node_ids),
        source.description,
        source.told,
        times,
        weights,
        source.day,
    )


def _require_distinct(node_types: Sequence[str], edge_types: Sequence[EdgeTypeTuple]) -> None:
    """No two types may have one key, nor folders that are one where upper and lower case are."""
    named: dict[str, object] = {}
    for name, kind in [*((name, name) for name in node_types), *((edge_key(of), of) for of in edge_types)]:
        other = named.setdefault(_folded(name), kind)
        if isinstance(kind, tuple) and isinstance(other, tuple) and kind != other and edge_key(other) == name:
            raise GraphError(
                f"two edge types have the key '{name}'",
                actual=f"{other} and {kind}",
                hint="Rename one: a key is source, relation and target with two underscores between.",
            )
        spelt = edge_key(other) if isinstance(other, tuple) else other
        if spelt != name:
            raise GraphError(
                "two types would share a folder where upper and lower case, or accents, are not told apart",
                actual=f"'{spelt}' and '{name}'",
                hint="Rename one of them, so that the store can be copied anywhere.",
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _attributes(of: str, arrays: Mapping[str, np.ndarray], source: "SourceGraph") -> tuple[AttributeSchema, ...]:
    return tuple(
        AttributeSchema(
            name=name,
            width=array.shape[1],
            dtype=str(array.dtype),
            cardinalities=source.cardinalities.get((of, name), ()),
        )
        for name, array in arrays.items()
    )


def _node_schema(name: str, num_nodes: int, attributes: tuple[AttributeSchema, ...], has_age: bool) -> NodeTypeSchema:
    with _naming(f"node type {name!r}", "Rename the type."):
        return NodeTypeSchema(name=name, num_nodes=num_nodes, attributes=attributes, has_age=has_age)


def _edge_schema(
    edge_type: EdgeTypeTuple, edge_index: np.ndarray, attributes: tuple[AttributeSchema, ...]
) -> EdgeTypeSchema:
    where = f"edge type {edge_type}"
    num_edges = edge_index.shape[1]
    if num_edges > MAX_ID:
        hint = "Divide the relation into several."
        limit = f"at most {MAX_ID}"
        raise GraphError("edge ids do not fit 32 bits", actual=num_edges, limit=limit, where=where, hint=hint)
    src, relation, dst = edge_type
    with _naming(where, "Rename the relation."):
        return EdgeTypeSchema(src=src, relation=relation, dst=dst, num_edges=num_edges, attributes=attributes)


@contextmanager
def _naming(where: str, hint: str) -> Iterator[None]:
    """What the schema refuses is a name, as everything else was checked before."""
    try:
        yield
    except ValidationError as problem:
        message = problem.errors()[0]["msg"].partition("Value error, ")
        raise GraphError(message[2] or message[0], where=where, hint=hint) from None


def _seeds(source: "SourceGraph") -> SeedTable:
    stored = {}
    for target in source.targets:
        values = source.answers[target.name]
        stored[target.name] = np.where(target.is_known(values), values, target.pad_value).astype(target.dtype)
    return SeedTable.of_splits(source.seeds, stored, source.asked_of, source.asked_at)
