"""`python -m pipeline`: plan, prepare, inspect and verify."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from heteroshards.commands import CONTEXT, SET, Commands, job_config, require_no_settings
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import DAMAGED_STORE_EXIT_CODE, BudgetError, ConfigError
from heteroshards.schemas.paths import as_path

if TYPE_CHECKING:
    from heteroshards.pipeline.sources import SourceGraph


class WrittenPath(click.Path):
    """A path as people write it: `~` and `$NAME` are expanded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(as_path(value), param, ctx)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


CONFIG = click.option(
    "--config",
    "config_path",
    type=WrittenPath(path_type=Path),
    default=Path("configs/quickstart.toml"),
    show_default=True,
    help="The job file (see docs/configuration.md).",
)
STORE = click.option(
    "--store",
    type=WrittenPath(path_type=Path, resolve_path=True),
    help="The store's folder. Default: <store.root>/<name>-<fingerprint>, so that another config or other data "
    "makes another store; inspect takes the one last prepared for the config.",
)
WORKERS = click.option(
    "-j",
    "--workers",
    type=click.IntRange(1, 256),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Threads. They never change a byte of the store.",
)


@click.group(cls=Commands, context_settings=CONTEXT)
def main() -> None:
    """Sample a heterogeneous graph into batches of one fixed shape, and store them.

    Exit codes: 0 done, 2 bad option or config, 3 bad or missing source data, 4 over budget, 5 store not usable,
    9 store damaged, 1 what else the system refuses, 70 a fault of this program (HETEROSHARDS_TRACEBACK=1 shows where),
    130 interrupted, 143 terminated.
    """


@main.group(invoke_without_command=True)
@CONFIG
@SET
@STORE
@WORKERS
@click.option("--force", is_flag=True, help="Write the store again even if it is there.")
@click.pass_context
def prepare(ctx: click.Context, config_path: Path, store: Path | None, workers: int, force: bool) -> None:
    """Write the store of a config, or find it.

    Counts every batch first, fixes one capacity per node and edge type, then samples again (the same batches, draw
    by draw) and writes them padded. A finished store of the same data, sampling, budget and format is found and
    left as it is. Interrupted, it goes on where it stopped.

    The commands below do the same in three steps, so that many jobs can share the writing: `prepare init`, which
    says how many partitions there are, `prepare partition I` for each of them, in any order, and `prepare finalise`.
    """
    if ctx.invoked_subcommand:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"options go behind the step: prepare {ctx.invoked_subcommand} ...")
        return
    from heteroshards.pipeline.sources import source_stamp
    from heteroshards.pipeline.writing.latest import find_unchanged, kept_warnings, noted_stamp, write_note

    config = job_config(config_path)
    started = time.monotonic()
    before = source_stamp(config.dataset, earlier=noted_stamp(config, store))
    found = None if force else find_unchanged(config, store, before)
    if found:
        click.echo("\n".join([*kept_warnings(found), f"found    {found} (nothing changed since it was written)"]))
        return
    from heteroshards.pipeline.preparation.run import prepare_source
    from heteroshards.pipeline.sources import load_stamped

    _report(f"loading  the {config.dataset.source} graph")
    source, stamp = load_stamped(config.dataset, before, job=config)
    click.echo(f"source   {', '.join(f'{key}: {value}' for key, value in source.description.items())}")
    with _kernels_told():
        outcome = prepare_source(
            source, config, store=store, workers=workers, force=force, report=_report, progress=_progress()
        )
    write_note(config, store, outcome.path, outcome.manifest.fingerprint, stamp)
    verb = "found   " if outcome.was_found else "written "
    click.echo(f"{verb} {outcome.path} in {time.monotonic() - started:.1f} s")
    for split in outcome.manifest.splits:
        click.echo(f"         {split.name}: {split.num_seeds} seeds, {split.num_batches} batches")
    click.echo("next     `make train`, or `make inspect` for the padding")


@prepare.command()
@CONFIG
@SET
@STORE
@WORKERS
def init(config_path: Path, store: Path | None, workers: int) -> None:
    """Count every batch, fix the budget, lay the work folder out, and say how many partitions there are.

    Prints that number alone on standard output, 0 when the store is there already.
    """
    from heteroshards.pipeline.preparation import steps

    config, source = _job(config_path)
    with _kernels_told():
        stand = steps.init(source, config, store=store, workers=workers, report=_report, progress=_progress())
    if stand.is_there:
        _report(f"found    {stand.path}")
    else:
        _report(f"begun    {stand.path}: {len(stand.missing)} of {stand.num_partitions} partitions are to be written")
    click.echo(stand.num_partitions)


@prepare.command()
@click.argument("numbers", type=click.IntRange(min=0), nargs=-1, required=True, metavar="I...")
@CONFIG
@SET
@STORE
@WORKERS
def partition(numbers: tuple[int, ...], config_path: Path, store: Path | None, workers: int) -> None:
    """Write partitions by number, counted from 0. Any number of processes may do so at once, in any order.

    What is written already is left as it is.
    """
    from heteroshards.pipeline.preparation import steps

    config, source = _job(config_path)
    with _kernels_told():
        stand = steps.write_partitions(
            source, config, numbers, store=store, workers=workers, report=_report, progress=_progress()
        )
    _report(f"written  {stand.num_partitions - len(stand.missing)} of {stand.num_partitions} partitions are there")


@prepare.command()
@CONFIG
@SET
@STORE
def finalise(config_path: Path, store: Path | None) -> None:
    """Check that every partition is written, naming those that are missing, and let the store appear."""
    from heteroshards.pipeline.preparation import steps
    from heteroshards.pipeline.sources import load_stamped, source_stamp
    from heteroshards.pipeline.writing.latest import write_note

    config = job_config(config_path)
    source, stamp = load_stamped(config.dataset, source_stamp(config.dataset), job=config)
    with _kernels_told():
        stand = steps.finalise(source, config, store=store, report=_report)
    write_note(config, store, stand.path, stand.manifest.fingerprint, stamp)
    click.echo(f"{'found   ' if stand.is_there else 'written '} {stand.path}")


def _job(config_path: Path) -> tuple[JobConfig, "SourceGraph"]:
    from heteroshards.pipeline.sources import load_dataset

    config = job_config(config_path)
    return config, load_dataset(config.dataset, job=config)


@main.command()
@CONFIG
@SET
@WORKERS
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--max-batches",
    type=click.IntRange(1),
    default=20000,
    show_default=True,
    help="Count about as many batches at most; larger jobs are extrapolated from their first rounds.",
)
@click.pass_context
def plan(ctx: click.Context, config_path: Path, workers: int, as_json: bool, max_batches: int) -> None:
    """Show what `prepare` would write, and what other groupings and budgets would make of it. Writes nothing.

    Budgets, fill, batches and bytes of the config; the same for other groupings and budget modes; and how much would
    be trimmed with smaller budgets. Numbers that are not counted but extrapolated are said to be.
    """
    from heteroshards.pipeline.forecast.job import as_json as to_json
    from heteroshards.pipeline.forecast.job import forecast
    from heteroshards.pipeline.forecast.report import forecast_report
    from heteroshards.pipeline.sources import load_dataset

    config = job_config(config_path)
    source = load_dataset(config.dataset, job=config)
    with _kernels_told():
        found = forecast(source, config, workers=workers, max_batches=max_batches, progress=_progress())
    click.echo(json.dumps(to_json(found), indent=2) if as_json else forecast_report(found))
    if found.refusal:
        click.echo(f"error: prepare would refuse: {found.refusal}", err=True)
        ctx.exit(BudgetError.exit_code)


def _report(line: str) -> None:
    click.echo(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, err=True)  # a progress bar may stand there


@contextmanager
def _kernels_told() -> Iterator[None]:
    from heteroshards.pipeline.jit import kernels_told

    with kernels_told(_report):
        yield


def _progress() -> Callable[[str, int, int], None]:
    """A line that updates itself on a terminal, from the third second on; nothing elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda what, done, total: None
    started = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        if time.monotonic() - started > 2:
            bar = "#" * (30 * done // max(1, total))
            click.echo(f"\r{what:<15} [{bar:<30}] {done}/{total}", nl=done == total, err=True)

    return show


@main.command()
@click.argument("place", metavar="[STORE]", type=WrittenPath(path_type=Path, resolve_path=True), required=False)
@CONFIG
@SET
@STORE
@click.option(
    "--against",
    type=WrittenPath(path_type=Path, resolve_path=True),
    metavar="OTHER",
    help="Compare with another store: per split and type, STORE is A and OTHER is B.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--html", type=WrittenPath(path_type=Path), metavar="FILE", help="Also write one self-contained page with plots."
)
def inspect(
    place: Path | None, config_path: Path, store: Path | None, against: Path | None, as_json: bool, html: Path | None
) -> None:
    """Show how well batches fill their budget: per split and type, from the store's ledger alone.

    STORE is the store's folder; without it (and without --store) the one last prepared for the config.
    """
    from heteroshards.pipeline.inspect.command import look_at
    from heteroshards.pipeline.writing.latest import latest_store

    if place and store:
        raise ConfigError("the store is named twice", actual=f"{place} and --store {store}", hint="Leave one out.")
    named = place or store
    if named:
        require_no_settings(f"inspect {named}")
    path = named or latest_store(job_config(config_path))
    click.echo(look_at(path, against, as_json=as_json, html=html))


@main.command()
@click.argument("store", type=WrittenPath(path_type=Path, resolve_path=True), required=False)
@click.option(
    "--config",
    "config_path",
    type=WrittenPath(path_type=Path),
    help="Compare with the data of this job, too, and sample some batches anew. Without STORE: verify the store last "
    "prepared for it.",
)
@WORKERS
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Findings to print.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@SET
@click.pass_context
def verify(
    ctx: click.Context, store: Path | None, config_path: Path | None, workers: int, limit: int, as_json: bool
) -> None:
    """Check a finished store: every byte, ids, padding, statistics, seeds and labels.

    Exits with 0 when the store is sound, with 9 when anything was found; prints a line per finding. Reads the whole
    store, a shard at a time, and writes nothing.
    """
    from heteroshards.pipeline.sources import load_dataset
    from heteroshards.pipeline.verify import verify as check
    from heteroshards.pipeline.writing.latest import latest_store

    if config_path is None:
        require_no_settings("verify without --config")
    config = job_config(config_path) if config_path else None
    path = store or (latest_store(config) if config else None)
    if path is None:
        raise ConfigError("nothing to verify", hint="Name a store, or a job with --config.")
    source = load_dataset(config.dataset, job=config) if config else None
    with _kernels_told():
        verified = check(path, source, config, workers=workers, max_findings=limit, progress=_progress())
    click.echo(json.dumps(verified.as_json(), indent=2, default=str) if as_json else "\n".join(verified.lines()))
    ctx.exit(0 if verified.is_sound else DAMAGED_STORE_EXIT_CODE)
