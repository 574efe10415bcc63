"""Killed, terminated, out of space, read-only, removed: nothing half-written is ever seen, and the next run goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heteroshards import pipeline
from heteroshards.pipeline.writing.writer import StoreWriter, locked, work_folder
from heteroshards.schemas.errors import StoreError
from tests.pipeline.kill_trials import small_job
from tests.pipeline.stores import files_of

ROOT = Path(__file__).resolve().parents[2]
NUM_KILLS = 50


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return files_of(prepare(tmp_path_factory.mktemp("whole") / "store"))


def prepare(store, **options):
    return pipeline.prepare(*small_job(store.parent), store=store, **options)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_killed_at_random_moments_and_repeated(tmp_path):
    command = [sys.executable, "-m", "tests.pipeline.kill_trials", str(tmp_path), str(NUM_KILLS)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    result = json.loads(shown.stdout)
    trials = result["trials"]
    assert len(trials) == NUM_KILLS
    assert [t for t in trials if not t["is_same"]] == []
    assert [t for t in trials if not t["shows_only_whole_stores"]] == []
    assert [t for t in trials if t["num_rewritten"]] == [], "what was finished is never written again"
    assert {name for t in trials for name in t["left"]} == {".store.lock"}
    assert sum(t["was_killed"] for t in trials) > NUM_KILLS // 2
    assert sum(t["num_finished"] > 0 for t in trials) > 0, "some were killed between two partitions"
    assert result["at_once"] is True


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_in_one_line_that_says_how_to_go_on(tmp_path, sent, code):
    config = tmp_path / "job.toml"
    lines = ["[dataset]", "args = {scale = 0.02}", "[sampling]", "batch_size = 1", "rounds = 4000"]
    config.write_text("\n".join([*lines, "[store]", f"root = '{tmp_path / 'stores'}'", "chunk_batches = 1"]))
    command = [sys.executable, "-m", "pipeline", "prepare", "--config", str(config), "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),  # tests run in the background ignore Ctrl-C
    )
    try:
        wait_for(lambda: list(tmp_path.glob("stores/*.partial/partitions/*.json")))
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, said
    assert "the same command goes on where it stopped" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not [path for path in (tmp_path / "stores").iterdir() if path.suffix != ".partial" and path.is_dir()]


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, too small for the store."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


@pytest.mark.parametrize("size", ["200k", "500k", "700k"])
def test_a_full_disk_is_an_error_and_goes_on_when_there_is_space(small_disk, whole, size):
    remount(small_disk, f"size={size}")
    store = small_disk / "store"
    with pytest.raises(StoreError, match=r"cannot be written.*No space left.*Free space"):
        prepare(store, workers=2)
    assert not store.exists()
    remount(small_disk, "size=64m")
    assert files_of(prepare(store)) == whole
    assert visible(small_disk) == ["store"]


def test_a_read_only_folder_is_an_error(small_disk, whole):
    remount(small_disk, "ro")
    with pytest.raises(StoreError, match=r"cannot be written.*read-only file system"):
        prepare(small_disk / "store")
    assert list(small_disk.iterdir()) == []
    remount(small_disk, "rw,size=64m")
    assert files_of(prepare(small_disk / "store")) == whole


def test_a_store_on_a_disk_that_became_read_only_is_still_found(small_disk):
    remount(small_disk, "size=64m")
    prepare(small_disk / "store")
    remount(small_disk, "ro")
    assert prepare(small_disk / "store") == small_disk / "store"


@pytest.mark.parametrize("what", ["work folder", "all of it"])
@pytest.mark.parametrize("after", [3, 60])
def test_a_folder_that_vanishes_while_it_is_written(tmp_path, monkeypatch, whole, what, after):
    store = tmp_path / "folder" / "store"
    original, written = StoreWriter.write_chunk, []

    def vanish(self, *args):
        written.append(args)
        if len(written) == after:
            shutil.rmtree(work_folder(store) if what == "work folder" else store.parent)
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write_chunk", vanish)
        with pytest.raises(StoreError, match=r"cannot be written.*No such file"):
            prepare(store)
    assert not store.exists() and not work_folder(store).exists()
    assert files_of(prepare(store)) == whole


def test_what_a_kill_after_the_last_rename_left_is_cleared(tmp_path, whole):
    store = prepare(tmp_path / "store")
    work_folder(store).mkdir()
    with locked(store, lambda: None):
        prepare(store)
        assert work_folder(store).exists(), "another run may be at work there"
    prepare(store)
    assert visible(tmp_path) == ["store"] and files_of(store) == whole


def test_a_stop_between_manifest_and_rename_writes_nothing_again(tmp_path, monkeypatch, whole):
    store = tmp_path / "store"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr("heteroshards.pipeline.writing.writer.integrity.render_consolidated", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(store)
    monkeypatch.setattr(StoreWriter, "write_chunk", stop)
    assert files_of(prepare(store)) == whole
