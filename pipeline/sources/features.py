"""Features as the store holds them: float32 (float16 stays), and what becomes of values that are no finite numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heteroshards.pipeline.memory import require_memory
from heteroshards.pipeline.sources.attributes import Attributes, owners
from heteroshards.pipeline.sources.precision import precision_notes
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.notes import Note

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData


def to_floats(data: HeteroData, attributes: Attributes, config: DatasetConfig) -> tuple[dict[str, int], list[Note]]:
    """Replace the `attributes` of `data`, but for codes, by floats, and treat NaN and infinite ones as the config says.

    Args:
        attributes: by type, without those that are codes.

    Returns:
        how many values were replaced, by the type that has them, where any were; and lines worth reading.

    Raises:
        GraphError: there is such a value, or one that float32 cannot tell from another, and none is allowed; or the
            floats do not fit into memory. ConfigError: the replacement overflows float16.
    """
    replaced: dict[str, int] = {}
    notes: list[Note] = []
    for owner in owners(data):
        for key in attributes[owner.name]:
            where, given = owner.where, owner.store[key]
            notes += precision_notes(given, key, where, config)
            owner.store[key], count = _finite(given, key, where, config)
            if count:
                replaced[owner.name] = replaced.get(owner.name, 0) + count
                text = f"{count} of {given.numel()} values of {key} are not finite"
                message = f"{text}; {config.feature_default} stands in their place"
                notes.append(Note(code="not_finite", concerns=where, message=message))
            elif config.feature_values == "allow":
                notes += _overflows(given, owner.store[key], key, where)
    return replaced, notes


def _finite(given: Tensor, key: str, where: str, config: DatasetConfig) -> tuple[Tensor, int]:
    """The floats that are stored, and how many of them are replacements."""
    import torch

    values = _floats(given, key, where)
    if config.feature_values == "allow":
        return values, 0
    is_bad = ~torch.isfinite(values)
    count = int(is_bad.sum())
    if not count:
        return values, 0
    if config.feature_values == "error":
        row, column = is_bad.nonzero()[0].tolist()
        raise GraphError(
            f"{count} of {values.numel()} values of {key} are not finite numbers"
            + (" as float32" if bool(torch.isfinite(given[row, column].double())) else ""),
            actual=f"{given[row, column].item()} in {key}[{row}, {column}]",
            where=where,
            hint="Clean the features, or set [dataset] feature_values = 'default' (puts feature_default in their "
            "place) or 'allow' (stores them).",
        )
    default = torch.tensor(config.feature_default, dtype=values.dtype)
    if not torch.isfinite(default):
        limit = f"at most {torch.finfo(values.dtype).max} in size"
        raise ConfigError(
            f"the default does not fit {key} of {where}, which is {values.dtype}",
            actual=config.feature_default,
            limit=limit,
            where="[dataset] feature_default",
        )
    return values.masked_fill(is_bad, config.feature_default), count


def _floats(given: Tensor, key: str, where: str) -> Tensor:
    """float32, or the float16 that was given; contiguous."""
    import torch

    dtype = torch.float16 if given.dtype == torch.float16 else torch.float32
    if given.dtype != dtype or not given.is_contiguous():
        text = f"{key} of shape {list(given.shape)} as {str(dtype).removeprefix('torch.')}"
        require_memory(given.numel() * dtype.itemsize, text, where, "Keep fewer columns, or give it as float32.")
    return given.to(dtype).contiguous()


def _overflows(given: Tensor, stored: Tensor, key: str, where: str) -> list[Note]:
    """A line where a finite value is stored as an infinite one."""
    import torch

    if given.dtype != torch.float64:
        return []
    is_lost = torch.isinf(stored) & torch.isfinite(given)
    count = int(is_lost.sum())
    if not count:
        return []
    example = given[tuple(is_lost.nonzero()[0].tolist())].item()
    message = f"{count} of {given.numel()} values of {key} are infinite as float32, {example!r} for one"
    return [Note(code="not_finite", concerns=where, message=message)]
