"""`[dataset]` in, `SourceGraph` out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heteroshards.pipeline.sources.source import SourceGraph, from_data
from heteroshards.pipeline.sources.stamp import Stamp, may_follow, source_stamp
from heteroshards.pipeline.sources.words import describe
from heteroshards.schemas.config import DatasetConfig, JobConfig
from heteroshards.schemas.errors import DatasetError
from heteroshards.schemas.paths import as_path
from heteroshards.schemas.seam import require, typed

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


@typed("loading the graph", DatasetError)
def load_dataset(config: DatasetConfig, base: Path = Path("."), job: JobConfig | None = None) -> SourceGraph:
    """Load or generate the graph that `config` names; relative paths start at `base`. `job`: see `from_data`.

    Raises:
        ConfigError: an argument, class, function or type of the config does not exist.
        DatasetError: the data is not there, cannot be downloaded or is not one graph.
        GraphError: its labels, masks or edges are malformed, or a split has no seeds.
    """
    require(config, DatasetConfig, "config")
    return from_data(_load(config, base), config, describe(config), job)


def load_stamped(
    config: DatasetConfig,
    before: Stamp | None,
    base: Path = Path("."),
    job: JobConfig | None = None,
) -> tuple[SourceGraph, Stamp | None]:
    """The graph, and the stamp of just what was loaded; `before` is the stamp of before. None: it changed meanwhile."""
    source = load_dataset(config, base, job)
    after = source_stamp(config, base, earlier=before)
    return source, after if may_follow(before, after) else None


def _load(config: DatasetConfig, base: Path) -> HeteroData | Data:
    if config.source == "synthetic":
        from heteroshards.pipeline.sources.synthetic import synthetic_graph

        return synthetic_graph(config.args)
    if config.source == "pyg":
        from heteroshards.pipeline.sources.pyg import load_pyg

        return load_pyg(config, base)
    if config.source == "file":
        from heteroshards.pipeline.sources.file import load_file

        return load_file(base / as_path(str(config.path)))
    from heteroshards.pipeline.sources.function import call_function

    return call_function(str(config.function), config.args, base)
