"""Weights of a run on another store than they were trained on: what must agree, and what may differ and is told.

A model knows types, widths of features and classes; it does not know how many nodes there are, how neighbors were
drawn, how large a batch is or how it was written. So other fanouts, another budget and tomorrow's graph are welcome.
What it learned for single nodes (vectors of types without features, or anything that it looks up by `n_id`) is theirs
only where both stores number the same nodes alike.
"""

from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence

from heteroshards.schemas.base import validate
from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import CheckpointError
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema
from heteroshards.schemas.manifest import NUMBERING, Unreached
from heteroshards.schemas.targets import ClassTarget, TargetSpec
from heteroshards.trainer.reading.store import Store, changed_keys

FACTS = {"path", "fingerprint", "graph", "config", "source", "pad_value"}
DEFAULT_NAMES = ("x", "edge_attr")  # of attributes that nobody had to name
SECTIONS = ("dataset", "task", "sampling", "budget", "store")


def facts_of(store: Store) -> Dict[str, Any]:
    """What a checkpoint keeps of the store it was trained on, as plain values."""
    manifest = store.manifest
    return {
        "path": store.path,
        "fingerprint": store.fingerprint,
        "graph": manifest.graph.model_dump(mode="json"),
        "unreached": manifest.unreached.model_dump(mode="json"),
        "config": manifest.config,
        "source": manifest.source,
        "pad_value": manifest.pad_value,
    }


def graph_of(facts: Mapping[str, Any]) -> GraphSchema:
    """The schema of the store that `facts_of` describes."""
    return validate(GraphSchema, facts["graph"], CheckpointError, "the checkpoint's graph")


def model_graph(facts: Mapping[str, Any], graph: GraphSchema) -> GraphSchema:
    """Of a store's schema, which has the types of the store that `facts_of` describes, those that a model that was
    trained there knows, in its order."""
    left = validate(Unreached, facts.get("unreached", {}), CheckpointError, "the checkpoint's graph")
    before = graph_of(facts)
    known = with_codes_of(ordered_as(graph, before), before).without(left.nodes, left.edges)
    return known.model_copy(update={"task": before.task})  # answers are in the units that were learned


def ordered_as(graph: GraphSchema, other: GraphSchema) -> GraphSchema:
    """`graph` with its types in the order of `other`, which has the same: the order in which a model builds its parts.

    Types that `other` lacks come last.
    """
    names = {name: i for i, name in enumerate(other.node_names)}
    keys = {key: i for i, key in enumerate(other.edge_keys)}
    nodes = sorted(graph.node_types, key=lambda node: names.get(node.name, len(names)))
    edges = sorted(graph.edge_types, key=lambda edge: keys.get(edge.key, len(keys)))
    return graph.model_copy(update={"node_types": tuple(nodes), "edge_types": tuple(edges)})


def with_codes_of(graph: GraphSchema, other: GraphSchema) -> GraphSchema:
    """`graph` with as many codes as `other`, which may have more, has of the same attributes."""
    every = (*other.node_types, *other.edge_types)
    known = {(_name(of), it.name): it.cardinalities for of in every for it in of.attributes}

    def updated(of: Any) -> Any:
        attributes = [
            it.model_copy(update={"cardinalities": known.get((_name(of), it.name), it.cardinalities)})
            for it in of.attributes
        ]
        return of.model_copy(update={"attributes": tuple(attributes)})

    nodes, edges = (tuple(map(updated, types)) for types in (graph.node_types, graph.edge_types))
    return graph.model_copy(update={"node_types": nodes, "edge_types": edges})


def require_usable(facts: Mapping[str, Any], store: Store, config: ModelConfig, where: str) -> None:
    """Raise CheckpointError, naming everything that is in the way, unless the weights fit the store."""
    before, now = graph_of(facts), store.manifest.graph
    reasons = [
        *_targets(facts, before, store),
        *_types("node type", {n.name: n for n in before.node_types}, {n.name: n for n in now.node_types}),
        *_types("edge type", {e.key: e for e in before.edge_types}, {e.key: e for e in now.edge_types}),
    ]
    if not reasons and config.featureless == "embedding":
        bare = [node.name for node in model_graph(facts, now).node_types if not node.attributes]
        reasons = [
            f"node type '{name}' has no features, its learned vectors belong to nodes by number, and {why}"
            for name, why in _renumbered(facts, store, bare).items()
        ]
        if reasons:
            hint = (
                "Train with features for it, or with [model] featureless = 'constant', to use weights on other graphs."
            )
            raise _unusable(reasons, store, where, hint)
    if reasons:
        raise _unusable(reasons, store, where, "Prepare a store with the same types, features and classes.")


def require_numbering(facts: Mapping[str, Any], store: Store, where: str) -> None:
    """Raise CheckpointError unless every node has the number that it had: for models that take `n_id`."""
    reasons = [
        f"the model looks nodes up by number (extra_inputs has n_id), and {why} (node type '{name}')"
        for name, why in _renumbered(facts, store, model_graph(facts, store.manifest.graph).node_names).items()
    ]
    if reasons:
        raise _unusable(reasons, store, where, "Use a store of the same graph.")


def differences(facts: Mapping[str, Any], store: Store) -> List[str]:
    """What differs between the store of the weights and this one, and does not keep them from being used."""
    before, manifest = graph_of(facts), store.manifest
    found = []
    for kind, size, old, new in (
        ("node type", "num_nodes", before.node_types, manifest.graph.node_types),
        ("edge type", "num_edges", before.edge_types, manifest.graph.edge_types),
    ):
        known: Dict[str, Any] = {_name(of): of for of in old}
        for of in new:
            earlier, present = (_sizes(it, size) for it in (known.get(_name(of)), of))
            where = f"{kind} '{_name(of)}'"
            changed = {key: value for key, value in present.items() if earlier.get(key) != value}
            found += [f"{where}, {key}: {earlier.get(key)} -> {value}" for key, value in changed.items()]
    found += _reached_differences(model_graph(facts, manifest.graph), manifest.reached)
    for section in SECTIONS:
        old_values, new_values = facts["config"].get(section, {}), manifest.config.get(section, {})
        found += changed_keys(old_values, new_values, f"{section}.")
    if facts["source"].get("content_sha256") != manifest.source.get("content_sha256"):
        found.append("the graph, or which nodes are seeds: it has another content")
    return found


def _sizes(of: Any, size: str) -> Dict[str, Any]:
    """What may differ of a type between two stores: how many there are, and what its attributes are stored as."""
    if of is None:
        return {}
    return {size: getattr(of, size), **{f"dtype of {it.name}": it.dtype for it in of.attributes}}


def _reached_differences(known: GraphSchema, present: GraphSchema) -> List[str]:
    """Types that only one of a model and a store's batches has."""
    found = []
    for kind, of_model, of_batches in (
        ("node type", known.node_names, present.node_names),
        ("edge type", known.edge_keys, present.edge_keys),
    ):
        found += [f"{kind} '{name}': in no batch here" for name in of_model if name not in of_batches]
        new = [name for name in of_batches if name not in of_model]
        found += [f"{kind} '{name}': left out, because training had none and the weights know nothing" for name in new]
    return found


def _targets(facts: Mapping[str, Any], before: GraphSchema, store: Store) -> List[str]:
    now, reasons = store.manifest.graph, []
    if before.seed_type != now.seed_type:
        reasons.append(f"seed type: '{before.seed_type}' -> '{now.seed_type}'")
    old, new = ({target.name: target for target in of.task.targets} for of in (before, now))
    if list(old) != list(new):
        reasons.append(f"label: {_quoted(old)} -> {_quoted(new)}, which may mean other things, or be in another order")
    for name in (name for name in old if name in new):
        reasons += _other_target(old[name], new[name])
    return reasons


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _other_target(old: TargetSpec, new: TargetSpec) -> List[str]:
    """Why what was learned of one target is no answer to another of the same name."""
    if old.kind != new.kind:
        return [f"target '{old.name}': {old.kind} -> {new.kind}"]
    if old.columns == new.columns and old.shape == new.shape:
        return []
    more = "; [dataset] num_classes prepares a store with as many" if new.columns < old.columns else ""
    things = "classes" if isinstance(old, ClassTarget) else "columns"
    return [f"{things}: {old.columns} -> {new.columns}{more}"]


def _types(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> List[str]:
    """Types that one side lacks, and attributes that the weights do not fit."""
    reasons = [f"{kind} '{name}' is missing" for name in before if name not in now]
    reasons += [f"{kind} '{name}' is new: the weights know nothing of it" for name in now if name not in before]
    for name in before:
        if name in now and _words(before[name]) != _words(now[name]):
            reasons.append(f"{kind} '{name}' has {_words(now[name])}, not {_words(before[name])}")
        elif name in now:
            reasons += [f"{kind} '{name}' has {text}" for text in _new_codes(before[name], now[name])]
    return reasons


def _new_codes(before: Any, now: Any) -> Iterator[str]:
    """Codes of attributes of both that the weights know nothing of."""
    for old, new in zip(before.attributes, now.attributes):
        if any(more > known for known, more in zip(old.cardinalities, new.cardinalities)):
            yield f"{list(new.cardinalities)} values of {new.name}, where weights know {list(old.cardinalities)}"


def _name(of: Any) -> str:
    return of.key if isinstance(of, EdgeTypeSchema) else of.name


def _words(of: Any) -> str:
    return _attribute_words(of) + (" and ages" if getattr(of, "has_age", False) else "")


def _attribute_words(of: Any) -> str:
    """Its attributes, but for what may differ."""
    if of.plain:
        return f"{of.plain.width} features" + (f" ({of.plain.name})" if of.plain.name not in DEFAULT_NAMES else "")
    each = [f"{it.name} ({it.width} {'codes' if it.is_codes else 'numbers'})" for it in of.attributes]
    return ", ".join(each) or "no features"


def _renumbered(facts: Mapping[str, Any], store: Store, names: Sequence[str]) -> Dict[str, str]:
    """Of these node types, those that may be numbered otherwise than in the store of the weights, and why."""
    before, now = facts["source"].get(NUMBERING) or {}, store.manifest.source.get(NUMBERING) or {}
    found = {}
    for name in names:
        if not before.get(name) or not now.get(name):
            found[name] = "the stores do not say how nodes are numbered"
        elif before[name] != now[name]:
            found[name] = "here they are others: the type's nodes or the edges at them differ"
    return found


def _unusable(reasons: Sequence[str], store: Store, where: str, hint: str) -> CheckpointError:
    what = f"the weights cannot be used on {store.path}: {'; '.join(reasons)}"
    return CheckpointError(what, where=where, hint=hint)
