"""How long training takes to start, for the first time and again: what the compile cache is worth.

    python -m benchmarks.startup configs/imdb.toml

prepares the store of the config, then starts two processes after one another with the same, at first empty, cache of
compiled code. Each makes one training step and one inference; the seconds of each part are printed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.measure import show, table
from heteroshards.schemas.config import load_config

MODELS = ("to_hetero", "hetero_conv", "hgt")
PROBE = """
import json, sys, time
started = time.perf_counter()
from heteroshards.trainer.cli import _backend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.reading.store import resolve_store
from heteroshards.schemas.config import load_config
import numpy as np
took = {"import": time.perf_counter() - started}
config = load_config(sys.argv[1], json.loads(sys.argv[2]))
store = resolve_store(config, None)
with open_job(config, store, _backend(config)) as job, job.stream("train", np.zeros(1, np.int64)) as stream:
    took["open"] = time.perf_counter() - started - sum(took.values())
    for _, batch in stream:
        job.compiled.step(batch)
    took["step"] = time.perf_counter() - started - sum(took.values())
    for _, batch in job.stream("train", np.zeros(1, np.int64)):
        job.compiled.infer(batch)
    took["infer"] = time.perf_counter() - started - sum(took.values())
print(json.dumps(took))
"""
PARTS = ("import", "open", "step", "infer")


def start(config: Path, overrides: dict[str, str], environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Seconds of a whole process that makes its first training step and its first inference, and of its parts."""
    started = time.perf_counter()
    arguments = [sys.executable, "-c", PROBE, str(config), json.dumps(overrides)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise click.ClickException("the process that was timed failed")
    return time.perf_counter() - started, json.loads(done.stdout.splitlines()[-1])


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="Repeatable; all three by default.")
@click.option("--backend", default="inductor", show_default=True, help="The trainer's backend.")
@click.option("--write", is_flag=True, help="Add the table to benchmarks/RESULTS.md.")
def main(config: Path, models: tuple[str, ...], backend: str, write: bool) -> None:
    load_config(config)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare = [sys.executable, "-m", "pipeline", "prepare", "--config", str(config)]
        subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
        for model in models or MODELS:
            cache = str(Path(folder) / model)
            overrides = {"model.name": model, "train.backend": backend, "train.cache": cache}
            first = 0.0
            for label in ("first", "second"):
                total, parts = start(config, overrides, dict(os.environ))
                first = first or total
                cells = [f"{total:.1f}", *(f"{parts[name]:.1f}" for name in PARTS), f"{total / first:.2f}"]
                rows.append([model, label, *cells])
                click.echo(" ".join(rows[-1]), err=True)
    header = ["model", "start", "total, s", *PARTS, "of the first"]
    show(f"Starting to train, {config.stem}, {backend}", table(header, rows), write)


if __name__ == "__main__":
    main()
