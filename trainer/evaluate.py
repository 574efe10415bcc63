"""Scores of a model on a split, one answer per seed node."""

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch

from heteroshards.schemas.errors import ConfigError, CorruptChunkError, StoreError
from heteroshards.schemas.layout import PREDICT
from heteroshards.schemas.seam import require, typed
from heteroshards.schemas.store.checks import REBUILD
from heteroshards.trainer.job import Job, naming
from heteroshards.trainer.runs.report import SILENT, Console
from heteroshards.trainer.tasks.task import TaskObjective


@dataclass(frozen=True)
class Answers:
    """What a model says about every seed of a split, ordered by row of the seed table: by global id.

    Attributes:
        objective: what was asked.
        node_id: global ids, int64 [seeds].
        targets: by name, [seeds, ...]; the target's pad value where unknown.
        values: mean over rounds of the objective's answers, float64 [seeds, width].
        loss: the mean over all that is known of all seeds in all rounds, weighted as in training; NaN where nothing is.
        num_batches_left_out: damaged ones; their seeds are answered by other rounds, or not at all.
        times: int64 [seeds], when each asks, in the source's unit; None where times play no part.
        row: int64 [seeds], which question of its split each is, in the order of their table.
    """

    objective: TaskObjective
    node_id: np.ndarray
    targets: Dict[str, np.ndarray]
    values: np.ndarray
    loss: float
    num_batches_left_out: int = 0
    times: Optional[np.ndarray] = None
    row: Optional[np.ndarray] = None

    @property
    def predictions(self) -> Dict[str, np.ndarray]:
        """What the model says in the end, by target [seeds, ...]."""
        return self.objective.predictions(self.values)

    def scores(self) -> Dict[str, Any]:
        """`loss` and the objective's metrics of the seeds with a target, and `batches_left_out` where there are any.

        A metric that these seeds cannot have is None, and `undefined` says why.

        Raises:
            ConfigError: no seed has a label, as may be so in split predict.
        """
        if not self.objective.is_known(self.targets).any():
            hint = "Evaluate a split with labels; predictions need none: `make predict`."
            raise ConfigError("no seed has a label, so there is nothing to score", actual=len(self.node_id), hint=hint)
        found = {"loss": self.loss, **self.objective.scores(self.values, self.targets)}
        return {**found, **({"batches_left_out": self.num_batches_left_out} if self.num_batches_left_out else {})}


@typed("evaluating", StoreError)
def answer(job: Job, split: str, console: Console = SILENT) -> Answers:
    """Infer every batch of a split, all its rounds, with the model's present weights.

    A store with several rounds holds several samples of each seed's neighborhood; their answers are averaged.

    Damaged shards are left out where [train] on_corrupt says so.

    Raises:
        ConfigError: the store has no such split.
        CorruptChunkError: damage that cannot be skipped, or must not, or no batch is left.
        StoreChangedError: the store is no longer the one that was opened.
    """
    require(job, Job, "job")
    job.store.split(split)
    while True:
        try:
            found = _answer_intact(job, split, _Seeds.read(job, split), console)
            job.store.require_unchanged()
            return found
        except StoreError as error:  # more is damaged than was known: begin anew without it
            job.quarantine.add(error)


class _Seeds(NamedTuple):
    """Who stands in the intact batches of a split.

    Attributes:
        batches: their numbers, ascending.
        node_id: global ids of all their seeds, in the order of rows. targets: of each, by name.
        masks: bool [all batches, max_seeds]; False throughout a batch that is left out.
        places: where each seed of each batch stands in `node_id`, [all batches, max_seeds].
        times: int64 [seeds], when each asks; None where times play no part.
        row: int64 [seeds], ascending, of the table of all seeds.
    """

    batches: np.ndarray
    node_id: np.ndarray
    targets: Dict[str, np.ndarray]
    masks: np.ndarray
    places: np.ndarray
    times: Optional[np.ndarray]
    row: np.ndarray

    @classmethod
    def read(cls, job: Job, split: str) -> "_Seeds":
        store, on_corrupt = job.store, job.quarantine.add
        ids, rows, masks = (store.read_seeds(split, name, on_corrupt) for name in ("n_id", "row", "mask"))
        read = {of.name: store.read_target(split, of.name, on_corrupt) for of in store.manifest.graph.task.targets}
        is_out = job.quarantine.is_out(split, np.arange(len(masks)))
        if is_out.all():
            what, where = f"no batch of split {split} is left", job.store.path
            raise CorruptChunkError(what, actual=f"{len(masks)} left out", where=where, hint=REBUILD)
        masks[is_out] = False
        row, first = np.unique(rows[masks], return_index=True)
        targets = {name: values[masks][first] for name, values in read.items()}
        node_id = ids[masks][first].astype(np.int64)
        times = None
        if store.manifest.graph.task.has_time:
            times = store.read_seeds(split, "time", on_corrupt)[masks][first]
        return cls(np.flatnonzero(~is_out), node_id, targets, masks, np.searchsorted(row, rows), times, row)


def _answer_intact(job: Job, split: str, seeds: _Seeds, console: Console) -> Answers:
    objective = job.objective
    total = np.zeros((len(seeds.node_id), objective.width))
    counts = np.zeros(len(seeds.node_id), dtype=np.int64)
    losses = np.zeros((len(objective.parts), 2))
    group, num_batches = job.compiled.infer_batches, len(seeds.batches)
    filled = np.minimum(np.arange(-(-num_batches // group) * group), num_batches - 1)  # up with the last batch
    order = seeds.batches[filled]
    is_open = split == PREDICT  # seeds without a label are among its seeds
    with job.stream(split, order, group=group) as stream, console.bar(f"evaluate {split}", len(order)) as bar:
        for batches, tensors in stream:
            with naming(f"split {split}, batches {batches.tolist()}"):
                out, _ = job.compiled.infer(_askable(job, tensors) if is_open else tensors)
            shares = objective.answers(out).cpu().numpy().reshape(group, seeds.masks.shape[1], -1)
            num_real = group - max(0, stream.position - num_batches)
            for batch, share in zip(batches[:num_real], shares):
                mask = seeds.masks[batch]
                rows = seeds.places[batch][mask]  # no seed stands twice in a batch, so adding by index is safe
                total[rows] += share[mask]
                counts[rows] += 1
                asked = {name: values[rows] for name, values in seeds.targets.items()}
                losses += objective.loss_sums(share[mask], asked)
            bar.update(group)
    values, loss = total / counts[:, None], objective.mean_loss(losses)
    left_out = len(seeds.masks) - num_batches
    row = seeds.row - _first_row(job, split)
    return Answers(objective, seeds.node_id, seeds.targets, values, loss, left_out, seeds.times, row)


def _first_row(job: Job, split: str) -> int:
    """Where a split begins in the table of all seeds."""
    names = [info.name for info in job.store.manifest.splits]
    return sum(info.num_seeds for info in job.store.manifest.splits[: names.index(split)])


def _askable(job: Job, tensors: Sequence[torch.Tensor]) -> List[torch.Tensor]:
    """A batch in which every seed has a target, so that the loss that a backend computes is a number; it is not used.

    A batch of nothing but unknown targets would have the loss NaN, at which an IPU may stop, and which does not tell
    in which order replicas answer.
    """
    return [
        job.objective.askable(spec.key, tensor) if spec.kind == "target" else tensor
        for spec, tensor in zip(job.inputs[0], tensors)
    ]


@typed("evaluating", StoreError)
def evaluate(job: Job, split: str, console: Console = SILENT) -> Dict[str, Any]:
    """The scores of a split, see `Answers.scores`."""
    return answer(job, split, console).scores()
