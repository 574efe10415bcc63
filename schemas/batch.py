"""What one padded batch consists of: every tensor's name, dimensions, dtype and pad value, in one place.

Shapes and chunks are derived here from the graph schema and the budget, and stated nowhere else.
"""

import hashlib
import json
import math
from types import MappingProxyType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from pydantic import Field, model_validator

from heteroshards.schemas import layout
from heteroshards.schemas.base import Frozen
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema, is_safe_name

ID_PAD = -1
LABEL_PAD = -100
STATS_CHUNK_BATCHES = 65536

DTYPES = ("int32", "uint32", "uint8", "bool", "float16", "float32", "float64")
CODECS = ("none", "blosc-lz4", "zstd")


class TensorSpec(Frozen):
    """One array of a store.

    Attributes:
        path: where it lies in the store.
        dims: the name of each dimension; dim 0 is the only one that is chunked.
        shape: sizes of `dims`.
        chunk_rows: rows along dim 0 in one chunk.
        pad_value: what stands in rows that hold nothing; None where every row is real.
    """

    path: str
    dims: Tuple[str, ...]
    shape: Tuple[int, ...]
    chunk_rows: int = Field(ge=1)
    dtype: str
    codec: str
    pad_value: Optional[float] = None
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor {self.path!r} has dtype {self.dtype!r}; known are {DTYPES}")
        if self.codec not in CODECS:
            raise ValueError(f"tensor {self.path!r} has codec {self.codec!r}; known are {CODECS}")
        if len(self.dims) != len(self.shape) or not self.shape or min(self.shape) < 0:
            raise ValueError(f"tensor {self.path!r} has dims {self.dims} but shape {self.shape}")
        if not all(is_safe_name(name) for name in self.path.split("/")):
            raise ValueError(f"tensor path {self.path!r} cannot name a folder in a store")
        return self

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


def part_tensors(
    graph: GraphSchema, budget: Budget, num_hops: int, part: str, num_batches: int, options: BatchOptions
) -> List[TensorSpec]:
    """Every per-batch tensor of a part (see schemas/layout.py), in order; schemas/packing.py joins them on request."""
    batches = _Batches(part, num_batches, options)
    return [
        *(spec for node in graph.node_types for spec in _node_tensors(node, budget, batches)),
        *(spec for edge in graph.edge_types for spec in _edge_tensors(edge, budget, batches)),
        *_seed_tensors(budget, batches),
        *_stats_tensors(graph, num_hops, part, num_batches, options.codec),
    ]


class _Batches(NamedTuple):
    """What the tensors of one part have in common."""

    part: str
    num_batches: int
    options: BatchOptions

    def tensor(
        self, path: str, dtype: str, pad: Optional[float], text: str, *dims: Tuple[str, int], codec: str = ""
    ) -> TensorSpec:
        return TensorSpec(
            path=path,
            dims=("batch",) + tuple(name for name, _ in dims),
            shape=(self.num_batches,) + tuple(size for _, size in dims),
            chunk_rows=self.options.chunk_batches,
            dtype=dtype,
            codec=codec or self.options.codec,
            pad_value=pad,
            description=text,
        )


def _node_tensors(node: NodeTypeSchema, budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    rows = (f"{node.name}_node", budget.num_nodes[node.name])
    path = layout.node_path(batches.part, node.name, "n_id")
    yield batches.tensor(path, "int32", ID_PAD, "global node id of each row", rows)
    path = layout.node_path(batches.part, node.name, "mask")
    yield batches.tensor(path, "bool", 0, "True where the row is real", rows)
    if batches.options.inline_features and node.num_features and node.feature_dtype:
        path = layout.node_path(batches.part, node.name, "x")
        features = (f"{node.name}_feature", node.num_features)
        codec, pad = batches.options.feature_codecs[layout.feature_path(node.name)], batches.options.pad_value
        yield batches.tensor(path, node.feature_dtype, pad, "features", rows, features, codec=codec)


def _edge_tensors(edge: EdgeTypeSchema, budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    columns, is_inline = (f"{edge.key}_edge", budget.num_edges[edge.key]), batches.options.inline_features
    text = f"local ids: row 0 into {edge.src}, row 1 into {edge.dst}; pad edges join the last (pad) rows"
    path = layout.edge_path(batches.part, edge.key, "edge_index")
    yield batches.tensor(path, "int32", None, text, ("end", 2), columns)
    path = layout.edge_path(batches.part, edge.key, "mask")
    yield batches.tensor(path, "bool", 0, "True where the edge is real", columns)
    if batches.options.store_e_id or (edge.num_attributes and not is_inline):
        path = layout.edge_path(batches.part, edge.key, "e_id")
        yield batches.tensor(path, "int32", ID_PAD, "global edge id of each column", columns)
    if is_inline and edge.num_attributes and edge.attribute_dtype:
        path = layout.edge_path(batches.part, edge.key, "edge_attr")
        attributes = (f"{edge.key}_attribute", edge.num_attributes)
        codec, pad = batches.options.feature_codecs[layout.edge_feature_path(edge.key)], batches.options.pad_value
        yield batches.tensor(path, edge.attribute_dtype, pad, "edge features", columns, attributes, codec=codec)


def _seed_tensors(budget: Budget, batches: _Batches) -> Iterator[TensorSpec]:
    seeds, part = ("seed", budget.max_seeds), batches.part
    yield batches.tensor(layout.seed_path(part, "n_id"), "int32", ID_PAD, "global id of each seed node", seeds)
    yield batches.tensor(layout.seed_path(part, "y"), "int32", LABEL_PAD, "class of each seed node", seeds)
    yield batches.tensor(layout.seed_path(part, "mask"), "bool", 0, "True where the seed is real", seeds)


def _stats_tensors(graph: GraphSchema, num_hops: int, part: str, num_batches: int, codec: str) -> List[TensorSpec]:
    """The ledger: what each batch holds, so that nothing else has to be read to judge its padding.

    Padded counts are not stored, being the budget less the real ones; pads belong to no hop.
    """
    node_axes = (("node_type", len(graph.node_types)), ("node_hop", num_hops + 1))
    edge_axes = (("edge_type", len(graph.edge_types)), ("edge_hop", max(num_hops, 1)))
    nodes, edges = ", ".join(graph.node_names), ", ".join(graph.edge_keys)
    table: List[Tuple[str, str, Tuple[Tuple[str, int], ...]]] = [
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
    return [
        TensorSpec(
            path=layout.stats_path(part, name),
            dims=("batch",) + tuple(axis for axis, _ in axes),
            shape=(num_batches,) + tuple(size for _, size in axes),
            chunk_rows=min(STATS_CHUNK_BATCHES, max(1, num_batches)),
            dtype="int32",
            codec=codec,
            description=text,
        )
        for name, text, axes in table
    ]


def feature_tensors(graph: GraphSchema, codecs: Dict[str, str], chunk_bytes: int) -> List[TensorSpec]:
    """The feature tables of a store with features = "table": one array per type that has features."""
    specs = []
    for node in graph.node_types:
        if node.num_features and node.feature_dtype:
            path, dims = layout.feature_path(node.name), (node.name, f"{node.name}_feature")
            shape: Tuple[int, ...] = (node.num_nodes, node.num_features)
            specs.append(_table(path, dims, shape, node.feature_dtype, codecs[path], chunk_bytes))
    for edge in graph.edge_types:
        if edge.num_attributes and edge.attribute_dtype:
            path, dims = layout.edge_feature_path(edge.key), (edge.key, f"{edge.key}_attribute")
            shape = (edge.num_edges, edge.num_attributes)
            specs.append(_table(path, dims, shape, edge.attribute_dtype, codecs[path], chunk_bytes))
    return specs


def feature_bytes(rows: int, of: Union[NodeTypeSchema, EdgeTypeSchema]) -> int:
    """Bytes of so many rows of a type's features, 0 where it has none."""
    if isinstance(of, NodeTypeSchema):
        width, dtype = of.num_features, of.feature_dtype
    else:
        width, dtype = of.num_attributes, of.attribute_dtype
    return rows * width * ITEM_BYTES[dtype] if width and dtype else 0


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
    specs = []
    for name in sorted(renumbered):
        path, shape = layout.original_id_path(name), (graph.node(name).num_nodes,)
        specs.append(_table(path, (name,), shape, "int32", codec, chunk_bytes))
    return specs


def checksum_tensor(num_chunks: int) -> TensorSpec:
    """The array `checksums`, always one chunk and never compressed."""
    return TensorSpec(
        path=layout.CHECKSUMS,
        dims=("chunk", "crc32c_and_num_bytes"),
        shape=(num_chunks, 2),
        chunk_rows=max(1, num_chunks),
        dtype="uint32",
        codec="none",
        description="crc32c and size in bytes of every chunk file, tensor after tensor in the manifest's order",
    )


def _table(
    path: str, dims: Tuple[str, ...], shape: Tuple[int, ...], dtype: str, codec: str, chunk_bytes: int
) -> TensorSpec:
    row_bytes = ITEM_BYTES[dtype]
    for size in shape[1:]:
        row_bytes *= size
    return TensorSpec(
        path=path,
        dims=dims,
        shape=shape,
        chunk_rows=max(1, min(max(1, shape[0]), chunk_bytes // row_bytes)),
        dtype=dtype,
        codec=codec,
        description="row i is global id i",
    )


ITEM_BYTES = {"int32": 4, "uint32": 4, "uint8": 1, "bool": 1, "float16": 2, "float32": 4, "float64": 8}


class InputSpec(NamedTuple):
    """One tensor of the flat, ordered set that a compiled model receives for one batch.

    `kind` is one of `x`, `n_id`, `edge_index`, `edge_attr`, `e_id`, `node_mask`, `edge_mask`, `y`, `seed_mask`, or of
    `SPARSE_X`; `key` is the node type or edge type key it belongs to (the seed type for `y` and `seed_mask`).
    """

    kind: str
    key: str
    shape: Tuple[int, ...]
    dtype: str


EXTRA_INPUTS = ("n_id", "edge_attr", "node_mask", "edge_mask")

# `x` by rows (CSR): where each row begins, and the column and value of each entry that is not zero.
SPARSE_X = ("x_starts", "x_columns", "x_values")


def model_inputs(
    graph: GraphSchema,
    budget: Budget,
    extras: Iterable[str] = (),
    features_by_id: bool = False,
    sparse_entries: Mapping[str, int] = MappingProxyType({}),
) -> List[InputSpec]:
    """The inputs of a model over these batches, in schema order (never in a dict's insertion order).

    Always: per node type `x` (or `n_id` when the type has no features), per edge type `edge_index`, then `y`
    and `seed_mask`. `extras` asks for more, for every type that has them: any of `EXTRA_INPUTS`.

    With `features_by_id`, `n_id` stands for `x` and `e_id` for `edge_attr`: the model has the feature tables itself.
    Node types in `sparse_entries` have `SPARSE_X` instead of `x`, with room for so many entries.
    """
    wanted = set(extras)
    unknown = wanted - set(EXTRA_INPUTS)
    if unknown:
        raise ValueError(f"unknown extra inputs {sorted(unknown)}; known are {EXTRA_INPUTS}")
    inputs = []
    for node in graph.node_types:
        rows = budget.num_nodes[node.name]
        if node.name in sparse_entries:
            inputs += sparse_inputs(node, rows, sparse_entries[node.name])
        elif node.num_features and node.feature_dtype and not features_by_id:
            inputs.append(InputSpec("x", node.name, (rows, node.num_features), node.feature_dtype))
        if not node.num_features or features_by_id or "n_id" in wanted:
            inputs.append(InputSpec("n_id", node.name, (rows,), "int32"))
        if "node_mask" in wanted:
            inputs.append(InputSpec("node_mask", node.name, (rows,), "bool"))
    for edge in graph.edge_types:
        columns = budget.num_edges[edge.key]
        inputs.append(InputSpec("edge_index", edge.key, (2, columns), "int32"))
        if "edge_attr" in wanted and edge.num_attributes and edge.attribute_dtype:
            attributes = InputSpec("edge_attr", edge.key, (columns, edge.num_attributes), edge.attribute_dtype)
            inputs.append(InputSpec("e_id", edge.key, (columns,), "int32") if features_by_id else attributes)
        if "edge_mask" in wanted:
            inputs.append(InputSpec("edge_mask", edge.key, (columns,), "bool"))
    inputs.append(InputSpec("y", graph.seed_type, (budget.max_seeds,), "int32"))
    inputs.append(InputSpec("seed_mask", graph.seed_type, (budget.max_seeds,), "bool"))
    return inputs


def sparse_inputs(node: NodeTypeSchema, rows: int, entries: int) -> List[InputSpec]:
    """Those of `SPARSE_X`, in that order, of a type with features."""
    starts, columns, values = SPARSE_X
    assert node.feature_dtype
    return [
        InputSpec(starts, node.name, (rows + 1,), "int32"),
        InputSpec(columns, node.name, (entries,), "int32"),
        InputSpec(values, node.name, (entries,), node.feature_dtype),
    ]


def device_bytes(inputs: Iterable[InputSpec]) -> Dict[Tuple[str, str], int]:
    """Bytes of one batch of these inputs, as a device receives it: what a budget costs.

    By ("nodes", node type), ("edges", edge type key) and ("seeds", seed type). Whoever names such bytes before there is
    a model (plan, inspect, the choice of shapes) means `model_inputs(graph, budget)`: dense features and edge ends.
    """
    found: Dict[Tuple[str, str], int] = {}
    for spec in inputs:
        place = _PLACES.get(spec.kind, "nodes"), spec.key
        found[place] = found.get(place, 0) + ITEM_BYTES[spec.dtype] * math.prod(spec.shape)
    return found


_PLACES = {
    **dict.fromkeys(("edge_index", "edge_attr", "e_id", "edge_mask"), "edges"),
    **dict.fromkeys(("y", "seed_mask", "seed_n_id"), "seeds"),
}


def bytes_to_device(inputs: Iterable[InputSpec]) -> int:
    """The sum of `device_bytes`."""
    return sum(device_bytes(inputs).values())


def shape_signature(inputs: Iterable[InputSpec]) -> str:
    """A short digest of names, order, shapes and dtypes: what a compiled model was compiled for."""
    text = json.dumps([list(spec) for spec in inputs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
