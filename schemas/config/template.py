"""Every key of a config, with its meaning and default, from the classes that read it."""

import inspect
import json
import re
import textwrap
from typing import Any, Dict, Iterator, Type

from pydantic import BaseModel

from heteroshards.schemas.config import JobConfig

WIDTH = 116


def meanings(section: Type[BaseModel]) -> Dict[str, str]:
    """key -> its meaning, as the docstring's `Attributes` has it. Keys that share a line share a meaning."""
    found: Dict[str, str] = {}
    _, _, text = inspect.getdoc(section).partition("Attributes:\n")  # type: ignore[union-attr]
    for entry in re.split(r"\n(?=    \w)", "\n" + text):
        names, colon, meaning = entry.strip().partition(": ")
        if colon:
            found.update(dict.fromkeys(names.split(", "), " ".join(meaning.split())))
    return found


def annotated_config() -> str:
    """A TOML file that says what every key means; all are commented out, so that it is the default config."""
    lines = ["# A job of heteroshards. Every key is at its default: uncomment what you change.", '# name = "job"']
    for name, field in JobConfig.model_fields.items():
        if name != "name":
            section: Any = field.annotation
            summary = inspect.getdoc(section).partition("\n")[0]  # type: ignore[union-attr]
            lines += ["", "", f"[{name}]", f"# {summary}", *_keys(section)]
    return "\n".join(lines) + "\n"


def _keys(section: Type[BaseModel]) -> Iterator[str]:
    told = meanings(section)
    for key, field in section.model_fields.items():
        yield ""
        yield from textwrap.wrap(told[key], WIDTH, initial_indent="# ", subsequent_indent="# ")
        default = field.get_default(call_default_factory=True)
        yield f"# {key} =" if default is None else f"# {key} = {as_toml(default)}"


def as_toml(value: Any) -> str:
    """A value in TOML; JSON writes scalars and lists alike."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        pairs = [f"{_toml_key(key)} = {as_toml(item)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
