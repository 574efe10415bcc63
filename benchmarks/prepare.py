"""`prepare` as a whole, beside a loader that samples and pads as it goes.

    python -m benchmarks.prepare configs/imdb.toml --batch-size 5

makes every labelled node of the config's graph a training seed. Compared:
- writing a store of 20 rounds, from the loaded graph to the last rename, with one thread and with two;
- PyG's NeighborLoader and its Pad transform to the same sizes, in one process: what an online loader merely yields. It
  needs pyg-lib or torch-sparse, and is left out where neither is installed;
- peak memory of the process for 1, 4 and 16 times as many rounds;
- features = "inline": bytes per second, beside one plain sequential write of as many bytes;
- where the time goes.
"""

import cProfile
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.measure import in_turns, show, table
from benchmarks.streaming import everything_a_seed
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.sources.source import SourceGraph
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.manifest import Manifest

warnings.filterwarnings("ignore", message="`torch.jit.script")

PEER_BATCHES = 200
ROOM = 1.2  # of PyG's pads: its samples are others than ours


class Prepare:
    """Writes stores of one job, each to a place of its own after `clear`.

    Small ones are left to lie: for some seconds ext4 takes no file number again, so that the next store would mostly
    wait for it to look for others.
    """

    def __init__(self, source: SourceGraph, job: JobConfig, folder: str, is_removing: bool = False) -> None:
        self.source, self.job, self.folder = source, job, Path(folder)
        self.is_removing = is_removing
        self.root = Path(tempfile.mkdtemp(dir=self.folder))
        self.manifest: Manifest | None = None

    def clear(self) -> None:
        if self.is_removing:
            shutil.rmtree(self.root)
        self.root = Path(tempfile.mkdtemp(dir=self.folder))

    def run(self, workers: int, **changes: Any) -> None:
        values = self.job.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        for name, value in {"store.root": str(self.root), **changes}.items():
            section, key = name.split(".")
            values[section] = {**values.get(section, {}), key: value}
        self.manifest = prepare_source(self.source, JobConfig.model_validate(values), workers=workers).manifest

    @property
    def num_batches(self) -> int:
        assert self.manifest is not None
        return sum(split.num_batches for split in self.manifest.splits)


def online_loader(source: SourceGraph, job: JobConfig, manifest: Manifest):  # type: ignore[no-untyped-def]
    """Goes through some batches of NeighborLoader, padded per type; None without PyG's compiled extensions."""
    from torch import from_numpy
    from torch_geometric.loader import NeighborLoader
    from torch_geometric.transforms import Pad
    from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

    if not WITH_PYG_LIB and not WITH_TORCH_SPARSE:
        return None
    budget = manifest.budgets[0]
    nodes = {name: int(ROOM * size) + 1 for name, size in budget.num_nodes.items()}
    edges = {edge.type: int(ROOM * budget.num_edges[edge.key]) + 1 for edge in manifest.graph.edge_types}
    pad = Pad(nodes, edges, exclude_keys=["y", "train_mask", "val_mask", "test_mask"])
    seeds = (source.seed_type, from_numpy(source.seeds["train"]))
    fanout, batch_size = job.sampling.fanout, job.sampling.batch_size
    assert not isinstance(fanout, dict)
    loader = NeighborLoader(source.data, fanout, seeds, batch_size=batch_size, shuffle=True, transform=pad)

    def run() -> None:
        for number, _ in enumerate(loader, 1):
            if number == PEER_BATCHES:
                break

    return run


def speed(source: SourceGraph, job: JobConfig, folder: str, repeats: int) -> str:
    """Batches per second of each way."""
    ours = Prepare(source, job, folder)
    ours.run(1, **{"sampling.grouping": "random"})
    assert ours.manifest is not None
    total, peer = ours.num_batches, online_loader(source, job, ours.manifest)
    runs = {
        f"{grouping}, {workers} thread{'s' * (workers > 1)}": (
            lambda grouping=grouping, workers=workers: ours.run(workers, **{"sampling.grouping": grouping})  # type: ignore[misc]
        )
        for grouping in ("random", "balanced")
        for workers in (1, 2)
    }
    seconds = in_turns({**runs, **({"peer": peer} if peer else {})}, repeats, ours.clear)
    num_peer = min(PEER_BATCHES, -(-len(source.seeds["train"]) // job.sampling.batch_size))
    online = num_peer / seconds["peer"] if peer else 0.0
    rows = [["prepare, " + way, f"{total / seconds[way]:,.0f}", *_times(total / seconds[way], online)] for way in runs]
    rows.append(["NeighborLoader and Pad, online", f"{online:,.0f}" if peer else "not installed", "1" if peer else "-"])
    return table(["way", "batches/s", "of the online loader's"], rows)


def _times(rate: float, online: float) -> list[str]:
    return [f"{rate / online:.1f}" if online else "-"]


def memory(config: Path, batch_size: int | None, rounds: int) -> str:
    """Peak memory by the number of batches, each in a process of its own."""
    rows = []
    for times in (1, 4, 16):
        code = f"from benchmarks.prepare import peak; peak({str(config)!r}, {batch_size}, {times * rounds})"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise click.ClickException("the process that was measured failed")
        num_batches, before, after = map(int, done.stdout.split()[-3:])
        rows.append([f"{num_batches:,}", f"{before / 1024:,.0f}", f"{after / 1024:,.0f}"])
    return table(["batches", "peak with the graph loaded, MiB", "peak at the end, MiB"], rows)


def peak(config: str, batch_size: int | None, rounds: int) -> None:
    """Prepare in this process; print batches, and peak KiB before and after."""
    with tempfile.TemporaryDirectory() as folder:
        job = everything_a_seed(Path(config), batch_size, folder, rounds)
        source = load_dataset(job.dataset)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = Prepare(source, job, folder)
        run.run(2)
        print(run.num_batches, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def inline(source: SourceGraph, job: JobConfig, folder: str, repeats: int) -> str:
    """Writing features into every batch, beside writing as many bytes to one file."""
    rows = []
    for codec in ("none", "auto"):
        ours = Prepare(source, job, folder, is_removing=True)
        changes = {"store.features": "inline", "store.codec": codec, "sampling.rounds": 1}
        ours.clear()
        ours.run(2, **changes)
        assert ours.manifest is not None
        logical = sum(spec.num_bytes for spec in ours.manifest.tensors)
        on_disk = sum(file.stat().st_size for file in ours.root.rglob("*") if file.is_file())
        piece = np.random.default_rng(0).bytes(2**24)
        seconds = in_turns(
            {"ours": lambda: ours.run(2, **changes), "plain": lambda: _write(Path(folder) / "plain", piece, logical)},  # noqa: B023
            repeats,
            ours.clear,
        )
        cells = [f"{logical / 1e9:.2f}", f"{on_disk / 1e9:.2f}"]
        cells += [f"{logical / seconds[way] / 1e9:.2f}" for way in ("ours", "plain")]
        rows.append([codec, *cells, f"{seconds['plain'] / seconds['ours']:.2f}"])
    return table(["codec", "GB", "GB on disk", "prepare, GB/s", "plain write, GB/s", "of the plain write"], rows)


def _write(path: Path, piece: bytes, num_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, num_bytes, len(piece)):
            file.write(piece[: num_bytes - start])
    path.unlink()


def profile(source: SourceGraph, job: JobConfig, folder: str) -> str:
    """The functions that take most time of their own, one thread."""
    ours = Prepare(source, job, folder)
    ours.clear()
    ours.run(1)
    ours.clear()
    profiler = cProfile.Profile()
    profiler.runcall(ours.run, 1)
    stats = pstats.Stats(profiler)
    total = stats.total_tt  # type: ignore[attr-defined]
    found = sorted(((own, key) for key, (_, _, own, _, _) in stats.stats.items()), reverse=True)[:8]  # type: ignore[attr-defined]
    rows = [
        [f"{Path(file).name}:{name}" if file != "~" else name, f"{100 * own / total:.0f}%"]
        for own, (file, _, name) in found
    ]
    return table(["function", "own time"], rows)


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--batch-size", type=int, help="Instead of the config's.")
@click.option("--rounds", default=20, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--write", is_flag=True, help="Add the tables to benchmarks/RESULTS.md.")
def main(config: Path, batch_size: int | None, rounds: int, repeats: int, write: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = everything_a_seed(config, batch_size, folder, rounds)
        source = load_dataset(job.dataset)
        parts = [speed(source, job, folder, repeats), memory(config, batch_size, rounds)]
        parts += [inline(source, job, folder, repeats), profile(source, job, folder)]
        title = f"Preparing {job.name}, {job.sampling.batch_size} seeds a batch, {rounds} rounds"
        show(title, "\n\n".join(parts), write)


if __name__ == "__main__":
    main()
