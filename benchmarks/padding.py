"""How full batches are, and how long an epoch takes, with every grouping and budget mode.

    python -m benchmarks.padding configs/imdb.toml configs/dblp.toml

makes every labelled node of the config's graph a seed of train, samples with fanout [5, 5] and counts 20 rounds.
Bytes are of a batch as a device receives it. Epochs are of round 0: `stream` reads it, gathers features and does
nothing else; `train` makes eager steps of the model `to_hetero`; each is the median of a few. Budgets that are
smaller than some batches (share `over`) are timed with batches trimmed. With --write the tables are added, dated, to
benchmarks/RESULTS.md.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.measure import show, table
from heteroshards.pipeline.forecast.trial import Alternative, Trial
from heteroshards.pipeline.graph.hetero import build_graph
from heteroshards.pipeline.sources import SourceGraph, load_dataset
from heteroshards.schemas.config import JobConfig, load_config

COLUMNS = ("seeds", "grouping", "budget", "batches/epoch", "nodes", "edges", "node fill", "edge fill", "seed fill")
COLUMNS += ("MiB/batch", "MiB/epoch", "over")
TIMES = ("stream s", "train s")


def job(path: Path, batch_size: int, rounds: int, **more: Any) -> JobConfig:
    """The config with every labelled node in train; `more` are sections, which win."""
    sections = {
        "dataset.random_split": {"train": 1.0, "val": 0.0, "test": 0.0},
        "sampling": {"fanout": [5, 5], "batch_size": batch_size, "rounds": rounds},
        "budget": {},
        "model.name": "to_hetero",
    }
    return load_config(path, {**sections, **more})


def measure(
    path: Path, source: SourceGraph, batch_size: int, rounds: int, epochs: int
) -> tuple[list[list[str]], list[str]]:
    """Rows of the table, and what is left out of it; without times where `epochs` is 0."""
    config = job(path, batch_size, rounds)
    trial = Trial(build_graph(source), config, os.cpu_count() or 1, max_batches=2**62, max_rounds=rounds)
    alternatives, left_out = trial.alternatives()
    rows = []
    for found in alternatives:
        taken = times(path, source, found, batch_size, rounds, epochs) if epochs else []
        rows.append([str(batch_size), *cells(found), *(f"{seconds:.3f}" for seconds in taken)])
        click.echo(" | ".join(rows[-1]), err=True)
    return rows, [f"Left out: {batch_size} seeds, {line}" for line in left_out]


def cells(found: Alternative) -> list[str]:
    return [
        found.grouping,
        found.mode,
        f"{found.batches_per_epoch:.1f}",
        str(found.node_budget),
        str(found.edge_budget),
        *(f"{fill:.1%}" for fill in (found.node_fill, found.edge_fill, found.seed_fill)),
        f"{found.bytes_per_batch / 2**20:.2f}",
        f"{found.bytes_per_epoch / 2**20:.1f}",
        f"{found.share_over:.2%}",
    ]


def times(
    path: Path, source: SourceGraph, found: Alternative, batch_size: int, rounds: int, epochs: int
) -> list[float]:
    """Seconds of an epoch, streamed and trained, from a store that is written for it and removed again."""
    from heteroshards.pipeline.preparation.run import prepare_source
    from heteroshards.trainer import open_store
    from heteroshards.trainer.backends.eager import EagerBackend
    from heteroshards.trainer.job import open_job

    sampling = {"fanout": [5, 5], "batch_size": batch_size, "rounds": rounds, "grouping": found.grouping}
    budget = {"mode": found.mode, **({} if found.mode == "exact" else {"oversize": "trim_nodes_and_edges"})}
    config = job(path, batch_size, rounds, sampling=sampling, budget=budget)
    with tempfile.TemporaryDirectory() as folder:
        written = prepare_source(source, config, store=Path(folder) / "store", workers=os.cpu_count() or 1)
        with open_job(config, open_store(written.path), EagerBackend()) as compiled:
            order = np.arange(written.manifest.splits[0].round_sizes[0])

            def epoch(step: Callable[[Any], object]) -> None:
                with compiled.stream("train", order) as stream:
                    for _, tensors in stream:
                        step(tensors)

            return [
                median_seconds(lambda: epoch(lambda tensors: None), epochs),
                median_seconds(lambda: epoch(compiled.compiled.step), epochs),
            ]


def median_seconds(run: Callable[[], None], repeats: int) -> float:
    """After one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


@click.command(help=__doc__)
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--seeds", "sizes", multiple=True, type=int, help="Seeds per batch, repeatable; 5, 64 and 512 by default."
)
@click.option("--rounds", default=20, show_default=True, help="Rounds that are counted.")
@click.option("--epochs", default=3, show_default=True, help="Timed epochs of each kind; 0 takes no times.")
@click.option("--write", is_flag=True, help="Add the tables to benchmarks/RESULTS.md.")
def main(configs: tuple[Path, ...], sizes: tuple[int, ...], rounds: int, epochs: int, write: bool) -> None:
    for path in configs:
        source = load_dataset(job(path, 1, 1).dataset)
        rows: list[list[str]] = []
        notes: list[str] = []
        for batch_size in sizes or (5, 64, 512):
            found, left_out = measure(path, source, batch_size, rounds, epochs)
            rows += found
            notes += left_out
        body = "\n".join([table([*COLUMNS, *(TIMES if epochs else ())], rows), *(["", *notes] if notes else [])])
        title = f"Padding, {path.stem}: {len(source.seeds['train'])} seeds, fanout [5, 5], {rounds} rounds"
        show(title, body, write)


if __name__ == "__main__":
    main()
