"""Features of edges in the built-in models: as in PyG's layers with edge_dim, and left out where nobody wants them."""

from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, HGTConv, Linear, MessagePassing, SAGEConv

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.models import build_model
from heteroshards.trainer.models.convolutions import EdgeFeatures, EdgeLinears, Relation, gat, sage
from heteroshards.trainer.models.hgt import StaticHGTConv
from heteroshards.trainer.models.scale import EDGE_SHARE, SAGE_SHARE, scale_sum
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.stream import BatchStream
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.model_cases import budget, larger, numbers, padded, random_batch, schema
from tests.trainer.test_convolutions import DESTINATIONS, SOURCES, assert_same, edges, learned, matrix

MODELS = ("to_hetero", "hetero_conv", "hgt")
WIDTH = 3


def featured(width: int = WIDTH) -> GraphSchema:
    """Every second relation of `model_cases` has features."""
    graph = schema()
    types = [
        edge.model_copy(update={"attributes": numbers(width, name="edge_attr")}) if i % 2 == 0 else edge
        for i, edge in enumerate(graph.edge_types)
    ]
    return graph.model_copy(update={"edge_types": tuple(types)})


class WithEdges(MessagePassing):
    """PyG's SAGEConv, whose messages are `[x_j, edge_attr]`."""

    def __init__(self, channels: Any, out_channels: int) -> None:
        super().__init__(aggr="mean")
        self.lin_l, self.lin_r = Linear(channels[0], out_channels), Linear(channels[1], out_channels, bias=False)

    def forward(self, x: Any, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        out = self.propagate(edge_index, x=x, edge_attr=edge_attr, size=None)
        return self.lin_l(out) + self.lin_r(x[1])

    def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return torch.cat([x_j, edge_attr], dim=1)


def test_means_of_messages_with_features_of_edges() -> None:
    x_src, x_dst = (torch.from_numpy(matrix(rows, 6, rows)) for rows in (SOURCES, DESTINATIONS))
    values, index = torch.randn(24, WIDTH), edges(2)
    torch.manual_seed(0)
    theirs, ours = WithEdges((6 + WIDTH, 6), 5), SAGEConv((6, 6), 5)
    linear = nn.Linear(WIDTH, 5, bias=False)
    with torch.no_grad():
        ours.lin_l.weight.copy_(theirs.lin_l.weight[:, :6])
        ours.lin_l.bias.copy_(theirs.lin_l.bias)
        ours.lin_r.weight.copy_(theirs.lin_r.weight)
        linear.weight.copy_(theirs.lin_l.weight[:, 6:])
    expected = learned(theirs((x_src, x_dst), index, values), [theirs])
    found = learned(sage([Relation(ours, x_src, index, EdgeFeatures(values, linear))], x_dst), [ours])
    assert_same(found[:1], expected[:1])
    gradient = torch.cat([ours.lin_l.weight.grad, linear.weight.grad], dim=1)
    assert_same([gradient, ours.lin_r.weight.grad], [theirs.lin_l.weight.grad, theirs.lin_r.weight.grad])


@pytest.mark.parametrize(("heads", "channels"), [(1, 5), (3, 4), (2, 1)])
@pytest.mark.parametrize("is_shared", [False, True])
def test_attention_to_features_of_edges(heads: int, channels: int, is_shared: bool) -> None:
    x_src = torch.from_numpy(matrix(SOURCES, 6, 0))
    x_dst = x_src[:DESTINATIONS] if is_shared else torch.from_numpy(matrix(DESTINATIONS, 4, 1))
    values, found = torch.randn(24, WIDTH), []
    for is_ours in (True, False):
        torch.manual_seed(0)
        in_channels: Any = -1 if is_shared else (-1, -1)
        conv = GATConv(in_channels, channels, heads=heads, add_self_loops=False, edge_dim=WIDTH)
        out = gat(conv, x_src, x_dst, edges(2), values) if is_ours else conv((x_src, x_dst), edges(2), values)
        found.append(learned(out, [conv]))
    assert_same(*found)


TYPES = [("a", "to", "b"), ("b", "to", "a"), ("a", "by", "b")]


def hgt_pair(widths: Dict[Any, int]) -> List[Any]:
    found: List[Any] = []
    for kind, more in ((HGTConv, ()), (StaticHGTConv, (widths,))):
        torch.manual_seed(0)
        found.append(kind({"a": 6, "b": 6}, 8, (["a", "b"], TYPES), 2, *more))
    found[1].load_state_dict(found[0].state_dict(), strict=False)
    return found


def test_the_transformers_keys_and_values_take_features_of_edges() -> None:
    """Zeros leave PyG's layer as it is; a term that all edges share moves values, not the attention."""
    theirs, ours = hgt_pair({TYPES[0]: WIDTH})
    x_dict = {name: torch.randn(7, 6) for name in "ab"}
    index = {of: torch.randint(0, 7, (2, 20)) for of in TYPES}
    index[TYPES[2]] = index[TYPES[2]][:, :0]  # all that reaches b comes from edges with features
    expected = theirs(x_dict, index)
    zeros = ours(x_dict, index, edge_attr_dict={TYPES[0]: torch.zeros(20, WIDTH)})
    for name in "ab":
        torch.testing.assert_close(zeros[name], expected[name])
    shared = torch.randn(1, WIDTH).expand(20, -1)
    moved = ours(x_dict, index, edge_attr_dict={TYPES[0]: shared})
    assert not torch.allclose(moved["b"], zeros["b"]) and torch.equal(moved["a"], zeros["a"])
    with torch.no_grad():
        ours.of_edges.linears[0].weight[:8] *= 100  # of the keys
    torch.testing.assert_close(
        ours(x_dict, index, edge_attr_dict={TYPES[0]: shared})["b"], moved["b"], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_they_matter_where_they_are_wanted_and_are_not_read_where_not(name: str) -> None:
    graph, inputs = featured(), {}
    for choice in ("auto", "never"):
        config = ModelConfig(name=name, hidden_channels=8, heads=2, edge_features=choice)
        torch.manual_seed(1)
        model = SeedModel(build_model(config, graph), graph, budget(graph), config)
        batch = random_batch(graph, model.inputs, budget(graph).num_nodes)
        model.initialise(batch)
        inputs[choice] = {spec.kind for spec in model.inputs}
        if choice == "auto":
            out = model.eval()(*batch)[0]
            used = [
                i for i, spec in enumerate(model.inputs) if spec.kind == "edge_attr" and spec.key.endswith("__movie")
            ]
            for place in used:
                other = [tensor + 1.0 if i == place else tensor for i, tensor in enumerate(batch)]
                assert not torch.equal(model(*other)[0], out)
    assert "edge_attr" in inputs["auto"] and "edge_attr" not in inputs["never"]


@pytest.mark.parametrize("name", MODELS)
def test_without_them_nothing_is_added(name: str) -> None:
    graph = schema()
    for choice in ("auto", "never"):
        model = build_model(ModelConfig(name=name, hidden_channels=8, heads=2, edge_features=choice), graph)
        assert model.extra_inputs == () and not any("edge" in key for key in model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_pads_change_nothing(name: str) -> None:
    graph, config = featured(), ModelConfig(name=name, hidden_channels=8, heads=2)
    small = budget(graph)
    large = larger(graph, small, np.random.default_rng(0))
    torch.manual_seed(1)
    model = SeedModel(build_model(config, graph), graph, small, config)
    batch = random_batch(graph, model.inputs, small.num_nodes)
    model.initialise(batch)
    other = model.for_budget(large)
    more = padded(graph, batch, other.inputs, large.num_nodes)
    for i, spec in enumerate(other.inputs):
        if spec.kind == "edge_attr":
            more[i][len(batch[i]) :] = 1000.0
    torch.testing.assert_close(model.eval()(*batch)[0], other.eval()(*more)[0], atol=1e-5, rtol=1e-5)


def test_initial_weights_are_scaled_together() -> None:
    torch.manual_seed(0)
    convs = [SAGEConv((4, 4), 4) for _ in range(3)]
    linears = EdgeLinears({("a", "to", "b"): 2, ("b", "to", "b"): 2, ("c", "to", "b"): 2}, 4)
    every = [*convs, *(linear for _, linear in linears.items())]
    before = [parameter.clone() for layer in every for parameter in layer.parameters()]
    scale_sum(every)
    factor = (3 * (SAGE_SHARE + EDGE_SHARE)) ** -0.5
    after = [parameter for layer in every for parameter in layer.parameters()]
    assert len(after) == 12
    for one, other in zip(before, after):
        torch.testing.assert_close(one * factor, other)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("is_rich", [False, True])
def test_training_is_the_same_wherever_they_lie(store_of: Any, tmp_path: Any, name: str, is_rich: bool) -> None:
    scores = []
    for features, choice in (("table", "never"), ("inline", "never"), ("table", "always")):
        config = make_config(tmp_path, device_features=choice, epochs=1)
        model = config.model.model_copy(update={"name": name, "heads": 2})
        config = config.model_copy(update={"model": model})
        store = store_of(features=features, is_rich=is_rich)
        folder = tmp_path / f"{features}-{choice}"
        scores.append(fit(config, store, folder, backend=EagerBackend())["test"])
    assert scores[1] == pytest.approx(scores[0], rel=1e-5) and scores[2] == pytest.approx(scores[0], rel=1e-5)


def test_they_are_for_built_in_models() -> None:
    with pytest.raises(ValueError, match="'edge_features' is for built-in models"):
        ModelConfig(name="a:b", edge_features="never")


@pytest.mark.skipif(torch.__version__.startswith("2.0"), reason="torch 2.0 traces no sum() from a start")
@pytest.mark.parametrize("name", MODELS)
def test_models_with_all_kinds_of_attributes_compile_as_one_graph(store_of: Any, name: str) -> None:
    manifest = store_of(is_rich=True).manifest
    config = ModelConfig(name=name, hidden_channels=8, heads=2)
    model = SeedModel(build_model(config, manifest.graph), manifest.graph, manifest.budgets[0], config)
    with BatchStream(store_of(is_rich=True), "train", [model.inputs], np.array([0])) as stream:
        batch = next(iter(stream))[1]
    model.initialise(batch)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch)[0], model(*batch)[0])
