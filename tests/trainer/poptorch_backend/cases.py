"""What tests of the poptorch backend share: models on the double, calls, and the reference in plain PyTorch."""

import numpy as np
import torch

from heteroshards.schemas.config import IpuConfig, ModelConfig, TrainConfig
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.models import build_model
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.order import sequential_order
from heteroshards.trainer.reading.stream import BatchStream
from tests.trainer.conftest import make_config

MODELS = ("to_hetero", "hetero_conv", "hgt")
FEEDING = {"device_iterations": 4, "gradient_accumulation": 2, "replication_factor": 2}  # 16 micro-batches a call


def built(store, name="to_hetero", **model):
    torch.manual_seed(0)
    manifest = store.manifest
    config = ModelConfig(name=name, hidden_channels=8, heads=2, **model)
    return SeedModel(build_model(config, manifest.graph), manifest.graph, manifest.budgets[0], config)


def example_of(store, model):
    with BatchStream(store, "train", [model.inputs], np.array([0])) as stream:
        return next(iter(stream))[1]


def ipu_job(root, ipu=None, model=None, **train):
    """The trainer tests' job, on the double."""
    config = make_config(root, **{"backend": "poptorch", **train})
    sections = {"ipu": IpuConfig(**(ipu or {}))}
    if model is not None:
        sections["model"] = ModelConfig(**model)
    return config.model_copy(update=sections)


def on_double(store, tmp_path, name="to_hetero", train=None, **ipu):
    model = built(store, name)
    backend = PopTorchBackend(IpuConfig(**ipu), tmp_path)
    return backend.compile(model, train or TrainConfig(lr=0.01), example_of(store, model)), model


def calls_of(store, model, group, num_calls, split="train"):
    """Whole calls over the first round, again and again."""
    order = np.resize(sequential_order(store.split(split), 0), num_calls * group)
    with BatchStream(store, split, [model.inputs], order, group=group) as stream:
        return [tensors for _, tensors in stream]


def reference_step(model, optimizer, batch, group, updates, reduction):
    """What one call must do, in plain PyTorch: per update the mean (or sum) of its micro-batches' gradients."""
    micro = [list(tensor.reshape(group, -1, *tensor.shape[1:]).unbind(0)) for tensor in batch]
    losses = torch.empty(group)
    for members in updates:
        optimizer.zero_grad(set_to_none=True)
        for i in members:
            _, loss = model(*[parts[i] for parts in micro])
            (loss / (len(members) if reduction == "mean" else 1)).backward()
            losses[i] = loss.detach()
        optimizer.step()
    return losses


def check_call_by_call(store, cache, name, num_calls=3, reduction="mean"):
    """Train on the double and in plain PyTorch: losses and weights agree after every call (29-38, 80).

    The tolerances are those of PopTorch's own tests. With plain SGD, because Adam would hide a wrong scale.
    """
    train = TrainConfig(lr=0.05, optimizer="sgd", momentum=0.9, weight_decay=0.001)
    compiled, model = on_double(store, cache, name, train, reduction=reduction, **FEEDING)
    plain = built(store, name)
    plain.initialise(example_of(store, plain))
    plain.load_state_dict(compiled.model_state())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=0.001)
    assert compiled.step_batches == 16
    done = 0
    for batch in calls_of(store, model, 16, num_calls):
        out, loss = compiled.step(batch)
        updates = [update.micro_batches for update in compiled._executors["train"].updates[done:]]
        done += len(updates)
        assert len(updates) == 4 and sorted(i for members in updates for i in members) == list(range(16))
        expected = reference_step(plain, optimizer, batch, 16, updates, reduction)
        assert out.shape == (16 * store.manifest.max_seeds, store.manifest.graph.num_classes)
        torch.testing.assert_close(loss, expected, atol=1e-3, rtol=1e-2)
        weights = compiled.model_state()
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(weights[key], value, atol=1e-3, rtol=1e-2, msg=key)
    compiled.close()
