"""Scores of a model on a split, one answer per seed node."""

from dataclasses import dataclass
from typing import Dict

import numpy as np
import torch

from schemas.batch import LABEL_PAD
from trainer.job import Job, naming
from trainer.metrics import scores
from trainer.report import SILENT, Console


@dataclass(frozen=True)
class Answers:
    """What a model says about every seed of a split, ordered by global id.

    Attributes:
        node_id: global ids, int64 [seeds].
        label: classes, int64 [seeds]; -100 where unknown.
        probability: mean over rounds of the softmax, float64 [seeds, classes].
        loss: cross entropy, the mean over all seeds of all rounds.
    """

    node_id: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    loss: float

    @property
    def prediction(self) -> np.ndarray:
        """The most probable class, int64 [seeds]."""
        return self.probability.argmax(axis=1)

    def scores(self) -> Dict[str, float]:
        """`loss`, `accuracy` and `macro_f1`."""
        return {"loss": self.loss, **scores(self.label, self.prediction)}


def answer(job: Job, split: str, console: Console = SILENT) -> Answers:
    """Infer every batch of a split, all its rounds, with the model's present weights.

    A store with several rounds holds several samples of each seed's neighborhood; their probabilities are averaged.

    Raises:
        ConfigError: the store has no such split.
    """
    store, info = job.store, job.store.split(split)
    ids, labels, masks = (store.read_seeds(split, name) for name in ("n_id", "y", "mask"))
    node_id = np.unique(ids[masks]).astype(np.int64)
    places = np.searchsorted(node_id, ids)
    label = np.full(len(node_id), LABEL_PAD, dtype=np.int64)
    label[places[masks]] = labels[masks]
    total = np.zeros((len(node_id), store.manifest.graph.num_classes))
    counts = np.zeros(len(node_id), dtype=np.int64)
    loss_sum = 0.0
    group, num_batches = job.compiled.infer_batches, info.num_batches
    order = np.minimum(np.arange(-(-num_batches // group) * group), num_batches - 1)  # filled up with the last batch
    with job.stream(split, order, group=group) as stream, console.bar(f"evaluate {split}", len(order)) as bar:
        for batches, tensors in stream:
            with naming(f"split {split}, batches {batches.tolist()}"):
                out, losses = job.compiled.infer(tensors)
            shares = torch.softmax(out.float(), dim=-1).cpu().numpy().reshape(group, masks.shape[1], -1)
            num_real = group - max(0, stream.position - num_batches)
            for batch, share, loss in zip(batches[:num_real], shares, losses.reshape(-1).tolist()):
                mask = masks[batch]
                rows = places[batch][mask]  # no seed stands twice in a batch, so adding by index is safe
                total[rows] += share[mask]
                counts[rows] += 1
                loss_sum += loss * len(rows)
            bar.update(group)
    return Answers(node_id, label, total / counts[:, None], loss_sum / int(counts.sum()))


def evaluate(job: Job, split: str, console: Console = SILENT) -> Dict[str, float]:
    """`loss`, `accuracy` and `macro_f1` of a split."""
    return answer(job, split, console).scores()
