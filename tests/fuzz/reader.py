"""Damage a store or a checkpoint at random, read all of it, and see that nothing but typed errors comes of it.

    python -m tests.fuzz.reader --cases 1000 --seed 0

A case is a function of (seed, number): a tiny store (or a run's best.pt or last.pt), one to three files of it flipped,
truncated, extended, overwritten, removed, swapped or replaced by something that is no file. Then the store is opened
and every batch read. What may come of it: a typed error, or exactly the tensors that were written. With checks off,
tensors may differ in value, never in shape or dtype. Prints how many cases ended how, and exits with 1 on a finding.
"""

import argparse
import collections
import faulthandler
import hashlib
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.schemas.store import integrity
from tests.fuzz import is_foreseen
from tests.trainer.store_factory import ZARR_FORMATS, manifest_of, set_manifest, write_store

CASE_S = 120
MEMORY_BYTES = 2**31  # more than what reading takes besides torch; a declared giant does not fit
CODECS = ("none", "blosc-lz4", "zstd")
VARIANTS = [(fmt, codec, features) for fmt in ZARR_FORMATS for codec in CODECS for features in ("table", "inline")]
Digest = dict[str, tuple[Any, str, str]]


def read_everything(path: Path, check_chunks: bool) -> Digest:
    """Every tensor of every batch, and the ledger: name -> (shape, dtype, digest)."""
    from heteroshards.trainer.reading.dataset import ShardDataset
    from heteroshards.trainer.reading.store import open_store

    store = open_store(path, check_chunks)
    found: Digest = {}
    for split in store.manifest.splits:
        dataset = ShardDataset(store, split.name)
        for index in range(len(dataset)):
            for name, tensor in dataset[index].items():
                found[f"{split.name}/{index}/{name}"] = _told(tensor.numpy())
        for name in ("num_seeds", "num_nodes", "num_edges"):
            found[f"{split.name}/{name}"] = _told(store.read_stats(split.name, name))
    return found


def _told(array: np.ndarray) -> tuple[Any, str, str]:
    return array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()


def flip(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes() or b"\0")
    for _ in range(rng.choice((1, 1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def truncate(file: Path, rng: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: rng.choice((0, len(data) - 1, rng.randrange(len(data) or 1)))])


def extend(file: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes() + bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 5000)))))


def overwrite(file: Path, rng: random.Random) -> None:
    """A run of bytes, aimed at headers as often as not."""
    data = bytearray(file.read_bytes() or b"\0")
    start = rng.choice((0, 4, rng.randrange(len(data))))
    run = rng.choice((b"\xff" * 4, b"\0" * 16, b"9" * 12, b"[" * 3000, b"{", b'"', b"\x7f\xff\xff\xff"))
    data[start : start + len(run)] = run
    file.write_bytes(bytes(data))


def remove(file: Path, rng: random.Random) -> None:
    file.unlink()


def no_file(file: Path, rng: random.Random) -> None:
    """A folder, a pipe that nobody writes to, or a link to nothing."""
    file.unlink()
    rng.choice((file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to("nowhere")))()


DAMAGES: list[Callable[[Path, random.Random], None]] = [flip, flip, truncate, extend, overwrite, remove, no_file]


def swap(first: Path, second: Path) -> None:
    aside = first.with_name(first.name + "~")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def damage(folder: Path, rng: random.Random) -> list[str]:
    """Damage some files below a folder; says what was done."""
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if not files:
            break
        roots = [file for file in files if file.parent == folder]
        metadata = [file for file in files if file.name in integrity.METADATA_NAMES]
        file = rng.choice(rng.choice([files, files, metadata or files, roots or files]))
        if len(files) > 1 and rng.random() < 0.15:
            swap(file, rng.choice([other for other in files if other != file]))
            done.append(f"swap {file.relative_to(folder)}")
            continue
        act = rng.choice(DAMAGES)
        act(file, rng)
        done.append(f"{act.__name__} {file.relative_to(folder)}")
    return done


def edit(values: Any, rng: random.Random) -> str:
    """Change one value somewhere in a nested table, as an attacker might; says what."""
    place = "manifest"
    while isinstance(values, (dict, list)) and values:
        key = rng.choice(sorted(values)) if isinstance(values, dict) else rng.randrange(len(values))
        place += f".{key}"
        if not isinstance(values[key], (dict, list)) or not values[key] or rng.random() < 0.15:
            break
        values = values[key]
    act = rng.randrange(8)
    if act == 0:
        values.pop(key)
    elif act == 1 and isinstance(values, list):
        values.append(values[key])
    elif act == 2 and isinstance(values[key], (int, float)):
        values[key] = rng.choice((values[key] + 1, -values[key], values[key] * 2**40, 2**31, 2**63, 10**30, 0))
    else:
        values[key] = rng.choice(HOSTILE)
    return f"{place} = {str(values)[:60]}"


HOSTILE: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 10**40, 1e308, float("nan"), "", ".", "..", "../x", "/etc/passwd", "a\0b",
    "a\\b", "\ud800", "<U8", "object", ">f4", "float32", "zstd", "none", "train", "x" * 5000, [], {}, [[]],
    [2**62, 2**62], {"a": {}},
]  # fmt: skip


def hostile(folder: Path, rng: random.Random) -> list[str]:
    """Change the manifest with checksums that fit, so that it is not the checksums that find it."""
    manifest = manifest_of(folder)
    done = [edit(manifest, rng) for _ in range(rng.choice((1, 1, 2)))]
    set_manifest(folder, manifest)
    return done


class Stores:
    """A store of each variant, whole, and what is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Any, tuple[Path, Digest]] = {}

    def case(self, seed: int, number: int) -> tuple[str, str | None]:
        """How a case ended, and what is wrong with that."""
        rng = random.Random(f"{seed}/{number}")
        variant, check_chunks, is_hostile = rng.choice(VARIANTS), rng.random() < 0.7, rng.random() < 0.35
        whole, expected = self._whole(variant)
        path = self._folder / "case"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        done = (hostile if is_hostile else damage)(path, rng)
        try:
            found = read_everything(path, check_chunks)
        except BaseException as error:
            if is_foreseen(error):
                return type(error).__name__, None
            return "untyped", f"{variant}, checks {check_chunks}, {done}:\n{traceback.format_exc()}"
        told = 3 if check_chunks else 2  # shape and dtype, and the content
        names = {*expected, *found}
        wrong = sorted(name for name in names if found.get(name, ())[:told] != expected.get(name, ())[:told])
        if not wrong:
            return "read whole", None
        if is_hostile:  # another manifest with checksums that fit is another store, if it is one at all
            return "read as told", None
        return "wrong tensors", f"{variant}, checks {check_chunks}, {done}: {wrong[:5]}"

    def _whole(self, variant: Any) -> tuple[Path, Digest]:
        if variant not in self._known:
            zarr_format, codec, features = variant
            options = {"zarr_format": zarr_format, "codec": codec, "features": features}
            path = write_store(self._folder / "-".join(map(str, variant)), rounds={"train": 1, "val": 1}, **options)
            self._known[variant] = path, read_everything(path, True)
        return self._known[variant]


class Runs:
    """A trained run, whose checkpoints are damaged."""

    def __init__(self, folder: Path) -> None:
        from heteroshards.trainer.reading.store import open_store
        from heteroshards.trainer.training import fit
        from tests.trainer.conftest import make_config

        self._folder, self._config = folder, make_config(folder, epochs=1)
        self._store = open_store(write_store(folder / "store", rounds={"train": 1, "val": 1}))
        fit(self._config, self._store, folder / "whole")

    def case(self, seed: int, number: int) -> tuple[str, str | None]:
        """As `Stores.case`."""
        from heteroshards.trainer.backends.eager import EagerBackend
        from heteroshards.trainer.checkpoint import load_model, resume
        from heteroshards.trainer.job import open_job

        rng = random.Random(f"{seed}/run/{number}")
        run = self._folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        for name in ("best.pt", "last.pt"):
            shutil.copyfile(self._folder / "whole" / name, run / name)
        done = damage(run, rng)
        outcome, states = "", []
        with open_job(self._config, self._store, EagerBackend()) as job:
            for path in (run / "best.pt", run / "last.pt"):
                try:
                    resume(path, job) if path.name == "last.pt" else load_model(path, job)
                    states.append(job.compiled.model_state())
                except BaseException as error:
                    if is_foreseen(error):
                        outcome = type(error).__name__
                        continue
                    return "untyped", f"{done}:\n{traceback.format_exc()}"
        if all(_equal(states[0], state) for state in states):  # one epoch: the best weights are the last
            return outcome or "read whole", None
        return "wrong weights", str(done)


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return list(one) == list(other) and all((one[key] == other[key]).all() for key in one)


def run(cases: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How many cases ended how, and the findings; every tenth case is about checkpoints."""
    outcomes: Counter[str] = collections.Counter()
    findings: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "runs").mkdir()
        stores, runs = Stores(Path(folder)), Runs(Path(folder) / "runs")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
        warnings.simplefilter("error", RuntimeWarning)
        for number in range(cases):
            kind, source = ("checkpoint", runs) if number % 10 == 9 else ("store", stores)
            faulthandler.dump_traceback_later(CASE_S, exit=True)  # a case that hangs is a finding, too
            outcome, finding = source.case(seed, number)
            faulthandler.cancel_dump_traceback_later()
            outcomes[f"{kind}: {outcome}"] += 1
            if finding:
                findings.append(f"case {number} of seed {seed} ({kind}, {outcome}): {finding}")
    return outcomes, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    outcomes, findings = run(asked.cases, asked.seed)
    print(f"{sum(outcomes.values())} cases, seed {asked.seed}, {len(findings)} findings")
    for outcome, count in sorted(outcomes.items()):
        print(f"  {count:6} {outcome}")
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
