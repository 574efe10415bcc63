"""Times of nodes, edges and seeds, and weights of edges: read, and checked, as whole arrays of 64 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heteroshards.pipeline.sources.tensors import INTEGERS, plain_column
from heteroshards.pipeline.sources.words import nearest
from heteroshards.schemas.config import SamplingConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.graph import type_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import HeteroData

TIME, WEIGHT = "_time", "_weight"  # under which the graph keeps them, whatever else the attribute is read as
EARLIEST, LATEST = -(2**61), 2**61  # so that a difference of two is a number, too
MOST_SPAN, MOST_SUM = 2.0**40, 1e300


def read_times(data: HeteroData, plain: HeteroData, config: SamplingConfig) -> dict[Any, str]:
    """Put the times of nodes and edges into `plain`; returns the types that have some, and the attribute's name.

    Raises:
        ConfigError: no type has such an attribute. GraphError: one is malformed.
    """
    found: dict[Any, str] = {}
    if config.time is None:
        return found
    for kind, name, types in (
        ("nodes", config.time.nodes, data.node_types),
        ("edges", config.time.edges, data.edge_types),
    ):
        if name is None:
            continue
        having = [of for of in types if data[of].get(name) is not None]
        if not having:
            there = sorted({key for of in types for key, _ in data[of].items()})
            what, where = f"no type of {kind} has the attribute '{name}'", f"[sampling] time.{kind}"
            raise ConfigError(what, where=where, hint=nearest(name, there))
        for of in having:
            plain[of][TIME] = times_of(data[of][name], name, _size(plain, of), _where(of))
        found |= dict.fromkeys(having, name)
    return found


def read_weights(data: HeteroData, plain: HeteroData, config: SamplingConfig) -> dict[Any, str]:
    """Likewise the weights of edges, float64.

    Raises:
        ConfigError: no edge type has such an attribute. GraphError: one is malformed.
    """
    import torch

    name = config.weight
    if name is None:
        return {}
    having = [of for of in data.edge_types if data[of].get(name) is not None]
    if not having:
        there = sorted({key for of in data.edge_types for key, _ in data[of].items()})
        what = f"no edge type has the attribute '{name}'"
        raise ConfigError(what, where="[sampling] weight", hint=nearest(name, there))
    for of in having:
        given = _vector(data[of][name], f"weight '{name}'", _size(plain, of), _where(of))
        if given.is_complex():
            raise GraphError("weights must be real numbers", actual=given.dtype, where=_where(of))
        values = given.to(torch.float64)
        bad = values[~(torch.isfinite(values) & (values >= 0))]
        if len(bad):
            hint = "Weights are numbers from 0; an edge of weight 0 is never drawn."
            raise GraphError(f"{len(bad)} weights are none", actual=bad[0].item(), where=_where(of), hint=hint)
        plain[of][WEIGHT] = values
        _require_span(values, _where(of))
    return dict.fromkeys(having, name)


def _require_span(weights: Tensor, where: str) -> None:
    """Weights are drawn from their sums, which must tell the smallest from nothing."""
    positive = weights[weights > 0]
    if not len(positive):
        return
    least, most = float(positive.min()), float(positive.max())
    if most > MOST_SPAN * least or most * len(weights) > MOST_SUM:
        raise GraphError(
            "weights are too far apart to be drawn exactly",
            actual=f"{least:g} to {most:g}",
            limit=f"at most {MOST_SPAN:g} times the smallest one that is not 0, and a sum below {MOST_SUM:g}",
            where=where,
            hint="Make very small ones 0, which are never drawn, or draw the latest: strategy = 'last'.",
        )


def times_of(value: Any, name: str, num: int, where: str) -> Tensor:
    """int64 [num], after checking that they are times.

    Raises:
        GraphError: they are no integers, of another number, or one of them is no time.
    """
    import torch

    times = _vector(value, f"time '{name}'", num, where)
    if str(times.dtype) not in INTEGERS:
        hint = "Give whole numbers, of seconds for example: times.long(). Dates: .view('int64') of a datetime64 array."
        raise GraphError("times must be integers", actual=times.dtype, where=where, hint=hint)
    times = times.to(torch.int64)
    bad = times[(times < EARLIEST) | (times > LATEST)]
    if len(bad):
        hint = "NaT is the smallest 64-bit integer; leave out what has no time, or give it one."
        limit = f"{EARLIEST} to {LATEST}"
        what = f"{len(bad)} of {num} times of '{name}' are none"
        raise GraphError(what, actual=int(bad[0]), limit=limit, where=where, hint=hint)
    return times


def _vector(value: Any, what: str, num: int, where: str) -> Tensor:
    values = plain_column(value, what, where)
    if values.shape != (num,):
        raise GraphError(f"{what} has another shape", actual=f"{tuple(values.shape)}", limit=f"({num},)", where=where)
    return values


def _size(plain: HeteroData, of: Any) -> int:
    return int(plain[of].num_nodes) if isinstance(of, str) else int(plain[of].edge_index.size(1))


def _where(of: Any) -> str:
    return f"{'node' if isinstance(of, str) else 'edge'} type '{type_name(of)}'"
