"""`poptorch_geometric.FixedSizeOptions` to and from our budgets."""

from typing import Any, Dict

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.graph import GraphSchema, edge_key


def fixed_size_options(graph: GraphSchema, budget: Budget, pad_value: float = 0.0) -> Any:
    """The options under which poptorch_geometric's loaders give batches of a store's shapes.

    One real graph and one padding graph per batch, as there.
    """
    from poptorch_geometric import FixedSizeOptions

    return FixedSizeOptions(
        num_nodes={name: budget.num_nodes[name] for name in graph.node_names},
        num_edges={edge.type: budget.num_edges[edge.key] for edge in graph.edge_types},
        num_graphs=2,
        node_pad_value=pad_value,
        edge_pad_value=pad_value,
    )


def budget_config(options: Any, graph: GraphSchema) -> Dict[str, Any]:
    """The `[budget]` section that pads to the same shapes: `uniform` for single numbers, else `explicit`.

    Raises:
        ConfigError: the options name other types than the graph.
    """
    nodes, edges = options.num_nodes, options.num_edges
    if not isinstance(nodes, dict) and not isinstance(edges, dict):
        return {"mode": "uniform", "nodes": nodes, "edges": edges}
    nodes = nodes if isinstance(nodes, dict) else dict.fromkeys(graph.node_names, nodes)
    edges = edges if isinstance(edges, dict) else {edge.type: edges for edge in graph.edge_types}
    edges = {edge_key(edge_type): size for edge_type, size in edges.items()}
    for kind, given, known in (("node", nodes, graph.node_names), ("edge", edges, graph.edge_keys)):
        if set(given) != set(known):
            raise ConfigError(
                f"FixedSizeOptions and the graph have different {kind} types",
                actual=sorted(map(str, given)),
                limit=sorted(known),
            )
    return {"mode": "explicit", "nodes": dict(nodes), "edges": edges}
