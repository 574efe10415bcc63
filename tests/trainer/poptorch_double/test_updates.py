"""The double of PopTorch: updates of weights.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.poptorch_double.nets import ROWS, Net, Variadic, batch, options


def reference(model: nn.Module, x: Tensor, y: Tensor, members: Any, step: Any, is_mean: bool) -> None:
    """The same updates in plain torch."""
    for group in members:
        model.zero_grad()
        losses = [model(x[k * ROWS : (k + 1) * ROWS], y[k * ROWS : (k + 1) * ROWS])[1] for k in group]
        (sum(losses) / (len(losses) if is_mean else 1)).backward()
        step()


@pytest.mark.parametrize("is_mean", [True, False])
@pytest.mark.parametrize("is_contiguous", [True, False])
def test_one_update_per_accumulated_micro_batches(
    pop: Any, monkeypatch: pytest.MonkeyPatch, is_mean: bool, is_contiguous: bool
) -> None:
    """(33, 37, 38)"""
    monkeypatch.setattr(pop.double, "contiguous_replicas", is_contiguous)
    made, (x, y) = options(pop, 3, 2, 2), batch(12)
    kind = pop.ReductionType.Mean if is_mean else pop.ReductionType.Sum
    made.Training.accumulationAndReplicationReductionType(kind)
    model = Net()
    plain = copy.deepcopy(model)
    optimizer = pop.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)  # Adam would hide a factor
    executor = pop.trainingModel(model, made, optimizer)
    executor(x, y)
    executor(x, y)
    members = [update.micro_batches for update in executor.updates]
    once = (
        [(0, 1, 6, 7), (2, 3, 8, 9), (4, 5, 10, 11)] if is_contiguous else [(0, 2, 1, 3), (4, 6, 5, 7), (8, 10, 9, 11)]
    )
    assert members == once * 2 and [update.call for update in executor.updates] == [0, 0, 0, 1, 1, 1]
    reference(plain, x, y, members, torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9).step, is_mean)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_half_precision(pop: Any) -> None:
    """(28)"""
    model = Net().half()
    executor = pop.trainingModel(model, None, pop.optim.SGD(model.parameters(), lr=0.1, loss_scaling=128.0))
    x, y = batch()
    before = model.state_dict()["linear.weight"].clone()
    out, loss = executor(x.half(), y)
    assert out.dtype is loss.dtype is torch.float16 and torch.isfinite(out).all()
    after = model.state_dict()["linear.weight"]
    assert after.dtype is torch.float16 and not torch.equal(before, after)


def test_floating_point_exceptions(pop: Any) -> None:
    """(51): hardware only."""
    made = pop.Options()
    made.Precision.enableFloatingPointExceptions(True)
    with pytest.raises(pop.Error, match="floating-point exception"):
        pop.inferenceModel(Variadic(), made)(torch.tensor([float("inf")]))
    pop.inferenceModel(Variadic(), made.clone().useIpuModel(True))(torch.tensor([float("inf")]))
    pop.inferenceModel(Variadic())(torch.tensor([float("inf")]))
