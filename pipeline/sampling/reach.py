"""What sampling can never reach, known from the types and the seeds alone, and what it did not reach."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from heteroshards.pipeline.formatting import listed
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema
from heteroshards.schemas.manifest import Unreached
from heteroshards.schemas.notes import Note, NoteLevel
from heteroshards.schemas.sampling import SamplingSpec

if TYPE_CHECKING:
    from heteroshards.pipeline.graph.hetero import HeteroGraph

WAY_OUT = "Messages flow from source to target: add reverse edges, as torch_geometric.transforms.ToUndirected() does"


def reach_notes(graph: "HeteroGraph", spec: SamplingSpec) -> list[Note]:
    """Lines on seeds that no edge leads to, and on types that lie farther from the seeds than sampling goes."""
    has_edge = _has_incoming(graph, spec)
    is_seed = np.zeros(len(has_edge), bool)
    for split in graph.seeds.splits:
        is_seed[graph.seeds.ids_of(split)] = True
    if not (has_edge & is_seed).any():
        return [_no_edges(graph, spec)]
    return [*_isolated(graph, has_edge), *_unreachable(graph, spec)]


def unreached(schema: GraphSchema, sizes: Iterable[Sizes]) -> Unreached:
    """Types of which none of these batches has anything."""
    parts = list(sizes)
    nodes = np.any([part.node_totals.any(axis=0) for part in parts], axis=0)
    edges = np.any([part.edge_totals.any(axis=0) for part in parts], axis=0)
    names = [name for name, is_there in zip(schema.node_names, nodes, strict=True) if not is_there]
    return Unreached(
        nodes=tuple(name for name in names if name != schema.seed_type),
        edges=tuple(key for key, is_there in zip(schema.edge_keys, edges, strict=True) if not is_there),
    )


def unreached_notes(found: Unreached) -> list[Note]:
    """A line where there are any."""
    return [Note(code="unreached", level="note", message=found.line)] if found else []


def _takes(edge: EdgeTypeSchema, spec: SamplingSpec, hop: int) -> bool:
    """Whether edges of a type are drawn at a hop, counted from 0. `full` takes all edges."""
    return edge.num_edges > 0 and (spec.mode == "full" or spec.fanouts[edge.key][hop] != 0)


def _has_incoming(graph: "HeteroGraph", spec: SamplingSpec) -> np.ndarray:
    """bool [nodes of the seed type]: whether the first hop can bring an edge."""
    found = np.zeros(graph.schema.node(graph.schema.seed_type).num_nodes, bool)
    for edge in graph.schema.edge_types:
        if edge.dst == graph.schema.seed_type and _takes(edge, spec, 0):
            found[graph.edge_index[edge.key][1]] = True
    return found


def _no_edges(graph: "HeteroGraph", spec: SamplingSpec) -> Note:
    seed_type = graph.schema.seed_type
    away = [edge.key for edge in graph.schema.edge_types if edge.src == seed_type != edge.dst and edge.num_edges]
    text = f"only away from them ({listed(away)})" if away else "only between other nodes"
    outcome = "no batch has any edge" if spec.mode == "neighbor" else "no seed has a neighbor"
    message = f"no edge leads to a seed, {text}, so {outcome}. {WAY_OUT}"
    return Note(code="no_edges", concerns=f"seed type '{seed_type}'", message=message)


def _isolated(graph: "HeteroGraph", has_edge: np.ndarray) -> Iterator[Note]:
    splits = graph.seeds.splits
    alone = {split: int((~has_edge[graph.seeds.ids_of(split)]).sum()) for split in splits}
    total, num_seeds = sum(alone.values()), len(graph.seeds)
    if total:
        each = ", ".join(f"{split} {count} of {len(splits[split])}" for split, count in alone.items() if count)
        message = f"no edge leads to {total} of {num_seeds} seeds ({each}): a model sees nothing but their own features"
        level: NoteLevel = "warning" if 2 * total >= num_seeds else "note"
        concerns = f"seed type '{graph.schema.seed_type}'"
        yield Note(code="isolated_seeds", level=level, concerns=concerns, message=message)


def _unreachable(graph: "HeteroGraph", spec: SamplingSpec) -> Iterator[Note]:
    schema = graph.schema
    nodes, edges = {schema.seed_type}, set()
    num_hops = len(schema.node_types) if spec.mode == "full" else spec.num_hops  # `full`: what can influence a seed
    for hop in range(num_hops):
        found = [edge for edge in schema.edge_types if edge.dst in nodes and _takes(edge, spec, hop)]
        edges |= {edge.key for edge in found}
        nodes |= {edge.src for edge in found}
    far_nodes = [name for name in schema.node_names if name not in nodes]
    far_edges = [key for key in schema.edge_keys if key not in edges]
    fate = f"never in a batch (of {num_hops} hops)" if spec.mode == "neighbor" else "without influence on a seed"
    if far_nodes:
        concerns, message = (
            f"node types {listed(far_nodes)}",
            f"{fate}: no edges lead from there to the seeds. {WAY_OUT}",
        )
        yield Note(code="unreachable", concerns=concerns, message=message)
    if far_edges:
        message = f"{fate}: too far from the seeds, or without edges"
        yield Note(code="unreachable", level="note", concerns=f"edge types {listed(far_edges)}", message=message)
