"""While tracing, PyG refuses what needs dynamic shapes, such as an aggregation without `dim_size` (77, 78).

PopTorch also replaces the forwards of HeteroLinear, ClusterGCNConv, MFConv and InstanceNorm; the double does not.
"""

from __future__ import annotations

from typing import Any

from poptorch._graph import substitutions
from torch_geometric.experimental import experimental_mode


def without_dynamic_shapes() -> Any:
    """A context manager: PyG's own switch."""
    return experimental_mode("disable_dynamic_shapes")


substitutions.append(without_dynamic_shapes)
