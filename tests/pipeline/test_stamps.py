"""A store is found again without loading only where its source is what it was, whatever its times say."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from heteroshards.pipeline.cli import main
from heteroshards.pipeline.sources import source_stamp, stamp
from heteroshards.pipeline.sources.stamp import is_same, may_follow
from heteroshards.pipeline.writing.latest import find_unchanged, kept_warnings, noted_stamp
from heteroshards.schemas.config import DatasetConfig, load_config
from heteroshards.schemas.errors import StoreError
from tests.pipeline.bad_graphs import small_graph

JOB = """
[dataset]
source = "file"
path = "ROOT/graph.pt"
seed_type = "paper"
[sampling]
fanout = [2]
batch_size = 4
rounds = 1
[store]
root = "ROOT/stores"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "job.toml").write_text(JOB.replace("ROOT", str(tmp_path)))
    (tmp_path / "graph.pt").write_bytes(saved(0))
    return tmp_path


def prepare(place: Path) -> str:
    result = CliRunner().invoke(main, ["prepare", "--config", str(place / "job.toml")])
    assert result.exit_code == 0, result.output
    return result.output


def saved(added: int) -> bytes:
    """A graph with so much added to its features: always of as many bytes."""
    data, file = small_graph(), io.BytesIO()
    data["paper"].x += added
    torch.save(data, file)
    return file.getvalue()


def changed() -> bytes:
    return saved(1)


def in_place(path: Path, content: bytes) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def by_rename(path: Path, content: bytes) -> None:
    before, other = path.stat(), path.with_name("other.pt")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def by_copy(path: Path, content: bytes) -> None:
    before, other = path.stat(), path.with_name("other.pt")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.copy2(other, path)  # cp -p
    other.unlink()


def by_link(path: Path, content: bytes) -> None:
    before, other = path.stat(), path.with_name("elsewhere.pt")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("way", [in_place, by_rename, by_copy, by_link])
def test_a_change_shows_whatever_the_times_say(
    place: Path, way: Callable[[Path, bytes], None], is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_large:
        monkeypatch.setattr(stamp, "ALWAYS_READ_BYTES", 0)
    assert "written" in prepare(place)
    assert "nothing changed" in prepare(place)
    size = (place / "graph.pt").stat().st_size
    way(place / "graph.pt", changed())
    assert (place / "graph.pt").stat().st_size == size
    assert "written" in prepare(place)
    assert "nothing changed" in prepare(place)


def test_a_clock_that_stands_still_hides_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same inode, size and times of every kind, before and after; large files are not vouched for then."""
    monkeypatch.setattr(stamp, "ALWAYS_READ_BYTES", 0)
    now = (place / "graph.pt").stat().st_ctime_ns
    monkeypatch.setattr(stamp.time, "time_ns", lambda: now)
    monkeypatch.setattr(stamp, "_status", lambda path: stamp._Status(path.stat().st_size, now, now, 1, 1))
    prepare(place)
    assert "nothing changed" in prepare(place)
    in_place(place / "graph.pt", changed())
    assert "written" in prepare(place)


def test_a_large_file_is_read_once_where_its_file_system_vouches_for_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, read = DatasetConfig(source="file", path=str(place / "graph.pt")), []
    monkeypatch.setattr(stamp, "ALWAYS_READ_BYTES", 0)
    monkeypatch.setattr(stamp, "_file_system", lambda path: "ext4")
    monkeypatch.setattr(stamp, "_sha256", lambda path: read.append(path) or "digest")
    late = (place / "graph.pt").stat().st_ctime_ns + 10 * stamp.TICK_NS
    young = source_stamp(config)
    assert len(read) == 1 and source_stamp(config, earlier=young) == young and len(read) == 2, "written a moment ago"
    monkeypatch.setattr(stamp.time, "time_ns", lambda: late)
    settled = source_stamp(config, earlier=young)
    assert len(read) == 3 and source_stamp(config, earlier=settled) == settled and len(read) == 3
    os.utime(place / "graph.pt", (1, 1))
    assert is_same(source_stamp(config, earlier=settled), settled) and len(read) == 4
    monkeypatch.setattr(stamp, "_file_system", lambda path: "nfs4")
    far = source_stamp(config)
    source_stamp(config, earlier=far)
    assert len(read) == 6, "what is on a network is read each time"


def test_a_file_that_was_only_touched_or_moved_is_the_same(place: Path) -> None:
    prepare(place)
    os.utime(place / "graph.pt", (1, 1))
    assert "nothing changed" in prepare(place)
    shutil.copyfile(place / "graph.pt", place / "copy.pt")
    (place / "copy.pt").replace(place / "graph.pt")
    assert "nothing changed" in prepare(place)


def test_a_file_that_changes_while_it_is_loaded_is_loaded_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heteroshards.pipeline.sources import load

    whole = load.load_dataset

    def load_and_change(*args: object) -> object:
        source = whole(*args)
        in_place(place / "graph.pt", changed())
        return source

    monkeypatch.setattr(load, "load_dataset", load_and_change)
    prepare(place)
    monkeypatch.setattr(load, "load_dataset", whole)
    assert "written" in prepare(place)


def test_another_program_loads_anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(place)
    monkeypatch.setattr(stamp, "_program", lambda: "another")
    assert "nothing changed" not in prepare(place)
    assert "nothing changed" in prepare(place)
    assert source_stamp(DatasetConfig()) == {"program": "another"}


def test_a_note_of_another_kind_is_no_obstacle(place: Path) -> None:
    prepare(place)
    note = place / "stores" / "job.latest"
    for text in ("[]", "{}", note.read_text().replace('"sha256"', '"md5"'), note.read_text().replace('"files"', '"f"')):
        note.write_text(text)
        assert "found" in prepare(place)


@pytest.mark.parametrize("manifest", [[], "text", None, {"notes": 5, "complete": True}, {"notes": []}])
def test_a_root_of_another_kind_is_no_obstacle_to_the_note(place: Path, manifest: Any) -> None:
    prepare(place)
    (root,) = (place / "stores").glob("*/.zattrs")
    values = json.loads(root.read_text())
    values["manifest"] = manifest
    config = load_config(place / "job.toml")
    stamp = noted_stamp(config, None)
    assert find_unchanged(config, None, stamp) == root.parent
    root.write_text(json.dumps(values))
    assert find_unchanged(config, None, stamp) is None
    assert kept_warnings(root.parent) == []


def test_notes_of_another_kind_are_told(place: Path) -> None:
    prepare(place)
    (root,) = (place / "stores").glob("*/.zattrs")
    values = json.loads(root.read_text())
    values["manifest"]["notes"] = ["x"]
    root.write_text(json.dumps(values))
    with pytest.raises(StoreError):
        kept_warnings(root.parent)


def folders(root: Path) -> DatasetConfig:
    for name in ("raw", "raw/deep", "processed", "mag/raw"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "a.npy").write_bytes(b"1234")
    return DatasetConfig(source="pyg", class_name="IMDB", root=str(root))


@pytest.mark.parametrize(
    "name", ["raw/a.npy", "raw/deep/a.npy", "processed/a.npy", "mag/raw/a.npy", "raw/linked/b.npy"]
)
def test_any_file_of_a_dataset_counts(tmp_path: Path, name: str) -> None:
    config, elsewhere = folders(tmp_path / "set"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.npy").write_bytes(b"1234")
    (tmp_path / "set/raw/linked").symlink_to(elsewhere)
    (tmp_path / "set/raw/deep/loop").symlink_to(tmp_path / "set/raw")
    before = source_stamp(config)
    assert before and is_same(before, source_stamp(config, earlier=before))
    in_place(tmp_path / "set" / name, b"4321")
    assert not is_same(before, source_stamp(config, earlier=before))
    assert not may_follow(before, source_stamp(config))


def test_what_loading_adds_is_part_of_the_same_source(tmp_path: Path) -> None:
    config = folders(tmp_path)
    before = source_stamp(config)
    (tmp_path / "processed" / "data.pt").write_bytes(b"new")
    after = source_stamp(config, earlier=before)
    assert may_follow(before, after) and not is_same(before, after) and may_follow(None, after)
    assert not may_follow(after, before), "what is gone"


def test_the_root_of_a_dataset_may_stand_in_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders(tmp_path / "here")
    config = DatasetConfig(source="pyg", class_name="IMDB", args={"root": str(tmp_path / "here")})
    assert source_stamp(config)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATASETS_DIR", "~")
    (tmp_path / "here").rename(tmp_path / "IMDB")
    assert source_stamp(config) is None
    assert source_stamp(DatasetConfig(source="pyg", class_name="IMDB"))


def test_the_file_system_of_a_file_is_known(tmp_path: Path) -> None:
    assert Path("/proc/mounts").exists() is (stamp._file_system(tmp_path) is not None)
