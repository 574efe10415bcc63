"""A training epoch of the sharded trainer beside the same model in plain PyG, sampled as it trains.

    python -m benchmarks.step configs/imdb.toml

makes every labelled node of the config's graph a training seed, and times whole epochs: batches, forward and
backward pass, optimizer. Ours reads a prepared store. Plain PyG is fed by NeighborLoader where pyg-lib or
torch-sparse is installed, and else by our sampler, batch by batch and unpadded, which is faster than NeighborLoader.
After a first epoch each, which compiles, the variants take turns, and medians over their epochs are shown; and where
the time of our eager step goes. Where there
is a GPU, plain PyG runs on it, and backend cuda_graphs is among the variants.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.full_batch import Convolutions, Sage, Transformer
from benchmarks.measure import show, table
from benchmarks.streaming import everything_a_seed
from heteroshards.pipeline.executors.threads import Threads
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.graph.hetero import build_graph
from heteroshards.pipeline.grouping.groups import make_plans
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.sources.source import SourceGraph
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer import open_store
from heteroshards.trainer.job import Job, backend_of, open_job
from heteroshards.trainer.reading.order import shuffled_order

warnings.filterwarnings("ignore", message="`torch.jit.script")
from torch_geometric.loader import NeighborLoader  # noqa: E402
from torch_geometric.nn import to_hetero  # noqa: E402
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE  # noqa: E402

MODELS = ("to_hetero", "hetero_conv", "hgt")
VARIANTS = {
    "pyg-eager": "plain PyG, eager",
    "pyg-compile": "plain PyG, torch.compile(dynamic=True)",
    "eager": "heteroshards, eager",
    "inductor": "heteroshards, inductor",
    "cuda_graphs": "heteroshards, cuda_graphs",
}
WITH_SAMPLER = WITH_PYG_LIB or WITH_TORCH_SPARSE  # NeighborLoader needs one of them
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # of plain PyG
Edges = dict[tuple[str, str, str], Tensor]


class Sample(NamedTuple):
    """One unpadded batch, ready for a plain PyG model. `y` int64 [seeds]; seeds are the first rows of their type."""

    x_dict: dict[str, Tensor]
    n_id_dict: dict[str, Tensor]
    edge_index_dict: Edges
    y: Tensor


class Epoch(NamedTuple):
    seconds: float
    data_s: float
    loss: float


class PlainModel(nn.Module):
    """A plain PyG model with a learned vector per node, or a constant, for types without features."""

    def __init__(self, name: str, job: JobConfig, source: SourceGraph) -> None:
        super().__init__()
        data = source.data
        if name == "to_hetero":
            self.model: nn.Module = to_hetero(Sage(job, source.targets[0].columns), data.metadata(), aggr="sum")
        else:
            self.model = {"hetero_conv": Convolutions, "hgt": Transformer}[name](job, data, source.targets[0].columns)
        self.seed_type = source.seed_type
        is_learned, width = job.model.featureless == "embedding", job.model.hidden_channels
        bare = {name: data[name].num_nodes for name in data.node_types if "x" not in data[name]}
        self.features = nn.ParameterDict(
            {name: torch.randn(n, width) if is_learned else torch.ones(n, 1) for name, n in bare.items()}
        ).requires_grad_(is_learned)

    def forward(self, x_dict: dict[str, Tensor], n_id_dict: dict[str, Tensor], edge_index_dict: Edges) -> Tensor:
        bare = {name: table[n_id_dict[name]] for name, table in self.features.items()}
        return self.model({**x_dict, **bare}, edge_index_dict)[self.seed_type]


class Loaded:
    """Batches of NeighborLoader, an epoch at a time; `options` are those of a torch DataLoader."""

    def __init__(self, job: JobConfig, source: SourceGraph, **options: object) -> None:
        fanout = job.sampling.fanout
        assert not isinstance(fanout, dict), "checked by main"
        seeds = (source.seed_type, torch.from_numpy(source.seeds["train"]))
        self.label = source.label
        self.seed_type = source.seed_type
        size = job.sampling.batch_size
        self.loader = NeighborLoader(source.data, fanout, seeds, batch_size=size, shuffle=True, **options)

    def __iter__(self) -> Iterator[Sample]:
        for batch in self.loader:
            x_dict = {name: batch[name].x for name in batch.node_types if "x" in batch[name]}
            store = batch[self.seed_type]
            n_id_dict = {name: batch[name].n_id for name in batch.node_types}
            y = store[self.label][: store.batch_size].long()
            yield Sample(x_dict, n_id_dict, batch.edge_index_dict, y)


class Sampled:
    """The batches that the store holds, drawn anew and unpadded, an epoch at a time."""

    def __init__(self, job: JobConfig, source: SourceGraph) -> None:
        graph = build_graph(source)
        spec = resolve_sampling(job, graph)
        self.schema = graph.schema
        self.sampler = NeighborSampler(graph.packed, graph.schema, spec, ids=graph.seeds.ids)
        seeds = {"train": graph.seeds.splits["train"]}
        plan = make_plans(Threads(lambda: Worker(graph, self.sampler), 1), seeds, spec, None)["train"]
        self.block = plan.block(0, plan.num_batches)
        has_x = {name: tables["x"] for name, tables in graph.features.items() if "x" in tables}
        self.features = {name: torch.from_numpy(x) for name, x in has_x.items()}
        self.labels = torch.from_numpy(graph.seeds.targets[graph.schema.task.targets[0].name]).long()

    def __iter__(self) -> Iterator[Sample]:
        for rows, key in zip(self.block.seeds, self.block.keys, strict=True):
            rows = rows[rows >= 0]
            batch = self.sampler.sample(rows, key)
            n_id = {name: torch.from_numpy(ids) for name, ids in batch.n_id.items()}
            x_dict = {name: x[n_id[name]] for name, x in self.features.items()}
            edges = {edge.type: torch.from_numpy(batch.edge_index[edge.key]) for edge in self.schema.edge_types}
            yield Sample(x_dict, n_id, edges, self.labels[torch.from_numpy(rows).long()])


class Plain:
    """Plain PyG, as its tutorials write it. `batches` are drawn as it trains, unless they are given."""

    def __init__(
        self,
        name: str,
        job: JobConfig,
        source: SourceGraph,
        num_batches: int,
        is_compiled: bool = False,
        batches: Iterable[Sample] | None = None,
        device: torch.device = DEVICE,
    ) -> None:
        self.batches = (Loaded if WITH_SAMPLER else Sampled)(job, source) if batches is None else batches
        self.num_batches, self.device = num_batches, device
        torch.manual_seed(job.train.rng_seed)
        model = PlainModel(name, job, source)
        with torch.no_grad():
            model(*next(iter(self.batches))[:3])  # materialises lazy layers
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[job.train.optimizer]
        options = {"momentum": job.train.momentum} if job.train.optimizer == "sgd" else {}
        model.to(device)
        self.optimizer = kind(model.parameters(), lr=job.train.lr, weight_decay=job.train.weight_decay, **options)
        self.model = torch.compile(model, dynamic=True) if is_compiled else model
        self.model.train()

    def epoch(self, index: int) -> Epoch:
        batches, data_s, losses = iter(self.batches), 0.0, []
        started = time.perf_counter()
        for _ in range(self.num_batches):
            asked = time.perf_counter()
            batch = next(batches)
            data_s += time.perf_counter() - asked
            self.optimizer.zero_grad(set_to_none=True)
            x_dict, n_id_dict, edge_index_dict = (self._placed(part) for part in batch[:3])
            out = self.model(x_dict, n_id_dict, edge_index_dict)
            loss = cross_entropy(out[: len(batch.y)], batch.y.to(self.device, non_blocking=True))
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())  # waits for a GPU
        return Epoch(time.perf_counter() - started, data_s, mean)

    def _placed(self, tensors: dict) -> dict:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in tensors.items()}


class Ours:
    """The trainer's own loop: a stream of batches, compiled steps."""

    def __init__(self, job: Job, num_batches: int) -> None:
        self.job, self.num_batches = job, num_batches

    def epoch(self, index: int) -> Epoch:
        store, losses = self.job.store, []
        info, rng_seed = store.split("train"), self.job.config.train.rng_seed
        order = shuffled_order(info, 0, store.manifest.chunk_batches, rng_seed, index)[: self.num_batches]
        started = time.perf_counter()
        with self.job.stream("train", order) as stream:
            for _, tensors in stream:
                losses.append(self.job.compiled.step(tensors)[1])
        mean = float(torch.stack(losses).mean())
        return Epoch(time.perf_counter() - started, stream.waited_s, mean)


def profile(job: Job, num_steps: int = 10, num_rows: int = 6) -> list[list[str]]:
    """The operators that take most time of our eager step, by what they take, and their shares."""
    order = np.arange(min(num_steps, job.store.split("train").num_batches))
    with job.stream("train", order) as stream, torch.profiler.profile(record_shapes=True) as profiler:
        for _, tensors in stream:
            job.compiled.step(tensors)
    found = sorted(profiler.key_averages(group_by_input_shape=True), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in found)
    rows = []
    for event in found[:num_rows]:
        shapes = " x ".join(str(shape) for shape in event.input_shapes if len(shape) > 1)
        rows.append([event.key, shapes, f"{event.self_cpu_time_total / total:.0%}"])
    return rows


def measure(
    model: str, config: JobConfig, source: SourceGraph, variants: tuple[str, ...], epochs: int, most_batches: int | None
) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of one model, and of its profile where variant `eager` runs."""
    store = open_store(prepare_source(source, config).path)
    num_batches = min(store.split("train").num_batches, most_batches or 2**31)
    with ExitStack() as stack:
        runs: dict[str, Plain | Ours] = {}
        for variant in variants:
            if variant.startswith("pyg"):
                runs[variant] = Plain(model, config, source, num_batches, variant == "pyg-compile")
            else:
                values = {"model": {**config.model.model_dump(), "name": model}}
                values["train"] = {**config.train.model_dump(), "backend": variant}
                job = JobConfig.model_validate({**config.model_dump(exclude_unset=True), **values})
                runs[variant] = Ours(stack.enter_context(open_job(job, store, backend_of(job))), num_batches)
        taken = {variant: [run.epoch(0)] for variant, run in runs.items()}
        for index in range(1, epochs + 1):  # in turns, so that a slower minute of the machine hits all
            for variant, run in runs.items():
                taken[variant].append(run.epoch(index))
        eager = runs.get("eager")
        profiled = [[model, *row] for row in profile(eager.job)] if isinstance(eager, Ours) else []
    rows = []
    medians = {variant: statistics.median(epoch.seconds for epoch in found[1:]) for variant, found in taken.items()}
    for variant, found in taken.items():
        data_s = statistics.median(epoch.data_s for epoch in found[1:])
        ratios = [f"{medians[base] / medians[variant]:.1f}" if base in medians else "" for base in list(VARIANTS)[:2]]
        cells = [f"{medians[variant]:.2f}", f"{1000 * medians[variant] / num_batches:.1f}", f"{data_s:.2f}"]
        cells += [f"{found[0].seconds:.1f}", *ratios, f"{found[-1].loss:.3f}"]
        rows.append([model, VARIANTS[variant], *cells])
    return rows, profiled


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="Repeatable; all three by default.")
@click.option(
    "--variant", "variants", multiple=True, type=click.Choice(list(VARIANTS)), help="Repeatable; all that run here."
)
@click.option("--epochs", default=5, show_default=True, help="Timed epochs of each variant.")
@click.option("--batches", type=int, help="At most so many batches an epoch.")
@click.option("--threads", type=int, help="Threads of torch; its default by default.")
@click.option("--write", is_flag=True, help="Add the table to benchmarks/RESULTS.md.")
def main(
    config: Path,
    models: tuple[str, ...],
    variants: tuple[str, ...],
    epochs: int,
    batches: int | None,
    threads: int | None,
    write: bool,
) -> None:
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        job = everything_a_seed(config, None, folder)
        if job.sampling.mode != "neighbor" or isinstance(job.sampling.fanout, dict):
            raise click.ClickException("this compares neighbor sampling with one fanout for all edge types")
        source = load_dataset(job.dataset)
        rows, profiled = [], []
        usable = [name for name in VARIANTS if name != "cuda_graphs" or DEVICE.type == "cuda"]
        for model in models or MODELS:
            of_model, of_operators = measure(model, job, source, variants or tuple(usable), epochs, batches)
            rows, profiled = rows + of_model, profiled + of_operators
            for row in of_model:
                click.echo(" ".join(row), err=True)
    header = ["model", "variant", "s/epoch", "ms/batch", "waiting for data, s", "first epoch, s"]
    header += ["times as fast as PyG eager", "as PyG compiled", "last loss"]
    feeder = "NeighborLoader" if WITH_SAMPLER else "our sampler, unpadded"
    title = f"Epochs of {job.name}, {job.sampling.batch_size} seeds a batch, {torch.get_num_threads()} threads"
    note = f"Medians of {epochs} epochs in turns; plain PyG is fed by {feeder}.\n\n"
    operators = table(["model", "operator of the eager step", "matrices", "own time"], profiled)
    show(title, f"{note}{table(header, rows)}\n\n{operators}", write)


if __name__ == "__main__":
    main()
