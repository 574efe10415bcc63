"""Test scores of the sharded training beside plain full-batch PyG, over several seeds.

    python -m benchmarks.accuracy configs/imdb.toml --full-batch imdb_full_batch.json

prepares the store of the config, runs `python -m trainer train` for every model, backend and seed, and prints one
table; with --write it is added, dated, to benchmarks/RESULTS.md. The JSON is the last line that
`python -m benchmarks.full_batch` printed. Runs that are finished are not repeated, so it can be interrupted.

    python -m benchmarks.accuracy configs/imdb.toml --grouping random --grouping balanced --grouping packed

compares groupings: each has a config of its own, derived from the given one, and a store of its own.
"""

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from benchmarks.measure import show
from heteroshards.schemas.config import load_config
from heteroshards.schemas.sampling import Grouping

MODELS = ("to_hetero", "hetero_conv", "hgt")
SCORES = ("accuracy", "macro_f1")


def run(*arguments: str) -> str:
    """Standard output of a command of ours; its progress goes to our stderr."""
    done = subprocess.run([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"python -m {' '.join(arguments)} ended with code {done.returncode}")
    return done.stdout


def with_grouping(config: Path, grouping: str, folder: Path) -> Path:
    """A job file in `folder` that differs from `config` in its grouping and name alone.

    Raises:
        ConfigError: `config` is unreadable, or samples nothing that could be grouped.
    """
    values = load_config(config).model_dump(mode="json", exclude_unset=True, exclude_none=True)
    sampling = {**values.get("sampling", {}), "grouping": grouping}
    if grouping != "packed":
        sampling.pop("max_seeds", None)
    values.update(name=f"{values['name'][:50]}-{grouping}", sampling=sampling)
    lines = [f"{key} = {toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for section, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{section}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    derived = folder / f"{config.stem}-{grouping}.toml"
    derived.write_text("\n".join(lines) + "\n", encoding="utf-8")
    load_config(derived)
    return derived


def toml(value: Any) -> str:
    """One value, as TOML writes it; tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def train(config: Path, model: str, backend: str, rng_seed: int, runs: Path) -> dict[str, Any]:
    """The result line of one run."""
    folder = runs / f"{config.stem}-{model}-{backend}-s{rng_seed}"
    options = ["--config", str(config), "--model", model, "--backend", backend, "--seed", str(rng_seed)]
    return json.loads(run("trainer", "train", *options, "--run", str(folder)).splitlines()[-1])


def cells(results: list[dict[str, Any]]) -> list[str]:
    """Mean and standard deviation in percent, per score."""
    values = 100 * np.array([[result["test"][score] for score in SCORES] for result in results])
    spread = values.std(axis=0, ddof=1) if len(results) > 1 else np.zeros(len(SCORES))
    return [f"{mean:.2f} ± {std:.2f}" for mean, std in zip(values.mean(axis=0), spread, strict=True)]


def full_batch_cells(path: Path | None) -> dict[str, list[str]]:
    """The same of the baseline, by model; empty without a file."""
    if path is None:
        return {}
    models = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["full_batch"]
    return {model: [f"{mean:.2f} ± {std:.2f}" for mean, std in (s[k] for k in SCORES)] for model, s in models.items()}


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default=5, show_default=True, help="Runs per model and backend.")
@click.option("--model", "models", multiple=True, help="Repeatable; all three by default.")
@click.option("--backend", "backends", multiple=True, help="Repeatable; eager and inductor by default.")
@click.option(
    "--grouping",
    "groupings",
    multiple=True,
    type=click.Choice(get_args(Grouping)),
    help="Repeatable; the config's own by default.",
)
@click.option("--runs", type=click.Path(path_type=Path), help="Keep the runs there; a temporary folder by default.")
@click.option("--full-batch", type=click.Path(path_type=Path, exists=True), help="What the baseline printed.")
@click.option("--write", is_flag=True, help="Add the table to benchmarks/RESULTS.md.")
def main(
    config: Path,
    seeds: int,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    groupings: tuple[str, ...],
    runs: Path | None,
    full_batch: Path | None,
    write: bool,
) -> None:
    own = load_config(config).sampling.grouping
    baseline = full_batch_cells(full_batch)
    rows = ["| model | backend | grouping | test accuracy | test macro-F1 |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = {grouping: with_grouping(config, grouping, folder) for grouping in groupings} or {own: config}
        for path in configs.values():
            run("pipeline", "prepare", "--config", str(path))
        for model in models or MODELS:
            if model in baseline:
                rows.append(f"| {model} | plain PyG, full batch | | {' | '.join(baseline[model])} |")
            for backend, grouping in product(backends or ("eager", "inductor"), configs):
                results = [train(configs[grouping], model, backend, seed, runs or folder) for seed in range(seeds)]
                rows.append(f"| {model} | {backend} | {grouping} | {' | '.join(cells(results))} |")
                click.echo(rows[-1], err=True)
    title = f"Accuracy, {config.stem}: {seeds} seeds, mean ± standard deviation"
    show(title, "\n".join(rows), write)


if __name__ == "__main__":
    main()
