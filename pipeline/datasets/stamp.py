"""A cheap sign that a source may have changed, so that a second `prepare` need not load anything."""

import os
from pathlib import Path
from typing import Any

from schemas.config import DatasetConfig


def source_stamp(config: DatasetConfig, base: Path = Path(".")) -> dict[str, Any] | None:
    """Equal stamps: the same config loads the same graph again. None: only loading can tell.

    The synthetic graph is decided by its config alone; a PyG dataset by name, size and mtime of the files in its
    `raw` and `processed` folders (take the stamp after loading, which may write them); a file by its size and mtime.
    A function may return anything. Imports neither torch nor PyG.
    """
    if config.source == "synthetic":
        return {}
    if config.source == "file":
        path = base / str(config.path)
        return {"file": _stat(path)} if path.is_file() else None
    if config.source == "pyg":
        root = pyg_root(config, base)
        paths = [path for folder in ("raw", "processed") for path in (root / folder).rglob("*") if path.is_file()]
        files = sorted([path.relative_to(root).as_posix(), *_stat(path)] for path in paths)
        return {"files": files} if files else None
    return None


def pyg_root(config: DatasetConfig, base: Path) -> Path:
    """Folder of a PyG dataset: `root`, or `<DATASETS_DIR or "data">/<class_name>`."""
    folder = Path(os.environ.get("DATASETS_DIR") or "data") / str(config.class_name)
    return base / (config.root or folder)


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
