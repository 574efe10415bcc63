"""Training, top to bottom."""

import json
import math
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch

from heteroshards.schemas.config import JobConfig, TrainConfig
from heteroshards.schemas.errors import CheckpointError, ConfigError, CorruptChunkError, ModelError, StoreError
from heteroshards.schemas.seam import require, require_path, typed
from heteroshards.schemas.store.checks import REBUILD
from heteroshards.trainer.backends import Backend
from heteroshards.trainer.checkpoint import FRESH, TrainingProgress, load_model, resume, save_checkpoint
from heteroshards.trainer.evaluate import evaluate
from heteroshards.trainer.job import Job, backend_of, naming, open_job
from heteroshards.trainer.reading.order import random_keys, rest_of, shuffled_order
from heteroshards.trainer.reading.store import Store, open_store, retry_of
from heteroshards.trainer.runs.files import make_folder, write_text
from heteroshards.trainer.runs.folders import run_limits
from heteroshards.trainer.runs.names import BEST, LAST, RESULT
from heteroshards.trainer.runs.report import SILENT, Console, RunLog, epoch_line
from heteroshards.trainer.runs.signals import Stop, stop_on_signals
from heteroshards.trainer.settle import settle
from heteroshards.trainer.tasks.task import is_better, objective_of


@typed("training", CheckpointError)
def fit(
    config: JobConfig,
    store: Union[Store, str, Path],
    run_dir: Union[str, Path],
    resume_run: bool = False,
    *,
    backend: Optional[Backend] = None,
    console: Console = SILENT,
) -> Dict[str, Any]:
    """Train on split train, keep the weights that do best on validation, and score those on split test.

    [train] monitor says which is the best. Leaves `last.pt`, `best.pt`, `metrics.jsonl`, `tensorboard/` and
    `result.json` in `run_dir`; epochs are counted from 1 in all of them. Without a split val, with fewer epochs than
    `eval_every`, or where the monitored score never is a number, the last weights are the best. The result is a
    function of config, store and backend; a run that was interrupted and resumed gives the same losses, bit for bit
    with backend eager on a CPU.

    Args:
        store: an open store, or where it lies.
        resume_run: go on from `run_dir/last.pt`.
        backend: None takes the one that the config names, see `trainer.settle` for `auto`.

    Returns:
        What `result.json` holds.

    Raises:
        ConfigError: the store lacks a split that the config needs. StoreError: a round of it has no batches.
        CheckpointError: resuming another store's, shape's, model's or training's checkpoint, or a run that has
            begun more epochs than the config asks for; nothing in `run_dir` has changed then.
        CorruptChunkError: damage that cannot be skipped, or must not ([train] on_corrupt), or no batch is left.
        StoreChangedError: the store is no longer the one that was opened; nothing computed since was kept.
        KeyboardInterrupt, Terminated: after Ctrl-C or SIGTERM, when the present step is done and `last.pt` is written.
    """
    require(config, JobConfig, "config")
    store = store if isinstance(store, Store) else open_store(store, config.train.check_chunks, retry_of(config))
    run_dir = require_path(run_dir, "run_dir")
    _require_splits(config, store)
    make_folder(run_dir)
    backend = backend or settle(config, store, backend_of(config), lambda _: run_dir, console, not resume_run)
    with open_job(config, store, backend, console) as job, stop_on_signals() as stop:
        _tell_repeats(job, console)
        progress = resume(run_dir / LAST, job) if resume_run else TrainingProgress()
        _require_enough_epochs(progress, config.train, run_dir)
        with RunLog(run_dir, progress.epoch) as log:
            while not _is_done(progress, config.train):
                record = _train_epoch(job, progress, stop, console)
                if record is None:
                    save_checkpoint(run_dir / LAST, job, progress)
                    raise stop.error()
                record.update(_validate(job, progress, run_dir, console))
                log.write(record)
                progress.next_epoch()
                save_checkpoint(run_dir / LAST, job, progress)
                console.line(epoch_line(record, config.train.epochs, progress.best_epoch))
                if stop.is_set() and not _is_done(progress, config.train):
                    raise stop.error()
        return _finish(job, progress, run_dir, console)


def _tell_repeats(job: Job, console: Console) -> None:
    """A call that takes more batches than a round has repeats them, silently but for this line."""
    smallest = min(job.store.split("train").round_sizes)
    if job.compiled.step_batches > smallest:
        console.line(
            f"warning: one call takes {job.compiled.step_batches} batches, a round has {smallest}: "
            "they are repeated to fill it"
        )


def _require_splits(config: JobConfig, store: Store) -> None:
    train, objective = config.train, objective_of(store.manifest.graph.task, config)
    monitor = config.monitor
    if monitor is not None and monitor not in objective.metrics:
        known, where = ", ".join(objective.metrics), "[train] monitor" if train.monitor else "[task] metric"
        raise ConfigError("the task has no such score", actual=repr(monitor), limit=known, where=where)
    if not min(store.split("train").round_sizes):
        hint = "Prepare it again with a larger budget, or let batches be trimmed."
        raise StoreError("a round of split 'train' has no batches", where=store.path, hint=hint)
    if train.patience and not store.has_split("val"):
        raise ConfigError("'patience' needs a validation split, which the store lacks", where=store.path)


def _require_enough_epochs(progress: TrainingProgress, train: TrainConfig, run_dir: Path) -> None:
    begun = progress.epoch + (progress.position > 0)
    if begun > train.epochs:
        what = f"the run has begun {begun} epochs already, more than the {train.epochs} asked for"
        raise CheckpointError(what, where=str(run_dir), hint=f"Raise [train] epochs. Or: {FRESH}")


def _is_done(progress: TrainingProgress, train: TrainConfig) -> bool:
    is_stale = 0 < train.patience <= progress.last_eval_epoch - progress.best_epoch
    return progress.epoch >= train.epochs or is_stale


def _train_epoch(job: Job, progress: TrainingProgress, stop: Stop, console: Console) -> Optional[Dict[str, Any]]:
    """The rest of one epoch; its metrics, or None when a stop was asked for before its end."""
    train, info = job.config.train, job.store.split("train")
    round = progress.epoch % info.num_rounds
    group, chunk_batches = job.compiled.step_batches, job.store.manifest.chunk_batches
    before = _Compiled.of(job)
    order = shuffled_order(info, round, chunk_batches, train.rng_seed, progress.epoch, group)
    if progress.position == 0:  # dropout, too, is a function of (rng_seed, epoch)
        torch.manual_seed(int(random_keys(1, train.rng_seed, 2, progress.epoch)[0] >> np.uint64(1)))
    started, waited_s, num_steps = time.perf_counter(), 0.0, 0
    label = f"epoch {progress.epoch + 1:>3}/{train.epochs}"
    losses = _Losses(progress, _seed_counts(job))
    with console.bar(label, len(order) - progress.position) as bar:
        while progress.position < len(order):
            segment = _train_intact(job, progress, order, losses, stop, bar)
            waited_s, num_steps = waited_s + segment.waited_s, num_steps + segment.num_steps
            if stop.is_set() and progress.position < len(order):
                losses.look()
                return None
    losses.look()
    compiled = _Compiled.of(job).since(before)
    seconds = time.perf_counter() - started - compiled.seconds
    loss_mean = progress.loss_sum / progress.num_seeds
    if not math.isfinite(loss_mean):
        hint = "Lower [train] lr and start anew with --fresh, or look for NaN in the features."
        raise ModelError("the training loss is not finite", actual=loss_mean, where=label, hint=hint)
    record = {
        "epoch": progress.epoch + 1,
        "round": round,
        "loss": loss_mean,
        "seconds": seconds,
        "waited_s": waited_s,
        "waited_percent": 100 * waited_s / seconds,
        "compile_s": compiled.seconds,
    }
    if num_steps > compiled.num_steps:  # else nothing ran but what compiled
        record["steps_per_s"] = (num_steps - compiled.num_steps) / seconds
    num_out = int(job.quarantine.is_out("train", order).sum())
    return {**record, **({"batches_left_out": num_out} if num_out else {})}


class _Compiled(NamedTuple):
    """Seconds spent on steps that compiled, and how many batches these took."""

    seconds: float
    num_steps: int

    @classmethod
    def of(cls, job: Job) -> "_Compiled":
        """So far."""
        compiling = job.compiled.compiling
        return cls(compiling.seconds["train"], compiling.num_first["train"] * job.compiled.step_batches)

    def since(self, before: "_Compiled") -> "_Compiled":
        return _Compiled(self.seconds - before.seconds, self.num_steps - before.num_steps)


class _Segment(NamedTuple):
    """Batches trained in one go, and seconds waited for them."""

    num_steps: int
    waited_s: float


def _train_intact(
    job: Job, progress: TrainingProgress, order: np.ndarray, losses: "_Losses", stop: Stop, bar: Any
) -> _Segment:
    """Train on what is left of an order, until its end, a stop, or a shard that turns out to be damaged.

    Raises:
        CorruptChunkError: nothing of the order is intact.
    """
    group = job.compiled.step_batches
    is_out = job.quarantine.is_out("train", order)
    if is_out.all():
        what, where = "no batch of an epoch is left to train on", f"{job.store.path} (split train)"
        raise CorruptChunkError(what, actual=f"{len(order)} left out", where=where, hint=REBUILD)
    batches, ends = rest_of(order, is_out, progress.position, group)
    num_steps, waited_s = 0, 0.0
    try:
        with job.stream("train", batches, group=group) as stream:
            for end, (numbers, tensors) in zip(ends, stream):
                with naming(f"split train, epoch {progress.epoch + 1}, batches {numbers.tolist()}"):
                    _, loss = job.compiled.step(tensors)
                losses.add(numbers, loss)
                num_steps, waited_s = num_steps + group, stream.waited_s
                bar.update(int(end) - progress.position)
                progress.position = int(end)
                if stop.is_set():
                    return _Segment(num_steps, waited_s)
        progress.position = len(order)
    except StoreError as error:
        job.quarantine.add(error)
    return _Segment(num_steps, waited_s)


def _seed_counts(job: Job) -> np.ndarray:
    """Real seeds of every batch of split train, int [batches]: of the ledger, or of masks where that is damaged and
    damage is skipped."""
    try:
        return job.store.read_stats("train", "num_seeds")
    except StoreError as error:
        job.store.require_unchanged()
        if not isinstance(error, CorruptChunkError) or job.config.train.on_corrupt != "skip":
            raise
        return job.store.read_seeds("train", "mask", job.quarantine.add).sum(axis=1)


class _Losses:
    """Adds up losses, looking at them now and then only: each look waits until a GPU has done all its steps."""

    MOST = 64

    def __init__(self, progress: TrainingProgress, num_seeds: np.ndarray) -> None:
        self._progress, self._num_seeds = progress, num_seeds
        self._kept: List[Tuple[np.ndarray, torch.Tensor]] = []

    def add(self, batches: np.ndarray, loss: torch.Tensor) -> None:
        """The loss of each batch of one step."""
        self._kept.append((batches, loss.reshape(-1)))
        if len(self._kept) == self.MOST:
            self.look()

    def look(self) -> None:
        """Add what was kept to the progress, weighted by seeds."""
        if not self._kept:
            return
        values = torch.stack([loss for _, loss in self._kept]).double().cpu().numpy()
        for (batches, _), loss in zip(self._kept, values):
            self._progress.loss_sum += float((loss * self._num_seeds[batches]).sum())
            self._progress.num_seeds += int(self._num_seeds[batches].sum())
        self._kept.clear()


def _validate(job: Job, progress: TrainingProgress, run_dir: Path, console: Console) -> Dict[str, Any]:
    """Validation metrics where they are due; writes `best.pt` when the weights are the best so far, by [train] monitor.

    What is due does not depend on `epochs`, so that a run made longer is the run that was long from the start.
    """
    train, number = job.config.train, progress.epoch + 1
    if not job.store.has_split("val"):
        progress.best_epoch = number
        save_checkpoint(run_dir / BEST, job, progress)
        return {}
    if number % train.eval_every:
        return {}
    compiled_before = job.compiled.compiling.seconds["infer"]
    found = evaluate(job, "val", console)
    progress.last_eval_epoch = number
    if is_better(job.monitor, found[job.monitor], progress.best_score):
        progress.best_epoch, progress.best_score = number, found[job.monitor]
        save_checkpoint(run_dir / BEST, job, progress)
    compile_s = job.compiled.compiling.seconds["infer"] - compiled_before
    return {**{f"val_{name}": value for name, value in found.items()}, "val_compile_s": compile_s}


def _finish(job: Job, progress: TrainingProgress, run_dir: Path, console: Console) -> Dict[str, Any]:
    """Score the best weights on val and test, and write `result.json`. The last ones where none was validated yet."""
    monitor = job.monitor
    if not progress.best_epoch:
        if progress.last_eval_epoch:
            console.line(f"warning: val {monitor} never was a number, so the last weights count as the best")
        save_checkpoint(run_dir / BEST, job, progress)
    load_model(run_dir / BEST, job)
    result: Dict[str, Any] = {
        "name": job.config.name,
        "model": job.config.model.name,
        "backend": job.identity["backend"],
        "rng_seed": job.config.train.rng_seed,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch or progress.epoch,
        "monitor": monitor,
        "statistics": job.objective.resolved(),
        "best_score": progress.best_score,
        "num_compilations": job.compiled.num_compilations,
        "environment": dict(job.compiled.environment),
        "store": job.store.path,
        "limits": run_limits(job.config.train),
        "job": job.identity,
    }
    for split in ("val", "test"):
        if job.store.has_split(split):
            result[split] = evaluate(job, split, console)
    result["left_out"] = job.quarantine.records()
    if job.padding_dependence:
        result["padding_dependence"] = job.padding_dependence
    for line in job.quarantine.lines():
        console.line(line)
    write_text(run_dir / RESULT, json.dumps(result, indent=2) + "\n")
    return result
