"""Bytes that a device receives: one number, whoever names it."""

import numpy as np
import pytest
import torch

from heteroshards.pipeline.forecast.job import forecast
from heteroshards.pipeline.inspect.ledger import LedgerReader
from heteroshards.pipeline.inspect.statistics import store_use
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sizing.sharing import shape_sizes
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.inputs import bytes_to_device, model_inputs, usual_inputs
from heteroshards.trainer import open_store
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from tests.pipeline.build import job
from tests.strategies import random_graph

SAMPLING = {"batch_size": 4, "rounds": 2, "fanout": [3, 2]}
TRAIN = {"sparse_features": "never", "backend": "eager"}


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize("edge_dim", [0, 2])
def test_plan_inspect_and_the_trainer_say_the_same(tmp_path, features, edge_dim):
    types = {("a", "to", "b"): 80, ("b", "to", "a"): 120}
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30}, types, "a", {"a": 3})
    if edge_dim:  # which built-in models take
        data["b", "to", "a"].edge_attr = torch.ones(120, edge_dim)
    sections = {"sampling": SAMPLING, "store": {"features": features}, "train": {**TRAIN, "cache": str(tmp_path)}}
    config = job(data, tmp_path / "stores", **sections)
    source = from_data(data, config.dataset, {"dataset": "test"})
    planned, written = forecast(source, config), prepare_source(source, config)
    used = store_use(written.path)
    store = open_store(written.path)
    with open_job(config, store, EagerBackend()) as opened:
        for split in used.splits:
            with opened.stream(split.name, np.arange(1)) as stream:
                ((_, tensors),) = stream
            received = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            (shape,) = [shape for shape in planned.shapes if split.name in shape.splits]
            assert received == shape.bytes_per_batch == split.totals.bytes / split.totals.num_batches
            by_type = {(use.kind, use.name): use.bytes_per_batch for use in split.parts[0].types}
            assert by_type == {(use.kind, use.name): use.bytes_per_batch for use in shape.types}
    own = next(other for other in planned.alternatives if (other.grouping, other.mode) == ("balanced", "exact"))
    assert own.bytes_per_batch == bytes_to_device(usual_inputs(store.manifest.graph, store.manifest.budgets[0]))


def test_shapes_are_chosen_by_these_bytes(tmp_path):
    types = {("a", "to", "b"): 80, ("b", "to", "a"): 120}
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30}, types, "a", {"a": 3})
    config = job(data, tmp_path, sampling=SAMPLING, budget={"scope": "all"})
    source = from_data(data, config.dataset, {"dataset": "test"})
    written = prepare_source(source, config)
    graph, (budget,) = written.manifest.graph, written.manifest.budgets
    reader, sizes = LedgerReader(written.path), {}
    for split in written.manifest.splits:
        ledger = reader.read(written.manifest.parts(split)[0])
        sizes[split.name] = Sizes(ledger.num_nodes, ledger.num_edges)
    num_batches = sum(map(len, sizes.values()))
    seeds = bytes_to_device([spec for spec in model_inputs(graph, budget) if spec.kind in ("target", "seed_mask")])
    rows = bytes_to_device(model_inputs(graph, budget)) - seeds  # those of seeds are the same in every shape
    assert shape_sizes(graph, sizes, budget.max_seeds, 1).padded_bytes == (num_batches * rows,)
