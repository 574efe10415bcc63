"""The three node questions of the relational database f1, each with mean and spread over several seeds.

    python -m benchmarks.f1 --seeds 5

Scores on split test, after early stopping on val, beside what is known of others. `verify` proves of each store that no
batch sees what is later than its question.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click

from heteroshards import fit
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from tests.f1 import TASKS, f1_job, folder

KNOWN = {
    "driver-dnf": "LightGBM 68.6, graph networks 75 to 76, pretrained models up to 84.6",
    "driver-top3": "LightGBM 73.9, graph networks 84 to 86, a fine-tuned foundation model 99.6",
    "driver-position": "LightGBM 4.17, GraphSAGE about 4.0",
}


@click.command()
@click.option("--task", "tasks", type=click.Choice(list(TASKS)), multiple=True, default=list(TASKS))
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--model", default="to_hetero", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=8, show_default=True)
def main(tasks: tuple[str, ...], seeds: int, model: str, epochs: int) -> None:
    """Print a Markdown table."""
    if folder() is None:
        raise click.ClickException("there is no f1 data: set HETEROSHARDS_DATA to the folder that has f1/")
    click.echo("| question | score on test | known of others |\n|---|---|---|")
    for task in tasks:
        metric = "auroc" if TASKS[task][1] == "binary" else "mae"
        with tempfile.TemporaryDirectory() as root:
            found = scores(task, Path(root), seeds, model, epochs, metric)
        factor = 100 if metric == "auroc" else 1
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        shown = f"{factor * statistics.mean(found):.2f} +- {factor * spread:.2f}"
        click.echo(f"| {task}, {metric} | {shown} | {KNOWN[task]} |")


def scores(task: str, root: Path, seeds: int, model: str, epochs: int, metric: str) -> list[float]:
    """The test score of each run."""
    found = []
    for rng_seed in range(seeds):
        values = f1_job(task, root, rng_seed, train={"epochs": epochs, "rng_seed": rng_seed})
        values["model"]["name"] = model
        config = JobConfig(**values)
        started = time.perf_counter()
        if not rng_seed:
            source = load_dataset(config.dataset, job=config)
            store = prepare_source(source, config).path
            prepared_s, proof = time.perf_counter() - started, verify(store, source, config)
            assert proof.is_sound, proof.lines()
            click.echo(f"{task}: prepared in {prepared_s:.1f} s; {'; '.join(proof.proven)}", err=True)
        result = fit(config, store, root / f"run{rng_seed}")
        found.append(result["test"][metric])
        took_s = time.perf_counter() - started
        click.echo(
            f"{task}, seed {rng_seed}: {found[-1]:.4f}, best epoch {result['best_epoch']}, {took_s:.0f} s", err=True
        )
    return found


if __name__ == "__main__":
    main()
