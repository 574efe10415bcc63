"""`heteroshards bench`: what preparing, reading and training take on this machine, with this job."""

import importlib.util
import json
import os
import platform
import sys
from datetime import date
from typing import Any, Dict, Iterator, List, Optional, Tuple

import click

from heteroshards.commands import CONTEXT, SET, Commands, job_config
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError

PARTS = ("prepare", "stream", "step")
PER_SEED = ("group and count", "sample, pad and write")  # other phases take as long for few seeds


@click.group(cls=Commands, context_settings=CONTEXT)
def main() -> None:
    """Holds the command."""


@main.command()
@click.option("--config", "config_path", default="configs/quickstart.toml", show_default=True, metavar="FILE")
@click.option("--store", metavar="PATH", help="A store to read instead of the one last prepared for the config.")
@click.option("--backend", metavar="NAME", help="Overrides [train] backend.")
@click.option("-j", "--workers", type=click.IntRange(1, 256), help="Threads of preparing.  [default: (all cores)]")
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="May be repeated.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@SET
def bench(
    config_path: str,
    store: Optional[str],
    backend: Optional[str],
    workers: Optional[int],
    parts: Tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure a job here: each phase of preparing, batches as they arrive, and the training step.

    Preparing writes a store that is thrown away, in the folder for temporary files (TMPDIR); `stream` and `step` read
    the one that was prepared, for a pass over a round of split train after a first one that warms up. Machines are
    never quite alike twice: compare numbers of one run.
    """
    config = job_config(config_path, {"train.backend": backend})
    train_parts = [part for part in PARTS[1:] if part in (parts or PARTS)]
    read = _find(config, store) if train_parts else None  # before anything is measured
    values: Dict[str, Any] = {"machine": machine(), "job": config.name}
    if "prepare" in (parts or _possible()):
        values["prepare"] = _prepare(config, workers or os.cpu_count() or 1)
    if read is not None:
        values.update(_train(config, *read, train_parts))
    click.echo(json.dumps(values) if as_json else "\n".join(_lines(values)))


def machine() -> str:
    """Where and when numbers were taken, in one line."""
    cores = f"{platform.machine()}, {os.cpu_count()} cores"
    return f"{date.today().isoformat()}, {cores}, Python {platform.python_version()}"


def _possible() -> Tuple[str, ...]:
    """A training host may lack what preparing needs: then it is left out, unless it is asked for."""
    is_there = sys.version_info >= (3, 10) and importlib.util.find_spec("numba") is not None
    if not is_there:
        click.echo("prepare is left out: this Python lacks what it needs (Python 3.10, numba)", err=True)
    return PARTS if is_there else PARTS[1:]


def _prepare(config: JobConfig, workers: int) -> Dict[str, Any]:
    try:
        from heteroshards.pipeline.preparation.timing import time_phases
    except (ImportError, SyntaxError) as error:
        hint = "pip install 'heteroshards[pipeline]', with Python 3.10 or newer, or measure other parts: --part stream"
        raise ConfigError(
            "preparing cannot be measured here", actual=error, where="--part prepare", hint=hint
        ) from None
    num_seeds, seconds = time_phases(config, workers)
    return {"num_seeds": num_seeds, "workers": workers, "seconds": seconds}


def _find(config: JobConfig, store: Optional[str]) -> Tuple[Any, Any]:
    """The store that is read, and the backend."""
    from heteroshards.trainer.job import backend_of
    from heteroshards.trainer.reading.store import resolve_store

    return resolve_store(config, store), backend_of(config)


def _train(config: JobConfig, store: Any, backend: Any, parts: List[str]) -> Dict[str, Any]:
    from heteroshards.trainer.job import open_job
    from heteroshards.trainer.timing import time_pass

    with open_job(config, store, backend) as job:
        found = {part: time_pass(job, with_step=part == "step").as_values() for part in parts}
    return {"store": store.path, "backend": backend.name, "model": config.model.name, **found}


def _lines(values: Dict[str, Any]) -> Iterator[str]:
    yield f"{values['job']}: {values['machine']}"
    if "prepare" in values:
        prepare = values["prepare"]
        yield f"prepare  {prepare['num_seeds']} seeds of all rounds, {prepare['workers']} threads"
        for phase, seconds in prepare["seconds"].items():
            rate = f"{prepare['num_seeds'] / max(seconds, 1e-9):>14,.0f} seeds/s" if phase in PER_SEED else ""
            yield f"  {phase:<24}{seconds:>9.2f} s{rate}"
    if "backend" in values:
        yield f"train    {values['model']} on {values['store']}, backend {values['backend']}"
    if "stream" in values:
        stream = values["stream"]
        yield f"  batches alone{stream['batches_per_s']:>22,.0f} batches/s{stream['megabytes_per_s']:>11,.0f} MB/s"
    if "step" in values:
        step = values["step"]
        yield f"  a step{step['ms_per_step']:>29,.2f} ms{step['waited_percent']:>12.1f}% of it waiting for batches"
