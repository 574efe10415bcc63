"""Predictions of every seed node, as a Parquet file with global node ids."""

from pathlib import Path
from typing import Any, Sequence

import numpy as np

from schemas import layout
from trainer.evaluate import Answers, answer
from trainer.files import check_writable, write_atomically
from trainer.job import Job
from trainer.report import SILENT, Console


def predict(job: Job, splits: Sequence[str], output: Path, console: Console = SILENT) -> int:
    """Write the model's answers on `splits` to `output`, whole or not at all.

    Columns: `split` (string), `node_id` (int64, global id of the seed type), `label` (int64, null where unknown),
    `prediction` (int64), `probability` (list of float32, one per class; the mean over the split's rounds), and
    `original_id` (int64), the id in the source graph, where the store holds only a part of it and renumbered nodes.

    Returns:
        The number of rows: one per seed and split, ordered by split as given, then by `node_id`.

    Raises:
        CheckpointError: `output` cannot be written; found out before anything is computed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_writable(Path(output))
    tables = [_table(split, answer(job, split, console)) for split in splits]
    table = pa.concat_tables(tables)
    path = layout.original_id_path(job.store.manifest.graph.seed_type)
    if job.store.has_tensor(path):
        original = job.store.read(path)[table["node_id"].to_numpy()]
        table = table.append_column("original_id", pa.array(original, pa.int64()))
    write_atomically(Path(output), lambda temporary: pq.write_table(table, str(temporary)))
    return int(table.num_rows)


def _table(split: str, answers: Answers) -> Any:
    import pyarrow as pa

    num_classes = answers.probability.shape[1]
    flat = pa.array(answers.probability.astype(np.float32).reshape(-1))
    return pa.table(
        {
            "split": pa.array([split] * len(answers.node_id), pa.string()),
            "node_id": pa.array(answers.node_id, pa.int64()),
            "label": pa.array(answers.label, pa.int64(), mask=answers.label < 0),
            "prediction": pa.array(answers.prediction, pa.int64()),
            "probability": pa.FixedSizeListArray.from_arrays(flat, num_classes).cast(pa.list_(pa.float32())),
        }
    )
