"""Private parts of torch and numba: each with the reason, and the versions that it was tried with.

Nothing else in this room names one (`tests/test_architecture.py`), so a new version is looked through here.
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


def num_entries(value: Any) -> int:
    """Of a sparse tensor of any layout, duplicates counted; what is public of it is for coalesced ones only. Tried:
    torch 2.13."""
    return int(value._nnz())


def kernel_cache(dispatcher: Any) -> Any:
    """Where numba keeps a kernel's code, and reads it from; it tells nobody. Tried: numba 0.59 to 0.66."""
    return dispatcher._cache


def wrap_kernel_cache(dispatcher: Any, wrap: Callable[[Any], Any]) -> None:
    """Put something between a kernel and its cache, whose failures numba lets through. Tried: numba 0.59 to 0.66."""
    dispatcher._cache = wrap(dispatcher._cache)


def add_to_stamp(dispatcher: Any, more: tuple[Any, ...]) -> None:
    """Have a kernel compiled anew where `more` is not what it was, too: numba stamps the kernel's own file alone, and
    compares whatever its index holds as stamp. Tried: numba 0.59 to 0.66."""
    file = dispatcher._cache._cache_file
    file._source_stamp = (file._source_stamp, *more)
