"""What the three built-in models share: which relations each layer needs, and the walk through the layers."""

import re
from types import MappingProxyType
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from torch import Tensor, nn
from torch_geometric.nn import Linear

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.schemas.graph import EdgeTypeTuple, GraphSchema
from heteroshards.trainer.models.encoders.ages import AgeEncoder, with_ages
from heteroshards.trainer.models.sparse import Features, apply_linear
from heteroshards.trainer.models.trimming import LayerTrimmer

_ORDINARY = re.compile("[A-Za-z](_?[A-Za-z0-9])*(?<=[A-Za-z])")
_RESERVED = (set(dir(nn.ModuleDict())) | set(dir(nn.ParameterDict()))) - {"to"}  # attributes of torch's containers


class LayerPlan(NamedTuple):
    """Types a layer reads, relations it passes messages over, and types it computes, in schema order.

    Attributes:
        edge_widths: of the relations whose edges have features, how many.
    """

    inputs: Tuple[str, ...]
    relations: Tuple[EdgeTypeTuple, ...]
    outputs: Tuple[str, ...]
    edge_widths: Mapping[EdgeTypeTuple, int] = MappingProxyType({})

    @property
    def destinations(self) -> Set[str]:
        return {dst for _, _, dst in self.relations}


def edge_widths(graph: GraphSchema, config: ModelConfig) -> Dict[EdgeTypeTuple, int]:
    """Of the edge types whose features a model is to use, how wide they come."""
    if config.edge_features == "never":
        return {}
    featured = [edge for edge in graph.edge_types if edge.attributes]
    return {edge.type: edge.plain.width if edge.plain else config.hidden_channels for edge in featured}


def plan_layers(
    graph: GraphSchema, num_layers: int, widths: Mapping[EdgeTypeTuple, int] = MappingProxyType({})
) -> List[LayerPlan]:
    """Walk back from the seed type, so that no layer computes what never reaches the seed nodes.

    With movie <-> actor and two layers, the last layer only uses actor -> movie, the first one both relations.
    `widths`: see `edge_widths`.
    """
    plans: List[LayerPlan] = []
    needed = {graph.seed_type}
    for _ in range(num_layers):
        relations = tuple(edge.type for edge in graph.edge_types if edge.dst in needed)
        inputs = needed | {src for src, _, _ in relations}
        featured = {of: widths[of] for of in relations if of in widths}
        plans.append(LayerPlan(_ordered(graph, inputs), relations, _ordered(graph, needed), featured))
        needed = inputs
    return plans[::-1]


def _ordered(graph: GraphSchema, names: Set[str]) -> Tuple[str, ...]:
    return tuple(name for name in graph.node_names if name in names)


def with_safe_names(graph: GraphSchema) -> GraphSchema:
    """The same graph under names that torch's containers and PyG's `to_hetero` take.

    Ordinary names stay as they are. Of others ("written-by", "items", "movie1") only letters and digits stay, and an
    x follows: a final digit can clash with the variables that `to_hetero` numbers, and PyG splits keys at "___".
    """
    nodes = _safe([node.name for node in graph.node_types])
    relations = _safe([edge.relation for edge in graph.edge_types])
    return GraphSchema(
        node_types=tuple(node.model_copy(update={"name": nodes[node.name]}) for node in graph.node_types),
        edge_types=tuple(
            edge.model_copy(
                update={"src": nodes[edge.src], "relation": relations[edge.relation], "dst": nodes[edge.dst]}
            )
            for edge in graph.edge_types
        ),
        task=graph.task.model_copy(update={"seed_type": nodes[graph.seed_type]}),
    )


def _safe(names: Sequence[str]) -> Dict[str, str]:
    aliases = {name: name for name in names if _ORDINARY.fullmatch(name) and name not in _RESERVED}
    for name in sorted(set(names) - set(aliases)):
        words = re.findall("[A-Za-z0-9]+", name)
        alias = "_".join(["type"] * (not words or words[0][0].isdigit()) + words + ["x"])
        while alias in aliases.values():
            alias += "x"
        aliases[name] = alias
    return aliases


def group_by_destination(convs: Iterable[Tuple[EdgeTypeTuple, nn.Module]]) -> Dict[str, List[nn.Module]]:
    """The convolutions into each type, in the order given."""
    into: Dict[str, List[nn.Module]] = {}
    for (_, _, dst), conv in convs:
        into.setdefault(dst, []).append(conv)
    return into


def head_channels(config: ModelConfig) -> int:
    """Width of one attention head.

    Raises:
        ModelError: `hidden_channels` is not a multiple of `heads`.
    """
    if config.hidden_channels % config.heads:
        raise ModelError(
            "hidden_channels must be a multiple of heads",
            actual=f"hidden_channels = {config.hidden_channels} and heads = {config.heads}",
            where=f"[model] name = '{config.name}'",
        )
    return config.hidden_channels // config.heads


class HeteroStack(nn.Module):
    """Layers after one another, dropout after each, and a linear head on the seed type.

    Args:
        make_layer: builds one layer; its `forward(x_dict, own_dict, edge_index_dict, edge_attr_dict)` takes the
            sources' features of `plan.inputs`, the destinations' own features of `plan.outputs` (the first rows of the
            same), edges from the former into the latter, and features of the edges in `plan.edge_widths`. It returns
            `plan.outputs`, activated, `[rows of own, hidden_channels]`. Names are those of `with_safe_names`.
        encode: bring every type to `hidden_channels` with a linear layer and a ReLU first.

    Attributes:
        trimmed_layers, sparse_features, extra_inputs: see `trainer.models`.
    """

    sparse_features = True

    def __init__(
        self,
        graph: GraphSchema,
        config: ModelConfig,
        make_layer: Callable[[LayerPlan, ModelConfig], nn.Module],
        encode: bool = False,
    ) -> None:
        super().__init__()
        safe = with_safe_names(graph)
        plans = plan_layers(safe, config.num_layers, edge_widths(safe, config))
        has_edges, has_ages = any(plan.edge_widths for plan in plans), any(node.has_age for node in graph.node_types)
        self.extra_inputs = ("edge_attr",) * has_edges + ("age",) * has_ages
        self.trimmed_layers = len(plans)
        self._plans = plans
        self._node_names = dict(zip(safe.node_names, graph.node_names))
        self._edge_types = {new.type: old.type for old, new in zip(graph.edge_types, safe.edge_types)}
        self._seed_type = safe.seed_type
        width = config.hidden_channels
        self.encoder = nn.ModuleDict({name: Linear(-1, width) for name in plans[0].inputs} if encode else {})
        self.layers = nn.ModuleList(make_layer(plan, config) for plan in plans)
        self.dropout = nn.Dropout(config.dropout)
        self.ages = AgeEncoder()
        self.head = Linear(width, graph.task.columns)

    def forward(
        self,
        x_dict: Dict[str, Features],
        edge_index_dict: Dict[EdgeTypeTuple, Tensor],
        trimmer: Optional[LayerTrimmer] = None,
        edge_attr_dict: Optional[Mapping[EdgeTypeTuple, Tensor]] = None,
        age_dict: Optional[Mapping[str, Tensor]] = None,
    ) -> Tensor:
        """`[rows, graph.task.columns]`, of all rows of the seed type, or with a `trimmer` of those that it keeps."""
        x_dict = with_ages(self.ages, x_dict, age_dict or {})
        hidden = {name: x_dict[self._node_names[name]] for name in self._plans[0].inputs}
        for name, linear in self.encoder.items():
            hidden[name] = apply_linear(linear, hidden[name]).relu()
        for i, (layer, plan) in enumerate(zip(self.layers, self._plans)):
            hops = len(self._plans) - i
            own = self._nodes(trimmer, hops - 1, plan.outputs, hidden)
            hidden = self._nodes(trimmer, hops, plan.inputs, hidden)
            edges = self._edges(trimmer, hops, plan.relations, edge_index_dict)
            of_edges = self._edge_features(trimmer, hops, plan, edge_attr_dict or {})
            hidden = {name: self.dropout(x) for name, x in layer(hidden, own, edges, of_edges).items()}
        return self.head(hidden[self._seed_type])

    def scale_initial_weights(self) -> None:
        """Once all parameters have their shapes, before training: see `trainer.models.scale`."""
        for layer in self.layers:
            scale = getattr(layer, "scale_initial_weights", None)  # hgt sums up nothing
            if scale is not None:
                scale()

    def _nodes(
        self, trimmer: Optional[LayerTrimmer], hops: int, names: Sequence[str], hidden: Mapping[str, Features]
    ) -> Dict[str, Features]:
        if trimmer is None:
            return {name: hidden[name] for name in names}
        return {name: hidden[name][: trimmer.rows(self._node_names[name], hops)] for name in names}

    def _edges(
        self,
        trimmer: Optional[LayerTrimmer],
        hops: int,
        relations: Sequence[EdgeTypeTuple],
        edge_index_dict: Mapping[EdgeTypeTuple, Tensor],
    ) -> Dict[EdgeTypeTuple, Tensor]:
        """Edges from the rows for `hops` into the rows for `hops - 1`."""
        edges = {}
        for name in relations:
            edge_type = self._edge_types[name]
            index = edge_index_dict[edge_type]
            edges[name] = index if trimmer is None else trimmer.ends(edge_type, index, hops, hops - 1)
        return edges

    def _edge_features(
        self,
        trimmer: Optional[LayerTrimmer],
        hops: int,
        plan: LayerPlan,
        edge_attr_dict: Mapping[EdgeTypeTuple, Tensor],
    ) -> Dict[EdgeTypeTuple, Tensor]:
        """`[columns, width]`, of the same edges as `_edges`."""
        features = {}
        for name in plan.edge_widths:
            edge_type = self._edge_types[name]
            values = edge_attr_dict[edge_type]
            features[name] = values if trimmer is None else values[: trimmer.columns(edge_type, hops)]
        return features
