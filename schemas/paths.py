"""Paths as people write them. Every path of a config, a command or a call goes through here before it is used.

Configs keep what was written: a home folder may be another one where the store is read.
"""

import os
import re
from pathlib import Path
from typing import Union

from heteroshards.schemas.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")


def as_path(path: Union[str, "os.PathLike[str]"]) -> Path:
    """`path` with `~` and `~user` expanded, and, where it is text, `$NAME` and `${NAME}`.

    Raises:
        ConfigError: there is no such user or variable, and no such path as it is written.
    """
    return Path(expand(path) if isinstance(path, str) else _home(str(path)))


def expand(text: str) -> str:
    """As `as_path`, text to text. An address (`https://...`) stays as it is."""
    if "://" in text:
        return text

    def value(match: "re.Match[str]") -> str:
        name = match.group(1) or match.group(2) or ""
        if name in os.environ:
            return os.environ[name]
        if os.path.lexists(text):  # a name with a dollar sign
            return match.group(0)
        hint = f"Set {name}, or write the path itself."
        raise ConfigError(f"the environment variable '{name}' of a path is not set", where=text, hint=hint)

    return _home(_VARIABLE.sub(value, text))


def _home(text: str) -> str:
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text and not os.path.lexists(text):
        user = text[1:].partition("/")[0]
        what = f"there is no user '{user}'" if user else "the home folder is not known"
        raise ConfigError(f"the path cannot be expanded: {what}", where=text, hint="Write './~...' for a name with ~.")
    return expanded
