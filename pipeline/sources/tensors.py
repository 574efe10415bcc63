"""What is read of a `HeteroData`, as plain tensors: dense, in the host's memory, without gradients, shapes checked."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from heteroshards.pipeline.sources.attributes import Attributes
from heteroshards.pipeline.sources.dense import as_torch_sparse, to_dense
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import GraphError
from heteroshards.schemas.graph import type_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

MAX_NODES = MAX_COLUMNS = 2**31 - 1
INTEGERS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")


def plain_copy(data: HeteroData, config: DatasetConfig, targets: Iterable[str], attributes: Attributes) -> HeteroData:
    """Sizes, `attributes` and edges of `data`, and what its seed type has as `targets`, all checked but for values.

    Labels and masks of one column become vectors. Nothing else is read, so nothing else can be wrong. Tensors on a GPU
    and sparse ones are copied, others shared.

    Raises:
        GraphError: one of them is no tensor, holds no data or has another shape than it must; the number of nodes of
            a type is unknown or does not fit 32 bits; an edge type has no `edge_index` or names an unknown node type.
    """
    plain = empty_copy(data)
    for name in data.node_types:
        store, where = data[name], f"node type '{name}'"
        for key in attributes[name]:
            plain[name][key] = _matrix(store[key], key, where, may_be_flat=name in config.attributes)
        plain[name].num_nodes = num_nodes = _num_nodes(data, name)
        for key in attributes[name]:
            _require_rows(plain[name][key], num_nodes, key, "nodes", where)
    for key in targets:
        where = f"node type '{config.seed_type}'"
        plain[config.seed_type][key] = plain_column(data[config.seed_type][key], f"'{key}'", where)
    for edge_type in data.edge_types:
        store, where = data[edge_type], f"edge type {edge_type}"
        plain[edge_type].edge_index = edges = _edge_index(store, where)
        for row, end in zip(edges, (edge_type[0], edge_type[2]), strict=True):
            _require_range(row, end, plain, where)
        for key in attributes[type_name(edge_type)]:
            plain[edge_type][key] = _matrix(store[key], key, where, may_be_flat=True)
            _require_rows(plain[edge_type][key], edges.size(1), key, "edges", where)
    return plain


def empty_copy(data: HeteroData) -> HeteroData:
    """The types of `data`, in their order."""
    from torch_geometric.data import HeteroData

    plain = HeteroData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG warns of "__" in names; where that is ambiguous, it is an error of ours
        for name in [*data.node_types, *data.edge_types]:
            plain[name].clear()
    return plain


def plain_tensor(value: Any, what: str, where: str) -> Tensor:
    """`value` as a dense tensor on the CPU, or a `GraphError` that says what it is instead."""
    import torch

    value = as_torch_sparse(value, what, where)
    if not isinstance(value, torch.Tensor):
        is_array = isinstance(value, np.ndarray) and value.dtype != object
        hint = "Use torch.from_numpy." if is_array else "Make it a tensor of numbers."
        raise GraphError(f"{what} is no tensor", actual=type(value).__name__, where=where, hint=hint)
    if value.is_meta:
        raise GraphError(f"{what} holds no data", actual="a tensor on the meta device", where=where, hint="Load it.")
    for form, is_so, hint in (
        ("quantized", value.is_quantized, "Use dequantize()."),
        ("nested", value.is_nested, "Pad it to one tensor."),
    ):
        if is_so:
            raise GraphError(f"{what} is a {form} tensor", limit="a plain one", where=where, hint=hint)
    value = value.detach()
    if value.layout != torch.strided:
        value = to_dense(value, what, where)
    return value.cpu().resolve_conj().resolve_neg()


def plain_column(value: Any, what: str, where: str) -> Tensor:
    """As `plain_tensor`; a matrix of one column is a vector."""
    values = plain_tensor(value, what, where)
    return values.squeeze(1) if values.dim() == 2 and values.size(1) == 1 else values


def _num_nodes(data: HeteroData, name: str) -> int:
    """The number of nodes that a type says it has, or that its features have rows, or that PyG sees elsewhere."""
    import torch

    store, where = data[name], f"node type '{name}'"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG warns where it guesses from edges; that guess is refused
        count = store.num_nodes if len(store) else None
    if count is None:
        hint = f"Set data['{name}'].num_nodes."
        raise GraphError("the number of nodes is unknown", where=where, hint=hint)
    if isinstance(count, torch.Tensor) and count.dim() == 0 and str(count.dtype) in INTEGERS and not count.is_meta:
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
        raise GraphError("num_nodes is no number of nodes", actual=repr(count), limit="an integer >= 0", where=where)
    if count > MAX_NODES:
        hint = "Divide the type into several, or leave nodes out that no seed reaches."
        limit = f"at most {MAX_NODES}"
        raise GraphError("node ids do not fit 32 bits", actual=int(count), limit=limit, where=where, hint=hint)
    return int(count)


def _matrix(value: Any, what: str, where: str, may_be_flat: bool = False) -> Tensor:
    """Real numbers [rows, features], at least one feature; [rows] is [rows, 1] where that is unmistakable.

    It is for edges, where it is what weights look like, and for what is listed in [dataset] attributes. A flat `x` that
    nobody spoke of may as well be ids or classes, which are no numbers to compute with.
    """
    values = plain_tensor(value, what, where)
    if may_be_flat and values.dim() == 1:
        values = values.unsqueeze(1)
    if values.dim() != 2 or values.size(1) == 0:
        hint = f"Reshape {what} to [rows, features], or leave it out."
        if values.dim() == 1:
            hint = f"Reshape {what} to [rows, features]: view(-1, 1) if it is one number per node, one_hot() if ids."
        raise GraphError(f"{what} must be a matrix", actual=f"shape {list(values.shape)}", where=where, hint=hint)
    if values.is_complex():
        hint = "Use torch.view_as_real and flatten its last two dimensions."
        raise GraphError(f"{what} must be real numbers", actual=values.dtype, where=where, hint=hint)
    if values.size(1) > MAX_COLUMNS:
        limit = f"at most {MAX_COLUMNS}"
        raise GraphError(f"{what} has too many columns", actual=values.size(1), limit=limit, where=where)
    return values


def _require_rows(values: Tensor, num: int, what: str, things: str, where: str) -> None:
    if len(values) != num:
        raise GraphError(
            f"{what} has another number of rows than there are {things}",
            actual=len(values),
            limit=num,
            where=where,
            hint=f"Every one of the {things} needs one row of {what}, in their order.",
        )


def _edge_index(store: Any, where: str) -> Tensor:
    if store.get("edge_index") is None:
        hint = "Set it to integers [2, edges]: row 0 sources, row 1 targets."
        if "adj_t" in store:
            hint = (
                "adj_t is not read; convert it: "
                "target, source = adj_t.to_sparse_coo().indices(); edge_index = torch.stack([source, target])."
            )
        raise GraphError("has no edge_index", where=where, hint=hint)
    index = plain_tensor(store.edge_index, "edge_index", where)
    if index.dim() == 2 and index.size(0) == 2 and str(index.dtype) in INTEGERS:
        return index
    is_transposed = index.dim() == 2 and index.size(1) == 2
    raise GraphError(
        "edge_index is malformed",
        actual=f"{index.dtype} {tuple(index.shape)}",
        limit="integers [2, edges]",
        where=where,
        hint="Transpose it: edge_index.t()." if is_transposed else "Use long() where ids are of another type.",
    )


def _require_range(ids: Tensor, end: str, plain: HeteroData, where: str) -> None:
    if end not in plain.node_types:
        hint = f"Set data['{end}'].x or data['{end}'].num_nodes."
        raise GraphError(f"names the node type '{end}', which the graph does not have", where=where, hint=hint)
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
    num_nodes = plain[end].num_nodes
    if low < 0 or high >= num_nodes:
        raise GraphError(
            f"edge_index names a node of type '{end}' that does not exist",
            actual=low if low < 0 else high,
            limit=f"0 to {num_nodes - 1}" if num_nodes else "no edges, as there are no nodes",
            where=where,
            hint=f"Node ids count from 0 within each type; set data['{end}'].num_nodes where nodes lie past its x.",
        )
