"""`[sampling] time`: when nodes and edges came to be."""

from typing import Any, Literal, Optional

from pydantic import model_validator

from heteroshards.schemas.base import Frozen

DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000, "step": 1}


class TimesConfig(Frozen):
    """When nodes and edges came to be: a seed is shown nothing that is later than its own time.

    Attributes:
        nodes: the attribute of node types that holds times, integers; types without it are always there.
        edges: that of edge types, likewise.
        unit: what a time counts: `s`, `ms`, `us` or `ns` since any moment, or `step`, something else. Ages are in days,
            or in steps.
    """

    nodes: Optional[str] = None
    edges: Optional[str] = None
    unit: Literal["s", "ms", "us", "ns", "step"] = "s"

    @model_validator(mode="after")
    def _check_any(self) -> Any:
        if self.nodes is None and self.edges is None:
            raise ValueError("time names an attribute of nodes, of edges, or of both")
        return self
