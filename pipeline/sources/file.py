"""A saved `HeteroData` or `Data`. A data file must not run code: see `unpickle`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heteroshards.pipeline.memory import require_memory
from heteroshards.pipeline.sources.unpickle import Array, Record, RefusedError, load_saved
from heteroshards.schemas.errors import DatasetError

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

HETERO_DATA = "torch_geometric.data.hetero_data.HeteroData"
DATA = "torch_geometric.data.data.Data"


def load_file(path: Path) -> HeteroData | Data:
    """Read what `torch.save(data, path)` or `torch.save(data.to_dict(), path)` wrote, with any version of PyG; or the
    processed file of one of its in-memory datasets of one graph.

    Objects that are neither tensors nor containers stay `Record`s; as long as they are not asked for, they are in
    nobody's way.

    Raises:
        DatasetError: the file is missing, is no such file, or holds something that is not loaded for safety.
        GraphError: it does not fit into memory.
    """
    if not path.is_file():
        raise DatasetError("the dataset file does not exist", where=str(path))
    require_memory(path.stat().st_size, "the file", str(path), "Save fewer or smaller tensors.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what it does itself
            loaded = _alone(load_saved(path))
        graph = _graph_of(loaded)
    except RefusedError as error:
        raise DatasetError(
            f"the file is not loaded, because it names {error}, which is neither a tensor nor plain data",
            where=str(path),
            hint="Remove that from the graph; or save plain tensors with torch.save(data.to_dict(), path); or use "
            "source = 'function' with a function of yours that loads it.",
        ) from error
    except Exception as error:  # a damaged file makes zipfile, torch or PyG raise anything
        text = " ".join(str(error).split())
        raise DatasetError(
            "the file cannot be read", actual=f"{type(error).__name__}: {text}", where=str(path)
        ) from error
    if graph is None:
        actual = loaded.path if isinstance(loaded, Record) else type(loaded).__name__
        limit = "a HeteroData, a Data, or the to_dict() of one"
        raise DatasetError("the file holds no graph", actual=actual, limit=limit, where=str(path))
    return graph


def _alone(loaded: Any) -> Any:
    """The graph of what PyG's in-memory datasets save: (graph, slices, class), without slices where it is one."""
    if isinstance(loaded, tuple) and len(loaded) in (2, 3) and loaded[1] is None:
        return loaded[0]
    return loaded


Stores = Mapping[Any, Mapping[str, Any]]


def _graph_of(loaded: Any) -> HeteroData | Data | None:
    """None where it is none.

    A batch of graphs is a class that PyG makes when it is needed, of `Batch` and the class of the graphs.
    """
    if isinstance(loaded, Record):
        classes = (loaded.path, *(getattr(part, "path", None) for part in loaded.args))
        if HETERO_DATA in classes:
            return _built(_stores_of_graph(loaded))
        return _built_alone(loaded.attributes["_store"].attributes["_mapping"]) if DATA in classes else None
    stores = _stores_of_dict(loaded)
    if stores is None and isinstance(loaded, dict) and "edge_index" in loaded:
        return _built_alone(loaded)
    return None if stores is None else _built(stores)


def _stores_of_graph(saved: Record) -> Stores:
    """Node type, edge type or None (of the graph itself) -> attributes."""
    held = saved.attributes
    records = {None: held["_global_store"], **held["_node_store_dict"], **held["_edge_store_dict"]}
    return {key: record.attributes["_mapping"] for key, record in records.items()}


def _stores_of_dict(saved: Any) -> Stores | None:
    """Likewise of what `to_dict()` gave."""
    if not isinstance(saved, dict) or not all(isinstance(value, dict) for value in saved.values()):
        return None
    return {None if key == "_global_store" else key: value for key, value in saved.items()}


def _built(stores: Stores) -> HeteroData:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG warns of "__" in names; where that is ambiguous, it is an error of ours
        for key, mapping in stores.items():
            store = data.stores[0] if key is None else data[key]
            for name, value in _resolved(mapping):
                store[name] = value
    return data


def _built_alone(values: Mapping[str, Any]) -> Data:
    from torch_geometric.data import Data

    return Data.from_dict(dict(_resolved(values)))


def _resolved(mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        yield name, value.value() if isinstance(value, Array) else value
