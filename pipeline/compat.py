"""Private parts of torch: each with the reason, and the versions of torch that it was tried with.

Nothing else in this room names one (`tests/test_architecture.py`), so a new torch is looked through here.
"""

from collections.abc import Callable
from typing import Any

_REBUILD = (
    *("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_sparse_tensor", "_rebuild_qtensor"),
    *("_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor"),
)


def rebuilders() -> dict[str, Callable[..., Any]]:
    """Functions of torch that `torch.save` writes by name to have tensors built anew, by that name: a reader that runs
    nothing else must know them itself. Tried: 2.13."""
    import torch

    found: dict[str, Callable[..., Any]] = {f"torch._utils.{name}": getattr(torch._utils, name) for name in _REBUILD}
    return {**found, "torch.serialization._get_layout": torch.serialization._get_layout}
