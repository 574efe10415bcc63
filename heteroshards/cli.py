"""The command `heteroshards`: those of both rooms under one name, and what belongs to neither."""

from importlib import import_module
from pathlib import Path
from typing import Dict, List, Optional

import click

from heteroshards import __version__
from heteroshards.commands import CONTEXT, Commands

ROOMS: Dict[str, str] = {
    **dict.fromkeys(("plan", "prepare", "inspect", "verify"), "heteroshards.pipeline.cli"),
    **dict.fromkeys(("train", "evaluate", "predict", "compile"), "heteroshards.trainer.cli"),
    "bench": "heteroshards.bench",
}


class AllCommands(Commands):
    """Commands of a room are imported when they are called, or asked for help: `--version` needs neither."""

    def list_commands(self, ctx: click.Context) -> List[str]:
        return [*ROOMS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in ROOMS:
            return super().get_command(ctx, cmd_name)
        room: click.Group = import_module(ROOMS[cmd_name]).main
        return room.get_command(ctx, cmd_name)


@click.group(cls=AllCommands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="heteroshards")
def main() -> None:
    """Fixed-shape mini-batches of heterogeneous graphs: prepare a store once, train on it as often as you like.

    \b
    Exit codes: 0 done, 2 bad option or config, 3 source data, 4 over budget, 5 store not usable, 6 model, 7 backend,
    8 checkpoint or run folder, 9 store damaged, 1 what else the system refuses, 70 a fault of this program
    (HETEROSHARDS_TRACEBACK=1 shows where), 130 interrupted, 143 terminated.

    \b
    Completion, for bash: eval "$(_HETEROSHARDS_COMPLETE=bash_source heteroshards)"; zsh and fish likewise.
    """


@main.command()
@click.option("--init", "path", metavar="FILE", help="Write it there; a file that exists is left alone.")
def config(path: Optional[str]) -> None:
    """A config with every key: its meaning and its default, as comments to be uncommented."""
    from heteroshards.schemas.config.template import annotated_config
    from heteroshards.schemas.errors import ConfigError
    from heteroshards.schemas.paths import as_path

    text = annotated_config()
    if path is None:
        click.echo(text, nl=False)
        return
    target: Path = as_path(path)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError("the file exists", where=str(target), hint="Choose another name.") from None
    except OSError as error:
        raise ConfigError("the config cannot be written", actual=error, where=str(target)) from None
    click.echo(f"written  {target}: uncomment what you change, then `heteroshards prepare --config {path}`")
