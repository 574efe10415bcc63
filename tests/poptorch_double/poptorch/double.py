"""What tests may see and set, and PopTorch does not have."""

from __future__ import annotations

from typing import NamedTuple

from poptorch._errors import Error, device_error

compilations = 0  # graphs traced and compiled, by all executors
cache_hits = 0  # of those, executables that were found in the cache folder
contiguous_replicas = True  # False deals micro-batches out in turn: no caller may rely on either (33)

_faults: list[_Fault] = []


class _Fault(NamedTuple):
    cls: type
    message: str
    kind: str
    location: str
    recovery_action: str
    at: str


def fail_next(
    cls: type = Error,
    message: str = "injected failure",
    kind: str = "poplar_runtime_error",
    location: str = "here",
    recovery_action: str = "",
    at: str = "execute",
) -> None:
    """Make the next "execute", "compile" or "attach" raise `cls`, one of PopTorch's three error classes."""
    assert at in ("execute", "compile", "attach")
    _faults.append(_Fault(cls, message, kind, location, recovery_action, at))


def raise_fault(at: str) -> None:
    """Called by the executor where a real device may fail."""
    for fault in list(_faults):
        if fault.at == at:
            _faults.remove(fault)
            raise device_error(*fault[:-1])
