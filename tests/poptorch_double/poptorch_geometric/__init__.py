"""As much of poptorch_geometric as a trainer touches: batches as arguments, and sizes (77-82)."""

from __future__ import annotations

from poptorch_geometric import types  # noqa: F401  (registers the parser)
from poptorch_geometric.fixed_size_options import FixedSizeOptions

__all__ = ["FixedSizeOptions"]
