"""Reading whole stores back, for tests, with zarr alone."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr


def files_of(store: Path) -> dict[str, str]:
    """Every file of a store with a digest of its bytes."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


def read(store: Path, path: str) -> np.ndarray:
    return np.asarray(zarr.open_group(str(store), mode="r")[path])


def manifest_of(store: Path) -> dict[str, Any]:
    return dict(zarr.open_group(str(store), mode="r").attrs["manifest"])
