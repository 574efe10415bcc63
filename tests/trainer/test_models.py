from typing import Any, Dict, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import Linear

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.models import MODELS, build_model
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.stack import plan_layers, with_safe_names
from tests.trainer.model_cases import NUM_CLASSES, RELATIONS, budget, larger, padded, schema, seed_model

HERE = "tests.trainer.test_models"


def config(name: str, **values: Any) -> ModelConfig:
    return ModelConfig(name=name, **{"hidden_channels": 8, "heads": 2, **values})


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("featureless", ["embedding", "constant"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_padding_changes_no_seed(name: str, featureless: str, num_layers: int) -> None:
    graph = schema()
    exact = budget(graph)
    wide = larger(graph, exact, np.random.default_rng(num_layers))
    settings = config(name, featureless=featureless, num_layers=num_layers)
    small, batch = seed_model(graph, exact, settings)
    large = SeedModel(build_model(settings, graph), graph, wide, settings)
    wide_batch = padded(graph, batch, large.inputs, wide.num_nodes)
    large.initialise(wide_batch)
    large.load_state_dict(small.state_dict())
    expected, loss = small(*batch)
    out, padded_loss = large(*wide_batch)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded_loss, loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize(
    "relations",
    [
        (),
        (("movie", "to", "actor"),),
        (("movie", "to", "movie"),),
        (("movie", "a", "movie"), ("movie", "b", "movie"), ("actor", "to", "actor")),
    ],
)
def test_works_on_unusual_schemas(name: str, relations: Any) -> None:
    graph = schema(relations)
    model, batch = seed_model(graph, budget(graph), config(name))
    out, loss = model(*batch)
    assert out.shape == (4, NUM_CLASSES)
    loss.backward()
    assert torch.isfinite(loss)
    assert model.model.head.weight.grad is not None


@pytest.mark.parametrize("name", sorted(MODELS))
def test_depth_width_and_dropout_are_honoured(name: str) -> None:
    graph = schema()
    model, batch = seed_model(graph, budget(graph), config(name, num_layers=3, dropout=0.5))
    assert len(model.model.layers) == 3
    assert model.model.head.in_channels == 8
    model.train()
    assert not torch.equal(model(*batch)[0], model(*batch)[0])
    model.eval()
    assert torch.equal(model(*batch)[0], model(*batch)[0])


@pytest.mark.parametrize("name", ["hetero_conv", "hgt"])
def test_heads_are_honoured(name: str) -> None:
    graph = schema()
    sizes = {
        heads: {
            key: value.shape
            for key, value in seed_model(graph, budget(graph), config(name, heads=heads))[0].state_dict().items()
        }
        for heads in (1, 4)
    }
    assert sizes[1] != sizes[4]
    with pytest.raises(ModelError, match="multiple of heads; got hidden_channels = 8 and heads = 3"):
        build_model(config(name, heads=3), graph)


def test_every_needed_relation_reaches_the_seeds() -> None:
    """A change of any source's features shows, exactly when the source is within reach of the seed type."""
    graph = schema()
    for name in MODELS:
        model, batch = seed_model(graph, budget(graph), config(name, featureless="embedding"))
        inputs = [tensor.requires_grad_() if tensor.is_floating_point() else tensor for tensor in batch]
        model(*inputs)[0].sum().backward()
        touched = {
            spec.key for spec, tensor in zip(model.inputs, inputs) if spec.kind == "x" and tensor.grad is not None
        }
        assert touched == {"movie", "actor", "movie1"}
        assert model.featureless.embeddings["0"].weight.grad.abs().sum() > 0


def test_layers_plan_walks_back_from_the_seed_type() -> None:
    first, last = plan_layers(schema(), 2)
    assert last.outputs == ("movie",)
    assert last.relations == tuple(r for r in RELATIONS if r[2] == "movie")
    assert last.inputs == first.outputs == ("movie", "actor", "genre")
    assert first.inputs == ("movie", "actor", "genre", "movie1")


def test_names_are_safe_and_distinct() -> None:
    features = {"movie": 1, "items": 1, "items_x": 1, "a-b": 1, "a b": 1, "7": 1, "été": 1, "a__b": 1, "_": 1}
    safe = with_safe_names(schema((("a-b", "1.0", "7"), ("a-b", "1-0", "7")), features))
    assert safe.node_names[0] == "movie"
    assert len(set(safe.node_names)) == len(features)
    assert len(set(safe.edge_keys)) == 2
    assert all(name.isidentifier() and "__" not in name and name[-1].isalpha() for name in safe.node_names)


@pytest.mark.parametrize(
    "name, message",
    [
        ("to_hetro", "Did you mean 'to_hetero'"),
        ("no_such_package.module:build", "cannot be imported"),
        (":build", "cannot be imported"),
        (f"{HERE}:absent", "no such factory"),
        (f"{HERE}:HERE", "cannot be called; got str"),
        (f"{HERE}:returns_nothing", "returned no module; got NoneType"),
        (f"{HERE}:takes_nothing", "signature must be factory"),
        (f"{HERE}:fails", r"fails \(.*test_models.py:\d+\): the factory failed; got KeyError: 'width'\.$"),
        (f"{HERE}:fails_with_a_type", r"the factory failed; got TypeError: [^.]*\.$"),
        ("tests.trainer.no_module.at_all:build", "cannot be imported; got ModuleNotFoundError"),
        ("tests.trainer.broken_module:build", r"broken_module.py:3\): .* imported; got ZeroDivisionError"),
        (f"{HERE}:WantsUnknown", "extra_inputs of the model are unknown"),
        (f"{HERE}:TrimsSomehow", "trimmed_layers of the model is no count; got True"),
    ],
)
def test_bad_factories_are_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(config(name), schema())


def test_a_factory_gets_schema_config_and_extra_inputs() -> None:
    settings = config(f"{HERE}:AllExtras", options={"scale": 2.0})
    model, batch = seed_model(schema(), budget(schema()), settings)
    out, _ = model(*batch)
    assert out.shape == (4, NUM_CLASSES)
    assert set(model.model.seen) == {"n_id_dict", "edge_attr_dict", "node_mask_dict", "edge_mask_dict"}
    assert model.model.seen["edge_mask_dict"] == set(RELATIONS)
    assert model.model.seen["n_id_dict"] == set(schema().node_names)
    assert model.model.scale == 2.0


class AllExtras(nn.Module):
    """Returns a dict of all types, as PyG's models do."""

    extra_inputs = ("n_id", "edge_attr", "node_mask", "edge_mask")

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(-1, graph.num_classes)
        self.scale = config.options["scale"]
        self.seen: Dict[str, Any] = {}

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Dict[Any, Tensor], **extras: Any) -> Any:
        self.seen = {name: set(tensors) for name, tensors in extras.items()}
        return {"movie": self.linear(x_dict["movie"])}


class WantsUnknown(nn.Module):
    extra_inputs: Tuple[str, ...] = ("edge_weight",)

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()


class TrimsSomehow(nn.Module):
    trimmed_layers = True

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()


def returns_nothing(graph: GraphSchema, config: ModelConfig) -> None:
    return None


def takes_nothing() -> nn.Module:
    return nn.Identity()


def fails(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    raise KeyError("width")


def fails_with_a_type(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return nn.Linear(None, 2)
