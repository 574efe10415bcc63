"""What one call computes is what plain PyTorch computes; answers and weights are whole."""

import numpy as np
import pytest
import torch

from heteroshards.schemas.config import TrainConfig
from heteroshards.schemas.errors import BackendError, SignatureMismatchError
from heteroshards.trainer import ShardDataset
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, open_job
from tests.trainer.poptorch_backend.cases import (
    MODELS,
    built,
    calls_of,
    check_call_by_call,
    example_of,
    ipu_job,
    on_double,
)


@pytest.mark.parametrize("contiguous", [True, False], ids=["blocks", "dealt"])
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_weights_follow_plain_pytorch_call_by_call(store_of, tmp_path, poptorch, name, contiguous):
    """Whichever way the host hands micro-batches to replicas (33)."""
    poptorch.double.contiguous_replicas = contiguous
    check_call_by_call(store_of(chunk_batches=4), tmp_path, name)


def test_gradients_can_be_summed(store_of, tmp_path, poptorch):
    """(50)"""
    check_call_by_call(store_of(chunk_batches=4), tmp_path, "to_hetero", num_calls=2, reduction="sum")


def test_a_hetero_data_batch_passes_through_poptorch_geometrics_parser(store_of, poptorch):
    """(23-25, 77): every tensor arrives under its own name and in its own shape."""
    import poptorch_geometric  # noqa: F401

    class Look(torch.nn.Module):
        def forward(self, batch):
            movie = batch["movie"]
            return movie.x.sum(), movie.n_id, batch["movie", "to", "actor"].edge_index, batch["actor"].nodes_mask

    batch = ShardDataset(store_of(), "train", as_hetero_data=True)[0]
    total, n_id, edge_index, mask = poptorch.inferenceModel(Look())(batch)
    torch.testing.assert_close(total, batch["movie"].x.sum())
    assert torch.equal(n_id.long(), batch["movie"].n_id)
    assert torch.equal(edge_index.long(), batch["movie", "to", "actor"].edge_index)
    assert torch.equal(mask, batch["actor"].nodes_mask)


def test_one_compilation_per_kind_and_weights_that_travel(store_of, tmp_path, poptorch):
    """(39-43, 45): inference sees trained weights; only one executor holds the device."""
    store = store_of()
    compiled, model = on_double(store, tmp_path)
    (train,), (test,) = calls_of(store, model, 1, 1), calls_of(store, model, 1, 1, "test")
    before = compiled.infer(test)[1]
    for _ in range(30):
        compiled.step(train)
    after = compiled.infer(test)[0]
    plain = built(store)
    plain.initialise(test)
    plain.load_state_dict(compiled.model_state())
    torch.testing.assert_close(after, plain.eval()(*test)[0].detach(), atol=1e-5, rtol=1e-5)
    assert compiled.infer(train)[1] < before
    assert compiled.num_compilations == {"train": 1, "infer": 1} and poptorch.double.compilations == 2
    attached = [executor.isAttachedToDevice() for executor in compiled._executors.values()]
    assert sum(attached) <= 1
    compiled.close()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # torch 2.0 warns of its own torch.load
@pytest.mark.parametrize(("optimizer", "more"), [("adam", {}), ("adamw", {}), ("sgd", {"momentum": 0.9})])
def test_optimizers_and_their_state(store_of, tmp_path, poptorch, optimizer, more):
    """(66-70): a state that was saved goes on as if nothing had happened; a plain torch state is refused."""
    store = store_of()
    train = TrainConfig(lr=0.01, optimizer=optimizer, **more)
    first, model = on_double(store, tmp_path, train=train)
    batches = calls_of(store, model, 1, 4)
    for batch in batches[:2]:
        first.step(batch)
    torch.save({"model": first.model_state(), "optimizer": first.optimizer_state()}, tmp_path / "saved.pt")
    expected = [first.step(batch)[1] for batch in batches[2:]]
    first.close()
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    second, _ = on_double(store, tmp_path, train=train)
    second.load_model_state(saved["model"])
    second.load_optimizer_state(saved["optimizer"])
    for batch, loss in zip(batches[2:], expected):
        torch.testing.assert_close(second.step(batch)[1], loss, atol=1e-6, rtol=1e-5)
    with pytest.raises(BackendError, match="optimizer state"):
        second.load_optimizer_state(torch.optim.Adam(model.parameters()).state_dict())
    second.close()


@pytest.mark.skipif(torch.__version__.startswith("2.0"), reason="torch 2.0 cannot multiply float16 matrices on a CPU")
def test_half_precision_trains_and_saves_float32(store_of, tmp_path, poptorch):
    """(28)"""
    store = store_of()
    compiled, model = on_double(store, tmp_path, half=True, loss_scaling=128.0, stochastic_rounding=True)
    (batch,) = calls_of(store, model, 1, 1)
    first = float(compiled.step(batch)[1])
    for _ in range(20):
        out, loss = compiled.step(batch)
    assert float(loss) < first and out.dtype == torch.float32
    assert {value.dtype for value in compiled.model_state().values() if value.is_floating_point()} == {torch.float32}
    compiled.close()


def test_another_shape_is_refused_before_poptorch_sees_it(store_of, tmp_path, poptorch):
    store = store_of()
    compiled, model = on_double(store, tmp_path, device_iterations=2)
    (batch,) = calls_of(store, model, 1, 1)
    with pytest.raises(SignatureMismatchError, match="compiled for"):
        compiled.step(batch)
    assert poptorch.double.compilations == 0
    compiled.close()


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_outputs_in_another_order_are_found_under_replication(store_of, tmp_path, poptorch, kind, monkeypatch):
    """(33, 34): which output belongs to which batch is not promised there, so the first call proves it."""
    store = store_of()
    compiled, model = on_double(store, tmp_path, replication_factor=2)
    (batch,) = calls_of(store, model, 2, 1)
    executor = compiled._executors[kind]
    run = type(executor).__call__
    swap = lambda self, *given: tuple(torch.cat(part.chunk(2)[::-1]) for part in run(self, *given))  # noqa: E731
    monkeypatch.setattr(type(executor), "__call__", swap)
    with pytest.raises(BackendError, match="in another order"):
        (compiled.step if kind == "train" else compiled.infer)(batch)
    compiled.close()


def test_adam_follows_eager_too(store_of, tmp_path, poptorch):
    """Against the eager backend itself, one batch a call."""
    store = store_of()
    train = TrainConfig(lr=0.01, weight_decay=0.001)
    compiled, model = on_double(store, tmp_path, train=train)
    plain = built(store)
    eager = EagerBackend().compile(plain, train, example_of(store, plain))
    eager.load_model_state(compiled.model_state())
    for batch in calls_of(store, model, 1, 6):
        torch.testing.assert_close(compiled.step(batch)[1].squeeze(), eager.step(batch)[1], atol=1e-3, rtol=1e-2)
    for name, value in eager.model_state().items():
        torch.testing.assert_close(compiled.model_state()[name], value, atol=1e-3, rtol=1e-2, msg=name)
    compiled.close()


def test_training_and_inference_have_a_budget_each(store_of, tmp_path, poptorch):
    """(2, 40-42): executors of one model; each batch has its own shape, weights travel from training to all of them.
    Split train, when it is inferred, takes an executor more."""
    store = store_of(apart=True, chunk_batches=4)
    config = ipu_job(tmp_path, {"device_iterations": 2})
    with open_job(config, store, backend_of(config)) as job, open_job(config, store, EagerBackend()) as plain:
        for _ in range(2):
            with job.stream("train", np.arange(4), group=2) as stream:
                for _, tensors in stream:
                    job.compiled.step(tensors)
            plain.compiled.load_model_state(job.compiled.model_state())
            for split in ("val", "train"):
                found, expected = answer(job, split), answer(plain, split)
                np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
        assert job.compiled.num_compilations == {"train": 1, "infer": 2}
