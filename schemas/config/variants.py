"""Keys that only some choices of another key know: `with` them they mean something, or are even needed.

A declaration beside the key, instead of a class for every choice: two choices of one section would multiply, and code
asks for `config.dataset.path` whatever the source is.
"""

from typing import Any, List, NamedTuple, Type

from pydantic import BaseModel, Field

_KEY = "only_with"


class _Condition(NamedTuple):
    """That `choice` has one of these values; where it has, a key may be `needed`."""

    choice: str
    values: List[str]
    needed: bool


def With(choice: str, *values: str) -> _Condition:  # noqa: N802
    """The key has a meaning with these values of `choice` alone."""
    return _Condition(choice, list(values), False)


def NeededBy(choice: str, *values: str) -> _Condition:  # noqa: N802
    """Likewise, and it must be given."""
    return _Condition(choice, list(values), True)


def only(default: Any, *conditions: _Condition, **constraints: Any) -> Any:
    """A pydantic field whose key is known under conditions."""
    extra: Any = {_KEY: [list(of) for of in conditions]}
    return Field(default=default, json_schema_extra=extra, **constraints)


def check_variants(section: BaseModel) -> None:
    """Raises ValueError for a key that the choices made would ignore, and for one that they need."""
    for key, of in _conditions(type(section)):
        chosen, value = getattr(section, of.choice), getattr(section, key)
        if chosen not in of.values and value != type(section).model_fields[key].default:
            users = " or ".join(f"'{name}'" for name in of.values)
            raise ValueError(f"'{key}' has no meaning with {of.choice} = '{chosen}'; it belongs to {users}")
    for key, of in _conditions(type(section)):
        chosen = getattr(section, of.choice)
        if of.needed and chosen in of.values and getattr(section, key) is None:
            raise ValueError(f"{of.choice} = '{chosen}' needs '{key}'")


def _conditions(section: Type[BaseModel]) -> Any:
    for key, field in section.model_fields.items():
        extra: Any = field.json_schema_extra
        for of in extra.get(_KEY, ()) if isinstance(extra, dict) else ():
            yield key, _Condition(*of)
