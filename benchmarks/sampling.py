"""Seeds per second of the sampling kernel, on one thread and on two, beside PyG's own sampler.

    python -m benchmarks.sampling                   # the synthetic graph of IMDB's shape, and one 20 times its size
    python -m benchmarks.sampling --dataset IMDB    # DATASETS_DIR/IMDB

Ours counts batches, or samples and pads them (ids, relabelled edges, all that a store holds of a batch but its
features). PyG's `NeighborSampler.sample_from_nodes` samples them; it needs pyg-lib or torch-sparse, and is left out
where neither is installed.
"""

import threading

import click
import numpy as np
import torch

from benchmarks.measure import in_turns, show, table
from heteroshards.pipeline.graph.hetero import HeteroGraph, build_graph
from heteroshards.pipeline.grouping.groups import random_plan
from heteroshards.pipeline.grouping.split_plan import SplitPlan
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sizing.budgets import resolve_budget
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.sources.source import SourceGraph
from heteroshards.schemas.config import BudgetConfig, DatasetConfig, JobConfig, SamplingConfig
from heteroshards.schemas.sampling import SamplingSpec

FANOUT = [5, 5]
PIECE_SEEDS = 4096


class Case:
    """One graph, one batch size."""

    def __init__(self, source: SourceGraph, graph: HeteroGraph, batch_size: int, num_seeds: int) -> None:
        sampling = SamplingConfig(fanout=list(FANOUT), batch_size=batch_size, grouping="random", rounds=1)
        self.source, self.graph = source, graph
        self.spec: SamplingSpec = resolve_sampling(JobConfig(sampling=sampling), graph)
        nodes = np.arange(graph.schema.node(graph.schema.seed_type).num_nodes, dtype=np.int32)
        rounds = -(-num_seeds // len(nodes))
        self.plan: SplitPlan = random_plan("train", nodes, batch_size, rounds, 0)
        self.packed = graph.packed
        sizes = self.sampler().count(*self.plan.block(0, self.plan.num_batches)[:2])
        self.budget = resolve_budget(BudgetConfig(), graph.schema, {"train": sizes}, batch_size, 0)
        self.most_edges = sizes.edge_totals.max(axis=0)

    def sampler(self) -> NeighborSampler:
        return NeighborSampler(self.packed, self.graph.schema, self.spec)

    def sweep(self, is_padding: bool, sampler: NeighborSampler, part: slice) -> None:
        step = max(1, PIECE_SEEDS // self.spec.batch_size)
        for start in range(part.start, part.stop, step):
            block = self.plan.block(start, min(start + step, part.stop))
            if is_padding:
                sampler.pad(block.seeds, block.keys, self.budget)
            else:
                sampler.count(block.seeds, block.keys)

    def run(self, is_padding: bool, num_threads: int) -> None:
        """All batches, in equal parts per thread."""
        cuts = np.arange(num_threads + 1) * self.plan.num_batches // num_threads
        threads = []
        for i in range(num_threads):
            sampler = self.sampler()
            sampler.reserve_edges(self.most_edges)
            part = slice(int(cuts[i]), int(cuts[i + 1]))
            threads.append(threading.Thread(target=self.sweep, args=(is_padding, sampler, part)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def peer(self, num_batches: int):  # type: ignore[no-untyped-def]
        """PyG's sampler over the first batches of the plan; None without its compiled extensions."""
        from torch_geometric.sampler import NeighborSampler as PyGSampler
        from torch_geometric.sampler import NodeSamplerInput
        from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

        if not WITH_PYG_LIB and not WITH_TORCH_SPARSE:
            return None
        sampler = PyGSampler(self.source.data, FANOUT, subgraph_type="directional")
        block = self.plan.block(0, num_batches)
        batches = [torch.from_numpy(seeds[seeds >= 0]).long() for seeds in block.seeds]

        def run() -> None:
            for seeds in batches:
                sampler.sample_from_nodes(NodeSamplerInput(None, seeds, None, self.source.seed_type))

        return run


def rows_of(name: str, source: SourceGraph, batch_size: int, num_seeds: int, repeats: int) -> list[str]:
    """Million seeds per second of each way, and ratios."""
    case = Case(source, build_graph(source), batch_size, num_seeds)
    total = len(case.plan.seeds)
    peer_batches = max(1, min(case.plan.num_batches, num_seeds // 16 // batch_size))
    peer = case.peer(peer_batches)
    runs = {
        "count": lambda: case.run(False, 1),
        "pad": lambda: case.run(True, 1),
        "count 2": lambda: case.run(False, 2),
        "pad 2": lambda: case.run(True, 2),
        **({"peer": peer} if peer else {}),
    }
    seconds = in_turns(runs, repeats)
    rate = {way: total / taken / 1e6 for way, taken in seconds.items()}
    if peer:
        rate["peer"] = peer_batches * batch_size / seconds["peer"] / 1e6
    compared = [f"{rate[way] / rate['peer']:.1f}" if peer else "-" for way in ("count", "pad")]
    scaling = f"{rate['pad 2'] / rate['pad']:.2f}"
    ours = [f"{rate[way]:.2f}" for way in ("count", "pad")]
    return [name, str(batch_size), *ours, f"{rate['peer']:.3f}" if peer else "not installed", *compared, scaling]


@click.command(help=__doc__)
@click.option("--dataset", help="A class of torch_geometric.datasets, instead of the synthetic graphs.")
@click.option("--seed-type", default="movie", show_default=True)
@click.option("--batch-size", "batch_sizes", multiple=True, type=int, default=(5, 64, 1024), show_default=True)
@click.option("--scale", "scales", multiple=True, type=float, default=(1.0, 20.0), show_default=True)
@click.option("--seeds", default=200_000, show_default=True, help="Seeds per measurement.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--write", is_flag=True, help="Add the table to benchmarks/RESULTS.md.")
def main(
    dataset: str | None,
    seed_type: str,
    batch_sizes: tuple[int, ...],
    scales: tuple[float, ...],
    seeds: int,
    repeats: int,
    write: bool,
) -> None:
    torch.set_num_threads(1)
    if dataset:
        configs = {dataset: DatasetConfig(source="pyg", class_name=dataset, seed_type=seed_type)}
    else:
        args = {"num_features": 8}
        configs = {f"synthetic x{scale:g}": DatasetConfig(args={**args, "scale": scale}) for scale in scales}
    rows = []
    for name, config in configs.items():
        source = load_dataset(config)
        rows += [rows_of(name, source, batch_size, seeds, repeats) for batch_size in batch_sizes]
    header = ["graph", "seeds a batch", "count, M seeds/s", "sample and pad, M seeds/s", "PyG, M seeds/s"]
    header += ["count / PyG", "pad / PyG", "pad, 2 threads / 1"]
    show(f"Sampling, fanout {FANOUT}", table(header, rows), write)


if __name__ == "__main__":
    main()
