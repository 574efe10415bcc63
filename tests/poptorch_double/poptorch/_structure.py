"""Nests of tensors: flattening, rebuilding, and parsers for types of others (9, 15, 23, 24)."""
# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


class ICustomArgParser:
    """How to take an object of some type apart, and to put it together again."""

    def yieldTensors(self, struct: Any) -> Iterator[Tensor]:
        raise NotImplementedError

    def reconstruct(self, original_structure: Any, tensor_iterator: Iterator[Tensor]) -> Any:
        raise NotImplementedError


_parsers: dict[type, ICustomArgParser] = {}


def registerCustomArgParser(arg_type: type, parser: ICustomArgParser | None) -> None:
    """None removes."""
    if parser is None:
        _parsers.pop(arg_type, None)
        return
    assert isinstance(parser, ICustomArgParser)
    _parsers[arg_type] = parser


def parser_of(value: Any) -> ICustomArgParser | None:
    """By exact type, then by inheritance."""
    if type(value) in _parsers:
        return _parsers[type(value)]
    return next((parser for kind, parser in _parsers.items() if isinstance(value, kind)), None)


def flatten(value: Any, canonical: Any = None) -> list[Tensor]:
    """All tensors. Dicts follow the key order of `canonical` (21); types with a parser their own order (24)."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        twins = canonical if canonical is not None else value
        return [tensor for i, item in enumerate(value) for tensor in flatten(item, twins[i])]
    if isinstance(value, dict):
        twins = canonical if canonical is not None else value
        return [tensor for key, twin in twins.items() for tensor in flatten(value[key], twin)]
    parser = parser_of(value)
    return list(parser.yieldTensors(value)) if parser else []


def rebuild(skeleton: Any, tensors: Iterator[Tensor]) -> Any:
    """The skeleton with its tensors replaced, in the order of `flatten`."""
    if isinstance(skeleton, Tensor):
        return next(tensors)
    if isinstance(skeleton, tuple) and hasattr(skeleton, "_fields"):
        return type(skeleton)(*[rebuild(item, tensors) for item in skeleton])
    if isinstance(skeleton, (tuple, list)):
        return type(skeleton)([rebuild(item, tensors) for item in skeleton])
    if isinstance(skeleton, dict):
        return {key: rebuild(item, tensors) for key, item in skeleton.items()}
    parser = parser_of(skeleton)
    return parser.reconstruct(skeleton, tensors) if parser else skeleton


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Every tensor of a nest changed."""
    return rebuild(value, iter([change(tensor) for tensor in flatten(value)]))
