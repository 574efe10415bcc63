"""Keys that only some choices of another key know: `with` them they mean something, or are even needed.

A declaration beside the key, instead of a class for every choice: two choices of one section would multiply, and code
asks for `config.dataset.path` whatever the source is.
"""

import json
from typing import Any, List, NamedTuple, Type, Union

from pydantic import BaseModel, Field, model_validator

from heteroshards.schemas.base import Frozen

_KEY = "only_with"
Choice = Union[str, bool]


class _Condition(NamedTuple):
    """That `choice` has one of these values; where it has, a key may be `needed`."""

    choice: str
    values: List[Choice]
    needed: bool


def With(choice: str, *values: Choice) -> _Condition:  # noqa: N802
    """The key has a meaning with these values of `choice` alone."""
    return _Condition(choice, list(values), False)


def NeededBy(choice: str, *values: Choice) -> _Condition:  # noqa: N802
    """Likewise, and it must be given."""
    return _Condition(choice, list(values), True)


def only(default: Any, *conditions: _Condition, **constraints: Any) -> Any:
    """A pydantic field whose key is known under conditions."""
    extra: Any = {_KEY: [list(of) for of in conditions]}
    return Field(default=default, json_schema_extra=extra, **constraints)


def _conditions(section: Type[BaseModel]) -> Any:
    for key, field in section.model_fields.items():
        extra: Any = field.json_schema_extra
        for of in extra.get(_KEY, ()) if isinstance(extra, dict) else ():
            yield key, _Condition(*of)


class Section(Frozen):
    """A section of a config that refuses keys which the choices made would ignore, and asks for those they need."""

    @model_validator(mode="after")
    def _check_variants(self) -> Any:
        conditions = list(_conditions(type(self)))
        for key, of in conditions:
            chosen, value = getattr(self, of.choice), getattr(self, key)
            if chosen not in of.values and value != type(self).model_fields[key].default:
                users = " or ".join(map(_shown, of.values))
                raise ValueError(
                    f"'{key}' has no meaning with {of.choice} = {_shown(chosen)}; it belongs to {of.choice} = {users}"
                )
        for key, of in conditions:
            chosen = getattr(self, of.choice)
            if of.needed and chosen in of.values and getattr(self, key) is None:
                raise ValueError(f"{of.choice} = {_shown(chosen)} needs '{key}'")
        return self


def _shown(value: Choice) -> str:
    """As a TOML file has it."""
    return json.dumps(value) if isinstance(value, bool) else f"'{value}'"
