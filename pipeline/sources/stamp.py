"""A sign that a source is what it was, so that a second `prepare` need not load anything.

Times prove nothing: `cp -p`, `rsync -t` and a restored backup keep them, and a write in the same tick of a clock, or
under a clock that stands still, leaves none. So content is compared, by sha256. Only large files are spared reading,
and only where the file system itself vouches for them: the same inode, size and times, its own change time among
them (which nobody can set), on a local disk, and older than the stamp by more than any clock's tick.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from heteroshards.schemas import FORMAT_VERSION
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.paths import as_path

ALWAYS_READ_BYTES = 256 * 2**20  # of a source: about a third of a second
MAX_FILES = 20_000
TICK_NS = 3 * 10**9  # FAT's clock ticks every 2 s
LOCAL_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "apfs", "bcachefs")
BLOCK_BYTES = 2**22
PACKAGES = ("torch", "torch_geometric", "numpy", "scipy")
CODE = Path(__file__).parent  # what turns files into a graph

Stamp = dict[str, Any]


def source_stamp(config: DatasetConfig, base: Path = Path("."), earlier: Stamp | None = None) -> Stamp | None:
    """What `is_same` compares: versions and files, each with size, times and digest. None: only loading can tell.

    The synthetic graph is decided by its config and this program; a file by its content; a PyG dataset by the content
    of its `raw` and `processed` folders, links followed. A function may return anything. `earlier` is a stamp whose
    digests may be taken over. Imports neither torch nor PyG.
    """
    if config.source == "function":
        return None
    program = _program()
    if config.source == "synthetic":
        return {"program": program}
    try:
        if config.source == "file":
            paths = {"file": base / as_path(str(config.path))}
        else:
            root = pyg_root(config, base)
            paths = {path.relative_to(root).as_posix(): path for path in _files_of_dataset(root)}
        if not paths or len(paths) > MAX_FILES:
            return None
        known = earlier.get("files", {}) if earlier and earlier.get("program") == program else {}
        files = _stamped(paths, known)
    except OSError:  # absent, or not to be read
        return None
    return {"program": program, "files": files}


def is_same(stamp: Stamp | None, other: Stamp | None) -> bool:
    """Whether two stamps are of the same content, read by the same program. Times may differ."""
    if not stamp or not other or stamp.get("program") != other.get("program"):
        return False
    return _digests(stamp) == _digests(other)


def may_follow(before: Stamp | None, after: Stamp | None) -> bool:
    """Whether `after` is `before` and what loading wrote: then what was loaded is what `after` describes."""
    if before is None or after is None:
        return after is not None
    old, new = _digests(before), _digests(after)
    return before["program"] == after["program"] and all(new.get(name) == digest for name, digest in old.items())


def pyg_root(config: DatasetConfig, base: Path) -> Path:
    """Folder of a PyG dataset: `args.root` or `root`, or `<DATASETS_DIR or "data">/<class_name>`."""
    given = config.args.get("root") or config.root
    if given:
        return base / as_path(str(given))
    return base / as_path(os.environ.get("DATASETS_DIR") or "data") / str(config.class_name)


def is_stamp(value: Any) -> bool:
    """Whether it is what `source_stamp` gives: notes are files, and may hold anything."""
    files = value.get("files", {}) if isinstance(value, dict) else None
    return isinstance(files, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("status"), list)
        for entry in files.values()
    )


def _digests(stamp: Stamp) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in stamp.get("files", {}).items()}


class _Status(NamedTuple):
    """What a file system says of a file; JSON keeps it as a list."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


def _stamped(paths: dict[str, Path], earlier: dict[str, Any]) -> dict[str, Any]:
    status = {name: _status(path) for name, path in paths.items()}
    is_large = sum(found.size for found in status.values()) > ALWAYS_READ_BYTES
    files = {}
    for name in sorted(paths):
        found, known = status[name], earlier.get(name, {})
        is_vouched = is_large and known.get("settled") is True and known["status"] == list(found)
        digest = known["sha256"] if is_vouched else _sha256(paths[name])
        files[name] = {"status": list(found), "sha256": digest}
        if is_large:
            files[name]["settled"] = is_vouched or _is_settled(paths[name], found)
    return files


def _status(path: Path) -> _Status:
    found = path.stat()
    return _Status(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _is_settled(path: Path, before: _Status) -> bool:
    """Whether a later change must show in the status: it did not change while it was read, nor shortly before."""
    is_old = max(before.mtime_ns, before.ctime_ns) < time.time_ns() - TICK_NS
    return is_old and _status(path) == before and _file_system(path) in LOCAL_SYSTEMS


def _file_system(path: Path) -> str | None:
    """The kind of file system that a file lies on, where the system says so."""
    real = os.path.realpath(path)
    best: tuple[str, str | None] = ("", None)
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for _, place, kind, *_ in (line.split() for line in mounts):
        folder = place.replace("\\040", " ")
        if (real == folder or real.startswith(folder.rstrip("/") + "/")) and len(folder) >= len(best[0]):
            best = (folder, kind)
    return best[1]


def _sha256(path: Path) -> str:
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def _files_of_dataset(root: Path) -> Iterator[Path]:
    """Files under `raw` and `processed` of a dataset, or of a folder in it, as some datasets have it."""
    for folder in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        for name in ("raw", "processed"):
            yield from _files_below(folder / name, set())


def _files_below(folder: Path, seen: set[str]) -> Iterator[Path]:
    """All files, links followed, each folder once."""
    real = os.path.realpath(folder)
    if real in seen or not folder.is_dir():
        return
    seen.add(real)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files_below(Path(entry.path), seen)
        elif entry.is_file():
            yield Path(entry.path)


@lru_cache(maxsize=1)
def _program() -> str:
    """Digest of the code that loads, of the format, and of the versions of the packages that read the source."""
    digest = hashlib.sha256(f"{FORMAT_VERSION}".encode())
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.read_bytes())
    for package in PACKAGES:
        digest.update(f"{package} {_version(package)}".encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    """Of an installed package, which is not imported; nightly builds and others go by another name than their own."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else None
        files = [folder / name for name in ("__init__.py", "version.py")] if folder else []
        return " ".join(_sha256(path) for path in files if path.is_file())
