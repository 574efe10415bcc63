"""The budget: one fixed capacity per node and edge type, padding included."""

from typing import Any, Dict, List, Literal, Mapping, Optional, Tuple

from pydantic import Field, model_validator

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.errors import BudgetError

OverSizePolicy = Literal["error", "skip", "trim_nodes", "trim_edges", "trim_nodes_and_edges"]
BudgetMode = Literal["exact", "sampled", "quantile", "uniform", "explicit"]


class Overflow(Frozen):
    """How many tested batches exceeded a budget, and the probability that a new one does, bounded from above."""

    num_over: int = Field(ge=0)
    probability: float = Field(ge=0, le=1)


class Certificate(Frozen):
    """What is certain about new batches under a budget of mode `quantile` (see `pipeline.sizing.certificate`).

    A new batch is one drawn like the counted ones: at random from the batches of `splits`. It is no batch of another
    `rng_seed`, unless grouping is `random`.

    Attributes:
        splits: whose batches it is about; empty: those of all splits.
        quantile: share of batches that was asked to fit.
        confidence: of each bound.
        num_fitted, num_tested: counted batches that shaped the budget, and that tested it.
        joint: of any type overflowing; nodes, edges: of one type alone.
    """

    quantile: float
    confidence: float
    num_fitted: int
    num_tested: int
    joint: Overflow
    nodes: Dict[str, Overflow]
    edges: Dict[str, Overflow]
    splits: Tuple[str, ...] = ()


class Budget(Frozen):
    """Rows per node type and columns per edge type of every batch in a store.

    One node row per type is reserved for padding (the last row), so that every pad edge has a pad node of
    its source and of its destination type to point at, and no tensor is empty (an IPU rejects empty ones).
    Of edges likewise one column.

    Attributes:
        num_nodes: node type -> rows; real nodes may use at most `num_nodes - 1`.
        num_edges: edge type key -> columns; real edges may use at most `num_edges - 1`.
        max_seeds: seed rows per batch; shorter batches are padded with masked seeds.
        hop_nodes: node type -> for hop h = 0..H, one more than the most nodes of hops 0..h in any batch.
            Slicing a batch to that many rows keeps every node within h hops, and its last row is never one
            of them. The last entry is at most `num_nodes`.
        hop_edges: edge type key -> for hop h = 1..H, one more than the most edges of hops 1..h in any batch.
        certificate: with mode `quantile`, how probable it is that a new batch does not fit.
    """

    mode: BudgetMode
    num_nodes: Dict[str, int]
    num_edges: Dict[str, int]
    max_seeds: int = Field(ge=1, lt=2**31)
    hop_nodes: Dict[str, Tuple[int, ...]]
    hop_edges: Dict[str, Tuple[int, ...]]
    certificate: Optional[Certificate] = None

    @model_validator(mode="after")
    def _check_sizes(self) -> Any:
        for kind, sizes in (("node", self.num_nodes), ("edge", self.num_edges)):
            for name, size in sizes.items():
                if not 1 <= size < 2**31:
                    raise ValueError(f"the budget of {kind} type {name!r} is {size}; it must be 1 to {2**31 - 1}")
        if set(self.hop_nodes) != set(self.num_nodes) or set(self.hop_edges) != set(self.num_edges):
            raise ValueError("hop capacities and budgets must name the same types")
        for hops, sizes in ((self.hop_nodes, self.num_nodes), (self.hop_edges, self.num_edges)):
            for name, most in hops.items():
                if not most or most[0] < 1 or list(most) != sorted(most) or most[-1] > sizes[name]:
                    raise ValueError(
                        f"capacities of {name!r} up to each hop must ascend from 1 to {sizes[name]}: {most}"
                    )
        return self

    def violations(self, num_nodes: Mapping[str, int], num_edges: Mapping[str, int]) -> List[str]:
        """Types whose real counts leave no room for padding, each as one sentence. Empty when all fit."""
        found = []
        for kind, counts, sizes in (("nodes", num_nodes, self.num_nodes), ("edges", num_edges, self.num_edges)):
            for name, count in counts.items():
                if count > sizes[name] - 1:
                    found.append(
                        f"'{name}' has {count} {kind}, its budget of {sizes[name]} holds {sizes[name] - 1} "
                        "(one is reserved for padding)"
                    )
        return found

    def fits(self, num_nodes: Mapping[str, int], num_edges: Mapping[str, int]) -> bool:
        """Whether a batch with these real counts fits."""
        return not self.violations(num_nodes, num_edges)

    def require_fits(self, num_nodes: Mapping[str, int], num_edges: Mapping[str, int], where: str, what: str) -> None:
        """Raise `BudgetError` naming every type that does not fit, of `what` (a batch, a seed)."""
        found = self.violations(num_nodes, num_edges)
        if found:
            raise BudgetError(
                f"{what} does not fit the budget: " + "; ".join(found),
                where=where,
                hint="Raise the budget, use [budget] mode = 'exact', or let batches be trimmed: "
                "[budget] oversize = 'trim_nodes_and_edges'.",
            )
