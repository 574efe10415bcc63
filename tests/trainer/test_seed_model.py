from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import Linear

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.task import Task
from heteroshards.trainer.models.featureless import Featureless
from heteroshards.trainer.models.seed_model import SeedModel
from tests.trainer.model_cases import NUM_CLASSES, budget, numbers, random_batch, schema, seed_model

HERE = "tests.trainer.test_seed_model"
SMALL = ModelConfig(hidden_channels=8)


def _position(model: SeedModel, kind: str) -> int:
    return [spec.kind for spec in model.inputs].index(kind)


def test_inputs_are_flat_and_the_order_is_the_schemas() -> None:
    graph = schema()
    model, _ = seed_model(graph, budget(graph), SMALL)
    kinds = [(spec.kind, spec.key) for spec in model.inputs]
    nodes = [("x" if graph.node(name).attributes else "n_id", name) for name in graph.node_names]
    assert kinds == nodes + [("edge_index", key) for key in graph.edge_keys] + [("target", "y"), ("seed_mask", "movie")]


def test_loss_is_the_mean_over_real_seeds() -> None:
    model, batch = seed_model(schema(), budget(schema()), SMALL)
    y, mask = _position(model, "target"), _position(model, "seed_mask")
    batch[mask] = torch.tensor([True, False, True, False])
    out, loss = model(*batch)
    real = torch.tensor([0, 2])
    expected = nn.functional.cross_entropy(out[real], batch[y].long()[real])
    torch.testing.assert_close(loss, expected)
    batch[y] = torch.where(batch[mask], batch[y], (batch[y] + 1) % NUM_CLASSES)
    torch.testing.assert_close(model(*batch)[1], loss)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_features_of_other_widths_are_converted(dtype: str) -> None:
    graph = schema(dtype=dtype)
    model, batch = seed_model(graph, budget(graph), SMALL)
    out, _ = model(*batch)
    assert out.dtype == torch.float32
    same, _ = model(*[tensor.float().to(tensor.dtype) for tensor in batch])
    torch.testing.assert_close(out, same, atol=1e-5, rtol=1e-5)
    assert batch[0].dtype == getattr(torch, dtype)


@pytest.mark.parametrize("kind", ["embedding", "constant"])
def test_featureless_types(kind: str) -> None:
    features = Featureless(schema(), ModelConfig(hidden_channels=8, featureless=kind))
    n_id = torch.tensor([3, 0, 3, -1], dtype=torch.int32)
    x = features({"genre": n_id}, torch.float32)["genre"]
    assert x.shape == (4, 8 if kind == "embedding" else 1)
    assert torch.equal(x[0], x[2])
    assert torch.equal(x[3], torch.zeros_like(x[3]))
    assert torch.equal(x[0], x[1]) == (kind == "constant")
    if kind == "embedding":
        x.sum().backward()
        rows = features.embeddings["0"].weight.grad.abs().sum(dim=1)
        assert rows.nonzero().flatten().tolist() == [0, 3]
        assert rows[0] == 8  # once for the real row, never for the pad row


def test_initialise_changes_nothing_but_lazy_parameters() -> None:
    graph = schema()
    config = ModelConfig(name=f"{HERE}:WithNorm")
    model, batch = seed_model(graph, budget(graph), config)
    assert model.training and model.model.norm.training
    assert model.model.norm.num_batches_tracked == 0
    assert not model.model.frozen.training
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.initialise(batch)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "factory, message",
    [
        ("seeds_only", r"got \(4, 3\) \(torch.float32\); expected floats \(9, 3\)"),
        ("wrong_classes", r"got \(9, 2\)"),
        ("too_few_seeds", r"got \(3, 3\) .*; expected floats \(4 to 9, 3\)"),
        ("integers", r"torch.int64"),
        ("a_tuple", r"got tuple"),
        ("other_types", r"without the seed type; got \['actor'\]; expected 'movie'"),
        ("fails", r"Returns \(.*test_seed_model.py:\d+\): .* forward pass failed; got KeyError: 'person'"),
        ("no_parameters", r"Returns: the model has no parameters to train\. Register layers"),
        ("unused_layer", r"lazy parameters were never used: model.unused.weight"),
    ],
)
def test_a_wrong_output_is_refused(factory: str, message: str) -> None:
    graph = schema()
    with pytest.raises(ModelError, match=message):
        seed_model(graph, budget(graph), ModelConfig(name=f"{HERE}:{factory}"))


def test_a_wrong_number_of_tensors_is_refused() -> None:
    model, batch = seed_model(schema(), budget(schema()), SMALL)
    with pytest.raises(ModelError, match=f"got {len(batch) - 1}; expected {len(batch)}"):
        model(*batch[:-1])


def test_edge_attributes_reach_the_model_in_its_dtype() -> None:
    plain = schema()
    edges = [edge.model_copy(update={"attributes": numbers(2, "float16", "edge_attr")}) for edge in plain.edge_types]
    graph = GraphSchema(node_types=plain.node_types, edge_types=edges, task=Task.classification("movie", NUM_CLASSES))
    config = ModelConfig(name=f"{HERE}:SumsAttributes")
    model = SeedModel(SumsAttributes(graph, config), graph, budget(graph), config)
    batch = random_batch(graph, model.inputs, budget(graph).num_nodes)
    model.initialise(batch)
    total = sum(t.float().sum() for t, spec in zip(batch, model.inputs) if spec.kind == "edge_attr")
    torch.testing.assert_close(model(*batch)[0], torch.full((4, NUM_CLASSES), float(total)), atol=1e-3, rtol=1e-3)


def test_seeds_are_the_first_rows() -> None:
    model, batch = seed_model(schema(), budget(schema()), SMALL)
    y = _position(model, "target")
    batch[y] = torch.from_numpy(np.array([0, 1, 2, 0], dtype=np.int32))
    whole: List[Tensor] = []
    model.model.register_forward_hook(lambda module, args, out: whole.append(out))
    out, _ = model(*batch)
    assert torch.equal(out, whole[0][:4])


class WithNorm(nn.Module):
    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.frozen = nn.Dropout().eval()
        self.linear = Linear(-1, NUM_CLASSES)

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        return self.linear(self.frozen(self.norm(x_dict["movie"])))


class SumsAttributes(nn.Module):
    extra_inputs = ("edge_attr",)

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any, edge_attr_dict: Dict[Any, Tensor]) -> Tensor:
        assert all(value.dtype == torch.float32 for value in edge_attr_dict.values())
        total = sum(value.sum() for value in edge_attr_dict.values())
        return (total + self.zero).expand(x_dict["movie"].size(0), NUM_CLASSES)


class Returns(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any, trimmer: Any = None) -> Any:
        return self.make(x_dict)


def seeds_only(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: x["movie"][:4, :3])


def too_few_seeds(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    model = Returns(lambda x: x["movie"][:3, :3])
    model.trimmed_layers = 1
    return model


def wrong_classes(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: x["movie"][:, :2])


def integers(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: x["movie"][:, :3].long())


def a_tuple(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: (x["movie"], x["actor"]))


def other_types(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: {"actor": x["actor"]})


def fails(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: x["person"])


def no_parameters(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    return Returns(lambda x: x["movie"][:, :3])


def unused_layer(graph: GraphSchema, config: ModelConfig) -> nn.Module:
    model = Returns(lambda x: x["movie"][:, :3])
    model.unused = Linear(-1, 2)
    return model
