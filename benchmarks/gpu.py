"""Backend `cuda_graphs` on a GPU, beside plain PyG and beside its own limit, in one command of under eight minutes.

    python -m benchmarks.gpu                # prints a table, writes build/gpu.json; ends at once where there is no GPU
    python -m benchmarks.gpu --dry-run      # every line of it on the CPU, tiny; the numbers say nothing

Needs torch built for CUDA, PyG, numba, and the project's other dependencies; nothing is fetched. IMDB is measured where
its raw files lie under $DATASETS_DIR, the synthetic graph (128 dense features) everywhere.

- `resident`: steps on one batch that lies on the card already: the limit. `stream`: the trainer's own loop. Both with
  features gathered on the host, and beside the model, where only ids travel.
- `plain PyG`: the same model, eager, fed by NeighborLoader with workers and pinned memory where that runs (pyg-lib or
  torch-sparse), else by unpadded batches that were sampled before and lie in pinned memory. That flatters PyG, whose
  sampling is not counted then.
- `reduce-overhead`: our padded step on a resident batch, compiled by inductor, which captures graphs of its own.
- losses of the first steps beside those of the CPU, with and without TF32.

What has not been measured when `--seconds` are over is left out, and named.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.card import Card, DryCard, Gpu
from benchmarks.gpu_ways import Run, SelfCapturing, first_losses, job_with, ours, plain_pyg, rate_of
from benchmarks.measure import show, table
from benchmarks.step import MODELS, WITH_SAMPLER
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.sources.source import SourceGraph
from heteroshards.schemas.config import JobConfig, load_config
from heteroshards.trainer import open_store
from heteroshards.trainer.reading.store import Store

warnings.filterwarnings("ignore", message="`torch.jit.script")

ROOT = Path(__file__).resolve().parents[1]
EAGER_AIM, RESIDENT_AIM = 10.0, 0.95
PYG, HOST, CARD = "plain PyG", "cuda_graphs, gathered on the host", "cuda_graphs, gathered on the card"
CAPTURING = "reduce-overhead, resident"
GPU_TESTS = ("tests/trainer/test_cuda_graphs.py", "-k", "on_a_gpu")
RESERVE = 0.5  # of what is left of the time: compiling, capturing and warming up


class OutOfTime(Exception):  # noqa: N818
    """The command's seconds are over."""


@dataclass
class Results:
    """All that was found out, as it goes into the JSON.

    Attributes:
        tests: the closing line of the GPU's tests.
        rates: one dict a measurement: graph, seeds, model, way, steps_per_s, waiting, peak_mib.
        losses: one dict a comparison: model, tf32, difference (relative, greatest of the first steps).
        failures: what raised: place and error.
        left_out: what there was no time, or no data, for.
    """

    card: str
    feeder: str
    tests: str = "not run"
    rates: list[dict] = field(default_factory=list)
    losses: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Case:
    """A graph, a number of seeds a batch, and the store of both, which is made when first asked for."""

    def __init__(self, graph: str, job: JobConfig) -> None:
        self.graph, self.job = graph, job
        self._opened: tuple[SourceGraph, Store] | None = None

    @property
    def name(self) -> str:
        return f"{self.graph}, {self.job.sampling.batch_size} seeds"

    def open(self) -> tuple[SourceGraph, Store]:
        if self._opened is None:
            source = load_dataset(self.job.dataset)
            self._opened = source, open_store(prepare_source(source, self.job, workers=2).path)
        return self._opened


def cases(folder: str, is_dry: bool, results: Results) -> list[Case]:
    """IMDB where its files are, and a synthetic graph with 128 dense features; all labelled nodes are seeds."""
    everything: dict[str, Any] = {
        "dataset.random_split": {"train": 1.0, "val": 0.0, "test": 0.0},
        "dataset.masks": None,
    }
    places = {"store.root": folder, "train.cache": f"{folder}/cache", "train.root": f"{folder}/runs"}
    synthetic = {"dataset.args": {"num_features": 128, "scale": 0.02 if is_dry else 5.0}}
    everything.update({"model.hidden_channels": 8} if is_dry else {})
    graphs = {"synthetic, 128 features": ("quickstart.toml", {**synthetic, "sampling.fanout": [10, 10]})}
    imdb = Path(os.environ.get("DATASETS_DIR", "data")) / "IMDB" / "raw"
    if imdb.is_dir():
        graphs["IMDB"] = ("imdb.toml", {"dataset.subset": {"movie": 80}} if is_dry else {})
    else:
        results.left_out.append(f"IMDB: {imdb} is absent")
    found = []
    for batch_size, rounds in ((8, 1),) if is_dry else ((64, 2), (1024, 8)):
        for graph, (config, values) in graphs.items():
            sizes = {"sampling.batch_size": batch_size, "sampling.rounds": rounds}
            job = load_config(ROOT / "configs" / config, {**everything, **places, **sizes, **values})
            found.append(Case(graph, job))
    return found


class Session:
    """Measures one thing after another, keeps what was found, and goes on where one fails."""

    def __init__(self, card: Card, results: Results, seconds: float) -> None:
        self.card, self.results = card, results
        self._ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return self._ends - time.monotonic()

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Interrupt whatever runs when the time is over; a call into CUDA that never returns ends the process."""
        with _alarm(self.left_s):
            yield

    def attempt(self, what: str, act: Callable[[], None]) -> None:
        """An error is a result, too; the next measurement may still succeed."""
        try:
            act()
        except (OutOfTime, KeyboardInterrupt):
            self.results.left_out.append(what)
            raise
        except Exception as error:
            self.results.failures.append(f"{what}: {type(error).__name__}: {error}")
            click.echo(self.results.failures[-1], err=True)

    def measure(self, case: Case, model: str, way: str, run: Run, num_left: int) -> None:
        """`num_left` measurements share the time that is left."""
        seconds = min(self.card.effort.longest_s, RESERVE * self.left_s / num_left)
        rate = rate_of(self.card, run, seconds)
        row = {"graph": case.graph, "seeds": case.job.sampling.batch_size, "model": model, "way": way}
        self.results.rates.append({**row, **rate._asdict()})
        click.echo(f"{case.name}, {model}, {way}: {rate.steps_per_s:.1f} steps/s", err=True)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` here after so many seconds."""

    def over(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_tests(session: Session) -> None:
    """The tests that need a GPU, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *GPU_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [*done.stderr.splitlines(), *done.stdout.splitlines()]
    session.results.tests = lines[-1] if lines else f"exit code {done.returncode}"
    if done.returncode:
        session.results.failures.append("tests on the GPU:\n" + "\n".join(lines[-40:]))


def measure_model(session: Session, case: Case, model: str, num_left: int) -> None:
    """The limit, the stream and plain PyG, for one model."""
    card, (source, store) = session.card, case.open()
    for way, features in ((CARD, "always"), (HOST, "never")):
        card.forget_peak()
        with ours(card, job_with(case.job, model, features), store, card.backend()) as runs:
            for kind, run in runs.items():
                session.measure(case, model, f"{way}, {kind}", run, num_left)
    card.forget_peak()
    run = plain_pyg(card, job_with(case.job, model), source, store.split("train").num_batches)
    session.measure(case, model, PYG, run, num_left)


def measure_capturing(session: Session, case: Case, model: str) -> None:
    """What torch.compile makes of the same padded step."""
    session.card.forget_peak()
    job = job_with(case.job, model, "never")
    with ours(session.card, job, case.open()[1], SelfCapturing(session.card)) as runs:
        session.measure(case, model, CAPTURING, runs["resident"], 1)


def compare_losses(session: Session, case: Case, model: str, is_tf32: bool) -> None:
    """How far the first losses are from the CPU's."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if is_tf32 else "highest")
    try:
        job = job_with(case.job, model, "never", dropout=0.0)
        difference = first_losses(session.card, job, case.open()[1])
    finally:
        torch.set_float32_matmul_precision(before)
    session.results.losses.append({"model": model, "tf32": is_tf32, "difference": difference})


def measure_all(session: Session, found: list[Case]) -> None:
    """First what is asked first; the compiler, which takes a minute a model, last."""
    session.attempt("tests on the GPU", lambda: run_tests(session))
    for is_tf32 in (False, True):
        for model in MODELS:
            name = f"losses of {model}, TF32 {'on' if is_tf32 else 'off'}"
            session.attempt(name, lambda m=model, t=is_tf32: compare_losses(session, found[0], m, t))
    pairs = [(case, model) for case in found for model in MODELS]
    for index, (case, model) in enumerate(pairs):
        num_left = 5 * (len(pairs) - index)
        name = f"{case.name}, {model}"
        session.attempt(name, lambda c=case, m=model, n=num_left: measure_model(session, c, m, n))
    for case, model in pairs:
        name = f"{case.name}, {model}, {CAPTURING}"
        session.attempt(name, lambda c=case, m=model: measure_capturing(session, c, m))


def rows_of(results: Results) -> list[list[str]]:
    """The table's rows, each beside plain PyG and beside the resident batch of its own kind."""
    rate = {(r["graph"], r["seeds"], r["model"], r["way"]): r["steps_per_s"] for r in results.rates}
    rows = []
    for r in results.rates:
        place = (r["graph"], r["seeds"], r["model"])
        eager = rate.get((*place, PYG))
        limit = rate.get((*place, r["way"].replace("stream", "resident"))) if "stream" in r["way"] else None
        beside = [f"{r['steps_per_s'] / other:.2f}" if other else "" for other in (eager, limit)]
        cells = [r["graph"], str(r["seeds"]), r["model"], r["way"], f"{r['steps_per_s']:,.1f}"]
        rows.append([*cells, *beside, f"{r['waiting']:.1%}", f"{r['peak_mib']:,.0f}"])
    return rows


def summary(results: Results) -> list[str]:
    """What the aims ask, and what else is worth a line."""
    lines = [f"Card: {results.card}. Tests: {results.tests}. Plain PyG is fed by {results.feeder}."]
    ratios = [(row[5], row[6]) for row in rows_of(results) if "stream" in row[3]]
    for column, name, aim in ((0, "plain PyG", EAGER_AIM), (1, "resident", RESIDENT_AIM)):
        values = sorted(float(row[column]) for row in ratios if row[column])
        if values:
            met = sum(value >= aim for value in values)
            lines.append(f"stream / {name}: {values[0]:.2f} to {values[-1]:.2f}; {met} of {len(values)} reach {aim:g}")
    for loss in results.losses:
        tf32 = "on" if loss["tf32"] else "off"
        lines.append(f"losses of {loss['model']} beside the CPU's, TF32 {tf32}: {loss['difference']:.1e} apart at most")
    lines += [f"failed: {failure}" for failure in results.failures]
    lines += [f"left out: {what}" for what in results.left_out]
    return lines


@click.command(help=__doc__)
@click.option("--seconds", default=450.0, show_default=True, help="All in all; what is left out then is named.")
@click.option("--dry-run", is_flag=True, help="Every line on the CPU, on the tests' double of CUDA graphs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="build/gpu.json", show_default=True)
@click.option("--write", is_flag=True, help="Add the table to benchmarks/RESULTS.md.")
def main(seconds: float, dry_run: bool, json_path: Path, write: bool) -> None:
    if not dry_run and not torch.cuda.is_available():
        click.echo("no GPU that torch can use: nothing is measured (--dry-run goes through every line on the CPU)")
        return
    card: Card = DryCard() if dry_run else Gpu()
    results = Results(card.name, "NeighborLoader" if WITH_SAMPLER else "batches sampled before, which flatters it")
    session = Session(card, results, seconds)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with session.bound():
                measure_all(session, cases(folder, dry_run, results))
        except OutOfTime:
            click.echo("the time is over", err=True)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    header = ["graph", "seeds", "model", "way", "steps/s", "of plain PyG", "of resident", "waiting", "peak MiB"]
    body = "\n".join(f"- {line}" for line in summary(results))
    show(f"On a GPU: {card.name}", f"{body}\n\n{table(header, rows_of(results))}", write)
    sys.exit(1 if results.failures else 0)


if __name__ == "__main__":
    main()
