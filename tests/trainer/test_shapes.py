"""Stores of several shapes: read by one numbering, trained by one set of weights, compiled once per shape."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from heteroshards.schemas.config import IpuConfig, ModelConfig
from heteroshards.schemas.errors import (
    BackendError,
    CheckpointError,
    CorruptChunkError,
    ManifestError,
    SignatureMismatchError,
)
from heteroshards.schemas.inputs import EXTRA_INPUTS, model_inputs
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable
from heteroshards.trainer.reading.order import sequential_order, shuffled_order
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.reading.stream import BatchStream
from heteroshards.trainer.runs.names import LAST
from heteroshards.trainer.training import fit
from tests.layouts import stored_at
from tests.poptorch_double import installed
from tests.trainer.conftest import make_config
from tests.trainer.factory_graph import source
from tests.trainer.run_cases import stop_at
from tests.trainer.store_factory import write_store


@pytest.fixture(scope="module")
def store(store_of):
    """Three shapes; split val has no batch of the third."""
    return store_of(shapes=3, chunk_batches=2)


def stored_batches(store, split, tensor):
    """By a loop over parts: the tensor of every batch, in the split's numbering."""
    found = []
    for part in store.split(split).parts:
        found += list(store.read(f"{split}/shape_{part.shape}/{tensor}"))
    return found


def test_the_parts_of_the_case(store):
    assert [part.shape for part in store.split("train").parts] == [0, 1, 2]
    assert [part.shape for part in store.split("val").parts] == [0, 1]
    assert store.split("train").parts[0].round_starts == (0, 4, 8)


@pytest.mark.parametrize("round", [0, 1])
def test_a_stream_reads_by_the_splits_numbers(store, round):
    inputs = [model_inputs(store.manifest.graph, budget, EXTRA_INPUTS) for budget in store.manifest.budgets]
    place = [(spec.kind, spec.key) for spec in inputs[0]].index(("edge_index", "actor__to__movie"))
    expected = stored_batches(store, "train", "edges/actor__to__movie/edge_index")
    order = shuffled_order(store.split("train"), round, 2, 5, 0)
    assert sorted(order.tolist()) == sequential_order(store.split("train"), round).tolist()
    with BatchStream(store, "train", inputs, order, start=1) as stream:
        found = [(int(batch), tensors[place].numpy()) for (batch,), tensors in stream]
    assert [batch for batch, _ in found] == order[1:].tolist()
    for batch, edge_index in found:
        np.testing.assert_array_equal(edge_index, expected[batch])
    assert len({edge_index.shape for _, edge_index in found}) == 3


@pytest.mark.parametrize("features", ["table", "inline"])
def test_items_have_the_shape_of_their_part(store_of, features):
    store = store_of(shapes=3, features=features)
    expected = stored_batches(store, "train", "nodes/actor/n_id")
    dataset = ShardDataset(store, "train")
    assert len(dataset) == len(expected) == 16
    for index in (15, 0, 7, -2):
        ids = dataset[index]["nodes/actor/n_id"]
        np.testing.assert_array_equal(ids.numpy(), expected[index])
        assert len(dataset[index]["nodes/actor/x"]) == len(ids)
    data = ShardDataset(store, "train", as_hetero_data=True)[15]
    assert data.num_nodes == sum(store.manifest.budgets[2].num_nodes.values())
    assert data.num_edges == sum(store.manifest.budgets[2].num_edges.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_each_seed_of_a_round_once(store, workers):
    dataset = ShardDataset(store, "train", round=1)
    for epoch in (None, 3):
        loader = DataLoader(ShardIterable(dataset, epoch), batch_size=None, num_workers=workers)
        seeds = torch.cat([item["seeds/n_id"] for item in loader])
        assert sorted(seeds[seeds >= 0].tolist()) == list(range(30))


def test_answers_are_by_seed(store, tmp_path):
    config = make_config(tmp_path)
    with open_job(config, store, backend_of(config)) as job:
        found = answer(job, "test")
        one_by_one = {}
        with job.stream("test", np.arange(store.split("test").num_batches)) as stream:
            seeds = stored_batches(store, "test", "seeds/n_id")
            for (batch,), tensors in stream:
                shares = torch.softmax(job.compiled.infer(tensors)[0], -1)
                one_by_one.update({int(n): s.numpy() for n, s in zip(seeds[batch], shares) if n >= 0})
    assert found.node_id.tolist() == sorted(one_by_one) == list(range(41, 60))
    np.testing.assert_allclose(found.values, [one_by_one[n] for n in found.node_id], rtol=1e-6)
    assert found.targets["y"].tolist() == source().targets["y"][41:60].tolist()


def test_an_interrupted_run_resumes_bit_for_bit(store, tmp_path):
    config = make_config(tmp_path)
    whole = fit(config, store, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(config, store, tmp_path / "cut", backend=stop_at(EagerBackend(), 11))
    assert fit(config, store, tmp_path / "cut", resume_run=True) == whole
    states = [torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(states[0]["model"][key], states[1]["model"][key]) for key in states[0]["model"])


def test_all_shapes_share_weights_and_optimizer(store, tmp_path):
    config = make_config(tmp_path)
    with open_job(config, store, EagerBackend()) as job:
        before = job.compiled.model_state()
        firsts = store.split("train").first_batches[:3]
        for batch in firsts:
            with job.stream("train", np.array([batch])) as stream:
                job.compiled.step(next(iter(stream))[1])
        after, optimizer = job.compiled.model_state(), job.compiled.optimizer_state()
    assert list(before) == list(after) and any(not torch.equal(before[key], after[key]) for key in before)
    assert {int(state["step"]) for state in optimizer["state"].values()} == {3}


class Summed(nn.Module):
    """A model of few kernels, as each shape compiles them anew: movies and the sums of their actors."""

    def __init__(self, graph, config):
        super().__init__()
        self.movie, self.actor = nn.Linear(6, graph.num_classes), nn.Linear(5, graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        actor, movie = edge_index_dict["actor", "to", "movie"]
        return self.movie(x_dict["movie"]).index_add(0, movie, self.actor(x_dict["actor"])[actor])


def quickly_compiled(root):
    return make_config(root).model_copy(update={"model": ModelConfig(name="tests.trainer.test_shapes:Summed")})


def test_each_shape_that_occurs_is_compiled_once(store, tmp_path, request):
    backend = InductorBackend(request.config.cache.mkdir("compiled"))
    can_compile, reason = backend.is_available()
    if not can_compile:
        pytest.skip(reason)
    with open_job(quickly_compiled(tmp_path), store, backend) as job:
        answer(job, "val")
        assert job.compiled.num_compilations == {"train": 0, "infer": 2}
        with job.stream("train", sequential_order(store.split("train"), 0)) as stream:
            for _, tensors in stream:
                job.compiled.step(tensors)
        for split in ("val", "test"):
            answer(job, split)
        assert job.compiled.num_compilations == {"train": 3, "infer": 3}


def test_a_batch_of_no_shape_is_refused(store, tmp_path):
    with open_job(make_config(tmp_path), store, EagerBackend()) as job:
        with job.stream("train", np.array([0])) as stream:
            tensors = list(next(iter(stream))[1])
        tensors[0] = tensors[0][:-1]
        with pytest.raises(SignatureMismatchError):
            job.compiled.infer(tensors)


def test_a_checkpoint_belongs_to_all_shapes(store_of, store, tmp_path):
    """Two stores that differ in nothing but the number of shapes."""
    config = make_config(tmp_path, epochs=1)
    fit(config, store, tmp_path)
    with pytest.raises(CheckpointError, match="shape_signature"):
        fit(config, store_of(shapes=2, chunk_batches=2), tmp_path, resume_run=True)


def test_training_and_inference_are_compiled_for_a_budget_each(store_of, tmp_path, request):
    """Two compilations, as with one budget for all; a split that both are used on is one more."""
    backend = InductorBackend(request.config.cache.mkdir("compiled"))
    can_compile, reason = backend.is_available()
    if not can_compile:
        pytest.skip(reason)
    with open_job(quickly_compiled(tmp_path), store_of(apart=True), backend) as job:
        with job.stream("train", np.arange(2)) as stream:
            for _, tensors in stream:
                job.compiled.step(tensors)
        for split in ("val", "test"):
            answer(job, split)
        assert job.compiled.num_compilations == {"train": 1, "infer": 1}
        answer(job, "train")
        assert job.compiled.num_compilations == {"train": 1, "infer": 2}


@pytest.mark.parametrize(
    "rounds", [{"train": 2}, {"predict": 1}, {"val": 1, "test": 1}], ids=["train", "predict", "val"]
)
def test_a_store_of_one_purpose_has_its_budget_first(store_of, tmp_path, rounds):
    store = store_of(rounds=rounds)
    with open_job(make_config(tmp_path), store, EagerBackend()) as job:
        for split in rounds:
            assert len(answer(job, split).node_id) == store.split(split).num_seeds


@pytest.mark.parametrize("name", ["eager", "poptorch"])
def test_a_split_is_inferred_when_nothing_of_train_is_intact(tmp_path, name):
    """The model is then built with a batch of another shape."""
    path = write_store(tmp_path / "store", apart=True, chunk_batches=4)
    whole = open_store(path)
    config = make_config(tmp_path, on_corrupt="skip", backend=name)
    with installed(), open_job(config, whole, backend_of(config)) as job:
        expected = answer(job, "test")
    array = stored_at(whole.manifest, "train/edges/actor__to__movie/edge_index").spec
    for chunk in (path / array.path).glob("[0-9]*"):
        chunk.write_bytes(b"")
    with installed(), open_job(config, open_store(path), backend_of(config)) as job:
        np.testing.assert_allclose(answer(job, "test").values, expected.values, atol=1e-6)
        with pytest.raises(CorruptChunkError):
            answer(job, "train")


def test_an_ipu_takes_one_shape(store, tmp_path):
    with pytest.raises(BackendError, match=r"3 shapes.*shapes = 1"):
        with open_job(make_config(tmp_path), store, PopTorchBackend(IpuConfig(), tmp_path)):
            pass


def test_contradictions_in_a_manifest_are_found(store, tmp_path):
    values = store.manifest.model_dump(mode="json")
    budgets = values["budgets"]
    few = {**budgets[1], "max_seeds": 2}
    train = values["splits"][0]
    only_third = {**train, "parts": train["parts"][2:]}
    for change, message in (
        ({"budgets": [budgets[0]] * 3}, "same budget"),
        ({"budgets": budgets[:1]}, "parts of shapes"),
        ({"budgets": [budgets[0], few, budgets[2]]}, "number of seeds"),
        ({"splits": values["splits"][1:] + [only_third]}, "must come first"),
    ):
        path = write_store(tmp_path / message.replace(" ", "-"), shapes=3, **change)
        with pytest.raises(ManifestError, match=message):
            open_store(path)
