"""Checkpoints: one file of tensors and plain values, written whole or not at all."""

import os
import pickle
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import torch

from schemas.errors import CheckpointError
from trainer.job import Job
from trainer.store import changed_keys

BEST, LAST = "best.pt", "last.pt"


@dataclass
class Progress:
    """Where training stands.

    Attributes:
        epoch: the epoch under way, or the next one.
        position: batches of it that are done.
        loss_sum: loss times seeds over those batches.
        num_seeds: seeds in them.
        best_epoch: epoch of `best.pt`; -1 before there is one.
        best_score: validation accuracy there; -inf without a validation.
        last_eval_epoch: the latest epoch that was validated; -1 before there is one.
    """

    epoch: int = 0
    position: int = 0
    loss_sum: float = 0.0
    num_seeds: int = 0
    best_epoch: int = -1
    best_score: float = float("-inf")
    last_eval_epoch: int = -1

    def next_epoch(self) -> None:
        self.epoch, self.position, self.loss_sum, self.num_seeds = self.epoch + 1, 0, 0.0, 0


def save_checkpoint(path: Path, job: Job, progress: Progress) -> None:
    """Everything that resuming or evaluating needs, loadable with `torch.load(path, weights_only=True)`."""
    contents = {
        "model": job.compiled.model_state(),
        "optimizer": job.compiled.optimizer_state(),
        "torch_rng": torch.get_rng_state(),
        "progress": asdict(progress),
        "job": job.identity,
    }
    write_atomically(path, lambda temporary: torch.save(contents, temporary))


def load_model(path: Path, job: Job) -> Progress:
    """Put a checkpoint's weights into the job's model.

    Raises:
        CheckpointError: it is missing, unreadable, or of another store, shape or model.
    """
    contents = _read(path)
    _require_same(path, contents["job"], job.identity, ("store", "shape_signature", "model"))
    job.compiled.load_model_state(contents["model"])
    return Progress(**contents["progress"])


def resume(path: Path, job: Job) -> Progress:
    """Put a checkpoint's weights, optimizer state and random state back, to go on exactly where it was saved.

    Raises:
        CheckpointError: it is missing, unreadable, or of another store, shape, model, backend or training config.
    """
    contents = _read(path)
    _require_same(path, contents["job"], job.identity, tuple(job.identity))
    job.compiled.load_model_state(contents["model"])
    job.compiled.load_optimizer_state(contents["optimizer"])
    torch.set_rng_state(contents["torch_rng"])
    return Progress(**contents["progress"])


def _read(path: Path) -> Dict[str, Any]:
    try:
        with warnings.catch_warnings():  # torch 2.0 warns of its own use of a deprecated class
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError("there is no checkpoint", where=str(path), hint="Train first: `make train`.") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first_line = str(error).split("\n")[0]
        raise CheckpointError("the checkpoint cannot be read", actual=first_line, where=str(path)) from None
    if not isinstance(contents, dict) or not {"model", "optimizer", "torch_rng", "progress", "job"} <= set(contents):
        raise CheckpointError("the file is no checkpoint of this program", where=str(path))
    return contents


def _require_same(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any], keys: Any) -> None:
    changed = changed_keys({key: saved.get(key) for key in keys}, {key: now[key] for key in keys})
    if changed:
        raise CheckpointError(
            f"the checkpoint belongs to another job: {'; '.join(changed)}",
            where=str(path),
            hint="Start anew with --fresh (the old run is kept), or name another folder with --run.",
        )


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """`write(temporary)`, flush it to disk, and rename it to `path`, which thus never holds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if temporary.exists():
            temporary.unlink()
