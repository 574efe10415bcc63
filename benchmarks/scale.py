"""Preparing large graphs: seconds and memory by the size of the graph, and by the number of seeds.

    python -m benchmarks.scale                      # up to 10 million nodes and 100 million edges; 20 minutes, 10 GB
    python -m benchmarks.scale --largest 1000000

The graphs have papers and authors, ten edges per node in three edge types, degrees with a long tail, 16 features a
node. Every row is a process of its own, whose peak memory (the graph's 64-bit edges and the libraries included) is
shown. `the graph` is a prepare of one seed: checking, hashing and packing the graph, and writing its features. `the
seeds` is what all seeds take beyond that.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time

import click
import numpy as np

from benchmarks.measure import show, table

BATCH_SIZE, FANOUT = 64, (5, 5)


def large_graph(num_nodes: int, num_seeds: int):  # type: ignore[no-untyped-def]
    """`HeteroData` of 0.7 papers to 0.3 authors, and ten edges per node: 5 cite, 2.5 write and 2.5 are written by."""
    import torch
    from torch_geometric.data import HeteroData

    rng = np.random.default_rng(0)
    sizes = {"paper": round(0.7 * num_nodes), "author": num_nodes - round(0.7 * num_nodes)}
    data = HeteroData()
    for name, size in sizes.items():
        data[name].x = torch.from_numpy(rng.random((size, 16), np.float32))
    data["paper"].y = torch.from_numpy(rng.integers(0, 10, sizes["paper"]))
    for split in ("train", "val", "test"):
        data["paper"][f"{split}_mask"] = torch.zeros(sizes["paper"], dtype=torch.bool)
    seeds = rng.choice(sizes["paper"], num_seeds + 2, replace=False)
    for split, part in zip(("val", "test", "train"), np.split(seeds, [1, 2]), strict=True):
        data["paper"][f"{split}_mask"][torch.from_numpy(part)] = True
    data["paper", "cites", "paper"].edge_index = torch.from_numpy(
        _edges(rng, sizes["paper"], sizes["paper"], 5, num_nodes)
    )
    writes = _edges(rng, sizes["author"], sizes["paper"], 2.5, num_nodes)
    data["author", "writes", "paper"].edge_index = torch.from_numpy(writes)
    data["paper", "rev_writes", "author"].edge_index = torch.from_numpy(writes[::-1].copy())
    return data


def _edges(rng: np.random.Generator, num_src: int, num_dst: int, per_node: float, num_nodes: int) -> np.ndarray:
    """int64 [2, edges]; an end is node floor(n * u^2), u uniform, under a random renaming: few nodes have many."""
    count = round(per_node * num_nodes)
    edges = np.empty((2, count), np.int64)
    for row, size in zip(edges, (num_src, num_dst), strict=True):
        np.take(rng.permutation(size), (size * np.square(rng.random(count))).astype(np.int64), out=row)
    return edges


def measure_one(num_nodes: int, num_seeds: int, rounds: int, grouping: str, workers: int) -> dict[str, float]:
    """Prepare a graph in this process, twice for a single seed and then for all of them, `rounds` times."""
    from heteroshards.pipeline import prepare
    from heteroshards.schemas.config import JobConfig

    def seconds(data, folder: str, rounds: int = 1) -> float:  # type: ignore[no-untyped-def]
        sampling = {"fanout": list(FANOUT), "batch_size": BATCH_SIZE, "grouping": grouping, "rounds": rounds}
        job = JobConfig.model_validate(
            {"dataset": {"seed_type": "paper"}, "sampling": sampling, "store": {"root": folder}}
        )
        started = time.perf_counter()
        prepare(data, job, workers=workers)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        seconds(large_graph(2000, 200), folder)  # compiles the kernels, or loads them
        data = large_graph(num_nodes, num_seeds)
        mask = data["paper"].train_mask
        data["paper"].train_mask = mask & (mask.cumsum(0) == 1)
        seconds(data, f"{folder}/first")  # the first one meets cold memory and files
        fixed = seconds(data, f"{folder}/second")
        data["paper"].train_mask = mask
        whole = seconds(data, folder, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"fixed_s": fixed, "seeds_s": whole - fixed, "peak_gib": peak}


def row_of(num_nodes: int, num_seeds: int, rounds: int, grouping: str, workers: int) -> dict[str, float]:
    """`measure_one` in a process of its own."""
    call = f"measure_one({num_nodes}, {num_seeds}, {rounds}, {grouping!r}, {workers})"
    code = f"import json; from benchmarks.scale import measure_one; print(json.dumps({call}))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"{call} ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


@click.command(help=__doc__)
@click.option("--largest", default=10_000_000, show_default=True, help="Nodes of the largest graph.")
@click.option("--seeds", default=2_000_000, show_default=True, help="Seeds times rounds of the longest rows.")
@click.option("--grouping", default="balanced", show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--write", is_flag=True, help="Add the tables to benchmarks/RESULTS.md.")
def main(largest: int, seeds: int, grouping: str, workers: int, write: bool) -> None:
    by_nodes = [(largest // part, seeds) for part in (1000, 100, 10, 1)]
    by_seeds = [(largest, seeds // part) for part in (8, 4, 2, 1)]
    tables = [rows_of(cases, grouping, workers) for cases in (by_nodes, by_seeds)]
    title = f"Scale, {grouping} grouping, {BATCH_SIZE} seeds a batch, fanout {list(FANOUT)}, {workers} threads"
    show(title, "\n\n".join(tables), write)


def rows_of(cases: list[tuple[int, int]], grouping: str, workers: int) -> str:
    """The table of some (nodes, seeds in all rounds)."""
    rows, first = [], 0.0
    for num_nodes, total in cases:
        distinct = min(total, num_nodes // 2)
        found = row_of(num_nodes, distinct, total // distinct, grouping, workers)
        each = 1e6 * found["seeds_s"] / (distinct * (total // distinct))
        first = first or each
        cells = [f"{num_nodes:,}", f"{10 * num_nodes:,}", f"{distinct:,} x {total // distinct}"]
        cells += [f"{found['fixed_s']:.1f}", f"{found['seeds_s']:.1f}", f"{each:.2f}", f"{each / first:.2f}"]
        rows.append([*cells, f"{found['peak_gib']:.1f}"])
        click.echo(" ".join(rows[-1]), err=True)
    header = ["nodes", "edges", "seeds x rounds", "the graph, s", "the seeds, s", "us per seed", "of the first row"]
    return table([*header, "peak, GiB"], rows)


if __name__ == "__main__":
    main()
