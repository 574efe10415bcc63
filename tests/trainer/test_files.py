"""Files of a run are whole, or an error names them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heteroshards.schemas.errors import CheckpointError
from heteroshards.trainer.runs.files import check_writable, make_folder, remove_leftovers, write_atomically, write_text


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_files_are_written_whole_or_not_at_all(tmp_path, kind):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise kind("disk full")

    with pytest.raises(CheckpointError, match=r"file: it cannot be written; got disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for call in (lambda p: write_text(p, ""), check_writable, make_folder):
        with pytest.raises(CheckpointError, match=r"file/below/name: it cannot be written"):
            call(tmp_path / "file" / "below" / "name")
    with pytest.raises(CheckpointError, match="got a folder"):
        check_writable(tmp_path)
    check_writable(tmp_path / "new" / "name")
    assert list((tmp_path / "new").iterdir()) == []


def test_leftovers_of_dead_processes_go(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for pid in (process.pid, os.getpid(), 10**30):
        (tmp_path / f".last.pt.{pid}.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f".last.pt.{os.getpid()}.tmp", ".mine.tmp"}
