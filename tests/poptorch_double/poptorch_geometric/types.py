"""PyG's data objects as arguments: `Data` by sorted keys, `HeteroData` in insertion order (24)."""
# ruff: noqa: N802

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from poptorch import ICustomArgParser, registerCustomArgParser
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.data import BaseData


class PyGArgsParser(ICustomArgParser):
    """Every tensor of an object is an input; its python values are those of the compile call (25)."""

    def yieldTensors(self, struct: Any) -> Iterator[Tensor]:
        for store, key in _places(struct):
            yield store[key]

    def reconstruct(self, original_structure: Any, tensor_iterator: Iterator[Tensor]) -> Any:
        twin = copy.copy(original_structure)
        for store, key in _places(twin):
            store[key] = next(tensor_iterator)
        return twin


def _places(struct: Any) -> list[tuple[Any, str]]:
    if isinstance(struct, HeteroData):
        stores = [struct._global_store, *struct.node_stores, *struct.edge_stores]
        keys = [(store, key) for store in stores for key in store.keys()]  # noqa: SIM118
    else:
        names = struct.keys() if callable(struct.keys) else struct.keys
        keys = [(struct, key) for key in sorted(names)]
    return [(store, key) for store, key in keys if isinstance(store[key], Tensor)]


registerCustomArgParser(BaseData, PyGArgsParser())
