"""`[budget]`: how large the padded batch is."""

from typing import Any, Dict, Literal, Optional, Union

from pydantic import model_validator

from heteroshards.schemas.budget import BudgetMode, OverSizePolicy
from heteroshards.schemas.config.variants import NeededBy, Section, With, only

Sizes = Union[int, Dict[str, int]]
BudgetScope = Literal["purpose", "all"]


class BudgetConfig(Section):
    """How large the padded batch is.

    Attributes:
        mode: `exact` (the most over all batches, + 1 pad slot), `sampled` (over `num_batches` random batches, + 1),
            `quantile` (so that a share of all batches fits, as `num_batches` random ones prove), `uniform` (one
            number for all node types, one for all edge types) or `explicit` (one per type).
        num_batches: with `sampled` and `quantile`.
        quantile: with `quantile`: the share of batches that shall fit.
        confidence: with `quantile`: the probability that it is so.
        nodes: rows, the pad slot included: a number with `uniform`, a table by node type with `explicit`.
        edges: columns, likewise, by edge type key.
        scope: which splits share a budget that follows from the data: with `purpose` train has one of its own, and
            all others, which are only inferred, share another (training and inference are compiled apart anyway);
            with `all` there is one for all. A budget that is given is one for all.
        shapes: with `exact`: at most so many budgets in each scope, chosen from the counted sizes so that its padded
            batches together are as small as they can be. Each is compiled once. Not on an IPU.
        oversize: what happens to a batch that does not fit: `error`, `skip` the batch, or trim it, farthest hop
            first and never a seed: `trim_nodes`, `trim_edges`, `trim_nodes_and_edges`.
    """

    mode: BudgetMode = "exact"
    num_batches: int = only(1000, With("mode", "sampled", "quantile"), ge=1)
    quantile: float = only(0.99, With("mode", "quantile"), gt=0, lt=1)
    confidence: float = only(0.95, With("mode", "quantile"), ge=0.5, lt=1)
    nodes: Optional[Sizes] = only(None, NeededBy("mode", "uniform", "explicit"))
    edges: Optional[Sizes] = only(None, NeededBy("mode", "uniform", "explicit"))
    scope: BudgetScope = only("purpose", With("mode", "exact", "sampled", "quantile"))
    shapes: int = only(1, With("mode", "exact"), ge=1, le=16)
    oversize: OverSizePolicy = only("error", With("mode", "sampled", "quantile", "uniform", "explicit"))

    @model_validator(mode="after")
    def _check_mode(self) -> Any:
        for name, value in (("nodes", self.nodes), ("edges", self.edges)):
            kind = int if self.mode == "uniform" else dict
            if value is not None and not isinstance(value, kind):
                raise ValueError(
                    f"'{name}' is {'one number' if kind is int else 'a table by type'} with mode = '{self.mode}'"
                )
            counts = value.values() if isinstance(value, dict) else [] if value is None else [value]
            if any(not 1 <= count < 2**31 for count in counts):
                raise ValueError(f"'{name}' must be 1 to {2**31 - 1}, got {value}")
        return self
