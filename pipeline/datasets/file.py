"""A saved `HeteroData`. Only tensors and PyG's own containers are unpickled: a data file must not run code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import DatasetError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def load_file(path: Path) -> HeteroData:
    """Read what `torch.save(data, path)` or `torch.save(data.to_dict(), path)` wrote.

    Raises:
        DatasetError: the file is missing, is no such file, or holds objects that are not loaded for safety.
    """
    import torch
    from torch_geometric.data import HeteroData
    from torch_geometric.data.storage import BaseStorage, EdgeStorage, NodeStorage

    if not path.is_file():
        raise DatasetError("the dataset file does not exist", where=str(path))
    try:
        with torch.serialization.safe_globals([HeteroData, BaseStorage, NodeStorage, EdgeStorage]):
            loaded = torch.load(path, weights_only=True, map_location="cpu")  # also what a GPU saved
        if isinstance(loaded, dict):
            loaded = HeteroData.from_dict(loaded)
    except pickle.UnpicklingError as error:
        raise DatasetError(
            "the file cannot be loaded safely: it holds more than tensors and a HeteroData, or is damaged",
            where=str(path),
            hint="Save plain tensors with torch.save(data.to_dict(), path), or use source = 'function'.",
        ) from error
    except Exception as error:  # a damaged file makes zipfile, torch or PyG raise anything
        raise DatasetError(
            "the file cannot be read", actual=f"{type(error).__name__}: {error}", where=str(path)
        ) from error
    if not isinstance(loaded, HeteroData):
        limit = "a HeteroData or its to_dict()"
        raise DatasetError(
            "the file holds no heterogeneous graph", actual=type(loaded).__name__, limit=limit, where=str(path)
        )
    return loaded
