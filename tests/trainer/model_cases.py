"""Small schemas and random batches for the tests of models and backends."""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.inputs import InputSpec
from heteroshards.schemas.task import Task
from heteroshards.trainer.models import build_model
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.sparse import SparseRows

Relations = Sequence[Tuple[str, str, str]]

# A self relation, two relations between the same types, a featureless type that is never a destination, a type
# that is never a source, and names that PyG's containers would trip over.
RELATIONS: Relations = (
    ("actor", "to", "movie"),
    ("movie", "to", "actor"),
    ("actor", "voices", "movie"),
    ("movie", "sequel-of", "movie"),
    ("genre", "to", "movie"),
    ("movie", "to", "items"),
    ("movie1", "keys", "actor"),
)
FEATURES = {"movie": 5, "actor": 4, "genre": None, "items": 3, "movie1": 2}
NUM_CLASSES = 3


def numbers(width: int, dtype: str = "float32", name: str = "x") -> Tuple[AttributeSchema, ...]:
    """The only attribute of a type."""
    return (AttributeSchema(name=name, width=width, dtype=dtype),)


def schema(
    relations: Relations = RELATIONS, features: Optional[Dict[str, Optional[int]]] = None, dtype: str = "float32"
) -> GraphSchema:
    sizes = FEATURES if features is None else features
    return GraphSchema(
        node_types=tuple(
            NodeTypeSchema(name=name, num_nodes=40, attributes=numbers(size, dtype) if size else ())
            for name, size in sizes.items()
        ),
        edge_types=tuple(EdgeTypeSchema(src=s, relation=r, dst=d, num_edges=60) for s, r, d in relations),
        task=Task.classification("movie", NUM_CLASSES),
    )


def budget(graph: GraphSchema, rows: int = 9, columns: int = 14, max_seeds: int = 4) -> Budget:
    nodes = {name: rows + i for i, name in enumerate(graph.node_names)}
    edges = {key: columns + i for i, key in enumerate(graph.edge_keys)}
    return Budget(
        mode="explicit",
        num_nodes=nodes,
        num_edges=edges,
        max_seeds=max_seeds,
        hop_nodes={name: (size,) for name, size in nodes.items()},
        hop_edges={key: (size,) for key, size in edges.items()},
    )


def larger(graph: GraphSchema, small: Budget, rng: np.random.Generator) -> Budget:
    """The same budget with one to three pad rows and columns more of every type."""
    nodes = {name: size + int(rng.integers(1, 4)) for name, size in small.num_nodes.items()}
    edges = {key: size + int(rng.integers(1, 4)) for key, size in small.num_edges.items()}
    return small.model_copy(update={"num_nodes": nodes, "num_edges": edges})


def random_batch(graph: GraphSchema, inputs: List[InputSpec], rows: Dict[str, int], seed: int = 0) -> List[Tensor]:
    """Real rows and edges everywhere."""
    rng = np.random.default_rng(seed)
    return [_random(graph, spec, rows, rng) for spec in inputs]


def _random(graph: GraphSchema, spec: InputSpec, rows: Dict[str, int], rng: np.random.Generator) -> Tensor:
    if spec.kind == "edge_index":
        edge = graph.edge(spec.key)
        ends = [rng.integers(0, rows[name], spec.shape[1]) for name in (edge.src, edge.dst)]
        return torch.from_numpy(np.stack(ends).astype(spec.dtype))
    if spec.dtype == "bool":
        return torch.ones(spec.shape, dtype=torch.bool)
    if spec.kind in ("target", "n_id"):
        return torch.from_numpy(rng.integers(0, NUM_CLASSES, spec.shape).astype(spec.dtype))
    return torch.from_numpy(rng.normal(size=spec.shape).astype(spec.dtype))


def padded(graph: GraphSchema, batch: List[Tensor], inputs: List[InputSpec], rows: Dict[str, int]) -> List[Tensor]:
    """`batch` in the larger shapes of `inputs`: garbage features, ids -1, pad edges from last row to last row."""
    result = []
    for tensor, spec in zip(batch, inputs):
        pad = torch.zeros(spec.shape, dtype=tensor.dtype)
        if spec.kind == "x":
            pad = 1000 * torch.randn(spec.shape).to(tensor.dtype)
        elif spec.kind == "n_id":
            pad = torch.full(spec.shape, -1, dtype=tensor.dtype)
        elif spec.kind == "edge_index":
            edge = graph.edge(spec.key)
            last = torch.tensor([[rows[edge.src] - 1], [rows[edge.dst] - 1]], dtype=tensor.dtype)
            pad = last.expand(spec.shape).clone()
        pad[tuple(slice(0, size) for size in tensor.shape)] = tensor
        result.append(pad)
    return result


def seed_model(graph: GraphSchema, limits: Budget, config: ModelConfig) -> Tuple[SeedModel, List[Tensor]]:
    """An initialised model and a batch for it."""
    torch.manual_seed(1)
    model = SeedModel(build_model(config, graph), graph, limits, config)
    batch = random_batch(graph, model.inputs, limits.num_nodes)
    model.initialise(batch)
    return model, batch


def sparse_rows(matrix: np.ndarray, spare: int = 0) -> SparseRows:
    """`spare` entries more than there are, which lead nowhere."""
    rows, columns = np.nonzero(matrix)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(matrix, axis=1))])
    values = np.append(matrix[rows, columns], np.full(spare, np.nan, np.float32))
    columns = np.append(columns, np.full(spare, -(2**30)))
    as_tensors = [torch.from_numpy(array) for array in (starts.astype(np.int32), columns.astype(np.int32), values)]
    return SparseRows(*as_tensors, matrix.shape[1])
