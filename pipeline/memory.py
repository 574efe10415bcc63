"""What memory there is, asked before something large is allocated: a refusal that says how large beats a kill."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from heteroshards.pipeline.formatting import size
from heteroshards.schemas.errors import GraphError

SMALL_BYTES = 64 * 2**20  # not worth asking
_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def require_memory(num_bytes: int, what: str, where: str, hint: str) -> None:
    """Raise `GraphError` where `num_bytes` more cannot be allocated; `what` is the thing that would take them."""
    if num_bytes <= SMALL_BYTES:
        return
    available = available_bytes()
    if available is not None and num_bytes > available:
        actual, limit = f"{size(num_bytes)} to allocate", f"at most {size(available)}, which are available"
        raise GraphError(f"{what} does not fit into memory", actual=actual, limit=limit, where=where, hint=hint)


def available_bytes() -> int | None:
    """Bytes that this process can still allocate, swap included: of the machine, its container, and its own limit."""
    found = [_machine(), _address_space(), *(_container(*names) for names in _CGROUPS)]
    return min((number for number in found if number is not None), default=None)


def _machine() -> int | None:
    with suppress(OSError, ValueError, KeyError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
        return 1024 * (kib["MemAvailable"] + kib["SwapFree"])
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _container(limit: str, usage: str) -> int | None:
    root = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such file, or "max"
        return max(0, int((root / limit).read_text()) - int((root / usage).read_text()))
    return None


def _address_space() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return None
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, soft - pages * os.sysconf("SC_PAGE_SIZE"))
    return int(soft)
