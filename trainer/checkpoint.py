"""Checkpoints: one file of tensors and plain values, written whole or not at all."""

import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import CheckpointError
from heteroshards.trainer.backends import Backend
from heteroshards.trainer.job import Job, open_job
from heteroshards.trainer.models.user_errors import one_line
from heteroshards.trainer.reading.store import Store, changed_keys
from heteroshards.trainer.runs.files import write_atomically
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.runs.report import SILENT, Console
from heteroshards.trainer.runs.reuse import FACTS, differences, facts_of, model_graph, require_numbering, require_usable

KEYS = {"model", "optimizer", "rng", "progress", "job"}
FRESH = "Start anew with --fresh (the old run is kept), or name another folder with --run."
SAME = "Use the model that the run was trained with (--model), or name another run with --run."


@dataclass
class TrainingProgress:
    """Where training stands.

    Attributes:
        epoch: epochs that are done. The one under way, or the next one, is number `epoch + 1`.
        position: batches of it that are done.
        loss_sum: loss times seeds over those batches.
        num_seeds: seeds in them.
        best_epoch: number of the epoch of `best.pt`, from 1; 0 before there is one.
        best_score: the validation score that [train] monitor names there; None without a validation.
        last_eval_epoch: number of the latest epoch that was validated; 0 before there is one.
        left_out: damaged batches that were left out so far, see `Quarantine.records`.
    """

    epoch: int = 0
    position: int = 0
    loss_sum: float = 0.0
    num_seeds: int = 0
    best_epoch: int = 0
    best_score: Optional[float] = None
    last_eval_epoch: int = 0
    left_out: List[Dict[str, Any]] = field(default_factory=list)

    def next_epoch(self) -> None:
        self.epoch, self.position, self.loss_sum, self.num_seeds = self.epoch + 1, 0, 0.0, 0


def save_checkpoint(path: Path, job: Job, progress: TrainingProgress) -> None:
    """Everything that resuming or evaluating needs, loadable with `torch.load(path, weights_only=True)`.

    Raises:
        StoreChangedError: the weights may come from a mixture of stores; nothing is written.
        CheckpointError: it cannot be written.
    """
    job.store.require_unchanged()
    progress.left_out = job.quarantine.records()
    contents = {
        "trained_on": facts_of(job.store),
        "model": job.compiled.model_state(),
        "optimizer": job.compiled.optimizer_state(),
        "rng": job.compiled.rng_state(),
        "progress": asdict(progress),
        "job": job.identity,
    }
    write_atomically(path, lambda temporary: torch.save(contents, temporary))


def load_model(path: Path, job: Job) -> None:
    """Put a checkpoint's weights into the job's model, which may be on another store than they were trained on.

    What differs then is noted in `job.weights`.

    Raises:
        CheckpointError: it is missing, damaged, of another model, or does not fit the store (see `trainer.runs.reuse`).
    """
    contents = _read(path)
    _put(path, contents, job)


@contextmanager
def open_trained(
    config: JobConfig, store: Store, backend: Backend, path: Path, console: Console = SILENT
) -> Iterator[Job]:
    """`open_job` with the weights of a checkpoint, on the store they were trained on or on any other that they fit.

    What differs between the stores is told, a line each.

    Raises:
        CheckpointError: as `load_model`; where the weights do not fit the store, before anything is compiled.
        ModelError, BackendError, StoreError, ConfigError: as `open_job`.
    """
    contents, graph = _read(path), None
    if contents["job"].get("store") != store.fingerprint:
        facts = _facts(path, contents)
        _require_model(path, contents, config.model.identity())
        require_usable(facts, store, config.model, str(path))
        graph = model_graph(facts, store.manifest.graph)
    with open_job(config, store, backend, console, graph=graph) as job:
        _put(path, contents, job)
        if graph is not None:
            console.line(f"weights that were trained on {job.weights['trained_on']} are used on {store.path}")
            for line in job.weights["differences"]:
                console.line(f"  {line}")
        yield job


def _put(path: Path, contents: Dict[str, Any], job: Job) -> None:
    weights: Dict[str, Any] = {"checkpoint": str(path), "trained_on": job.store.path, "differences": []}
    if contents["job"].get("store") == job.store.fingerprint:
        _require_same(path, contents, job, ("shape_signature", "model"), SAME)
    else:
        facts = _facts(path, contents)
        _require_model(path, contents, job.identity["model"])
        require_usable(facts, job.store, job.config.model, str(path))
        if "n_id" in job.extra_inputs:
            require_numbering(facts, job.store, str(path))
        if job.graph.metadata != model_graph(facts, job.store.manifest.graph).metadata:
            hint = "Open the job with `trainer.checkpoint.open_trained`, which builds the model for those."
            what = "the store has its types in another order, or its batches have other ones"
            raise CheckpointError(what, where=job.store.path, hint=hint)
        weights.update(trained_on=facts["path"], differences=differences(facts, job.store))
    with _restoring(path):
        job.compiled.load_model_state(contents["model"])
    job.weights.update(weights)


def _facts(path: Path, contents: Dict[str, Any]) -> Dict[str, Any]:
    facts = contents.get("trained_on")
    if not isinstance(facts, dict) or not set(facts) >= FACTS:
        what = "the checkpoint does not say what its store was like, so it fits that store only"
        raise CheckpointError(what, where=str(path), hint="Name that store with --store, or train again.")
    return facts


def _require_model(path: Path, contents: Dict[str, Any], model: Dict[str, Any]) -> None:
    changed = changed_keys({"model": contents["job"].get("model")}, {"model": model})
    if changed:
        what = f"the checkpoint belongs to another job: {'; '.join(changed)}"
        raise CheckpointError(what, where=str(path), hint=SAME)


def resume(path: Path, job: Job) -> TrainingProgress:
    """Put a checkpoint's weights, optimizer state and random state back, to go on exactly where it was saved.

    Raises:
        CheckpointError: it is missing, damaged, or of another store, shape, model, backend or training config, or
            the best weights that belong to it are missing.
    """
    contents = _read(path)
    _require_same(path, contents, job, tuple(job.identity), FRESH)
    with _restoring(path):
        job.compiled.load_model_state(contents["model"])
        job.compiled.load_optimizer_state(contents["optimizer"])
        job.compiled.load_rng_state(contents["rng"])
        progress = TrainingProgress(**contents["progress"])
        job.quarantine.remember(progress.left_out)
    best = path.with_name(BEST)
    if progress.best_epoch and not best.exists():
        raise CheckpointError("the best weights of the run are lost", where=str(best), hint=FRESH)
    return progress


def recorded_job(path: Path) -> Optional[Dict[str, Any]]:
    """Which job a checkpoint belongs to, as `Job.identity`; None where it cannot be read."""
    try:
        job = _read(path)["job"]
    except CheckpointError:
        return None
    return job if isinstance(job, dict) else None


def _read(path: Path) -> Dict[str, Any]:
    """A checkpoint's contents. torch itself does not look at the checksums in its files."""
    if path.exists() and not path.is_file():  # reading from a pipe would wait
        raise CheckpointError("the checkpoint cannot be read", actual="no file", where=str(path), hint=FRESH)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        raise CheckpointError("there is no checkpoint", where=str(path), hint="Train first: `make train`.") from None
    except Exception as error:  # which one depends on the byte that is wrong
        raise CheckpointError("the checkpoint cannot be read", actual=error, where=str(path), hint=FRESH) from None
    if damaged is not None:
        what = f"the checkpoint is damaged: {damaged} fails its checksum"
        raise CheckpointError(what, where=str(path), hint=FRESH)
    try:
        with warnings.catch_warnings():  # torch 2.0 warns of its own use of a deprecated class
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch's own text advises weights_only=False, which runs code from the file
        contents = None
    if not isinstance(contents, dict) or not set(contents) >= KEYS:
        raise CheckpointError("the file is no checkpoint of this program", where=str(path), hint=FRESH)
    return contents


def _require_same(path: Path, contents: Dict[str, Any], job: Job, keys: Sequence[str], hint: str) -> None:
    saved = {key: contents["job"].get(key) for key in keys}
    changed = changed_keys(saved, {key: job.identity[key] for key in keys})
    if changed:
        raise CheckpointError(
            f"the checkpoint belongs to another job: {'; '.join(changed)}", where=str(path), hint=hint
        )


@contextmanager
def _restoring(path: Path) -> Iterator[None]:
    """The job is the same by name; what its code builds need not be."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the checkpoint does not fit the model: its code has changed since",
            actual=one_line(error),
            where=str(path),
            hint=f"Go back to that code. Or: {FRESH}",
        ) from error
