"""Kernels compile, and are kept, wherever anything can be written; what is not so is said in one line."""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile

import numba
import pytest

from heteroshards.pipeline import jit

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled without the JIT")

SOURCE = """
from heteroshards.pipeline.jit import njit

@njit(cache=True, nogil=True)
def double(x):
    return x + x

@njit(cache=True)
def twice_double(x):
    return double(double(x))
"""


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A module beside which nothing can be written, whoever runs it, and a home where neither can."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "kernels.py").write_text(SOURCE)
    (tmp_path / "app" / "__pycache__").touch()
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(jit, "_notes", [])
    monkeypatch.setattr(jit, "_said", set())
    return tmp_path


def load(folder):
    spec = importlib.util.spec_from_file_location("kernels", folder / "app" / "kernels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(call, *args):
    lines = []
    with jit.kernels_told(lines.append):
        call(*args)
    return lines


def own(folder):
    return folder / "tmp" / f"heteroshards-{os.getuid()}"


def hits(dispatcher):
    return sum(dispatcher.stats.cache_hits.values())


def test_another_folder_stands_in_and_is_said_once(nowhere):
    module = load(nowhere)
    note, *compiling = told(module.twice_double, 2)
    assert note.startswith(f"compiled kernels are kept in {own(nowhere)}: neither")
    assert compiling[0].startswith("compiling the kernels") and compiling[-1].startswith("compiled  the kernels in ")
    assert own(nowhere).stat().st_mode & 0o777 == 0o700
    again = load(nowhere)
    assert told(again.twice_double, 2) == []
    assert hits(again.twice_double) == 1 and again.twice_double(3) == 12


def test_a_kernel_is_compiled_anew_when_what_it_calls_has_changed(tmp_path, monkeypatch):
    """In a file of its own, too, which numba does not look at."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    inner = "from heteroshards.pipeline.jit import njit\n\n@njit(cache=True)\ndef inner(x):\n    return x + {}\n"
    outer = "from heteroshards.pipeline.jit import njit\nfrom inner_kernels import inner\n\n"
    outer += "@njit(cache=True)\ndef outer(x):\n"
    (tmp_path / "outer_kernels.py").write_text(outer + "    return inner(x)\n")
    seen = []
    for number in (1, 1, 20):
        (tmp_path / "inner_kernels.py").write_text(inner.format(number))
        if number == 1:
            os.utime(tmp_path / "inner_kernels.py", (1, 1))
        for name in ("inner_kernels", "outer_kernels"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module("outer_kernels")
        seen.append((module.outer(1), hits(module.outer)))
    assert seen == [(2, 0), (2, 1), (21, 0)]


@pytest.mark.parametrize("spoilt", ["missing", "a file", "open to others", "a link"])
def test_without_any_folder_nothing_is_kept(nowhere, monkeypatch, spoilt):
    if spoilt == "missing":
        monkeypatch.setattr(tempfile, "tempdir", str(nowhere / "file" / "tmp"))
    elif spoilt == "a file":
        own(nowhere).touch()
    elif spoilt == "open to others":  # anybody could put code there that is run
        own(nowhere).mkdir()
        own(nowhere).chmod(0o777)
    else:
        (nowhere / "other").mkdir(mode=0o700)
        own(nowhere).symlink_to(nowhere / "other")
    module = load(nowhere)
    notes = [line for line in told(module.twice_double, 2) if "kept" in line]
    assert len(notes) == 1 and "not kept" in notes[0] and "Set NUMBA_CACHE_DIR" in notes[0]
    assert module.twice_double(5) == 20


def test_no_temporary_folder_at_all(nowhere, monkeypatch):
    def fail():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    module = load(nowhere)
    assert "not kept" in told(module.double, 2)[0]
    assert module.double(2) == 4


def test_a_folder_of_the_users_that_cannot_be_written_is_named(nowhere, monkeypatch):
    (nowhere / "app" / "__pycache__").unlink()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere / "file" / "wanted"))
    note = told(load(nowhere).double, 2)[0]
    assert note.startswith(f"compiled kernels are kept in {nowhere / 'app' / '__pycache__'}: NUMBA_CACHE_DIR")
    assert str(nowhere / "file" / "wanted") in note


def test_a_wanted_folder_and_no_other(nowhere, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere / "file" / "wanted"))
    note = told(load(nowhere).double, 2)[0]
    assert str(own(nowhere)) in note and "NUMBA_CACHE_DIR" in note
    assert str(nowhere / "file" / "wanted") == numba.config.CACHE_DIR


def test_a_folder_that_works_is_not_worth_a_word(nowhere, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere / "cache"))
    lines = told(load(nowhere).double, 2)
    assert not [line for line in lines if "kept" in line]
    assert list((nowhere / "cache").rglob("*.nbc"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "not yours")])
def test_what_cannot_be_saved_is_said_once(nowhere, monkeypatch, error):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere / "cache"))
    module = load(nowhere)

    def fail(*_):
        raise error

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", fail)
    notes = [line for line in told(module.twice_double, 2) if "kept" in line]
    assert len(notes) == 1 and error.strerror in notes[0]
    assert module.twice_double(2) == 8


def test_a_damaged_cache_is_compiled_again(nowhere, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere / "cache"))
    load(nowhere).double(2)
    for path in (nowhere / "cache").rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[:20])
    module = load(nowhere)
    lines = told(module.double, 2)
    assert any("cannot be read" in line for line in lines)
    assert module.double(2) == 4


def test_seconds_are_told_while_it_lasts(monkeypatch):
    lines = []
    monkeypatch.setattr(jit, "WORDS_AFTER_S", (0,))
    watch = jit._Watch(lines.append)
    for _ in range(2):
        watch.on_start(None)
    while len(lines) < 2:  # the second one comes from the thread that watches
        pass
    for _ in range(2):
        watch.on_end(None)
    watch.close()
    assert lines[0].startswith("compiling the kernels (once")
    assert lines[1] == "compiling the kernels: 0 s so far"
    assert lines[-1].startswith("compiled  the kernels in ")


def test_processes_may_compile_at_once(tmp_path):
    (tmp_path / "kernels.py").write_text(SOURCE + "\nprint(twice_double(2))\n")
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(tmp_path / "kernels.py")]
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["8"] * 3
