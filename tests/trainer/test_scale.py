"""However many relations there are, training begins near the loss of guessing, and sums at the scale of inputs."""

import math
from typing import Any, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, HeteroConv, SAGEConv

from heteroshards.schemas.config import JobConfig, ModelConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.models import MODELS, build_model
from heteroshards.trainer.models.hetero_conv import attending
from heteroshards.trainer.models.scale import scale_sum
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.stack import with_safe_names
from tests.trainer.model_cases import NUM_CLASSES, budget, random_batch, schema, seed_model

GUESSING = math.log(NUM_CLASSES)


def relations(count: int) -> Tuple[Tuple[str, str, str], ...]:
    """Half of a type to itself, half from another type, and back."""
    kinds = (("movie", "movie"), ("actor", "movie"), ("movie", "actor"))
    return tuple((kinds[i % 3][0], f"r{i}", kinds[i % 3][1]) for i in range(count))


def start(graph: GraphSchema, seeds: int = 4, **values: Any) -> Tuple[SeedModel, List[Tensor]]:
    return seed_model(graph, budget(graph, 30, 60, seeds), ModelConfig(**values))


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("features", [None, 6])
@pytest.mark.parametrize(
    ("count", "values", "seeds"),
    [
        (1, {}, 4),
        (90, {}, 4),
        (90, {"featureless": "constant"}, 4),
        (24, {"num_layers": 6}, 4),
        (24, {"hidden_channels": 512}, 1),
        (24, {"hidden_channels": 4, "heads": 1}, 29),
        (90, {"aggr": "mean"}, 4),
    ],
)
def test_training_begins_near_guessing(
    name: str, features: Any, count: int, values: Dict[str, Any], seeds: int
) -> None:
    if name == "hgt" and "aggr" in values:
        pytest.skip("refused: it sums with one attention")
    graph = schema(relations(count), {"movie": features, "actor": features})
    model, batch = start(graph, seeds, name=name, **values)
    out, loss = model(*batch)
    assert float(loss.detach()) < 1.5 * GUESSING
    assert float(out.detach().abs().max()) < 3


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv"])
@pytest.mark.parametrize("count", [1, 2, 6, 48, 120])
def test_a_sum_over_relations_has_the_scale_of_its_inputs(name: str, count: int) -> None:
    graph = schema(tuple(("movie", f"r{i}", "movie") for i in range(count)), {"movie": 64})
    model, _ = start(graph, name=name)
    layer = model.model.layers[0]
    x = torch.randn(400, 64)
    edges = {t: torch.stack([torch.randint(400, (400,)), torch.arange(400)]) for t in layer._plan.relations}
    with torch.no_grad():
        found = without_relu(layer, x, edges)
    assert 0.4 < float(found.square().mean().sqrt()) < 1.3


def without_relu(layer: Any, x: Tensor, edges: Dict[Any, Tensor]) -> Tensor:
    """Half of a symmetric distribution is cut off by the ReLU: the sum itself has twice the second moment."""
    return math.sqrt(2) * layer({"movie": x}, {"movie": x}, edges)["movie"]


def test_few_relations_keep_the_weights_of_pyg() -> None:
    """So IMDB's director and actor begin with exactly what PyG draws."""
    for conv in (SAGEConv(8, 8), GATConv(8, 8)):
        before = [parameter.clone() for parameter in conv.parameters()]
        scale_sum([conv])
        assert all(torch.equal(a, b) for a, b in zip(before, conv.parameters()))


def test_weights_are_scaled_once() -> None:
    """A model may be initialised again, by a backend say."""
    model, batch = start(schema(relations(30)), name="to_hetero")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.initialise(batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("width", [4, 64, 1024])
def test_nodes_without_features_begin_with_vectors_of_length_one(width: int) -> None:
    model, _ = start(schema(relations(3), {"movie": None, "actor": None}), hidden_channels=width)
    lengths = model.featureless.embeddings["0"].weight.detach().norm(dim=1)
    assert 0.5 < float(lengths.mean()) < 1.5


def test_in_hgt_they_begin_with_entries_of_one() -> None:
    """Its attention makes a mean of relations, which needs no shorter ones, and learns them too slowly."""
    model, _ = start(schema(relations(3), {"movie": None, "actor": None}), name="hgt", hidden_channels=64)
    assert 0.9 < float(model.featureless.embeddings["0"].weight.detach().std()) < 1.1


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv"])
def test_the_mean_over_relations(name: str) -> None:
    """As PyG's own HeteroConv with the same convolutions and aggr = "mean"."""
    graph = schema(relations(9), {"movie": 5, "actor": 4})
    layers = {}
    for aggr in ("sum", "mean"):
        model, _ = start(graph, name=name, aggr=aggr, num_layers=1)
        layers[aggr] = model.model.layers[0]
    layers["sum"].load_state_dict(layers["mean"].state_dict())
    x = {"movie": torch.randn(30, 5), "actor": torch.randn(30, 4)}
    own = {"movie": x["movie"]}
    types = layers["sum"]._plan.relations
    edges = {t: torch.randint(30, (2, 50)) for t in types}
    total, mean = (layers[aggr](x, own, edges)["movie"] for aggr in ("sum", "mean"))
    assert not layers["sum"].carry, "the case has a SAGEConv into the seed type"
    torch.testing.assert_close(mean * len(types), total)


def test_hgt_has_no_choice_of_aggregation() -> None:
    with pytest.raises(ConfigError, match=r"'aggr' is for to_hetero and hetero_conv: hgt sums messages.*'mean'"):
        JobConfig(model={"name": "hgt", "aggr": "mean"})
    assert JobConfig(model={"name": "hgt", "aggr": "sum"}).model.aggr == "sum"
    assert JobConfig(model={"name": "mine:model", "aggr": "mean"}).model.aggr == "mean"
    with pytest.raises(ConfigError, match="aggr"):
        JobConfig(model={"aggr": "max"})


IMDB = (("movie", "to", "director"), ("movie", "to", "actor"), ("director", "to", "movie"), ("actor", "to", "movie"))
IMDB_FEATURES = {"movie": 6, "director": 5, "actor": 4}


def test_hetero_conv_is_the_tutorials_on_imdb() -> None:
    """SAGEConv between movies and directors, GATConv between movies and actors: the numbers of PyG's HeteroConv."""
    graph = schema(IMDB, IMDB_FEATURES)
    model, _ = start(graph, name="hetero_conv", hidden_channels=8, heads=2, num_layers=2)
    tutorial: Dict[Any, nn.Module] = {}
    for edge_type in IMDB:
        is_sage = "director" in edge_type
        tutorial[edge_type] = SAGEConv((-1, -1), 8) if is_sage else GATConv((-1, -1), 4, heads=2, add_self_loops=False)
    theirs, ours = HeteroConv(tutorial, aggr="sum"), model.model.layers[0]
    x = {name: torch.randn(12, width) for name, width in IMDB_FEATURES.items()}
    edges = {edge_type: torch.randint(12, (2, 30)) for edge_type in IMDB}
    theirs(x, edges)
    theirs.load_state_dict(ours.conv.state_dict())
    for name, expected in theirs(x, edges).items():
        torch.testing.assert_close(ours(x, x, edges)[name], expected.relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "types",
    [
        (("movie", "cites", "movie"),),
        (("actor", "to", "movie"),),
        (("actor", "to", "movie"), ("movie", "to", "actor")),
        (("movie", "to", "actor"), ("actor", "to", "movie")),
        IMDB,
        relations(7),
    ],
)
def test_hetero_conv_is_never_to_hetero_and_keeps_the_seeds_own_features(types: Any) -> None:
    graph = schema(types, {name: 4 for src, _, dst in types for name in (src, dst)})
    assert attending(graph)
    model, batch = start(graph, name="hetero_conv", num_layers=1)
    assert any(isinstance(module, GATConv) for module in model.modules())
    x = batch[[(spec.kind, spec.key) for spec in model.inputs].index(("x", "movie"))]
    edge_free = list(batch)
    for i, spec in enumerate(model.inputs):
        if spec.kind == "edge_index":  # all edges join the last rows, which are no seeds
            edge_free[i] = torch.full_like(batch[i], 29)
    out = model(*edge_free)[0]
    x.add_(1.0)
    assert not torch.equal(model(*edge_free)[0], out)


def test_which_relation_gets_attention_does_not_depend_on_the_layer() -> None:
    graph = schema(relations(7), {"movie": 4, "actor": 4})
    model, _ = start(graph, name="hetero_conv", num_layers=3)
    kinds: Dict[Any, set] = {}
    for layer in model.model.layers:
        for edge_type, conv in zip(layer._plan.relations, layer.conv.convs.values()):
            kinds.setdefault(edge_type, set()).add(type(conv).__name__)
    assert all(len(found) == 1 for found in kinds.values())
    assert {edge_type for edge_type, found in kinds.items() if found == {"GATConv"}} == attending(
        with_safe_names(graph)
    )


def test_building_draws_the_same_numbers_whatever_the_aggregation() -> None:
    graph = schema(relations(9), {"movie": 5, "actor": None})
    weights = []
    for aggr in ("sum", "mean"):
        torch.manual_seed(3)
        config = ModelConfig(aggr=aggr)
        model = SeedModel(build_model(config, graph), graph, budget(graph), config)
        model.initialise(random_batch(graph, model.inputs, budget(graph).num_nodes))
        weights.append(model.model.head.weight)
    assert torch.equal(*weights)
