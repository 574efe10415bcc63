"""Whatever goes wrong inside leaves as an error of ours, with its cause."""

import errno
import json
import pickle

import pytest

from heteroshards.schemas.errors import (
    ConfigError,
    GraphError,
    HeteroShardsError,
    OutOfRangeError,
    StoreError,
    UnexpectedError,
)
from heteroshards.schemas.seam import require, require_count, require_path, seam, told, typed

SYSTEM = [
    OSError(errno.ENOSPC, "No space left on device", "/some/file"),
    PermissionError(errno.EACCES, "Permission denied"),
    MemoryError("Unable to allocate 9 GiB"),
    ValueError("embedded null byte"),
    ImportError("No module named 'pyarrow'"),
]
FAULTS = [
    ValueError("odd"),
    KeyError("k"),
    RecursionError("too deep"),
    AssertionError(),
    UnicodeEncodeError("ascii", "\xe9", 0, 1, "no"),
    json.JSONDecodeError("bad", "{", 0),
    pickle.PicklingError("cannot"),
    ZeroDivisionError(),
    StopIteration(),
]


@pytest.mark.parametrize("problem", [*SYSTEM, *FAULTS], ids=lambda problem: type(problem).__name__)
def test_every_exception_is_one_of_ours_and_keeps_its_cause(problem):
    @typed("preparing", StoreError)
    def fail():
        raise problem

    with pytest.raises(StoreError if problem in SYSTEM else UnexpectedError) as caught:
        fail()
    assert caught.value.__cause__ is problem
    assert type(problem).__name__ in str(caught.value)
    assert "preparing" in str(caught.value)
    if getattr(problem, "filename", None):
        assert "/some/file" in str(caught.value)
    if problem in FAULTS:
        assert "test_seam.py" in str(caught.value)
        assert caught.value.exit_code == 70


@pytest.mark.parametrize(
    "problem", [GraphError("bad"), BrokenPipeError(), UserWarning("w"), KeyboardInterrupt(), SystemExit(3)]
)
def test_what_is_nobodys_fault_or_typed_already_passes(problem):
    with pytest.raises(type(problem)) as caught, seam("x", StoreError):
        raise problem
    assert caught.value is problem


def test_arguments_are_checked_by_name():
    for value, kinds in ((1.5, int), (True, int), (None, (str, int)), ("1", int)):
        with pytest.raises(ConfigError, match="argument 'n' has the wrong type; got "):
            require(value, kinds, "n")
    require(True, bool, "n")
    require(None, (int, type(None)), "n")
    for count in (0, -1):
        with pytest.raises(ConfigError, match="'workers' is too small"):
            require_count(count, "workers")
    for path in (5, None, b"x", "", ["x"]):
        with pytest.raises(ConfigError, match="argument 'store'"):
            require_path(path, "store")


def test_an_index_out_of_range_ends_a_sequence():
    assert issubclass(OutOfRangeError, IndexError) and issubclass(OutOfRangeError, HeteroShardsError)


def test_the_traceback_is_kept_in_a_file_or_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UnexpectedError) as caught, seam("x", StoreError):
        raise ValueError("odd")
    line = told(caught.value)
    assert line.startswith("error: ") and "\n" not in line
    assert "ValueError: odd" in next(tmp_path.iterdir()).read_text()
    assert str(next(tmp_path.iterdir())) in line
    assert told(StoreError("bad")) == "error: bad."
    monkeypatch.setenv("HETEROSHARDS_TRACEBACK", "1")
    assert "Traceback" in told(caught.value) and told(caught.value).endswith(str(caught.value))
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.delenv("HETEROSHARDS_TRACEBACK")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert told(caught.value) == f"error: {caught.value}"
