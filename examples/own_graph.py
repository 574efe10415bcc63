"""A graph of your own, from `HeteroData` to a trained model.

    python examples/own_graph.py

Papers cite papers of their field and have authors; a field shows in a word that its papers use more. The store is
prepared once: a second run finds it, and goes on with the training where that was stopped.
"""

import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import ToUndirected

from heteroshards import JobConfig, fit, open_store, prepare

PAPERS, AUTHORS, FIELDS, WORDS = 600, 250, 4, 32


def graph() -> HeteroData:
    """Sources and targets as you have them; messages flow from source to target, so reverse edges are added."""
    rng = torch.Generator().manual_seed(0)
    field = torch.arange(PAPERS) % FIELDS
    data = HeteroData()
    data["paper"].x = torch.rand(PAPERS, WORDS, generator=rng)
    data["paper"].x[torch.arange(PAPERS), field] += 0.5
    data["paper"].y = field
    data["author"].num_nodes = AUTHORS  # no features: a vector of each is learned
    citing = torch.randint(0, PAPERS, (3000,), generator=rng)
    cited = torch.randint(0, PAPERS // FIELDS, (3000,), generator=rng) * FIELDS + field[citing]
    data["paper", "cites", "paper"].edge_index = torch.stack([citing, cited])
    author, paper = torch.randint(0, AUTHORS, (1500,), generator=rng), torch.arange(1500) % PAPERS
    data["author", "writes", "paper"].edge_index = torch.stack([author, paper])
    return ToUndirected()(data)


def main() -> None:
    config = JobConfig(
        name="papers",
        dataset={"seed_type": "paper", "random_split": {"train": 0.5, "val": 0.25, "test": 0.25}},
        sampling={"fanout": [8, 4], "batch_size": 64},
        model={"name": "hetero_conv", "hidden_channels": 32},
        train={"epochs": 5, "backend": "eager"},
    )
    store = open_store(prepare(graph(), config, report=print))
    for split in store.manifest.splits:
        print(f"{split.name}: {split.num_seeds} seeds in {split.num_batches} batches")
    budget = store.manifest.budgets[0]
    print("every training batch has, of each type, so many rows:", dict(budget.num_nodes))
    result = fit(config, store, "runs/papers")
    print(f"test accuracy {result['test']['accuracy']:.3f}")


if __name__ == "__main__":
    main()
