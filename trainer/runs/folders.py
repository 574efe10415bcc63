"""Run folders: one per job, model, backend and seed. What is in one decides whether training starts or goes on."""

import json
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional

from heteroshards.schemas.config import JobConfig, TrainConfig
from heteroshards.schemas.errors import CheckpointError
from heteroshards.schemas.paths import as_path
from heteroshards.schemas.store import locks
from heteroshards.trainer.reading.store import changed_keys
from heteroshards.trainer.runs.files import make_folder, remove_leftovers, write_text
from heteroshards.trainer.runs.names import BEST, LAST, RESULT, RUN
from heteroshards.trainer.runs.report import result_line

LOCK = ".lock"
ANOTHER = (
    "Start anew with --fresh (the old run is kept as <run>.old-N), or name another folder with --run (make: RUN=)."
)


def run_folder(config: JobConfig, backend: str) -> Path:
    """`<train.root>/<name>-<model>-<backend>-s<rng_seed>`; the backend is the one that runs, never `auto`."""
    model = config.model.name.replace(":", ".")
    return as_path(config.train.root) / f"{config.name}-{model}-{backend}-s{config.train.rng_seed}"


def claim(run_dir: Path, config: JobConfig, identity: Dict[str, Any], want: Optional[str]) -> str:
    """Decide what training in `run_dir` means, and record the job there.

    Called under the lock. An empty or absent folder is `new`. A folder of the same job (store, model, training) is
    `finished` when it has the result for these limits, else it goes on: `resume` (or `new`, when it never came to a
    checkpoint). Everything else is an error, unless `want` is "fresh", which moves an old run aside;
    `want` = "resume" insists that there is something to resume.

    Raises:
        CheckpointError: the folder holds another job's run, or nothing to resume.
    """
    remove_leftovers(run_dir)
    if want == "fresh" and (run_dir / RUN).exists():
        move_aside(run_dir)
    found = _read(run_dir / RUN)
    if found is None and run_dir.exists() and any(run_dir.iterdir()):
        hint = "Name another folder with --run (make: RUN=)."
        raise CheckpointError("the folder is not empty and holds no run", where=str(run_dir), hint=hint)
    if found is not None:
        changed = changed_keys(found, identity)
        if changed:
            what = f"the folder holds the run of another job: {'; '.join(changed)}"
            raise CheckpointError(what, where=str(run_dir), hint=ANOTHER)
        result = read_result(run_dir)
        is_finished = result is not None and result["limits"] == run_limits(config.train)
        if is_finished and (run_dir / BEST).exists() and want != "resume":
            return "finished"
    if (run_dir / LAST).exists():
        return "resume"
    if want == "resume":
        raise CheckpointError("there is nothing to resume", where=str(run_dir / LAST), hint="Leave out --resume.")
    write_text(run_dir / RUN, json.dumps(identity, indent=2) + "\n")
    return "new"


def run_limits(train: TrainConfig) -> Dict[str, int]:
    """When a run ends: the part of its config that may be raised to go on with it."""
    return {"epochs": train.epochs, "patience": train.patience}


def move_aside(run_dir: Path) -> Path:
    """Rename a folder to `<run>.old-N`, the first N that is free."""
    number = 1
    while (target := run_dir.with_name(f"{run_dir.name}.old-{number}")).exists():
        number += 1
    os.rename(run_dir, target)
    return target


@contextmanager
def locked(run_dir: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Let one process at a time train in a folder; the lock ends with the process, however it ends.

    `tell` is called with a line where the file system has no locks and a file stands for one.

    The lock file lies beside the folder, so that the folder can be moved aside.

    Raises:
        CheckpointError: another process trains there.
    """
    make_folder(run_dir.parent)
    path = run_dir.with_name(f".{run_dir.name}{LOCK}")
    lock = locks.locked(path, tell=tell)
    try:
        lock.__enter__()
    except locks.HeldError as held:
        hint = "Wait for it, or name another folder with --run (make: RUN=)."
        what = "another process is training there"
        raise CheckpointError(what, actual=held, where=str(run_dir), hint=hint) from None
    except OSError as error:
        hint = "Look for a missing permission or a full disk, or name another folder with --run (make: RUN=)."
        raise CheckpointError("the run cannot be locked", actual=error, where=str(run_dir), hint=hint) from error
    with ExitStack() as stack:
        stack.push(lock)
        yield


def read_result(run_dir: Path) -> Optional[Dict[str, Any]]:
    """What a finished run's `result.json` holds; None before there is one.

    Raises:
        CheckpointError: it is malformed.
    """
    result = _read(run_dir / RESULT)
    if result is not None:
        try:
            result_line(result), result["limits"]
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(run_dir / RESULT, repr(error)) from error
    return result


def _read(path: Path) -> Optional[Dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _malformed(path, error) from error
    if not isinstance(found, dict):
        raise _malformed(path, type(found).__name__)
    return found


def _malformed(path: Path, actual: Any) -> CheckpointError:
    return CheckpointError("a file of the run cannot be read", actual=actual, where=str(path), hint=ANOTHER)
