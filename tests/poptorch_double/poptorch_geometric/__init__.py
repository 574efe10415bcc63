"""As much of poptorch_geometric as a trainer touches: batches as arguments, and sizes (77-82)."""

from __future__ import annotations

from poptorch_geometric import override, types  # noqa: F401  (importing them registers what they hold)
from poptorch_geometric.fixed_size_options import FixedSizeOptions

__all__ = ["FixedSizeOptions"]
