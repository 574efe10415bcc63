"""Predictions of every seed node, as a Parquet file with global node ids."""

import json
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple, Union

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.errors import CheckpointError, ConfigError
from heteroshards.schemas.seam import require, require_path, typed
from heteroshards.trainer.evaluate import Answers, answer
from heteroshards.trainer.job import Job
from heteroshards.trainer.reading.store import Store
from heteroshards.trainer.runs.files import check_writable, write_atomically
from heteroshards.trainer.runs.report import SILENT, Console

METADATA = "heteroshards"


@typed("predicting", CheckpointError)
def predict(job: Job, splits: Sequence[str], output: Union[str, Path], console: Console = SILENT) -> int:
    """Write the model's answers on `splits` to `output`, whole or not at all.

    Columns: `split` (string), `node_id` (int64, global id of the seed type), `label` (int64, null where unknown),
    `prediction` (int64), `probability` (list of float32, one per class; the mean over the split's rounds), and
    `original_id` (int64), the id in the source graph, where the store holds only a part of it and renumbered nodes.
    For seeds of split predict, `split` is the one of train, val and test that the node is a seed of, null where none.

    The file's metadata hold, under "heteroshards" and as JSON, the store, the model and where its weights come from.

    Returns:
        The number of rows: one per seed node, ordered by split as given, then by `node_id`. A node that several of
        the splits hold stands where the first of them does.

    Raises:
        CheckpointError: `output` cannot be written; found out before anything is computed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    require(job, Job, "job")
    output = require_path(output, "output")
    names = [splits] if isinstance(splits, str) else list(splits)
    if not names:
        raise ConfigError("no split is named", where="predicting", hint="Name one of the store's splits.")
    check_writable(output)
    written, tables, is_table = np.zeros(0, np.int64), [], job.store.manifest.graph.task.is_table
    for split in dict.fromkeys(names):
        answers = answer(job, split, console)
        is_new = np.ones(len(answers.node_id), bool) if is_table else ~np.isin(answers.node_id, written)
        written = np.union1d(written, answers.node_id)
        tables.append(_table(_names(job, split, answers), answers, is_table).filter(pa.array(is_new)))
    table = pa.concat_tables(tables)
    path = layout.original_id_path(job.store.manifest.graph.seed_type)
    if job.store.has_tensor(path):
        original = job.store.read(path)[table["node_id"].to_numpy()]
        table = table.append_column("original_id", pa.array(original, pa.int64()))
    table = table.replace_schema_metadata({METADATA: json.dumps(_provenance(job))})
    write_atomically(output, lambda temporary: pq.write_table(table, str(temporary)))
    return int(table.num_rows)


def _provenance(job: Job) -> Dict[str, Any]:
    """What predictions were made with: the store, the model, and where its weights come from."""
    store = {"store": job.store.path, "fingerprint": job.store.fingerprint}
    return {**store, "model": job.config.model.name, "weights": job.weights}


def default_splits(store: Store) -> Tuple[str, ...]:
    """What predictions are wanted of: split predict where it was asked for, else every split."""
    return (layout.PREDICT,) if store.has_split(layout.PREDICT) else tuple(s.name for s in store.manifest.splits)


def _names(job: Job, split: str, answers: Answers) -> np.ndarray:
    """The split that each seed belongs to, objects [seeds]; None for what belongs to none."""
    if split != layout.PREDICT:
        return np.full(len(answers.node_id), split, object)
    names = np.full(len(answers.node_id), None, object)
    if job.store.manifest.graph.task.is_table:
        return names  # the same question may be another row of another split
    for other in layout.SCORED_SPLITS:
        if job.store.has_split(other):
            ids = job.store.read_seeds(other, "n_id", job.quarantine.add)
            names[np.isin(answers.node_id, ids)] = other
    return names


def _table(splits: np.ndarray, answers: Answers, is_table: bool) -> Any:
    import pyarrow as pa

    columns = answers.objective.columns(answers.values, answers.targets)
    named = {"split": pa.array(splits, pa.string()), "node_id": pa.array(answers.node_id, pa.int64())}
    if is_table:
        named["row"] = pa.array(answers.row, pa.int64())
    if answers.times is not None:
        named["time"] = pa.array(answers.times, pa.int64())
    return pa.table({**named, **columns})
