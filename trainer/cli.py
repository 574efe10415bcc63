"""`python -m trainer train | evaluate | predict | compile`. Commands import torch, so that --help is quick."""

import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

import click

from heteroshards.commands import CONTEXT, SET, Commands, job_config
from heteroshards.schemas.backends import described
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.layout import SCORED_SPLITS, SPLITS
from heteroshards.schemas.paths import as_path

if TYPE_CHECKING:
    from heteroshards.trainer.backends import Backend
    from heteroshards.trainer.job import Job

_SHARED = {
    "config_path": click.option(
        "--config",
        "config_path",
        default="configs/quickstart.toml",
        show_default=True,
        metavar="FILE",
        help="The job: a TOML file.",
    ),
    "store": click.option(
        "--store", metavar="PATH", help="A store to read instead of the one last prepared for the config."
    ),
    "run": click.option(
        "--run",
        metavar="DIR",
        help="The run's folder.  [default: <train.root>/<name>-<model>-<backend>-s<seed>]",
    ),
    "model": click.option(
        "--model", metavar="NAME", help="Overrides [model] name: to_hetero, hetero_conv, hgt or pkg.mod:fn."
    ),
    "backend": click.option("--backend", metavar="NAME", help=f"Overrides [train] backend: {described()}."),
    "seed": click.option("--seed", type=int, metavar="N", help="Overrides [train] rng_seed."),
    "on_corrupt": click.option(
        "--on-corrupt",
        type=click.Choice(["stop", "skip"]),
        help="Overrides [train] on_corrupt: stop at a damaged shard, or go on without its batches and report them.",
    ),
}


def options_of(*names: str) -> Callable[..., Any]:
    """Those of the shared options; none named means all."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names or tuple(_SHARED)):
            command = _SHARED[name](command)
        return SET(command)

    return add


shared_options = options_of()


@click.group(cls=Commands, context_settings=CONTEXT)
def main() -> None:
    """Train models on a prepared store of padded batches, and use them.

    A store comes from `make prepare`. Progress goes to stderr, results as JSON to stdout.

    \b
    Exit codes: 0 done, 2 config or usage, 5 store, 6 model, 7 backend, 8 checkpoint or run folder, 1 what else the
    system refuses, 70 a fault of this program (HETEROSHARDS_TRACEBACK=1 shows where), 130 interrupted, 143 terminated.
    """


@main.command()
@shared_options
@click.option("--epochs", type=int, metavar="N", help="Overrides [train] epochs.")
@click.option("--resume", is_flag=True, help="Insist on going on with an earlier run.")
@click.option("--fresh", is_flag=True, help="Start anew; an earlier run is kept as <run>.old-N.")
def train(epochs: Optional[int], resume: bool, fresh: bool, **shared: Any) -> None:
    """Train, keep the best weights, score them on split test.

    An interrupted run goes on by itself: the same command, in the same folder, continues from last.pt and gives
    the losses that an uninterrupted run gives. A finished run is not trained again: its result is shown. More
    --epochs continue a finished run; fewer than it has begun are an error. A folder with another job's run (other
    store, model or training options) is an error that says what differs.
    """
    from heteroshards.trainer.job import identity_of
    from heteroshards.trainer.models import find_model
    from heteroshards.trainer.reading.store import resolve_store
    from heteroshards.trainer.runs.folders import claim, locked, read_result
    from heteroshards.trainer.runs.quarantine import lines_of
    from heteroshards.trainer.runs.report import result_line, terminal
    from heteroshards.trainer.settle import settle
    from heteroshards.trainer.training import fit

    if resume and fresh:
        raise click.UsageError("--resume and --fresh exclude each other.")
    want = "resume" if resume else "fresh" if fresh else None
    config, run, store_path = _job_config(shared, {"train.epochs": epochs})
    find_model(config.model.name)  # before there is a folder named after it
    store, console = resolve_store(config, store_path), terminal()
    backend = settle(config, store, _backend(config), lambda name: _run_dir(run, config, name), console, fresh)
    run_dir = _run_dir(run, config, backend.name)
    with locked(run_dir, console.line):
        state = claim(run_dir, config, identity_of(config, store, backend.name), want)
        if state == "finished":
            result = read_result(run_dir) or {}
            console.line(f"{run_dir} holds the finished run of this job; train it again with --fresh.")
        else:
            verb = "resuming" if state == "resume" else "training"
            console.line(f"{verb} {config.model.name} on {store.path} with backend {backend.name} in {run_dir}")
            result = fit(config, store, run_dir, state == "resume", backend=backend, console=console)
    if state == "finished":
        for line in lines_of(result.get("left_out", [])):
            console.line(line)
    console.line(result_line(result))
    click.echo(json.dumps({key: value for key, value in result.items() if key not in ("job", "limits")}))


@main.command(name="compile")
@options_of("config_path", "store", "model", "seed")
def compile_command(**shared: Any) -> None:
    """Prepare executables for an IPU without having one (backend poptorch, [ipu] ipu_version).

    They go to [ipu] executable_cache, where training finds them: copy that folder to the IPU machine. Needs the Poplar
    SDK, but no device.
    """
    from heteroshards.trainer.job import compile_offline
    from heteroshards.trainer.reading.store import resolve_store

    config, _, store_path = _job_config(shared, {})
    folder = compile_offline(config, resolve_store(config, store_path))
    click.echo(json.dumps({"executables": str(folder)}))


@main.command()
@shared_options
@click.option(
    "--split", type=click.Choice(SCORED_SPLITS), default="test", show_default=True, help="The split to score."
)
def evaluate(split: str, **shared: Any) -> None:
    """Score the best weights of a run on a split: the loss and the task's metrics, one JSON line.

    With several rounds of a split, the probabilities of each seed node are averaged over them.

    --run with another --store (or --config) uses the weights on any store with the same types, features and classes:
    other fanouts, another budget, a later graph. What differs is told, and stands under "weights" in the result.
    """
    from heteroshards.trainer.evaluate import evaluate as score
    from heteroshards.trainer.runs.report import terminal

    with _trained(shared) as (job, _):
        found = score(job, split, terminal())
        click.echo(json.dumps({"split": split, **found, "left_out": _left_out(job), **_foreign(job)}))


@main.command()
@shared_options
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    help="May be repeated.  [default: predict where there is one, else all]",
)
@click.option(
    "--output",
    metavar="FILE",
    help="The Parquet file.  [default: <run>/predictions.parquet, or predictions-<store>.parquet on another store]",
)
def predict(splits: Tuple[str, ...], output: Optional[str], **shared: Any) -> None:
    """Write predictions of the best weights of a run to a Parquet file; the store may be another than the run's.

    Columns: split (null for a node of split predict that is in no other), node_id (global id), label (null where
    unknown), prediction, probability (a list, one per class), and original_id (the id in the source graph) where
    the store holds only a part of that graph.
    """
    from heteroshards.trainer.predict import default_splits
    from heteroshards.trainer.predict import predict as write
    from heteroshards.trainer.runs.report import terminal

    with _trained(shared) as (job, run_dir):
        path = as_path(output) if output else run_dir / _predictions_name(job)
        num_rows = write(job, splits or default_splits(job.store), path, terminal())
        told = {"output": str(path), "num_rows": num_rows, "left_out": _left_out(job), **_foreign(job)}
        click.echo(json.dumps(told))


def _foreign(job: "Job") -> Dict[str, Any]:
    """Where weights come from that were trained on another store, and what differs; nothing where it is the same."""
    return {"weights": job.weights} if job.weights["trained_on"] != job.store.path else {}


def _predictions_name(job: "Job") -> str:
    """Predictions on another store than the run's do not take the place of the run's own."""
    return f"predictions-{Path(job.store.path).name}.parquet" if _foreign(job) else "predictions.parquet"


def _left_out(job: "Job") -> List[Dict[str, Any]]:
    """What is damaged and was left out, told in a line each and returned as plain values."""
    for line in job.quarantine.lines():
        click.echo(line, err=True)
    return job.quarantine.records()


def _job_config(shared: Any, more: Any) -> Tuple[JobConfig, Optional[str], Optional[str]]:
    """(config with overrides, --run, --store)."""
    names = {
        "model.name": "model",
        "train.backend": "backend",
        "train.rng_seed": "seed",
        "train.on_corrupt": "on_corrupt",
    }
    overrides = {key: shared.get(name) for key, name in names.items()}
    return job_config(shared["config_path"], {**overrides, **more}), shared.get("run"), shared["store"]


def _backend(config: JobConfig) -> "Backend":
    """The backend of a config; when another one stands in for it, one line says why."""
    from heteroshards.trainer.job import backend_of

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backend = backend_of(config)
    for warning in caught:
        click.echo(f"warning: {warning.message}", err=True)
    return backend


def _run_dir(run: Optional[str], config: JobConfig, backend: str) -> Path:
    from heteroshards.trainer.runs.folders import run_folder

    return as_path(run) if run else run_folder(config, backend)


@contextmanager
def _trained(shared: Any) -> Iterator[Tuple["Job", Path]]:
    """The job of a run with its best weights, and the run's folder."""
    from heteroshards.trainer.reading.store import resolve_store
    from heteroshards.trainer.runs.report import terminal
    from heteroshards.trainer.trained import trained_job

    config, run, store_path = _job_config(shared, {})
    store, backend = resolve_store(config, store_path), _backend(config)
    with trained_job(config, store, backend, lambda name: _run_dir(run, config, name), terminal()) as found:
        yield found
