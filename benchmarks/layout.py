"""What the packed layout is worth for a graph of many relations: files, disk, and how fast batches arrive.

    python -m benchmarks.layout --relations 237

A random graph of 8 node types is prepared with an array per type, and packed; both stores are read in turns, page cache
warm, by the trainer's reader.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.measure import in_turns, show, table

LAYOUTS = ("per_type", "packed")
NODE_TYPES, NODES, EDGES = 8, 400, 1200


def many_relations(relations: int) -> Any:
    """A random `HeteroData` of so many edge types."""
    import torch
    from torch_geometric.data import HeteroData

    rng, data = torch.Generator().manual_seed(0), HeteroData()
    for i in range(NODE_TYPES):
        data[f"type_{i}"].x = torch.randn(NODES, 16, generator=rng)
    seeds = data["type_0"]
    seeds.y = torch.randint(0, 3, (NODES,), generator=rng)
    thirds = torch.randperm(NODES, generator=rng).chunk(3)
    for name, ids in zip(("train_mask", "val_mask", "test_mask"), thirds, strict=True):
        seeds[name] = torch.zeros(NODES, dtype=torch.bool).index_fill(0, ids, True)
    for r in range(relations):
        ends = f"type_{r % NODE_TYPES}", f"relation_{r}", f"type_{r // NODE_TYPES % NODE_TYPES}"
        data[ends].edge_index = torch.randint(0, NODES, (2, EDGES), generator=rng)
    return data


def disk(store: Path) -> tuple[int, float]:
    """Files, and MiB of the blocks that they take."""
    files = [file for file in store.rglob("*") if file.is_file()]
    return len(files), sum(os.stat(file).st_blocks * 512 for file in files) / 2**20


def reading(store: Path) -> tuple[Callable[[], object], int]:
    """Reading split train once, to a model's tensors; and its batches."""
    from heteroshards.schemas.inputs import model_inputs
    from heteroshards.trainer.reading.buffers import BufferPool
    from heteroshards.trainer.reading.shards import ShardReader
    from heteroshards.trainer.reading.store import open_store

    opened = open_store(store)
    (part,) = opened.manifest.parts(opened.split("train"))
    reader = ShardReader(opened, part.path, model_inputs(opened.manifest.reached, part.budget), BufferPool())
    step = opened.manifest.chunk_batches

    def read() -> None:
        for shard, start in enumerate(range(0, part.num_batches, step)):
            reader.batches(reader.read(shard), np.arange(min(step, part.num_batches - start)))

    return read, part.num_batches


@click.command(help=__doc__)
@click.option("--relations", default=237, show_default=True, help="Edge types of the graph.")
@click.option("--repeats", default=9, show_default=True, help="Turns of each reader.")
@click.option("--write", is_flag=True, help="Append the table to RESULTS.md.")
def main(relations: int, repeats: int, write: bool) -> None:
    from heteroshards import pipeline
    from heteroshards.schemas.config import JobConfig

    with tempfile.TemporaryDirectory() as folder:
        data, stores = many_relations(relations), {}
        for name in LAYOUTS:
            sampling = {"batch_size": 16, "fanout": [2, 2], "rounds": 2}
            config = JobConfig(
                name=name,
                dataset={"seed_type": "type_0"},
                sampling=sampling,
                store={"root": folder, "layout": name},
            )
            stores[name] = pipeline.prepare(data, config)
        runs = {name: reading(store) for name, store in stores.items()}
        seconds = in_turns({name: run for name, (run, _) in runs.items()}, repeats)
        rows = []
        for name in LAYOUTS:
            files, mebibytes = disk(stores[name])
            rows.append([name, f"{files:,}", f"{mebibytes:.0f}", f"{runs[name][1] / seconds[name]:,.0f}"])
    header = ["layout", "files", "MiB on disk", "batches/s"]
    show(f"Layout of a store, {relations} relations", table(header, rows), write)


if __name__ == "__main__":
    main()
