"""The tables of the page on configuration, from the classes that read a config."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.config.template import as_toml, meanings

MARK = re.compile(r"<!-- keys: (\w+) -->")


def with_tables(markdown: str) -> str:
    """A page with a table in place of every mark that names a section of a config."""
    return MARK.sub(lambda mark: "\n".join(key_table(mark.group(1))), markdown)


def key_table(section: str) -> Iterator[str]:
    """Lines of a Markdown table: every key of a section once, with its default and its meaning."""
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, (default, meaning) in section_keys(JobConfig.model_fields[section].annotation).items():
        yield f"| `{key}` | {default} | {meaning} |"


def section_keys(annotation: Any) -> dict[str, tuple[str, str]]:
    """key -> its default and its meaning. Where a section has variants, what they say of a key is joined."""
    defaults: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    for model in models_of(annotation):
        told = meanings(model)
        for key, field in model.model_fields.items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            defaults.setdefault(key, []).append("" if default is None else f"`{as_toml(default)}`")
            texts.setdefault(key, []).append(told[key])
    return {key: (_joined(defaults[key], " or "), _joined(texts[key], "; ")) for key in texts}


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """A section's class, or those that it is a union of."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from models_of(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from models_of(member)
    else:
        yield annotation


def _joined(texts: list[str], separator: str) -> str:
    return separator.join(filter(None, dict.fromkeys(texts))).replace("|", "\\|")
