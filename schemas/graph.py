"""The schema of a heterogeneous graph: types and sizes, no data."""

from typing import Any, Dict, Iterable, Optional, Tuple, Union

import numpy as np
from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.attributes import Attributed
from heteroshards.schemas.base import Frozen
from heteroshards.schemas.names import MAX_NAME_BYTES, check_name, repeated
from heteroshards.schemas.targets import ClassTarget
from heteroshards.schemas.task import Task

EdgeTypeTuple = Tuple[str, str, str]


def edge_key(edge_type: EdgeTypeTuple) -> str:
    """`("movie", "to", "actor")` -> `"movie__to__actor"`, PyG's own way of naming an edge type."""
    return "__".join(edge_type)


def type_name(of: Union[str, EdgeTypeTuple]) -> str:
    """The one name of a node type, which is itself, or of an edge type, which is its key."""
    return of if isinstance(of, str) else edge_key(of)


def _check_type_name(name: str) -> str:
    return check_name(name)


class NodeTypeSchema(Attributed):
    """One node type; with `has_age` batches say how old its nodes are."""

    name: str
    num_nodes: int = Field(ge=0, lt=2**31)
    has_age: bool = False

    _check_name = field_validator("name")(_check_type_name)


class EdgeTypeSchema(Attributed):
    """One edge type; messages flow from `src` to `dst`."""

    src: str
    relation: str
    dst: str
    num_edges: int = Field(ge=0, lt=2**31)

    _check_names = field_validator("src", "relation", "dst")(_check_type_name)

    @property
    def type(self) -> EdgeTypeTuple:
        return (self.src, self.relation, self.dst)

    @property
    def key(self) -> str:
        return edge_key(self.type)


class GraphSchema(Frozen):
    """Types in a fixed order (the source graph's), and what is asked of them."""

    node_types: Tuple[NodeTypeSchema, ...] = Field(min_length=1)
    edge_types: Tuple[EdgeTypeSchema, ...]
    task: Task

    @model_validator(mode="after")
    def _check_types(self) -> Any:
        names = [t.name for t in self.node_types]
        keys = [t.key for t in self.edge_types]
        for kind, values in (("node type", names), ("edge type key", keys)):
            twice = repeated(values)
            if twice is not None:
                raise ValueError(f"{kind} {twice!r} stands for more than one type")
        for edge in self.edge_types:
            if len(edge.key.encode()) > MAX_NAME_BYTES:
                raise ValueError(f"edge type key {edge.key!r} is longer than {MAX_NAME_BYTES} bytes")
            for end in (edge.src, edge.dst):
                if end not in names:
                    raise ValueError(f"edge type {edge.type} names the unknown node type {end!r}")
        if self.seed_type not in names:
            raise ValueError(f"seed type {self.seed_type!r} is not a node type; there are {names}")
        return self

    @property
    def seed_type(self) -> str:
        """The node type of which something is predicted."""
        return self.task.seed_type

    @property
    def num_classes(self) -> int:
        """How many classes the only target has; `task.columns` is what a model returns, whatever is asked.

        Raises:
            AttributeError: several targets, or one of another kind.
        """
        (target,) = self.task.targets if len(self.task.targets) == 1 else (None,)
        if not isinstance(target, ClassTarget):
            kinds = ", ".join(f"{target.name} ({target.kind})" for target in self.task.targets)
            raise AttributeError(f"num_classes is of one target that is a class, not of {kinds}; see task.columns")
        return target.num_classes

    @property
    def node_names(self) -> Tuple[str, ...]:
        return tuple(t.name for t in self.node_types)

    @property
    def edge_keys(self) -> Tuple[str, ...]:
        return tuple(t.key for t in self.edge_types)

    @property
    def metadata(self) -> Tuple[Tuple[str, ...], Tuple[EdgeTypeTuple, ...]]:
        """What `HeteroData.metadata()` gives: (node types, edge types)."""
        return self.node_names, tuple(t.type for t in self.edge_types)

    def without(self, node_names: Iterable[str], edge_keys: Iterable[str]) -> "GraphSchema":
        """The same without some types. Of a node type that goes, all edge types must go, too."""
        nodes, edges = set(node_names), set(edge_keys)
        return GraphSchema(
            node_types=tuple(node for node in self.node_types if node.name not in nodes),
            edge_types=tuple(edge for edge in self.edge_types if edge.key not in edges),
            task=self.task,
        )

    def too_narrow_for(self, value: float) -> Optional[str]:
        """The first dtype of features, of nodes or edges, that does not hold a number; None where all do."""
        found = [
            of.dtype for owner in (*self.node_types, *self.edge_types) for of in owner.attributes if not of.is_codes
        ]
        return next((dtype for dtype in found if abs(value) > float(np.finfo(dtype).max)), None)

    def node(self, name: str) -> NodeTypeSchema:
        return {t.name: t for t in self.node_types}[name]

    def edge(self, key: str) -> EdgeTypeSchema:
        return {t.key: t for t in self.edge_types}[key]

    @property
    def node_index(self) -> Dict[str, int]:
        """Position of each node type: the second axis of every per-type statistics array."""
        return {name: i for i, name in enumerate(self.node_names)}
