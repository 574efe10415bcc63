"""How full the batches of each split are where all share a budget, and where training has one of its own.

    python -m benchmarks.scope configs/imdb.toml configs/dblp.toml

counts the config's own batches, all rounds, with exact budgets. Bytes are of a batch as a device receives it. With
--write the tables are added, dated, to benchmarks/RESULTS.md.
"""

import os
from pathlib import Path

import click

from benchmarks.measure import show, table
from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.graph.hetero import HeteroGraph, build_graph
from heteroshards.pipeline.sampling.reach import unreached
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sizing.counting import Counted, count_all
from heteroshards.pipeline.sizing.sharing import resolve_budgets
from heteroshards.pipeline.sources import SourceGraph, load_dataset
from heteroshards.schemas.config import BudgetConfig, JobConfig, load_config
from heteroshards.schemas.inputs import bytes_to_device, usual_inputs

COLUMNS = ("seeds", "scope", "split", "batches", "node fill", "edge fill", "MiB/batch")


def counted_batches(graph: HeteroGraph, config: JobConfig) -> Counted:
    spec = resolve_sampling(config, graph)
    pool = make_executor(graph, spec, "error", os.cpu_count() or 1)
    return count_all(pool, graph, spec, BudgetConfig(), lambda what, done, total: None)


def rows_of(source: SourceGraph, config: JobConfig) -> list[list[str]]:
    """A row for each scope and split."""
    graph = build_graph(source)
    counted, rows = counted_batches(graph, config), []
    left = unreached(graph.schema, counted.sizes.values())
    schema = graph.schema.without(left.nodes, left.edges)
    for scope in ("all", "purpose"):
        budget_config = BudgetConfig(scope=scope)
        budgets, shape_of = resolve_budgets(budget_config, graph.schema, counted.sizes, counted.max_seeds, 0)
        for split, sizes in counted.sizes.items():
            budget = budgets[shape_of[split][0]]
            totals = ((sizes.node_totals, budget.num_nodes), (sizes.edge_totals, budget.num_edges))
            fills = [f"{real.sum() / len(sizes) / sum(most.values()):.1%}" for real, most in totals]
            num_bytes = bytes_to_device(usual_inputs(schema, budget))
            cells = [str(config.sampling.batch_size), scope, split, str(len(sizes))]
            rows.append([*cells, *fills, f"{num_bytes / 2**20:.2f}"])
    return rows


@click.command(help=__doc__)
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", "sizes", multiple=True, type=int, help="Seeds per batch, repeatable; 64 by default.")
@click.option("--write", is_flag=True, help="Add the tables to benchmarks/RESULTS.md.")
def main(configs: tuple[Path, ...], sizes: tuple[int, ...], write: bool) -> None:
    for path in configs:
        jobs = [load_config(path, {"sampling.batch_size": size}) for size in sizes or (64,)]
        source = load_dataset(jobs[0].dataset)
        rows = [row for job in jobs for row in rows_of(source, job)]
        sampling = jobs[0].sampling
        title = f"Budgets shared and apart, {path.stem}: fanout {sampling.fanout}, {sampling.rounds} rounds of train"
        show(title, table(COLUMNS, rows), write)


if __name__ == "__main__":
    main()
