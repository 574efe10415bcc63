"""What all commands have in common: how they end, and options for any key of a config."""

import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

import click

from heteroshards.schemas.config import JobConfig, load_config, parse_value
from heteroshards.schemas.errors import ConfigError, HeteroShardsError
from heteroshards.schemas.seam import prepare_streams, seam, told
from heteroshards.schemas.signals import Terminated, sigterm_raises

INTERRUPTED, TERMINATED = 130, 143
CONTEXT: Dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_SETTINGS = "heteroshards.settings"


class Commands(click.Group):
    """Ends in one line on stderr and an exit code, whatever goes wrong, without a traceback (see `schemas.seam`)."""

    goes_on = ("prepare", "train")  # what begins where it was stopped

    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        try:
            with seam("the command", HeteroShardsError):
                return super().main(*args, **options)
        except HeteroShardsError as error:
            click.echo(told(error), err=True)
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with sigterm_raises():
                return super().invoke(ctx)
        except (KeyboardInterrupt, Terminated) as signaled:
            is_term = isinstance(signaled, Terminated)
            what = "goes on where it stopped" if ctx.invoked_subcommand in self.goes_on else "begins anew"
            click.echo(f"{'terminated' if is_term else 'interrupted'}: the same command {what}.", err=True)
            sys.exit(TERMINATED if is_term else INTERRUPTED)


def _keep(ctx: click.Context, _: click.Parameter, given: Any) -> None:
    settings: Dict[str, Any] = ctx.meta.setdefault(_SETTINGS, {})
    for text in given:
        key, is_one, value = text.partition("=")
        if not is_one or not key.strip():
            raise click.BadParameter(f"{text!r} is not SECTION.KEY=VALUE", ctx)
        settings[key.strip()] = parse_value(value.strip())


SET = click.option(
    "--set",
    multiple=True,
    expose_value=False,
    callback=_keep,
    metavar="SECTION.KEY=VALUE",
    help="Overrides any key of the config, as TOML has it: --set sampling.batch_size=32. Repeatable.",
)


def require_no_settings(where: str) -> None:
    """Raise ConfigError where `--set` was given to a command that reads no config this time."""
    given = click.get_current_context().meta.get(_SETTINGS, {})
    if given:
        hint = "Leave --set out, or name the config that it overrides and no store."
        raise ConfigError("there is no config that --set could override", actual=sorted(given), where=where, hint=hint)


def job_config(path: Union[str, Path], overrides: Optional[Mapping[str, Any]] = None) -> JobConfig:
    """The config at `path`, with what `--set` of the running command says, and `overrides` on top.

    Raises:
        ConfigError: see `load_config`.
    """
    given = click.get_current_context().meta.get(_SETTINGS, {})
    return load_config(path, {**given, **{key: value for key, value in (overrides or {}).items() if value is not None}})
