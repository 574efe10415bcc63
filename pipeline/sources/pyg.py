"""PyG's own dataset classes, by name.

A class downloads its raw files when they are absent. One failed attempt is one clear error, and leaves no partial
file behind. PyG writes a `processed` folder beside `raw`; where that is not allowed, a temporary folder takes its
place, and the graph is processed anew each time.
"""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heteroshards.pipeline.sources.function import check_arguments
from heteroshards.pipeline.sources.stamp import pyg_root
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

NETWORK_TIMEOUT_S = 20.0  # of silence, not of the whole download


def load_pyg(config: DatasetConfig, base: Path) -> HeteroData | Data:
    """The one graph of the dataset class that `config` names.

    Raises:
        ConfigError: there is no such class, or it does not take these arguments.
        DatasetError: it cannot be downloaded or read, or is not exactly one graph.
    """
    from torch_geometric.data import Data, HeteroData

    name, root = str(config.class_name), pyg_root(config, base)
    dataset_class = _find_class(name)
    with _writable(root) as folder:
        dataset = _construct(dataset_class, name, folder, config)
        if len(dataset) != 1:
            raise DatasetError("the dataset is not one graph", actual=f"{len(dataset)} graphs", where=name)
        data = dataset[0]
    if not isinstance(data, (HeteroData, Data)):
        raise DatasetError(
            "the dataset holds no graph", actual=type(data).__name__, limit="a HeteroData or a Data", where=name
        )
    return data


def _find_class(name: str) -> Any:
    import torch_geometric.datasets as datasets
    from torch_geometric.data import Dataset

    found = getattr(datasets, name, None)
    if not (isinstance(found, type) and issubclass(found, Dataset)):
        hint = nearest(name, datasets.__all__)
        raise ConfigError(f"PyG has no dataset class '{name}'", where="[dataset] class_name", hint=hint)
    return found


def _construct(dataset_class: Any, name: str, root: Path, config: DatasetConfig) -> Any:
    args = dict(config.args)
    if "root" in inspect.signature(dataset_class).parameters:
        args.setdefault("root", str(root))
    elif config.root is not None:
        raise ConfigError(f"PyG's {name} is made in memory and has no root", where="[dataset] root")
    check_arguments(dataset_class, args, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyG's and scipy's own deprecations, which no user of ours can mend
            return _with_guarded_download(dataset_class, name)(**args)
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(
            f"PyG's {name} cannot be loaded",
            actual=f"{type(error).__name__}: {error}",
            where=str(root),
            hint=f"If its files are damaged, remove {root / 'processed'} (or the whole folder) and try again.",
        ) from error


def _with_guarded_download(dataset_class: Any, name: str) -> Any:
    """The same class; its download gives up quickly, says what it looked for, and cleans up after itself."""
    from torch_geometric.data import Dataset

    if dataset_class.download is Dataset.download:
        return dataset_class

    def download(self: Any) -> None:
        before, timeout = set(Path(self.root).rglob("*")), socket.getdefaulttimeout()
        socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
        try:
            dataset_class.download(self)
        except BaseException as error:
            _remove(set(Path(self.root).rglob("*")) - before, empty=[Path(self.raw_dir), Path(self.root)])
            if not isinstance(error, Exception):
                raise
            files = ", ".join(Path(path).name for path in self.raw_paths)
            raise DatasetError(
                f"the raw files of PyG's {name} are absent and could not be downloaded",
                actual=f"{type(error).__name__}: {error}",
                limit=f"the files {files}",
                where=self.raw_dir,
                hint=f"Put them there, or set DATASETS_DIR to a folder that holds {name}/raw.",
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)

    return type(dataset_class.__name__, (dataset_class,), {"download": download})


def _remove(paths: set[Path], empty: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for folder in empty:
        with suppress(OSError):  # not empty, so there is something of the user's in it
            folder.rmdir()


@contextmanager
def _writable(root: Path) -> Iterator[Path]:
    """`root`, or, where it has raw files but cannot be written, a temporary folder whose `raw` is a link to its own."""
    if not (root / "raw").is_dir() or os.access(root, os.W_OK):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="heteroshards-") as folder:
        (Path(folder) / "raw").symlink_to((root / "raw").resolve(), target_is_directory=True)
        yield Path(folder)
