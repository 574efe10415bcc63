"""Batches in a training loop of your own: a plain PyG model, a plain DataLoader.

    python examples/own_loop.py STORE

`own_graph.py` and `make prepare` print where their stores are.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv

from heteroshards import ShardDataset, ShardIterable, open_store

WIDTH, EPOCHS = 32, 3


class Model(nn.Module):
    """One layer over all relations, then the classes of the seed type."""

    def __init__(self, edge_types: list[tuple[str, str, str]], seed_type: str, num_classes: int) -> None:
        super().__init__()
        self.conv = HeteroConv({edge_type: SAGEConv((-1, -1), WIDTH) for edge_type in edge_types})
        self.head = nn.Linear(WIDTH, num_classes)
        self.seed_type = seed_type

    def forward(self, batch: HeteroData, x_dict: dict[str, torch.Tensor]) -> torch.Tensor:
        edges = {edge_type: index.long() for edge_type, index in batch.edge_index_dict.items()}
        return self.head(self.conv(x_dict, edges)[self.seed_type].relu())


def features(batch: HeteroData) -> dict[str, torch.Tensor]:
    """`x` where there is one, else a constant; pad rows of it never reach a seed."""
    return {name: batch[name].get("x", torch.ones(len(batch[name].n_id), 1)) for name in batch.node_types}


def main(path: str) -> float:
    store = open_store(path)
    graph = store.manifest.reached
    seed_type = graph.seed_type
    model = Model([edge.type for edge in graph.edge_types], seed_type, graph.num_classes)
    first = ShardDataset(store, "train", as_hetero_data=True)[0]
    model(first, features(first))  # lazy layers take their sizes
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train = ShardDataset(store, "train", as_hetero_data=True)
    for epoch in range(EPOCHS):
        for batch in DataLoader(ShardIterable(train, epoch), batch_size=None):  # shuffled anew
            out, mask = model(batch, features(batch)), batch[seed_type].train_mask
            loss = nn.functional.cross_entropy(out[mask], batch[seed_type].y[mask].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    right = total = 0
    with torch.no_grad():
        for batch in ShardDataset(store, "test", as_hetero_data=True):
            mask = batch[seed_type].test_mask  # real seed rows: pads are never counted
            found = model(batch, features(batch))[mask].argmax(dim=1)
            right, total = right + int((found == batch[seed_type].y[mask]).sum()), total + int(mask.sum())
    print(f"test accuracy {right / total:.3f} of {total} seeds")
    return right / total


if __name__ == "__main__":
    main(sys.argv[1])
