"""What a store consists of: every tensor's name, dimensions, dtype and pad value, in one place.

Shapes and chunks are derived here from the graph schema and the budget, and stated nowhere else.
"""

import math
from functools import partial
from typing import Any, Dict, Iterable, Iterator, List, Literal, NamedTuple, Optional, Tuple, Union

from pydantic import Field, model_validator

from heteroshards.schemas import layout
from heteroshards.schemas.attributes import UNKNOWN_CODE, Attributed, AttributeSchema
from heteroshards.schemas.base import Frozen
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.names import is_safe_name
from heteroshards.schemas.task import Task

ID_PAD = -1
NO_TIME = -(2**63)  # in seeds/time: pads
STATS_CHUNK_BATCHES = 65536

DTYPES = ("int32", "int64", "uint32", "uint8", "bool", "float16", "float32", "float64")
CODECS = ("none", "blosc-lz4", "zstd")
ITEM_BYTES = {"int32": 4, "int64": 8, "uint32": 4, "uint8": 1, "bool": 1, "float16": 2, "float32": 4, "float64": 8}


class TensorSpec(Frozen):
    """One array of a store.

    Attributes:
        role, part, owner, name: what it is, see `layout.tensor_path`, which renders `path` from them.
        dims: the name of each dimension, one size each within a part; dim 0 is the only one that is chunked.
        shape: sizes of `dims`. A manifest keeps them once, in `Manifest.dimensions`.
        chunk_rows: rows along dim 0 in one chunk.
        pad_value: what stands in rows that hold nothing, "NaN" as JSON has no such number; None where every row is
            real.
    """

    role: layout.Role
    part: str
    owner: str = ""
    name: str
    dims: Tuple[str, ...]
    shape: Tuple[int, ...]
    chunk_rows: int = Field(ge=1)
    dtype: str
    codec: str
    pad_value: Union[float, Literal["NaN"], None] = None
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor {self.path!r} has dtype {self.dtype!r}; known are {DTYPES}")
        if self.codec not in CODECS:
            raise ValueError(f"tensor {self.path!r} has codec {self.codec!r}; known are {CODECS}")
        if len(self.dims) != len(self.shape) or not self.shape or min(self.shape) < 0:
            raise ValueError(f"tensor {self.path!r} has dims {self.dims} but shape {self.shape}")
        folders = [*(self.part.split("/") if self.part else ()), *([self.owner] if self.owner else ()), self.name]
        if not all(is_safe_name(folder) for folder in folders):
            raise ValueError(f"tensor path {self.path!r} cannot name a folder in a store")
        return self

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return layout.tensor_path(self.role, self.part, self.owner, self.name)

    @property
    def chunks(self) -> Tuple[int, ...]:
        return (self.chunk_rows,) + self.shape[1:]

    @property
    def num_chunks(self) -> int:
        return -(-self.shape[0] // self.chunk_rows)

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole tensor, uncompressed."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk, uncompressed; on disk all chunks of a tensor are of one size."""
        return ITEM_BYTES[self.dtype] * math.prod(self.chunks)


class BatchOptions(NamedTuple):
    """Which optional tensors a store holds, and how batches are chunked."""

    inline_features: bool
    store_e_id: bool
    pad_value: float
    chunk_batches: int
    codec: str
    feature_codecs: Dict[str, str]
    is_packed: bool = False
    with_trees: bool = False


def part_tensors(
    graph: GraphSchema, budget: Budget, num_hops: int, part: str, num_batches: int, options: BatchOptions
) -> List[TensorSpec]:
    """Every per-batch tensor of a part (see schemas/layout.py), in order; schemas/packing.py joins them on request."""
    batches = _Batches(part, num_batches, options)
    return [
        *(spec for node in graph.node_types for spec in _node_tensors(node, budget, batches)),
        *(spec for edge in graph.edge_types for spec in _edge_tensors(edge, budget, batches)),
        *_seed_tensors(graph.task, budget, batches),
        *_stats_tensors(graph, num_hops, part, num_batches, options.codec),
    ]


class _Batches(NamedTuple):
    """What the tensors of one part have in common."""

    part: str
    num_batches: int
    options: BatchOptions

    def tensor(
        self,
        role: layout.Role,
        owner: str,
        name: str,
        dtype: str,
        pad: Optional[float],
        text: str,
        *dims: Tuple[str, int],
        codec: str = "",
    ) -> TensorSpec:
        return TensorSpec(
            role=role,
            part=self.part,
            owner=owner,
            name=name,
            dims=("batch",) + tuple(name for name, _ in dims),
            shape=(self.num_batches,) + tuple(size for _, size in dims),
            chunk_rows=self.options.chunk_batches,
            dtype=dtype,
            codec=codec or self.options.codec,
            pad_value="NaN" if pad is not None and math.isnan(pad) else pad,
            description=text,
        )


def _node_tensors(node: NodeTypeSchema, budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    rows = (f"{node.name}_node", budget.num_nodes[node.name])
    of = partial(batches.tensor, "nodes", node.name)
    yield of("n_id", "int32", ID_PAD, "global node id of each row", rows)
    yield of("mask", "bool", 0, "True where the row is real", rows)
    if batches.options.with_trees:
        yield of("tree", "int32", ID_PAD, "which seed of the batch each row belongs to: trees are disjoint", rows)
    if node.has_age:
        yield of("age", "float32", 0, "how much earlier than its seed's time each row is, in days or steps", rows)
    for attribute in node.attributes if batches.options.inline_features else ():
        columns, pad = _columns(node, attribute), _pad(attribute, batches.options.pad_value)
        codec = batches.options.feature_codecs[layout.feature_path(node.name, attribute.name)]
        yield of(attribute.name, attribute.dtype, pad, _meaning(attribute, "features"), rows, columns, codec=codec)


def _edge_tensors(edge: EdgeTypeSchema, budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    columns, is_inline = (f"{edge.key}_edge", budget.num_edges[edge.key]), batches.options.inline_features
    of = partial(batches.tensor, "edges", edge.key)
    text = f"local ids: row 0 into {edge.src}, row 1 into {edge.dst}; pad edges join the last (pad) rows"
    yield of("edge_index", "int32", None, text, ("end", 2), columns)
    yield of("mask", "bool", 0, "True where the edge is real", columns)
    if batches.options.store_e_id or (edge.attributes and not is_inline):
        yield of("e_id", "int32", ID_PAD, "global edge id of each column", columns)
    for attribute in edge.attributes if is_inline else ():
        values, pad = _columns(edge, attribute), _pad(attribute, batches.options.pad_value)
        codec = batches.options.feature_codecs[layout.edge_feature_path(edge.key, attribute.name)]
        text = _meaning(attribute, "edge features")
        yield of(attribute.name, attribute.dtype, pad, text, columns, values, codec=codec)


def _columns(of: Union[NodeTypeSchema, EdgeTypeSchema], attribute: AttributeSchema) -> Tuple[str, int]:
    """The last dimension of an attribute. No name of a type or of an attribute has a slash."""
    if isinstance(of, NodeTypeSchema):
        name = f"{of.name}_feature" if attribute.name == "x" else f"{of.name}/{attribute.name}"
    else:
        name = f"{of.key}_attribute" if attribute.name == "edge_attr" else f"{of.key}/{attribute.name}"
    return name, attribute.width


def _pad(attribute: AttributeSchema, pad_value: float) -> float:
    return UNKNOWN_CODE if attribute.is_codes else pad_value


def _meaning(attribute: AttributeSchema, numbers: str) -> str:
    if not attribute.is_codes:
        return numbers
    ends = ", ".join(str(count - 1) for count in attribute.cardinalities)
    return f"codes, up to {ends} by column; {UNKNOWN_CODE} where it is not known"


def _seed_tensors(task: Task, budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    rows, of = ("seed", budget.max_seeds), partial(batches.tensor, "seeds", "")
    yield of("n_id", "int32", ID_PAD, "global id of each seed node", rows)
    yield of("row", "int32", ID_PAD, "which of all seeds it is, split after split as the manifest lists them", rows)
    yield of("mask", "bool", 0, "True where the seed is real", rows)
    if task.has_time:
        yield of("time", "int64", NO_TIME, "when each seed asks, in the source's unit", rows)
    for target in task.targets:
        columns = [(f"{target.name}_column", size) for size in target.shape]
        text = f"{target.kind} target of each seed, {target.limits}"
        yield batches.tensor("targets", "", target.name, target.dtype, target.pad_value, text, rows, *columns)


def _stats_tensors(graph: GraphSchema, num_hops: int, part: str, num_batches: int, codec: str) -> List[TensorSpec]:
    """The ledger: what each batch holds, so that nothing else has to be read to judge its padding.

    Padded counts are not stored, being the budget less the real ones; pads belong to no hop.
    """
    return [
        TensorSpec(
            role="stats",
            part=part,
            name=name,
            dims=("batch",) + tuple(axis for axis, _ in axes),
            shape=(num_batches,) + tuple(size for _, size in axes),
            chunk_rows=min(STATS_CHUNK_BATCHES, max(1, num_batches)),
            dtype="int32",
            codec=codec,
            description=text,
        )
        for name, text, axes in _ledger(graph, num_hops)
    ]


def _ledger(graph: GraphSchema, num_hops: int) -> List[Tuple[str, str, Tuple[Tuple[str, int], ...]]]:
    """Name, meaning and axes after the batch of each statistic."""
    node_axes = (("node_type", len(graph.node_types)), ("node_hop", num_hops + 1))
    edge_axes = (("edge_type", len(graph.edge_types)), ("edge_hop", max(num_hops, 1)))
    nodes, edges = ", ".join(graph.node_names), ", ".join(graph.edge_keys)
    return [
        ("num_seeds", "real seeds", ()),
        ("round", "resampling pass the batch belongs to", ()),
        (
            "limiter",
            "the type that closed the batch: whose real count is nearest to its budget less the pad slot, by "
            "real / (budget - 1), ties to the first; a position among first the node types, then the edge types: "
            f"{nodes}{', ' if edges else ''}{edges}",
            (),
        ),
        (
            "num_nodes",
            f"real nodes per type ({nodes}) and hop (0 = seeds); a type's pad rows are its budget less its sum",
            node_axes,
        ),
        ("num_nodes_trimmed", f"sampled nodes dropped to fit the budget, per type ({nodes}) and hop", node_axes),
        (
            "num_edges",
            f"real edges per type ({edges}) and hop (1 = into the seeds); a type's pad columns are its budget less "
            "its sum",
            edge_axes,
        ),
        ("num_edges_trimmed", f"sampled edges dropped to fit the budget, per type ({edges}) and hop", edge_axes),
    ]


def feature_tensors(graph: GraphSchema, codecs: Dict[str, str], chunk_bytes: int) -> List[TensorSpec]:
    """The feature tables of a store with features = "table": one array per attribute of a type."""
    specs = []
    for node in graph.node_types:
        for attribute in node.attributes:
            rows, codec = (f"{node.name}_id", node.num_nodes), codecs[layout.feature_path(node.name, attribute.name)]
            dims = (rows, _columns(node, attribute))
            specs.append(_table("node_table", node.name, attribute.name, attribute.dtype, codec, chunk_bytes, *dims))
    for edge in graph.edge_types:
        for attribute in edge.attributes:
            rows, codec = (
                (f"{edge.key}_eid", edge.num_edges),
                codecs[layout.edge_feature_path(edge.key, attribute.name)],
            )
            dims = (rows, _columns(edge, attribute))
            specs.append(_table("edge_table", edge.key, attribute.name, attribute.dtype, codec, chunk_bytes, *dims))
    return specs


def feature_bytes(rows: int, of: Attributed) -> int:
    """Bytes of so many rows of a type's attributes, 0 where it has none."""
    return rows * sum(attribute.width * ITEM_BYTES[attribute.dtype] for attribute in of.attributes)


def inline_bytes(graph: GraphSchema, budget: Budget) -> int:
    """Bytes of all features of one batch: what `inline` stores per batch."""
    nodes = sum(feature_bytes(budget.num_nodes[node.name], node) for node in graph.node_types)
    return nodes + sum(feature_bytes(budget.num_edges[edge.key], edge) for edge in graph.edge_types)


def table_bytes(graph: GraphSchema) -> int:
    """Bytes of all features of a graph, stored once."""
    nodes = sum(feature_bytes(node.num_nodes, node) for node in graph.node_types)
    return nodes + sum(feature_bytes(edge.num_edges, edge) for edge in graph.edge_types)


def original_id_tensors(
    graph: GraphSchema, renumbered: Iterable[str], codec: str, chunk_bytes: int
) -> List[TensorSpec]:
    """The ids that nodes had before [dataset] subset or remove_isolated renumbered them."""
    return [
        _table(
            "node_table",
            name,
            layout.ORIGINAL_ID,
            "int32",
            codec,
            chunk_bytes,
            (f"{name}_id", graph.node(name).num_nodes),
        )
        for name in sorted(renumbered)
    ]


def checksum_tensor(num_chunks: int) -> TensorSpec:
    """The array `checksums`, always one chunk and never compressed."""
    return TensorSpec(
        role="checksums",
        part="",
        name=layout.CHECKSUMS,
        dims=("chunk", "crc32c_and_num_bytes"),
        shape=(num_chunks, 2),
        chunk_rows=max(1, num_chunks),
        dtype="uint32",
        codec="none",
        description="crc32c and size in bytes of every chunk file, tensor after tensor in the manifest's order",
    )


def _table(
    role: layout.Role, owner: str, name: str, dtype: str, codec: str, chunk_bytes: int, *dims: Tuple[str, int]
) -> TensorSpec:
    shape = tuple(size for _, size in dims)
    row_bytes = ITEM_BYTES[dtype] * math.prod(shape[1:])
    return TensorSpec(
        role=role,
        part=layout.FEATURES,
        owner=owner,
        name=name,
        dims=tuple(dim for dim, _ in dims),
        shape=shape,
        chunk_rows=max(1, min(max(1, shape[0]), chunk_bytes // row_bytes)),
        dtype=dtype,
        codec=codec,
        description="row i is global id i",
    )
