"""Layers that look across rows are found and named, whoever wrote them; others pass in silence."""

import io
import json
import sys
import types

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.models import norms
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.runs.report import Console
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.store_factory import write_store

pytestmark = pytest.mark.filterwarnings("ignore:There exist node types")  # HeteroConv, of directors

WIDTH = 8


def config_of(root, model, **train):
    return JobConfig.model_validate({**make_config(root, **train).model_dump(), "model": model})


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


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(write_store(tmp_path_factory.mktemp("proof") / "s"))


@pytest.fixture
def run(store, tmp_path, monkeypatch):
    """Open a job with a model; what it said, or the error that it raised."""
    module = types.ModuleType("models_of_a_user")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def run(make, **model):
        module.net = lambda graph, config: make(graph)
        said = io.StringIO()
        config = config_of(tmp_path, model={"name": f"{module.__name__}:net", **model})
        with open_job(config, store, EagerBackend(), Console(said)) as job:
            return said.getvalue(), job

    return run


@pytest.mark.parametrize("name", SEEN)
def test_layers_that_see_pads_are_named(run, name):
    with pytest.raises(ModelError, match="changes with the padding") as caught:
        run(lambda graph: Net(graph, SEEN[name]))
    text = str(caught.value)
    named = {"BatchNorm of PyG": "BatchNorm1d"}.get(name, name)
    assert f"{named} 'odd." in text and "norms" in text and "allow_padding_dependence" in text
    said, job = run(lambda graph: Net(graph, SEEN[name]), allow_padding_dependence=True)
    assert f"{named} 'odd." in said and job.padding_dependence in said


def quiet(said):
    return "padding" not in said


@pytest.mark.parametrize("name", UNTOUCHED)
def test_layers_that_pads_do_not_touch_pass_in_silence(run, name):
    said, job = run(lambda graph: Net(graph, UNTOUCHED[name]))
    assert quiet(said) and job.padding_dependence is None


@pytest.mark.parametrize("name", MASKED)
def test_masked_norms_pass_in_silence(run, name):
    assert quiet(run(lambda graph: Net(graph, MASKED[name], masked=True))[0])


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


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_pass_in_silence(run, name):
    assert quiet(run(lambda graph: Convolution(graph, CONVOLUTIONS[name]))[0])


class Attending(nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.seed_type = graph.seed_type
        metadata = (list(graph.node_names), [edge.type for edge in graph.edge_types])
        self.han = pyg.HANConv(-1, WIDTH, metadata, heads=2)
        self.head = nn.Linear(WIDTH, graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        return self.head(self.han(x_dict, edge_index_dict)[self.seed_type])


def test_semantic_attention_and_lstm_are_found(run):
    with pytest.raises(ModelError, match="HANConv 'han'"):
        run(Attending)
    with pytest.raises(ModelError, match="LSTM"):
        run(lambda graph: Convolution(graph, lambda: SortedLSTM(WIDTH, WIDTH, aggr="lstm")))


class SortedLSTM(pyg.SAGEConv):
    """PyG's needs edges sorted by destination; pads come last already."""

    def forward(self, x, edge_index, size=None):
        order = torch.argsort(edge_index[1], stable=True)
        return super().forward(x, edge_index[:, order], size)


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv", "hgt"])
@pytest.mark.parametrize("featureless", ["embedding", "constant"])
def test_built_in_models_do_not_depend_on_padding(store, tmp_path, monkeypatch, name, featureless):
    """They are not tested at every start, because they are here."""
    from heteroshards.trainer import job
    from heteroshards.trainer.models import build_model

    config = config_of(tmp_path, model={"name": name, "featureless": featureless, "dropout": 0.3})
    monkeypatch.setattr(job, "build_model", lambda _, graph: build_model(config.model, graph))
    said = io.StringIO()
    named = config.model_copy(update={"model": config.model.model_copy(update={"name": "theirs:net"})})
    with open_job(named, store, EagerBackend(), Console(said)):
        assert quiet(said.getvalue())


def test_nothing_changes_by_being_tested(run, monkeypatch):
    """Weights, buffers and random numbers are those of a run without the test, bit for bit."""
    from heteroshards.trainer import job

    def state(is_tested):
        if not is_tested:
            monkeypatch.setattr(job, "_prove", lambda *args: None)
        _, opened = run(lambda graph: Net(graph, lambda: norms.BatchNorm(WIDTH), masked=True))
        return opened.compiled.model_state(), torch.get_rng_state()

    (tested, one), (untested, other) = state(True), state(False)
    assert torch.equal(one, other) and tested.keys() == untested.keys() and tested
    assert all(torch.equal(tested[name], untested[name]) for name in tested)


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


def test_what_a_model_keeps_from_run_to_run_says_nothing(run):
    assert quiet(run(lambda graph: Net(graph, Remembering))[0])


def test_of_a_model_of_one_size_the_values_are_tried(run):
    assert quiet(run(lambda graph: Net(graph, Stubborn))[0])
    with pytest.raises(ModelError, match="MeanOf"):
        run(lambda graph: Net(graph, MeanOf))


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


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_tested_is_said_and_runs(run, reason):
    said, job = run(lambda graph: Net(graph, REASONS[reason]))
    assert "could not be tested: " in said and reason in said and job.padding_dependence is None


class Single(nn.Module):
    """Computes in float32, whatever it is given."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.nn.functional.linear(x.float(), torch.ones(WIDTH, WIDTH)) + self.inner(x)


def test_models_in_single_precision_are_tested_in_it(run):
    assert quiet(run(lambda graph: Net(graph, Single))[0])
    with pytest.raises(ModelError, match="Whiten"):
        run(lambda graph: Net(graph, lambda: nn.Sequential(Single(), Whiten())))


def test_it_is_kept_in_the_result(store, tmp_path, monkeypatch):
    module = types.ModuleType("models_of_a_user")
    module.net = lambda graph, config: Net(graph, lambda: nn.BatchNorm1d(WIDTH))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    config = config_of(tmp_path, model={"name": "models_of_a_user:net"}, epochs=1)
    with pytest.raises(ModelError, match="BatchNorm1d"):
        fit(config, store, tmp_path / "run", backend=EagerBackend())
    allowed = config_of(tmp_path, model={"name": "models_of_a_user:net", "allow_padding_dependence": True}, epochs=1)
    fit(allowed, store, tmp_path / "run", backend=EagerBackend())
    assert "BatchNorm1d 'odd." in json.loads((tmp_path / "run" / "result.json").read_text())["padding_dependence"]
