"""The one base class of everything that is written to, or read from, JSON and TOML."""

import difflib
from typing import Any, List, Optional, Type, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from heteroshards.schemas.errors import HeteroShardsError

M = TypeVar("M", bound=BaseModel)
E = TypeVar("E", bound=HeteroShardsError)


class Frozen(BaseModel):
    """Immutable; an unknown key is an error, and so is a bool or a string where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name, field in cls.model_fields.items():
                is_number = field.annotation in (int, float, Optional[int], Optional[float])
                if is_number and isinstance(values.get(name), (bool, str)):
                    raise ValueError(f"'{name}' must be a number, got {values[name]!r}")
        return values


def validate(model: Type[M], values: Any, error: Type[HeteroShardsError], where: str) -> M:
    """Build `model` from plain values; the first problem is raised as `error`, naming `where` it stands.

    An unknown key names the nearest known one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        raise explain(problem, model, error).at(where) from None


def explain(problem: ValidationError, model: Type[BaseModel], error: Type[E]) -> E:
    """The first of what pydantic found wrong with `model`'s values, as one of our errors."""
    first = problem.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    place = f"[{location}]" if location else None
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, list(first["loc"][:-1]))
        hint = _suggest(str(first["loc"][-1]), known)
        return error(f"unknown key '{first['loc'][-1]}'", where=place, hint=hint)
    context = first.get("ctx", {}).get("error")
    if isinstance(context, ValueError):
        return error(str(context), where=place)
    actual = repr(first.get("input"))
    return error(first["msg"], actual=actual if len(actual) <= 80 else actual[:77] + "...", where=place)


def _known_keys(model: Any, location: List[Any]) -> List[str]:
    """The keys of what stands at a location, whose parts are keys, places in lists, and kinds of a union."""
    models = [model]
    for part in location:
        fields = [of.model_fields[part] for of in models if part in of.model_fields]
        of_kind = [of for of in models if "kind" in of.model_fields and of.model_fields["kind"].default == part]
        models = [found for field in fields for found in _models_in(field.annotation)] if fields else of_kind or models
    return [key for of in models for key in of.model_fields]


def _models_in(annotation: Any) -> List[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]


def _suggest(key: str, known: List[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    listing = ", ".join(sorted(known))
    return f"Did you mean '{nearest[0]}'? Known keys: {listing}." if nearest else f"Known keys: {listing}."
