"""What a model computes for the seeds does not depend on whether it trims its layers."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.nn import HeteroConv, Linear, SAGEConv

from heteroshards import pipeline
from heteroshards.schemas.config import ModelConfig
from heteroshards.trainer import open_store
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.models import MODELS, LayerTrimmer, build_model
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.stream import BatchStream
from tests.pipeline.build import job
from tests.strategies import graphs, random_graph

HERE = "tests.contract.test_layer_trimming"
NAMES = [*MODELS, f"{HERE}:Mine"]


pytestmark = pytest.mark.usefixtures("one_thread")


def seed_models(store: Any, name: str, num_layers: int, is_trimmed: bool) -> list[SeedModel]:
    """One per shape; the same weights with and without trimming."""
    torch.manual_seed(0)
    manifest = store.manifest
    config = ModelConfig(name=name, hidden_channels=8, heads=2, num_layers=num_layers)
    inner = build_model(config, manifest.graph)
    if not is_trimmed:
        inner.trimmed_layers = 0
    model = SeedModel(inner, manifest.graph, manifest.budgets[0], config)
    with BatchStream(store, "train", [model.inputs], np.array([0])) as stream:
        model.initialise(next(iter(stream))[1])
    return [model, *(model.for_budget(budget) for budget in manifest.budgets[1:])]


def assert_trimming_changes_nothing(store: Any, name: str, num_layers: int) -> None:
    """Outputs, loss and every gradient, on all batches of all splits."""
    trimmed, whole = (seed_models(store, name, num_layers, is_trimmed) for is_trimmed in (True, False))
    trimmed[0].load_state_dict(whole[0].state_dict())
    inputs = [model.inputs for model in whole]
    for info in store.manifest.splits:
        (part,) = info.parts
        with BatchStream(store, info.name, inputs, np.arange(info.num_batches)) as stream:
            for _, batch in stream:
                results = []
                for model in (trimmed[part.shape], whole[part.shape]):
                    model.zero_grad()
                    out, loss = model(*batch)
                    loss.backward()
                    results.append((out, loss, {n: p.grad for n, p in model.named_parameters()}))
                (out, loss, grads), (expected, expected_loss, expected_grads) = results
                real = batch[-1]
                torch.testing.assert_close(out[real], expected[real], atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-4)
                for parameter, grad in grads.items():
                    zero = torch.zeros(())
                    pair = [zero if g is None else g for g in (grad, expected_grads[parameter])]
                    torch.testing.assert_close(pair[0] + 0 * pair[1], pair[1] + 0 * pair[0], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(
    data=graphs(),
    num_layers=st.integers(1, 4),
    fanout=st.sampled_from([[2], [3, 2], [-1, 1, 2]]),
    batch_size=st.integers(1, 7),
    budget=st.sampled_from(["exact", "uniform", "trim"]),
)
def test_seeds_and_gradients_are_the_same(
    tmp_path_factory: Any, name: str, data: Any, num_layers: int, fanout: Any, batch_size: int, budget: str
) -> None:
    """Fewer, as many and more layers than hops; batches of very different sizes; rows that only padding uses."""
    sizes: dict[str, Any] = {"mode": "uniform", "nodes": 200, "edges": 600} if budget == "uniform" else {}
    if budget == "trim":
        sizes = {"mode": "uniform", "nodes": batch_size + 6, "edges": 12, "oversize": "trim_nodes_and_edges"}
    sampling = {"batch_size": batch_size, "rounds": 1, "fanout": fanout}
    config = job(data, tmp_path_factory.mktemp("stores"), sampling=sampling, budget=sizes)
    assert_trimming_changes_nothing(open_store(pipeline.prepare(data, config)), name, num_layers)


def two_types(seed: int = 0) -> Any:
    types = {("a", "to", "b"): 400, ("b", "to", "a"): 300, ("a", "like", "a"): 150}
    return random_graph(np.random.default_rng(seed), {"a": 200, "b": 90}, types, "a", {"a": 5})


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_graph_has_no_hops(tmp_path: Any, name: str) -> None:
    data = two_types()
    store = open_store(pipeline.prepare(data, job(data, tmp_path, sampling={"mode": "full"})))
    assert_trimming_changes_nothing(store, name, 2)


@pytest.mark.parametrize("name", NAMES)
def test_layers_compute_no_more_rows_than_the_budget_says(tmp_path: Any, name: str) -> None:
    data = two_types()
    config = job(data, tmp_path, sampling={"batch_size": 4, "rounds": 2, "fanout": [3, 2]})
    store = open_store(pipeline.prepare(data, config))
    limits = store.manifest.budgets[0]
    model = seed_models(store, name, 2, is_trimmed=True)[0]
    outputs = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, args, out: outputs.append({n: len(x) for n, x in out.items()}))
    with BatchStream(store, "train", [model.inputs], np.array([1])) as stream:
        model(*next(iter(stream))[1])
    rows = [{name: limits.hop_nodes[name][hop] for name in out} for out, hop in zip(outputs, (1, 0), strict=True)]
    if name in MODELS:
        assert outputs == rows
        assert outputs[1] == {"a": limits.max_seeds + 1}
    assert all(mine < limits.num_nodes[name] for name, mine in outputs[1].items())


@pytest.mark.parametrize("name", NAMES)
def test_a_trimming_model_compiles_once(tmp_path: Any, name: str, request: pytest.FixtureRequest) -> None:
    backend = InductorBackend(request.config.cache.mkdir("compiled"))
    is_available, reason = backend.is_available()
    if not is_available:
        pytest.skip(reason)
    data = two_types()
    del data["a", "like", "a"]  # a third of the kernels, which are what takes the time
    config = job(data, tmp_path, sampling={"batch_size": 4, "rounds": 1, "fanout": [3, 2]})
    store = open_store(pipeline.prepare(data, config))
    model, plain = (seed_models(store, name, 2, is_trimmed)[0] for is_trimmed in (True, False))
    plain.load_state_dict(model.state_dict())
    order = np.arange(3)
    with BatchStream(store, "train", [model.inputs], order) as stream:
        batches = [batch for _, batch in stream]
    compiled = backend.compile(model, config.train, batches[0])
    with torch.no_grad():
        for batch in batches:
            torch.testing.assert_close(compiled.infer(batch)[0], plain(*batch)[0], atol=1e-4, rtol=1e-4)
    compiled.step(batches[0])
    assert compiled.num_compilations == {"train": 1, "infer": 1}


def test_the_trimmer_cuts_every_kind_of_tensor() -> None:
    from tests.trainer.model_cases import budget, schema

    graph = schema((("actor", "to", "movie"),), {"movie": 5, "actor": 4})
    limits = budget(graph).model_copy(
        update={"hop_nodes": {"movie": (5, 5), "actor": (1, 4)}, "hop_edges": {"actor__to__movie": (6,)}}
    )
    trimmer = LayerTrimmer(graph, limits)
    edge_type = ("actor", "to", "movie")
    index = torch.tensor([[0, 9, 3, 1, 2, 9, 0], [0, 8, 4, 2, 7, 1, 3]], dtype=torch.int32)
    x_dict, edges = trimmer.trim(1, {"movie": torch.zeros(9, 5), "actor": torch.zeros(10, 4)}, {edge_type: index})
    assert {name: len(x) for name, x in x_dict.items()} == {"movie": 5, "actor": 4}
    assert edges[edge_type].tolist() == [[0, 3, 3, 1, 2, 3], [0, 4, 4, 2, 4, 1]]
    assert edges[edge_type].dtype == torch.int32
    assert trimmer.edges(3, {edge_type: torch.zeros(14, 2)})[edge_type].shape == (6, 2)
    assert trimmer.rows("movie", 0) == limits.max_seeds + 1


class Mine(nn.Module):
    """A user's model: PyG's HeteroConv as it is, its layers trimmed."""

    extra_inputs = ("node_mask",)

    def __init__(self, graph: Any, config: ModelConfig) -> None:
        super().__init__()
        self.trimmed_layers = config.num_layers
        self.names = graph.node_names
        self.seed_type = graph.seed_type
        self.layers = nn.ModuleList(
            HeteroConv({edge.type: SAGEConv((-1, -1), 8) for edge in graph.edge_types})
            for _ in range(config.num_layers)
        )
        self.head = Linear(-1, graph.num_classes)

    def forward(self, x_dict: Any, edge_index_dict: Any, node_mask_dict: Any, trimmer: Any = None) -> Any:
        assert all(len(node_mask_dict[name]) == len(x) for name, x in x_dict.items())
        for i, layer in enumerate(self.layers):
            if trimmer is not None:
                x_dict, edge_index_dict = trimmer.trim(len(self.layers) - i, x_dict, edge_index_dict)
            x_dict = {**x_dict, **layer(x_dict, edge_index_dict)}
        return {self.seed_type: self.head(x_dict[self.seed_type])}
