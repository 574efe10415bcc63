"""The graph of the stores of `store_factory`: movies with directors and actors, features at random."""

from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.task import Task
from tests.trainer.target_cases import PLAIN, values_of

NUM_MOVIES, NUM_CLASSES = 60, 3


def numbers(name: str, width: int) -> Tuple[AttributeSchema, ...]:
    """The only attribute of a type."""
    return (AttributeSchema(name=name, width=width, dtype="float32"),)


def codes(name: str, *cardinalities: int) -> Tuple[AttributeSchema, ...]:
    return (AttributeSchema(name=name, width=len(cardinalities), dtype="int32", cardinalities=cardinalities),)


def graph_schema(targets: Tuple[Any, ...] = PLAIN, is_rich: bool = False) -> GraphSchema:
    """Movies and actors with features, directors without, features on one edge type; some more where it `is_rich`."""
    more, role = (codes("kinds", 7, 3), codes("role", 4)) if is_rich else ((), ())
    return GraphSchema(
        node_types=(
            NodeTypeSchema(name="movie", num_nodes=NUM_MOVIES, attributes=numbers("x", 6) + more),
            NodeTypeSchema(name="director", num_nodes=12),
            NodeTypeSchema(name="actor", num_nodes=25, attributes=numbers("x", 5)),
        ),
        edge_types=(
            EdgeTypeSchema(src="director", relation="to", dst="movie", num_edges=60),
            EdgeTypeSchema(
                src="actor", relation="to", dst="movie", num_edges=150, attributes=numbers("edge_attr", 2) + role
            ),
            EdgeTypeSchema(src="movie", relation="to", dst="actor", num_edges=150),
        ),
        task=Task(seed_type="movie", targets=targets),
    )


class Source(NamedTuple):
    """Features are by path of their table, what is known of each movie by target."""

    graph: GraphSchema
    tables: Dict[str, np.ndarray]
    targets: Dict[str, np.ndarray]


def source(rng_seed: int = 0, zeros: float = 0.0, targets: Tuple[Any, ...] = PLAIN, is_rich: bool = False) -> Source:
    """`zeros`: the share of entries of node features that are zero."""
    graph, rng = graph_schema(targets, is_rich), np.random.default_rng(rng_seed)
    tables = {}
    for node in graph.node_types:
        for of in node.attributes:
            x = _values(of, node.num_nodes, rng)
            if not of.is_codes:
                x *= np.random.default_rng(rng_seed).random(x.shape) >= zeros
            tables[layout.feature_path(node.name, of.name)] = x
    for edge in graph.edge_types:
        for of in edge.attributes:
            tables[layout.edge_feature_path(edge.key, of.name)] = _values(of, edge.num_edges, rng)
    known = {target.name: values_of(target, tables["features/movie/x"]) for target in targets}
    return Source(graph, tables, known)


def _values(of: AttributeSchema, rows: int, rng: Any) -> np.ndarray:
    """Codes that are not known among them."""
    if of.is_codes:
        return rng.integers(-1, of.cardinalities, size=(rows, of.width)).astype("int32")
    return rng.normal(size=(rows, of.width)).astype("float32")
