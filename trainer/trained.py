"""The best weights of a run, for programs: what the commands `evaluate` and `predict` do."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, Optional, Sequence, Tuple, Union

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, HeteroShardsError
from heteroshards.schemas.layout import SCORED_SPLITS
from heteroshards.schemas.seam import require, require_path, typed
from heteroshards.trainer import evaluate as scoring
from heteroshards.trainer import predict as predicting
from heteroshards.trainer.backends import Backend
from heteroshards.trainer.checkpoint import open_trained
from heteroshards.trainer.job import Job, backend_of
from heteroshards.trainer.reading.store import Store, resolve_store
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.runs.report import SILENT, Console
from heteroshards.trainer.settle import trained_with


@contextmanager
def trained_job(
    config: JobConfig, store: Store, backend: Backend, folder_of: Callable[[str], Path], console: Console = SILENT
) -> Iterator[Tuple[Job, Path]]:
    """The job of a run with its best weights, and the run's folder; `folder_of` a backend's name gives that."""
    backend = trained_with(config, backend, folder_of)
    folder = folder_of(backend.name)
    with open_trained(config, store, backend, folder / BEST, console) as job:
        yield job, folder


def _trained(config: JobConfig, run_dir: Union[str, Path], store: Optional[Store]) -> ContextManager[Tuple[Job, Path]]:
    require(config, JobConfig, "config")
    folder = require_path(run_dir, "run_dir")
    return trained_job(config, store or resolve_store(config), backend_of(config), lambda name: folder)


@typed("evaluating", HeteroShardsError)
def evaluate(
    config: JobConfig, run_dir: Union[str, Path], split: str = "test", *, store: Optional[Store] = None
) -> Dict[str, Any]:
    """Score a run's best weights on a split with labels: the loss, and the metrics of the task.

    Args:
        config: the run's.
        run_dir: its folder.
        split: `train`, `val` or `test`.
        store: the one to score on, which the weights must fit; default is the one last prepared for the config.

    Raises:
        CheckpointError: there are no such weights, or they do not fit the store.
        ConfigError: the store has no such split, or it has no labels.
    """
    if split not in SCORED_SPLITS:
        raise ConfigError("the split has no labels to score", actual=split, limit=", ".join(SCORED_SPLITS))
    with _trained(config, run_dir, store) as (job, _):
        return scoring.evaluate(job, split)


@typed("predicting", HeteroShardsError)
def predict(
    config: JobConfig,
    run_dir: Union[str, Path],
    output: Union[str, Path],
    splits: Optional[Sequence[str]] = None,
    *,
    store: Optional[Store] = None,
) -> int:
    """Write predictions of a run's best weights to a Parquet file; returns its rows. See `trainer.predict`.

    Args:
        config: the run's.
        run_dir: its folder.
        output: the file to write.
        splits: default is predict where the store has it, else all.
        store: as for `evaluate`.

    Raises:
        CheckpointError: as `evaluate`, or `output` cannot be written.
    """
    with _trained(config, run_dir, store) as (job, _):
        return predicting.predict(job, splits or predicting.default_splits(job.store), Path(output))
