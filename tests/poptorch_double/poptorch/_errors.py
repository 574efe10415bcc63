"""PopTorch's error classes (73, 74)."""

from __future__ import annotations


class Error(Exception):
    """Attributes `message`, `type` and `location`: on the instance for errors of the Python layer, on the class for
    errors of the device."""


class RecoverableError(Error):
    """Attribute `recovery_action`: IPU_RESET, LINK_RESET, PARTITION_RESET or FULL_RESET."""


class UnrecoverableError(Error):
    """The machine needs an operator."""


class ConfigFileError(Exception):
    """A file of options does not parse (53)."""


def host_error(message: str) -> Error:
    """An error of the Python layer, ready to be raised."""
    error = Error(message)
    error.message, error.type, error.location = message, "poptorch_py_error", ""
    return error


def graph_error(message: str) -> Error:
    """An error of the tracer or the compiler, ready to be raised."""
    return device_error(Error, message, "poptorch_cpp_error", "compile")


def device_error(cls: type, message: str, kind: str, location: str, recovery_action: str = "") -> Error:
    """Attributes are set on the class, as pybind does: another error overwrites them (74)."""
    cls.message, cls.type, cls.location = message, kind, location
    if recovery_action:
        cls.recovery_action = recovery_action
    return cls(message)
