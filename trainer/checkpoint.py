"""Checkpoints: one file of tensors and plain values, written whole or not at all."""

import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch

from schemas.errors import CheckpointError
from trainer.files import write_atomically
from trainer.job import Job
from trainer.store import changed_keys
from trainer.user_errors import one_line

BEST, LAST = "best.pt", "last.pt"
KEYS = {"model", "optimizer", "rng", "progress", "job"}
FRESH = "Start anew with --fresh (the old run is kept), or name another folder with --run."
SAME = "Use the model and the store that the run was trained with (--model, --store), or name another run with --run."


@dataclass
class Progress:
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


def save_checkpoint(path: Path, job: Job, progress: Progress) -> None:
    """Everything that resuming or evaluating needs, loadable with `torch.load(path, weights_only=True)`.

    Raises:
        StoreChangedError: the weights may come from a mixture of stores; nothing is written.
        CheckpointError: it cannot be written.
    """
    job.store.require_unchanged()
    progress.left_out = job.quarantine.records()
    contents = {
        "model": job.compiled.model_state(),
        "optimizer": job.compiled.optimizer_state(),
        "rng": job.compiled.rng_state(),
        "progress": asdict(progress),
        "job": job.identity,
    }
    write_atomically(path, lambda temporary: torch.save(contents, temporary))


def load_model(path: Path, job: Job) -> None:
    """Put a checkpoint's weights into the job's model.

    Raises:
        CheckpointError: it is missing, damaged, or of another store, shape or model.
    """
    contents = _read(path)
    _require_same(path, contents, job, ("store", "shape_signature", "model"), SAME)
    with _restoring(path):
        job.compiled.load_model_state(contents["model"])


def resume(path: Path, job: Job) -> Progress:
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
        progress = Progress(**contents["progress"])
        job.quarantine.remember(progress.left_out)
    best = path.with_name(BEST)
    if progress.best_epoch and not best.exists():
        raise CheckpointError("the best weights of the run are lost", where=str(best), hint=FRESH)
    return progress


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
