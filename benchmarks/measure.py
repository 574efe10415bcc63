"""What every benchmark shares: taking turns, naming the machine, writing results down."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import click
from click.core import ParameterSource

RESULTS = Path(__file__).parent / "RESULTS.md"


def in_turns(
    runs: Mapping[str, Callable[[], object]], repeats: int, before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Median seconds of each run, without those of `before`, which is called ahead of each. One round of all warms up,
    then they take turns, so that a slower minute of the machine hits all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            before()
            started = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def machine() -> str:
    """Where and when the numbers were taken, in one line."""
    import torch

    return (
        f"{date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores (shared), "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def show(title: str, body: str, write: bool) -> None:
    """Print a section of results of the command that runs; with `write`, append it to RESULTS.md, too."""
    section = f"\n## {title}\n\n{machine()}\n`{command_line()}`\n\n{body}\n"
    print(section)
    if write:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(section)


def command_line() -> str:
    """How the command that runs was called, but for `--write`."""
    context = click.get_current_context()
    words = ["python", "-m", f"benchmarks.{Path(context.command.callback.__code__.co_filename).stem}"]
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        if given and parameter.name != "write":
            value = context.params[parameter.name]
            option = [] if isinstance(parameter, click.Argument) else [parameter.opts[0]]
            for each in value if isinstance(value, tuple) else (value,):
                words += option if each is True else [*option, str(each)]
    return " ".join(words)
