"""Which backend `auto` comes to for one run: compiling has to pay within it.

A compiler's time follows the number of operators in a step, and so does most of what it saves. With many relations a
step has thousands of operators; compiling them takes minutes, which a run of a few hundred steps never earns back.
"""

import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional

from heteroshards.schemas.backends import AUTO
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer.backends import Backend
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.checkpoint import recorded_job
from heteroshards.trainer.compat import DispatchMode
from heteroshards.trainer.job import example_batch, identity_of, open_job
from heteroshards.trainer.reading.store import Store, changed_keys
from heteroshards.trainer.runs.names import BEST, LAST, RUN
from heteroshards.trainer.runs.report import SILENT, Console

# Training and inference together, for one shape, nothing compiled before (x86-64, torch 2.13, to_hetero between nodes
# of one type). Two quiet cores took 325 s for 90 relations, 7,355 operators; on 2026-11-26 two busy ones took 54 and
# 127 s of CPU for 4 and 16 relations, 389 and 1,361 operators, which is 25 s and 0.075 s for each. The smaller ones
# stand here, so that what is said not to pay does not.
COMPILE_S = 10.0
COMPILE_S_PER_OPERATOR = 0.04
MOST_SAVED = 0.6  # of the time of an eager step; the most that was seen is 0.43
INFERENCE_SHARE = 1 / 3  # of a step's time: no backward pass, no optimizer


class Estimate(NamedTuple):
    """What compiling a run costs, and what it can save at most.

    Attributes:
        num_operators: that PyTorch runs in one eager training step.
        step_s: seconds of such a step.
        num_steps: of the whole run; an inferred batch counts as `INFERENCE_SHARE` of one.
        num_shapes: of training batches, or of others where those have more; each is compiled.
    """

    num_operators: int
    step_s: float
    num_steps: float
    num_shapes: int = 1

    @property
    def compile_s(self) -> float:
        return self.num_shapes * (COMPILE_S + COMPILE_S_PER_OPERATOR * self.num_operators)

    @property
    def run_s(self) -> float:
        """Of all steps without compiling."""
        return self.step_s * self.num_steps

    @property
    def can_pay(self) -> bool:
        return self.compile_s < MOST_SAVED * self.run_s

    def line(self) -> str:
        """For a person, where it cannot."""
        return (
            f"backend auto runs eager: compiling {self.num_operators} operators would take about "
            f"{self.compile_s:.0f} s, all steps of the run without it about {self.run_s:.0f} s "
            "(--backend inductor compiles anyway)"
        )


def settle(
    config: JobConfig,
    store: Store,
    backend: Backend,
    folder_of: Callable[[str], Path],
    console: Console = SILENT,
    is_new: bool = False,
) -> Backend:
    """`backend`, or eager where `auto` came to inductor and compiling cannot pay within the run.

    A run that was begun goes on with what it began with, unless `is_new`. Every other choice is obeyed.

    Args:
        folder_of: the run's folder, by name of the backend.
    """
    if config.train.backend != AUTO or not backend.must_pay:
        return backend
    either = EagerBackend.name, backend.name
    begun = [] if is_new else [name for name in either if _is_begun(config, store, folder_of(name), name)]
    if len(begun) == 1:
        return EagerBackend() if begun == [EagerBackend.name] else backend
    found = estimate(config, store)
    if found.can_pay:
        return backend
    console.line(found.line())
    return EagerBackend()


def trained_with(config: JobConfig, backend: Backend, folder_of: Callable[[str], Path]) -> Backend:
    """For using a run's weights: `backend`, or eager where `auto` came to inductor now and to eager in training."""
    if config.train.backend == AUTO and backend.must_pay:
        for folder in (folder_of(backend.name), folder_of(EagerBackend.name)):
            if (folder / BEST).exists():
                recorded = _json(folder / RUN) or recorded_job(folder / BEST)
                return EagerBackend() if recorded and recorded.get("backend") == EagerBackend.name else backend
    return backend


def _is_begun(config: JobConfig, store: Store, run_dir: Path, backend: str) -> bool:
    """Whether a folder holds the run of this very job with that backend."""
    wanted = identity_of(config, store, backend)
    recorded = _json(run_dir / RUN) or recorded_job(run_dir / LAST)
    return recorded is not None and not changed_keys({key: recorded.get(key) for key in wanted}, wanted)


def _json(path: Path) -> Optional[Dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what is wrong with it is said where the run is claimed
        return None
    return found if isinstance(found, dict) else None


def estimate(config: JobConfig, store: Store) -> Estimate:
    """Count the operators of a step, and time one, with a model that is built for it and dropped.

    Raises:
        ModelError, StoreError: as training.
    """
    with open_job(config, store, EagerBackend()) as job:
        batch = example_batch(store, job.inputs, job.quarantine)
        job.compiled.step(batch)
        with _Counter() as counter:
            job.compiled.step(batch)
        started = time.perf_counter()
        job.compiled.step(batch)
        step_s = time.perf_counter() - started
    shapes = [len(store.manifest.shapes_for(purpose)) for purpose in ("train", "inference")]
    return Estimate(counter.count, step_s, num_steps(config, store), max(shapes))


def num_steps(config: JobConfig, store: Store) -> float:
    """Of a run that is not stopped early, with validation and the scores at its end."""
    train, sizes = config.train, store.split("train").round_sizes
    steps = float(sum(sizes[epoch % len(sizes)] for epoch in range(train.epochs)))
    for split, times in (("val", train.epochs // train.eval_every + 1), ("test", 1)):
        if store.has_split(split):
            steps += INFERENCE_SHARE * times * store.split(split).num_batches
    return steps


class _Counter(DispatchMode):
    """Counts the operators that run in its context, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))
