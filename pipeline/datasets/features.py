"""Features as the store holds them: float32 (float16 stays), and what becomes of values that are no finite numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.config import DatasetConfig
from schemas.errors import ConfigError, GraphError
from schemas.graph import edge_key

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

MAX_EXACT = 2**24  # integers up to here are float32 numbers


def to_floats(data: HeteroData, config: DatasetConfig) -> tuple[dict[str, int], list[str]]:
    """Replace every `x` and `edge_attr` of `data` by floats, and treat NaN and infinite ones as the config says.

    Returns:
        how many values were replaced, by the type that has them, where any were; and lines worth reading.

    Raises:
        GraphError: there is such a value, and none is allowed. ConfigError: the replacement overflows float16.
    """
    replaced, notes = {}, []
    for stores, kind, key in ((data.node_stores, "node", "x"), (data.edge_stores, "edge", "edge_attr")):
        for store in stores:
            if key not in store:
                continue
            name = store._key if kind == "node" else edge_key(store._key)
            where = f"{kind} type '{name}'"
            notes += _precision(store[key], key, where)
            store[key], count = _finite(store[key], key, where, config)
            if count:
                replaced[name] = count
                text = f"{count} of {store[key].numel()} values of {key} are not finite"
                notes.append(f"warning: {where}: {text}; {config.feature_default} stands in their place")
    return replaced, notes


def _finite(given: Tensor, key: str, where: str, config: DatasetConfig) -> tuple[Tensor, int]:
    """The floats that are stored, and how many of them are replacements."""
    import torch

    values = (given if given.dtype == torch.float16 else given.to(torch.float32)).contiguous()
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


def _precision(given: Tensor, key: str, where: str) -> list[str]:
    """A line where integers are rounded."""
    import torch

    if given.is_floating_point() or given.dtype == torch.bool or not given.numel():
        return []
    exact = given.to(torch.float64).abs().max().item()
    return [f"warning: {where}: {key} has integers up to {exact:.0f}, rounded to float32"] if exact > MAX_EXACT else []
