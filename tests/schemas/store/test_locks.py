"""Locks where the file system has them, and files that stand for them where it has none."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading

import pytest

from heteroshards.schemas.store import locks
from heteroshards.schemas.store.locks import HeldError, locked


@pytest.fixture(params=["locks", *sorted(locks.NO_LOCKS)])
def lines(request, monkeypatch):
    """What is told; with an error number, flock fails with it as on a network folder without locks."""
    told = []
    if request.param != "locks":

        def refuse(*_):
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "WAIT_S", 0.01)
    yield told
    assert bool(told) == (request.param != "locks")


def test_one_at_a_time_and_free_again(tmp_path, lines):
    for _ in range(2):
        with locked(tmp_path / "l", tell=lines.append), pytest.raises(HeldError), locked(tmp_path / "l"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l"]


def test_waiting_is_told_once_and_ends(tmp_path, lines):
    waited, held, go = [], threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / "l"):
            held.set()
            go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    with locked(tmp_path / "l", waiting=lambda: (waited.append(1), go.set()), tell=lines.append):
        assert waited == [1]
    holder.join()


def test_a_dead_holder_is_succeeded(tmp_path, lines):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    (tmp_path / "l.held").write_text(f"{socket.gethostname()} {ended.stdout.strip()}")
    with locked(tmp_path / "l", tell=lines.append):
        pass


def test_a_holder_on_another_host_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "l.held").write_text("elsewhere 1")
    with pytest.raises(HeldError, match=r"host and process elsewhere 1.*remove .*l\.held"), locked(tmp_path / "l"):
        pass
    assert (tmp_path / "l.held").read_text() == "elsewhere 1"


def test_those_who_share_go_on_together(tmp_path, lines):
    with locked(tmp_path / "l", is_shared=True, tell=lines.append), locked(tmp_path / "l", is_shared=True):
        pass


def test_other_refusals_are_not_taken_for_missing_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "l"):
        pass
    with pytest.raises(OSError), locked(tmp_path / "nowhere" / "l"):
        pass
