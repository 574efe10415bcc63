"""Prepare, verify, train, kill and resume for some minutes: `python -m tests.soak --minutes M --seed S`.

Half of the time goes to the real commands. Each iteration is a random small job, run once without a break; then
`prepare` and `train` are each killed with SIGKILL at a random moment and repeated. Nothing may be lost: the store has
the bytes of the uninterrupted one, `verify` finds it sound, and the losses are equal to the last bit.

The other half goes through the Python API in this one process, for memory and descriptors: the same few random jobs
are prepared, verified, trained and removed, pass after pass, and after each pass the resident memory (what malloc holds
back is given back first) and the open descriptors are noted. The first half of the passes is warm-up. Over the rest a
line is fitted; memory is flat when the line grows by less than `FLAT_BYTES` from its start to its end, descriptors
when their number is the same after every pass. Exit code 1 when something was lost, or is not flat.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer import fit, open_store
from heteroshards.trainer.runs.report import read_metrics
from tests.pipeline.build import as_toml
from tests.pipeline.stores import files_of

ROOT = Path(__file__).resolve().parents[1]
FLAT_BYTES = 4 * 2**20
NUM_JOBS = 4  # of a pass
SECONDS = 300  # for one command
Sections = dict[str, Any]


def random_job(rng: random.Random, is_large: bool) -> Sections:
    """Sections of a small job on the synthetic graph; a large one writes long enough to be killed at it."""
    budgets: list[Sections] = [{}, {"shapes": 2}, {"mode": "quantile", "quantile": 0.5, "confidence": 0.5}]
    budget = rng.choice(budgets)
    if "mode" in budget:
        budget = {**budget, "oversize": rng.choice(["skip", "trim_nodes_and_edges"])}
    store = {
        "zarr_format": rng.choice([2, 3]),
        "codec": rng.choice(["auto", "none", "zstd"]),
        "features": rng.choice(["table", "inline"]),
        "chunk_batches": rng.choice([1, 2, 5]),
    }
    return {
        "name": "soak",
        "dataset": {"args": {"scale": 0.02, "num_features": 16, "rng_seed": rng.randrange(1000)}},
        "sampling": {
            "fanout": [rng.choice([-1, 2, 4]) for _ in range(rng.choice([1, 2]))],
            "batch_size": rng.choice([2, 3]),
            "grouping": rng.choice(["random", "balanced", "packed"]),
            "rounds": rng.choice([50, 100]) if is_large else rng.choice([2, 4]),
            "rng_seed": rng.randrange(1000),
        },
        "budget": budget,
        "store": store,
        "model": {
            "name": rng.choice(["to_hetero", "hetero_conv", "hgt"]),
            "hidden_channels": 8,
            "heads": 2,
            "dropout": rng.choice([0.0, 0.5]),
        },
        "train": {"epochs": 30 if is_large else 2, "backend": "eager", "eval_every": 10 if is_large else 1},
    }


@dataclass
class Report:
    """What was done and found.

    Attributes:
        num_killed: "prepare" or "train" -> (times killed while at work, times it was over before).
        lost: a line for everything that is not as it was.
        rss, descriptors: after each pass.
    """

    num_iterations: int = 0
    num_killed: dict[str, list[int]] = field(default_factory=lambda: {"prepare": [0, 0], "train": [0, 0]})
    lost: list[str] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    @property
    def later(self) -> slice:
        """The passes after the warm-up."""
        return slice(len(self.rss) // 2, None)

    def growth_bytes(self) -> float:
        """Of the line fitted through the resident memory of the later passes, from its start to its end."""
        later = np.array(self.rss[self.later], float)
        return float(np.polyfit(np.arange(len(later)), later, 1)[0] * (len(later) - 1)) if len(later) > 1 else 0.0

    def is_flat(self) -> bool:
        return self.growth_bytes() < FLAT_BYTES and len(set(self.descriptors[self.later])) <= 1

    def is_good(self) -> bool:
        return not self.lost and self.is_flat()

    def lines(self) -> list[str]:
        """What is printed."""
        found = [f"commands: {self.num_iterations} iterations"]
        for command, (killed, over) in self.num_killed.items():
            found.append(f"  {command}: killed at work {killed} times and repeated; over before the kill {over} times")
        found.append(f"  lost: {len(self.lost)}" + "".join(f"\n    {line}" for line in self.lost))
        if self.rss:
            num_later = NUM_JOBS * (len(self.rss[self.later]) - 1)
            leak = FLAT_BYTES / max(1, num_later) / 1024
            shown = self.rss[:: max(1, len(self.rss) // 10)]
            found += [
                f"one process: {len(self.rss)} passes of {NUM_JOBS} jobs (prepare, verify, train, remove)",
                "  resident MiB: " + " ".join(f"{rss / 2**20:.1f}" for rss in [*shown, self.rss[-1]]),
                f"  fitted growth over the later half, {num_later} jobs: {self.growth_bytes() / 2**20:+.2f} MiB "
                f"(limit {FLAT_BYTES / 2**20:.0f}; more than {leak:.0f} KiB a job would have been seen)",
                f"  descriptors: {min(self.descriptors[self.later])} to {max(self.descriptors[self.later])}",
            ]
        return [*found, "flat, nothing lost" if self.is_good() else "NOT GOOD: memory, descriptors or work is lost"]


class Commands:
    """Iterations through the real commands, each in a folder of its own."""

    def __init__(self, rng: random.Random, report: Report) -> None:
        self.rng, self.report = rng, report

    def iterate(self, folder: Path) -> None:
        job, config = random_job(self.rng, is_large=True), folder / "job.toml"
        config.write_text(as_toml(job))
        whole, cut = folder / "whole", folder / "cut"
        self._both("prepare", lambda at: _pipeline("prepare", config, "--store", at / "store"), "store.partial", folder)
        if files_of(whole / "store") != files_of(cut / "store"):
            self._lose("the store after a kill differs", job)
        checked = subprocess.run(_pipeline("verify", config, cut / "store"), capture_output=True, text=True, cwd=ROOT)
        if checked.returncode:
            self._lose(f"verify: {checked.stdout}{checked.stderr}", job)
        self._both(
            "train",
            lambda at: _trainer(config, "--store", whole / "store", "--run", at / "run"),
            "run/metrics.jsonl",
            folder,
        )
        losses = [[(r["loss"], r.get("val_loss")) for r in read_metrics(at / "run")] for at in (whole, cut)]
        if losses[0] != losses[1] or len(losses[0]) != job["train"]["epochs"]:
            self._lose(f"losses differ: {losses}", job)
        self.report.num_iterations += 1

    def _both(self, name: str, command: Callable[[Path], list[Any]], sign: str, folder: Path) -> None:
        """Run a command whole in one folder; in the other kill it when `sign` is there and some time went by."""
        whole, cut = folder / "whole", folder / "cut"
        for at in (whole, cut):
            at.mkdir(exist_ok=True)
        took = self._run(name, command(whole), whole / sign, None)
        self._run(name, command(cut), cut / sign, self.rng.uniform(0, 0.9 * took))
        self._run(name, command(cut), cut / sign, None)

    def _run(self, name: str, command: list[Any], sign: Path, kill_after: float | None) -> float:
        """Seconds between the sign and the end. A run that is not killed must end well."""
        with tempfile.TemporaryFile() as said:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=said, stderr=said, env=environment)
            try:
                _wait(lambda: sign.exists() or process.poll() is not None)
                started = time.monotonic()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS if kill_after is None else kill_after)
                took = time.monotonic() - started
            finally:
                process.kill()
                process.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if kill_after is not None:
            self.report.num_killed[name][process.returncode != -signal.SIGKILL] += 1
        if process.returncode not in ((0,) if kill_after is None else (0, -signal.SIGKILL)):
            self._lose(f"{name} ended with {process.returncode}: {text[-2000:]}", {})
        return took

    def _lose(self, what: str, job: Sections) -> None:
        self.report.lost.append(f"{what} {job}")


def _pipeline(command: str, config: Path, *more: Any) -> list[Any]:
    return [sys.executable, "-m", "pipeline", command, "--config", config, "--workers", "2", *more]


def _trainer(config: Path, *more: Any) -> list[Any]:
    return [sys.executable, "-m", "trainer", "train", "--config", config, *more]


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not is_so() and time.monotonic() < until:
        time.sleep(0.005)


def run_pass(jobs: list[Sections], folder: Path, report: Report) -> None:
    """Every job once through the API, with everything removed afterwards; then look at this process."""
    for number, job in enumerate(jobs):
        place = folder / str(number)
        config = JobConfig(**{**job, "store": {**job["store"], "root": str(place)}})
        source = load_dataset(config.dataset)
        path = prepare_source(source, config, workers=2).path
        if not verify(path, source, config).is_sound:
            report.lost.append(f"verify in one process {job}")
        fit(config, open_store(path), place / "run")
        shutil.rmtree(place)
    gc.collect()
    _give_back()
    report.rss.append(resident_bytes())
    report.descriptors.append(len(os.listdir("/proc/self/fd")))


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    """Let glibc return what was freed, so that what is measured is what is held."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def soak(minutes: float, seed: int, *, with_commands: bool = True, tell: Callable[[str], Any] = print) -> Report:
    """Both halves, at least one iteration and two passes of each."""
    rng, report = random.Random(seed), Report()
    commands, half = Commands(rng, report), 30 * minutes
    until = time.monotonic() + half
    while with_commands and (not report.num_iterations or time.monotonic() < until):
        with tempfile.TemporaryDirectory() as folder:
            commands.iterate(Path(folder))
        tell(f"iteration {report.num_iterations}, {len(report.lost)} lost")
    jobs = [random_job(rng, is_large=False) for _ in range(NUM_JOBS)]
    until = time.monotonic() + half
    with tempfile.TemporaryDirectory() as folder:
        while len(report.rss) < 2 or time.monotonic() < until:
            run_pass(jobs, Path(folder), report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = soak(options.minutes, options.seed)
    print("\n".join(report.lines()))
    return 0 if report.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
