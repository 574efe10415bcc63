"""In which form node features reach a model: dense, as ids of tables beside it, or as sparse rows."""

import math
from typing import Dict, Iterable, List, Optional, Sequence

import torch
from torch import nn

from heteroshards.schemas import layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import TrainConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.graph import GraphSchema, NodeTypeSchema
from heteroshards.schemas.tensors import table_bytes
from heteroshards.trainer.backends import Backend
from heteroshards.trainer.models.contract import Declared
from heteroshards.trainer.models.resident import ResidentFeatures
from heteroshards.trainer.reading.store import Store

# Sparse products cost about as much per entry as ten of a dense matrix, and rows are gathered by entry, too.
SPARSE_SHARE = 1 / 16


def resident_features(
    store: Store, graph: GraphSchema, train: TrainConfig, backend: Backend, with_edges: bool
) -> Optional[ResidentFeatures]:
    """Feature tables of the types in `graph` as a part of the model, where `[train] device_features` and the backend
    want it.

    Raises:
        ConfigError: they shall be, and cannot.
    """
    choice = train.device_features
    where = "[train] device_features = 'always'"
    if choice == "always" and backend.host_gathers:
        what, hint = backend.host_gathers
        raise ConfigError(what, where=where, hint=hint)
    if choice == "always":
        _require_tables(store, where)
    is_small = store.manifest.features == "table" and table_bytes(graph) <= backend.room_for_features()
    if choice == "never" or (choice == "auto" and not is_small):
        return None
    return ResidentFeatures(
        graph, lambda path: torch.from_numpy(store.read_table(path, train.check_chunks)), with_edges
    )


def sparse_features(
    store: Store, graph: GraphSchema, train: TrainConfig, backend: Backend, model: nn.Module
) -> List[str]:
    """Node types of `graph` that come as sparse rows.

    Raises:
        ConfigError: `[train] sparse_features` is 'always', and cannot be.
    """
    choice, where = train.sparse_features, "[train] sparse_features = 'always'"
    is_taken = Declared.by(model).sparse_features
    if choice == "always":
        _require_tables(store, where)
        _require_plain(graph, where)
        if train.device_features == "always":
            raise ConfigError("'device_features' and 'sparse_features' cannot both be 'always'", where="[train]")
        if not backend.takes_sparse_features:
            hint = "Use 'auto'. Backends 'eager' and 'inductor' take them."
            raise ConfigError("the backend takes no sparse features", actual=backend.name, where=where, hint=hint)
        if not is_taken:
            hint = "Give it an attribute sparse_features = True (see docs/own-model.md), or use 'auto'."
            raise ConfigError("the model takes no sparse features", actual=type(model).__name__, where=where, hint=hint)
    is_possible = backend.takes_sparse_features and is_taken and store.manifest.features == "table"
    if choice == "never" or train.device_features == "always" or not is_possible:
        return []
    return sparse_types(store, graph, train.check_chunks, every=choice == "always")


def sparse_types(store: Store, graph: GraphSchema, check_chunks: bool, every: bool = False) -> List[str]:
    """As `sparse_features`, of a store with feature tables: types that are mostly zeros, or `every` one.

    Not those with ages, which stand beside the features.
    """
    paths = _plain_paths(node for node in graph.node_types if not node.has_age)
    return [name for name, path in paths.items() if every or _is_sparse(store, path, check_chunks)]


def sparse_entries(store: Store, types: Sequence[str], budget: Budget, check_chunks: bool) -> Dict[str, int]:
    """Room that every batch of a shape has for the entries of sparse types: for those of its fullest nodes."""
    paths = _plain_paths(store.manifest.graph.node(name) for name in types)
    tables = {name: store.sparse_table(path, check_chunks) for name, path in paths.items()}
    may_repeat = store.manifest.sampling.is_disjoint  # a node may be in the tree of every seed
    rows = {name: budget.num_nodes[name] - 1 for name in tables}  # the last one is a pad
    return {name: table.most(rows[name], may_repeat) for name, table in tables.items()}


def _plain_paths(nodes: Iterable[NodeTypeSchema]) -> Dict[str, str]:
    """Where the tables of those types lie whose features are one matrix of numbers."""
    return {node.name: layout.feature_path(node.name, node.plain.name) for node in nodes if node.plain}


def _is_sparse(store: Store, path: str, check_chunks: bool) -> bool:
    num_entries = math.prod(store.spec(path).shape)
    return num_entries > 0 and store.count_nonzero(path, check_chunks) <= SPARSE_SHARE * num_entries


def _require_plain(graph: GraphSchema, where: str) -> None:
    encoded = [node.name for node in graph.node_types if node.is_encoded]
    if encoded:
        what, hint = "a type with several attributes, or codes, has no sparse features", "Use 'auto': the others may."
        raise ConfigError(what, actual=f"node type '{encoded[0]}'", where=where, hint=hint)


def _require_tables(store: Store, where: str) -> None:
    if store.manifest.features != "table":
        hint = "Prepare it with [store] features = 'table', or use 'auto'."
        raise ConfigError(f"{store.path} has its features inline", where=where, hint=hint)
