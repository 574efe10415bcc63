"""What a compiled model receives for one batch: the flat, ordered tensors, their shapes and bytes."""

import hashlib
import json
import math
from types import MappingProxyType
from typing import Dict, Iterable, List, Mapping, NamedTuple, Tuple

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import GraphSchema, NodeTypeSchema
from heteroshards.schemas.tensors import ITEM_BYTES


class InputSpec(NamedTuple):
    """One tensor of the flat, ordered set that a compiled model receives for one batch.

    `kind` is one of `x`, `n_id`, `age`, `edge_index`, `edge_attr`, `e_id`, `node_mask`, `edge_mask`, `target`,
    `seed_mask`, or of `SPARSE_X`; `key` is the node type or edge type key it belongs to (the seed type for `seed_mask`,
    its own name for `target`); `name` is the attribute of that type, for `x`, `edge_attr` and `SPARSE_X`.
    """

    kind: str
    key: str
    shape: Tuple[int, ...]
    dtype: str
    name: str = ""

    @property
    def place(self) -> Tuple[str, str, str]:
        """What tells it from the other inputs of a model."""
        return self.kind, self.key, self.name


EXTRA_INPUTS = ("n_id", "age", "edge_attr", "node_mask", "edge_mask")

# Those that are of an edge type, and of the seeds; the others are of a node type.
EDGE_INPUTS = ("edge_index", "edge_attr", "e_id", "edge_mask")
SEED_INPUTS = ("target", "seed_mask", "seed_n_id", "seed_row", "seed_time")

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

    Always: per node type an `x` for each attribute (or `n_id` when it has none), per edge type `edge_index`, then each
    `target` and `seed_mask`. `extras` asks for more, for every type that has them: any of `EXTRA_INPUTS`.

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
        elif not features_by_id:
            inputs += [InputSpec("x", node.name, (rows, of.width), of.dtype, of.name) for of in node.attributes]
        if not node.attributes or features_by_id or "n_id" in wanted:
            inputs.append(InputSpec("n_id", node.name, (rows,), "int32"))
        if "age" in wanted and node.has_age:
            inputs.append(InputSpec("age", node.name, (rows,), "float32"))
        if "node_mask" in wanted:
            inputs.append(InputSpec("node_mask", node.name, (rows,), "bool"))
    for edge in graph.edge_types:
        columns = budget.num_edges[edge.key]
        inputs.append(InputSpec("edge_index", edge.key, (2, columns), "int32"))
        if "edge_attr" in wanted and edge.attributes:
            of_edges = [
                InputSpec("edge_attr", edge.key, (columns, of.width), of.dtype, of.name) for of in edge.attributes
            ]
            inputs += [InputSpec("e_id", edge.key, (columns,), "int32")] if features_by_id else of_edges
        if "edge_mask" in wanted:
            inputs.append(InputSpec("edge_mask", edge.key, (columns,), "bool"))
    seeds = (budget.max_seeds,)
    inputs += [InputSpec("target", target.name, seeds + target.shape, target.dtype) for target in graph.task.targets]
    inputs.append(InputSpec("seed_mask", graph.seed_type, seeds, "bool"))
    return inputs


def usual_inputs(graph: GraphSchema, budget: Budget) -> List[InputSpec]:
    """Those that a built-in model takes as it is by default, dense: what is meant before there is a model."""
    return model_inputs(graph, budget, ("edge_attr",))


def sparse_inputs(node: NodeTypeSchema, rows: int, entries: int) -> List[InputSpec]:
    """Those of `SPARSE_X`, in that order, of a type whose features are plain."""
    starts, columns, values = SPARSE_X
    plain = node.plain
    assert plain
    return [
        InputSpec(starts, node.name, (rows + 1,), "int32", plain.name),
        InputSpec(columns, node.name, (entries,), "int32", plain.name),
        InputSpec(values, node.name, (entries,), plain.dtype, plain.name),
    ]


def device_bytes(inputs: Iterable[InputSpec]) -> Dict[Tuple[str, str], int]:
    """Bytes of one batch of these inputs, as a device receives it: what a budget costs.

    By ("nodes", node type), ("edges", edge type key) and ("seeds", ""). Whoever names such bytes before there is a
    model (plan, inspect, the choice of shapes) means those of `usual_inputs`.
    """
    found: Dict[Tuple[str, str], int] = {}
    for spec in inputs:
        is_seeds, is_edges = spec.kind in SEED_INPUTS, spec.kind in EDGE_INPUTS
        place = ("seeds", "") if is_seeds else ("edges" if is_edges else "nodes", spec.key)
        found[place] = found.get(place, 0) + ITEM_BYTES[spec.dtype] * math.prod(spec.shape)
    return found


def bytes_to_device(inputs: Iterable[InputSpec]) -> int:
    """The sum of `device_bytes`."""
    return sum(device_bytes(inputs).values())


def shape_signature(inputs: Iterable[InputSpec]) -> str:
    """A short digest of names, order, shapes and dtypes: what a compiled model was compiled for."""
    text = json.dumps([list(spec) for spec in inputs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
