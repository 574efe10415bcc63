"""What the trainer computes on a padded batch is what the same model computes on the sample it was made from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from heteroshards import pipeline
from heteroshards.pipeline.executors.threads import Threads
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.grouping.groups import make_plans
from heteroshards.pipeline.grouping.split_plan import BatchBlock
from heteroshards.schemas.config import JobConfig, ModelConfig
from heteroshards.trainer import ShardDataset, open_store
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.models import build_model
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.stream import BatchStream
from tests.pipeline.build import hetero_graph, job, sampler
from tests.strategies import graphs, random_graph

MODELS = ("to_hetero", "hetero_conv", "hgt")


def seed_models(store, name, featureless="embedding"):
    """One per shape, of the same weights."""
    torch.manual_seed(0)
    manifest = store.manifest
    config = ModelConfig(name=name, hidden_channels=8, heads=2, featureless=featureless)
    model = SeedModel(build_model(config, manifest.graph), manifest.graph, manifest.budgets[0], config)
    models = [model, *(model.for_budget(budget) for budget in manifest.budgets[1:])]
    with BatchStream(store, "train", [shape.inputs for shape in models], np.array([0])) as stream:
        models[store.split("train").parts[0].shape].initialise(next(iter(stream))[1])
    return [shape.eval() for shape in models]


def values_of(source, of, ids):
    """What models get of some nodes or edges, before it is encoded."""
    tables = {name: torch.from_numpy(table)[ids] for name, table in source.features[of].items()}
    schemas = {**{node.name: node for node in source.schema.node_types}, **{e.key: e for e in source.schema.edge_types}}
    return tables if schemas[of].is_encoded else next(iter(tables.values()))


def edge_features(model, source, e_id):
    featured = [edge for edge in source.schema.edge_types if edge.attributes]
    ids = {edge.key: torch.from_numpy(e_id[edge.key]).long() for edge in featured}
    values = model.edge_encoders({key: values_of(source, key, ids[key]) for key in ids}, torch.float32)
    return {"edge_attr_dict": {edge.type: values[edge.key] for edge in featured}}


def unpadded_outputs(model, source, block, fresh):
    """Run the model's inner module on unpadded samples, drawn anew, with features straight from the graph."""
    graph = source.schema
    for seeds, key in zip(block.seeds, block.keys, strict=True):
        batch = fresh.sample(seeds[seeds >= 0], key)
        n_id = {name: torch.from_numpy(ids) for name, ids in batch.n_id.items()}
        featured = [node.name for node in graph.node_types if node.attributes]
        x_dict = model.encoders({name: values_of(source, name, n_id[name]) for name in featured}, torch.float32)
        bare = {name: n_id[name].int() for name in graph.node_names if name not in x_dict}
        x_dict.update(model.featureless(bare, torch.float32))
        edges = {edge.type: torch.from_numpy(batch.edge_index[edge.key]) for edge in graph.edge_types}
        extras = edge_features(model, source, batch.e_id) if model.extra_inputs else {}
        yield model.model(x_dict, edges, **extras)[: int((seeds >= 0).sum())]


def as_stored(block, store):
    """The batches in the order of the store: of one round, so that the first seed tells a batch."""
    place = {int(seeds[0]): i for i, seeds in enumerate(block.seeds)}
    order = [place[int(seeds[0])] for seeds in store.read_seeds("train", "n_id")]
    assert sorted(order) == list(range(len(block.seeds)))
    return BatchBlock(block.seeds[order], block.keys[order], block.rounds[order])


def assert_equal_on_seeds(data, store_path, fanout, name, featureless="embedding", **dataset):
    store = open_store(store_path)
    models = seed_models(store, name, featureless)
    inputs = [model.inputs for model in models]
    graph = hetero_graph(data, **dataset)
    fresh = sampler(data, fanout)
    seeds = graph.seeds.splits
    of_rows = sampler(data, fanout, of_rows=True)
    plan = make_plans(Threads(lambda: Worker(graph, of_rows), 1), seeds, store.manifest.sampling, None)["train"]
    block = plan.block(0, plan.num_batches)
    block = as_stored(block._replace(seeds=graph.seeds.nodes(block.seeds)), store)
    expected = unpadded_outputs(models[0], graph, block, fresh)
    with torch.no_grad(), BatchStream(store, "train", inputs, np.arange(plan.num_batches)) as stream:
        for ((index,), tensors), logits in zip(stream, expected, strict=True):
            out, loss = models[find_shape(inputs, tensors)](*tensors)
            torch.testing.assert_close(out[: len(logits)], logits, atol=1e-5, rtol=1e-5)
            real = block.seeds[index][block.seeds[index] >= 0]
            labels = data[graph.schema.seed_type].y[torch.from_numpy(real).long()]
            torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6, deadline=None)
@given(
    data=graphs(),
    budget=st.sampled_from(["exact", "roomy", "shapes"]),
    grouping=st.sampled_from(["random", "balanced", "packed"]),
    batch_size=st.integers(1, 6),
)
def test_seed_outputs_and_loss_are_equal(tmp_path_factory, name, data, budget, grouping, batch_size):
    """`exact` leaves nothing but the reserved pad slots in the largest batch, `shapes` in that of each shape."""
    sampling = {"batch_size": batch_size, "rounds": 1, "fanout": [3, 2], "grouping": grouping}
    given = {"mode": "uniform", "nodes": 200, "edges": 400}
    sizes = {"exact": {}, "roomy": {} if grouping == "packed" else given, "shapes": {"shapes": 3}}[budget]
    config = job(data, tmp_path_factory.mktemp("stores"), sampling=sampling, budget=sizes)
    assert_equal_on_seeds(data, pipeline.prepare(data, config), [3, 2], name)


@pytest.mark.parametrize("name", MODELS)
def test_equal_with_several_shapes_for_each_purpose(tmp_path, name):
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 20}, types, "a", {"a": 3})
    sampling = {"batch_size": 3, "rounds": 1, "fanout": [3, 2]}
    path = pipeline.prepare(data, job(data, tmp_path, sampling=sampling, budget={"shapes": 3}))
    manifest = open_store(path).manifest
    assert (manifest.shapes_for("train"), manifest.shapes_for("inference")) == ([0, 1, 2], [3, 4, 5])
    assert_equal_on_seeds(data, path, [3, 2], name)


@pytest.mark.parametrize("featureless", ["embedding", "constant"])
@pytest.mark.parametrize("name", MODELS)
def test_equal_with_a_type_that_has_no_features(tmp_path, name, featureless):
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 20}, types, "a", {"a": 3})
    config = job(data, tmp_path, sampling={"batch_size": 4, "rounds": 1, "fanout": [3, 2]})
    assert_equal_on_seeds(data, pipeline.prepare(data, config), [3, 2], name, featureless)


def rich_graph():
    """Types `a` and `b` joined both ways; `a` has numbers and codes, edges to `b` two numbers and a code."""
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 20}, types, "a", {"a": 3, "b": 2})
    data["a"].kinds = torch.stack([torch.arange(40) % 7 - 1, torch.arange(40) % 3], dim=1)
    data["a", "to", "b"].update({"edge_attr": torch.randn(60, 2), "role": torch.arange(60) % 4})
    data["b", "to", "a"].edge_attr = torch.randn(60)
    return data


ATTRIBUTES = {"a": ["x", "kinds"], "a__to__b": ["edge_attr", "role"]}


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize("name", MODELS)
def test_equal_with_several_attributes_and_codes(tmp_path, name, features):
    """Of nodes and of edges. Pads have numbers of their own, and no code."""
    data, sampling = rich_graph(), {"batch_size": 4, "rounds": 1, "fanout": [3, 2]}
    store = {"features": features, "pad_value": 7.0}
    config = job(data, tmp_path, sampling=sampling, dataset={"attributes": ATTRIBUTES}, store=store)
    assert_equal_on_seeds(data, pipeline.prepare(data, config), [3, 2], name, attributes=ATTRIBUTES)


@pytest.mark.parametrize("name", MODELS)
def test_equal_on_a_graph_of_one_type(tmp_path, name):
    """A `Data`: its only type is source and destination of its only relation."""
    data = random_graph(np.random.default_rng(0), {"node": 40}, {("node", "to", "node"): 90}, "node", {"node": 3})
    sampling = {"batch_size": 4, "rounds": 1, "fanout": [3, 2]}
    config = JobConfig(sampling=sampling, store={"root": str(tmp_path)})
    path = pipeline.prepare(Data.from_dict({**data["node"], **data["node", "to", "node"]}), config)
    assert_equal_on_seeds(data, path, [3, 2], name)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_trainer_reads_what_the_pipeline_writes(tmp_path, zarr_format):
    """Table and inline stores give the same batches, tensor by tensor, and checksums hold."""
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(1), {"a": 40, "b": 20}, types, "a", {"a": 3, "b": 2})
    items = []
    for features in ("table", "inline"):
        store = {"features": features, "zarr_format": zarr_format, "pad_value": 0.5}
        path = pipeline.prepare(data, job(data, tmp_path, sampling={"batch_size": 4, "rounds": 2}, store=store))
        items.append(list(ShardDataset(path, "train")))
    assert len(items[0]) == len(items[1]) > 0
    for one, other in zip(*items, strict=True):
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name
