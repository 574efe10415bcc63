"""The same models trained full-batch in plain PyG: no sampling, no padding, none of our models.

    python -m benchmarks.full_batch configs/imdb.toml

reads the model's and the optimizer's numbers from the config. An epoch is one step on the whole graph, validated
after each; the weights that did best on validation are tested.
"""

import copy
import json
import platform
import warnings
from datetime import date
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from heteroshards.schemas.config import JobConfig, load_config
from heteroshards.trainer.tasks.metrics import accuracy, macro_f1

warnings.filterwarnings("ignore", message="`torch.jit.script")
warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta|invariant checks)")
from torch_geometric.data import HeteroData  # noqa: E402
from torch_geometric.nn import GATConv, HeteroConv, HGTConv, Linear, SAGEConv, to_hetero  # noqa: E402

MODELS = ("to_hetero", "hetero_conv", "hgt")


class Sage(nn.Module):
    """Homogeneous; `to_hetero` makes one of each layer per relation, and a head per type."""

    def __init__(self, job: JobConfig, num_classes: int) -> None:
        super().__init__()
        width, layers = job.model.hidden_channels, range(job.model.num_layers)
        self.convs = nn.ModuleList(SAGEConv((-1, -1), width) for _ in layers)
        self.dropout = nn.Dropout(job.model.dropout)
        self.head = Linear(width, num_classes)

    def forward(self, x, edge_index):  # type: ignore[no-untyped-def]  # torch.fx traces it once per type
        for conv in self.convs:
            x = self.dropout(conv(x, edge_index).relu())
        return self.head(x)


class Convolutions(nn.Module):
    """`hetero_conv`: GATConv for the last edge type into the seed type and every second one from it, else SAGEConv."""

    def __init__(self, job: JobConfig, data: HeteroData, num_classes: int) -> None:
        super().__init__()
        config = job.model
        self.layers = nn.ModuleList()
        for _ in range(config.num_layers):
            convs: dict[tuple[str, str, str], nn.Module] = {}
            last = max(i for i, (_, _, dst) in enumerate(data.edge_types) if dst == job.dataset.seed_type)
            for i, edge_type in enumerate(data.edge_types):
                if (i - last) % 2:
                    convs[edge_type] = SAGEConv((-1, -1), config.hidden_channels)
                else:
                    width = config.hidden_channels // config.heads
                    convs[edge_type] = GATConv((-1, -1), width, heads=config.heads, add_self_loops=False)
            self.layers.append(HeteroConv(convs, aggr="sum"))
        self.dropout = nn.Dropout(config.dropout)
        self.head = Linear(config.hidden_channels, num_classes)

    def forward(self, x_dict: dict, edge_index_dict: dict) -> dict:
        for layer in self.layers:
            x_dict = {name: self.dropout(x.relu()) for name, x in layer(x_dict, edge_index_dict).items()}
        return {name: self.head(x) for name, x in x_dict.items()}


class Transformer(nn.Module):
    """`hgt`: PyG's own HGTConv."""

    def __init__(self, job: JobConfig, data: HeteroData, num_classes: int) -> None:
        super().__init__()
        width, metadata = job.model.hidden_channels, data.metadata()
        self.encoder = nn.ModuleDict({name: Linear(-1, width) for name in data.node_types})
        self.layers = nn.ModuleList(
            HGTConv(width, width, metadata, job.model.heads) for _ in range(job.model.num_layers)
        )
        self.dropout = nn.Dropout(job.model.dropout)
        self.head = Linear(width, num_classes)

    def forward(self, x_dict: dict, edge_index_dict: dict) -> dict:
        x_dict = {name: self.encoder[name](x).relu() for name, x in x_dict.items()}
        for layer in self.layers:
            x_dict = {name: self.dropout(x) for name, x in layer(x_dict, edge_index_dict).items()}
        return {name: self.head(x) for name, x in x_dict.items()}


class WithEmbeddings(nn.Module):
    """Features for types that have none, as `[model] featureless` says."""

    def __init__(self, model: nn.Module, data: HeteroData, job: JobConfig) -> None:
        super().__init__()
        self.model, self.seed_type = model, job.dataset.seed_type
        sizes = {name: data[name].num_nodes for name in data.node_types if "x" not in data[name]}
        is_learned, width = job.model.featureless == "embedding", job.model.hidden_channels
        self.features = nn.ParameterDict(
            {name: torch.randn(n, width) / width**0.5 if is_learned else torch.ones(n, 1) for name, n in sizes.items()}
        ).requires_grad_(is_learned)

    def forward(self, data: HeteroData) -> torch.Tensor:
        x_dict = {name: data[name].x if "x" in data[name] else self.features[name] for name in data.node_types}
        edges = data.edge_index_dict if isinstance(self.model, Transformer) else data.adj_t_dict
        return self.model(x_dict, edges)[self.seed_type]


def with_adjacency(data: HeteroData) -> HeteroData:
    """Add `adj_t`, a sparse matrix [dst, src] per edge type: PyG's SAGEConv multiplies instead of gathering, which
    gives the same numbers and halves the time of a step."""
    for edge_type in data.edge_types:
        index, shape = data[edge_type].edge_index.flip(0), [data[edge_type[end]].num_nodes for end in (2, 0)]
        data[edge_type].adj_t = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), shape).to_sparse_csr()
    return data


def build(name: str, job: JobConfig, data: HeteroData, num_classes: int) -> nn.Module:
    """The model `name`, its lazy layers initialised."""
    if name == "to_hetero":
        model: nn.Module = to_hetero(Sage(job, num_classes), data.metadata(), aggr="sum")
    else:
        model = {"hetero_conv": Convolutions, "hgt": Transformer}[name](job, data, num_classes)
    wrapped = WithEmbeddings(model, data, job)
    with torch.no_grad():
        wrapped(data)
    return wrapped


class Run(NamedTuple):
    accuracy: float
    macro_f1: float


def train(name: str, job: JobConfig, data: HeteroData, rng_seed: int, epochs: int, patience: int) -> Run:
    """Train once, select on validation, return test scores."""
    torch.manual_seed(rng_seed)
    store = data[job.dataset.seed_type]
    y, masks = store[job.dataset.label], {split: store[mask] for split, mask in job.dataset.masks.items()}
    model = build(name, job, data, int(y.max()) + 1)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[job.train.optimizer]
    options = {"momentum": job.train.momentum} if job.train.optimizer == "sgd" else {}
    optimizer = kind(model.parameters(), lr=job.train.lr, weight_decay=job.train.weight_decay, **options)
    best, best_epoch, best_weights = -1.0, 0, copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(data)[masks["train"]], y[masks["train"]]).backward()
        optimizer.step()
        accuracy = evaluate(model, data, y, masks["val"])["accuracy"]
        if accuracy > best:
            best, best_epoch, best_weights = accuracy, epoch, copy.deepcopy(model.state_dict())
        elif epoch - best_epoch >= patience:
            break
    model.load_state_dict(best_weights)
    return Run(**evaluate(model, data, y, masks["test"]))


@torch.no_grad()
def evaluate(model: nn.Module, data: HeteroData, y: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    model.eval()
    labels, said = y[mask].numpy(), model(data)[mask].argmax(dim=-1).numpy()
    return {"accuracy": accuracy(labels, said), "macro_f1": macro_f1(labels, said)}


def summary(runs: list[Run]) -> dict[str, list[float]]:
    """Mean and standard deviation over runs, in percent."""
    table = 100 * np.array(runs)
    spread = table.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(Run._fields))
    columns = zip(Run._fields, table.mean(axis=0), spread, strict=True)
    return {name: [round(float(mean), 2), round(float(std), 2)] for name, mean, std in columns}


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--seeds", default=5, show_default=True, help="Runs per model, rng_seed 0, 1, ...")
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="Repeatable; all three by default.")
@click.option("--epochs", default=100, show_default=True, help="At most this many steps on the whole graph.")
@click.option(
    "--patience", default=40, show_default=True, help="Stop after so many epochs without a better validation."
)
def main(config: Path, seeds: int, models: tuple[str, ...], epochs: int, patience: int) -> None:
    job = load_config(config)
    if job.dataset.source != "pyg":
        raise click.ClickException("this baseline reads PyG's own datasets: [dataset] source = 'pyg'")
    from heteroshards.pipeline.sources import (
        load_dataset,  # for DATASETS_DIR and one clear error; the graph is PyG's, unchanged
    )

    data = with_adjacency(load_dataset(job.dataset).data)
    results = {}
    click.echo("| model | test accuracy | test macro-F1 |\n|---|---|---|")
    for name in models or MODELS:
        results[name] = summary([train(name, job, data, seed, epochs, patience) for seed in range(seeds)])
        cells = [f"{mean:.2f} ± {spread:.2f}" for mean, spread in results[name].values()]
        click.echo(f"| {name} | {' | '.join(cells)} |")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    line = {"date": date.today().isoformat(), "machine": machine, "config": str(config), "seeds": seeds}
    click.echo(json.dumps({**line, "full_batch": results}))


if __name__ == "__main__":
    main()
