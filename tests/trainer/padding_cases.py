"""Models whose answers depend on padding, or do not, or of which nobody can tell."""

import torch
import torch_geometric.nn as pyg
from torch import nn

from heteroshards.trainer.models import norms

WIDTH = 8


class Net(nn.Module):
    """Convolutions, then the layer in question on every type, then convolutions again."""

    def __init__(self, graph, make, masked=False):
        super().__init__()
        self.seed_type = graph.seed_type
        self.first = pyg.HeteroConv({edge.type: pyg.SAGEConv((-1, -1), WIDTH) for edge in graph.edge_types})
        self.odd = nn.ModuleDict({edge.dst: make() for edge in graph.edge_types})
        between = [edge for edge in graph.edge_types if edge.src in self.odd]
        self.second = pyg.HeteroConv({edge.type: pyg.SAGEConv((-1, -1), WIDTH) for edge in between})
        self.head = nn.Linear(WIDTH, graph.num_classes)
        self.masked = masked
        if masked:
            self.extra_inputs = ("node_mask",)

    def forward(self, x_dict, edge_index_dict, node_mask_dict=None):
        h = {name: x.relu() for name, x in self.first(x_dict, edge_index_dict).items()}
        if self.masked:
            h = {name: self.odd[name](x, node_mask_dict[name]) for name, x in h.items()}
        else:
            h = {name: self.odd[name](x) for name, x in h.items()}
        known = {key: index for key, index in edge_index_dict.items() if key[0] in h and key[2] in h}
        return self.head(self.second(h, known)[self.seed_type])


class Whiten(nn.Module):
    """What somebody wrote: no name tells what it does."""

    def forward(self, x):
        return x - x.mean(dim=0, keepdim=True)


class OnlyWhenTraining(nn.Module):
    def forward(self, x):
        return x / (1 + x.abs().amax()) if self.training else x


class Counter(nn.Module):
    """Keeps a statistic that its output does not show."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += len(x)
        return x


class Inline(nn.Module):
    """In no layer of its own, and of what went in before."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.inner(x - x.mean(dim=0))


class Closed(nn.Module):
    """A gate that is shut at first."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.gate * x.sum(dim=0)


class Sorted(nn.Module):
    def forward(self, x):
        return x[torch.argsort(torch.argsort(x.sum(1)))] + x


class Attention(nn.Module):
    """Over all rows, as HANConv's semantic attention is."""

    def forward(self, x):
        return torch.softmax(x @ x.T, dim=1) @ x


SEEN = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(WIDTH),
    "BatchNorm of PyG": lambda: pyg.BatchNorm(WIDTH),
    "LayerNorm": lambda: pyg.LayerNorm(WIDTH, mode="graph"),
    "GraphNorm": lambda: pyg.GraphNorm(WIDTH),
    "InstanceNorm": lambda: pyg.InstanceNorm(WIDTH),
    "PairNorm": lambda: pyg.PairNorm(),
    "MeanSubtractionNorm": lambda: pyg.MeanSubtractionNorm(),
    "GraphSizeNorm": lambda: pyg.GraphSizeNorm(),
    "Whiten": Whiten,
    "OnlyWhenTraining": OnlyWhenTraining,
    "Counter": Counter,
    "Closed": Closed,
    "Inline": Inline,
    "Sorted": Sorted,
    "Attention": Attention,
    "MultiheadAttention": lambda: SelfAttention(),
}


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x):
        return self.inner(x[:, None], x[:, None], x[:, None])[0][:, 0]


UNTOUCHED = {
    "Linear": lambda: nn.Linear(WIDTH, WIDTH),
    "LayerNorm of a row": lambda: nn.LayerNorm(WIDTH),
    "PyG's LayerNorm of a node": lambda: pyg.LayerNorm(WIDTH, mode="node"),
    "Dropout": lambda: nn.Dropout(0.5),
    "GELU": lambda: nn.GELU(),
    "MLP": lambda: pyg.MLP([WIDTH, WIDTH, WIDTH], norm=None, dropout=0.5),
    "GroupNorm": lambda: nn.GroupNorm(2, WIDTH),
    "PReLU": lambda: nn.PReLU(),
    "softmax of a row": lambda: nn.Softmax(dim=1),
    "a GRU cell": lambda: nn.GRUCell(WIDTH, WIDTH),
    "alpha dropout": lambda: nn.AlphaDropout(0.3),
}


MASKED = {
    "BatchNorm": lambda: norms.BatchNorm(WIDTH),
    "LayerNorm": lambda: norms.LayerNorm(WIDTH),
    "GraphNorm": lambda: norms.GraphNorm(WIDTH),
    "InstanceNorm": lambda: norms.InstanceNorm(WIDTH),
    "PairNorm": lambda: norms.PairNorm(),
    "MeanSubtractionNorm": lambda: norms.MeanSubtractionNorm(),
    "GraphSizeNorm": lambda: norms.GraphSizeNorm(),
    "DiffGroupNorm": lambda: norms.DiffGroupNorm(WIDTH, groups=2),
}


CONVOLUTIONS = {
    "SAGEConv": lambda: pyg.SAGEConv((-1, -1), WIDTH),
    "SAGEConv, max": lambda: pyg.SAGEConv((-1, -1), WIDTH, aggr="max"),
    "SAGEConv, std": lambda: pyg.SAGEConv((-1, -1), WIDTH, aggr="std"),
    "SAGEConv, several": lambda: pyg.SAGEConv((-1, -1), WIDTH, aggr=["mean", "max"]),
    "GATConv": lambda: pyg.GATConv((-1, -1), WIDTH, add_self_loops=False, dropout=0.4),
    "GATv2Conv": lambda: pyg.GATv2Conv((-1, -1), WIDTH, add_self_loops=False),
    "TransformerConv": lambda: pyg.TransformerConv((-1, -1), WIDTH, dropout=0.2),
    "GraphConv": lambda: pyg.GraphConv((-1, -1), WIDTH),
    "GINConv": lambda: pyg.GeneralConv((-1, -1), WIDTH),
}


class Convolution(nn.Module):
    def __init__(self, graph, make):
        super().__init__()
        self.seed_type = graph.seed_type
        self.encode = nn.ModuleDict({name: pyg.Linear(-1, WIDTH) for name in graph.node_names})
        self.odd = pyg.HeteroConv({edge.type: make() for edge in graph.edge_types})
        self.head = nn.Linear(WIDTH, graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        h = {name: self.encode[name](x) for name, x in x_dict.items()}
        return self.head(self.odd(h, edge_index_dict)[self.seed_type])


class Attending(nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.seed_type = graph.seed_type
        metadata = (list(graph.node_names), [edge.type for edge in graph.edge_types])
        self.han = pyg.HANConv(-1, WIDTH, metadata, heads=2)
        self.head = nn.Linear(WIDTH, graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        return self.head(self.han(x_dict, edge_index_dict)[self.seed_type])


class SortedLSTM(pyg.SAGEConv):
    """PyG's needs edges sorted by destination; pads come last already."""

    def forward(self, x, edge_index, size=None):
        order = torch.argsort(edge_index[1], stable=True)
        return super().forward(x, edge_index[:, order], size)


class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Failing(nn.Module):
    def forward(self, x):
        if self.training:
            raise RuntimeError("no more")
        return x


class Remembering(nn.Module):
    """Keeps something beside its buffers, as layers with `cached=True` do."""

    def __init__(self):
        super().__init__()
        self.kept = None

    def forward(self, x):
        if self.kept is None:
            self.kept = x.new_ones(len(x), 1)
        return x * self.kept


class Stubborn(nn.Module):
    """Takes one number of rows only, but looks at what is in them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.tensor(0))

    def forward(self, x):
        if not self.rows:
            self.rows += len(x)
        return x.view(int(self.rows), WIDTH)


class Uncopied(nn.Module):
    def __deepcopy__(self, memo):
        raise RuntimeError("only one of me")

    def forward(self, x):
        return x


class MeanOf(Stubborn):
    def forward(self, x):
        return super().forward(x) - x.mean(dim=0)


class Strict(Stubborn):
    """Takes the pad row that it knows, and no other."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(WIDTH))

    def forward(self, x):
        if self.rows and not torch.allclose(self.last, x[-1].to(self.last.dtype), atol=1e-3):
            raise ValueError("another pad")
        self.last.copy_(x[-1])
        return super().forward(x)


REASONS = {
    "fails in training": Failing,
    "draws at random": Random,
    "fails with other padding": Strict,
    "cannot be copied": Uncopied,
}


class Single(nn.Module):
    """Computes in float32, whatever it is given."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.nn.functional.linear(x.float(), torch.ones(WIDTH, WIDTH)) + self.inner(x)
