"""The double of PopTorch: optimizers.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import copy
import pickle
from typing import Any

import pytest
import torch

from tests.trainer.poptorch_double.nets import Net, batch


def test_optimizers_of_torch_and_of_poptorch_only(pop: Any) -> None:
    """(66, 68)"""
    legal = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop]
    for kind in [*legal, pop.optim.SGD, pop.optim.Adam, pop.optim.AdamW, pop.optim.RMSprop]:
        model = Net()
        before = model.linear.weight.detach().clone()
        executor = pop.trainingModel(model, None, kind(model.parameters(), lr=0.1))
        executor(*batch())
        assert not torch.equal(model.state_dict()["linear.weight"], before)
    model = Net()
    with pytest.raises(AssertionError, match="Unsupported optimizer"):
        pop.trainingModel(model, None, torch.optim.Adagrad(model.parameters()))
    for bad in (
        pop.optim.Adam(model.parameters(), amsgrad=True),
        torch.optim.SGD(model.parameters(), 0.1, 0.9, 0, 0, True),
    ):
        with pytest.raises(ValueError, match="not supported"):
            pop.trainingModel(model, None, bad)
    assert type(model) is Net  # refused before it was wrapped


def test_arguments_of_optimizers(pop: Any) -> None:
    """(67, 70)"""
    parameters = list(Net().parameters())
    with pytest.raises(TypeError, match="lr"):
        pop.optim.SGD(parameters)
    types = {"accum_type": torch.float16, "first_order_momentum_accum_type": torch.float16}
    assert pop.optim.Adam(parameters, lr=0.1, loss_scaling=2.0, max_grad_norm=1.0, **types).accum_type is torch.half
    for name in ("accum_type", "second_order_momentum_accum_type"):
        with pytest.raises(AssertionError, match=name):
            pop.optim.AdamW(parameters, lr=0.1, **{name: torch.bfloat16})
    with pytest.raises(TypeError, match="velocity_scaling"):
        pop.optim.Adam(parameters, velocity_scaling=1.0)
    with pytest.raises(pop.Error, match="never called on the host"):
        pop.optim.SGD(parameters, lr=0.1).step()


@pytest.mark.parametrize("is_own", [True, False])
def test_changes_need_set_optimizer(pop: Any, is_own: bool) -> None:
    """(44, 69)"""
    model, (x, y) = Net(), batch()
    optimizer = (pop.optim if is_own else torch.optim).Adam(model.parameters(), lr=0.1)
    executor = pop.trainingModel(model, None, optimizer)
    executor(x, y)
    optimizer.param_groups[0]["lr"] = 0.0
    before = model.state_dict()["linear.weight"].clone()
    executor(x, y)
    moved = model.state_dict()["linear.weight"].clone()
    assert not torch.equal(before, moved)
    executor.setOptimizer(optimizer)
    executor(x, y)
    assert torch.equal(model.state_dict()["linear.weight"], moved)
    optimizer.param_groups[0]["betas"] = (0.5, 0.5)
    with pytest.raises(pop.Error, match="constant"):
        executor.setOptimizer(optimizer)
    optimizer.param_groups[0]["betas"] = (0.9, 0.999)
    with pytest.raises(pop.Error, match="another kind"):
        executor.setOptimizer(torch.optim.SGD(optimizer.param_groups[0]["params"], lr=0.1))


def test_accumulator_types_are_fixed_at_compilation(pop: Any) -> None:
    """(69, 71)"""
    model = Net()
    optimizer = pop.optim.SGD(model.parameters(), lr=0.1)
    optimizer.variable_attrs.markAsVariable("momentum")
    executor = pop.trainingModel(model, None, optimizer)
    executor(*batch())
    optimizer.param_groups[0]["momentum"] = 0.5
    executor.setOptimizer(optimizer)
    optimizer.accum_type = torch.float16
    with pytest.raises(ValueError, match="accumulator"):
        executor.setOptimizer(optimizer)


def test_optimizer_state_is_poptorchs_own(pop: Any) -> None:
    """(70)"""
    model, (x, y) = Net(), batch()
    optimizer = pop.optim.Adam(model.parameters(), lr=0.1)
    assert optimizer.state_dict()["ipu_state"] is None
    executor = pop.trainingModel(model, None, optimizer)
    executor(x, y)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert set(state) == {"state", "param_groups", "ipu_state", "ipu_param"} and state["ipu_state"]
    executor(x, y)
    twin = Net()
    twin.load_state_dict(weights)
    other = pop.optim.Adam(twin.parameters(), lr=0.1)
    other.load_state_dict(pickle.loads(pickle.dumps(state)))
    second = pop.trainingModel(twin, None, other)
    second(x, y)
    torch.testing.assert_close(twin.state_dict()["linear.weight"], model.state_dict()["linear.weight"])
    second(x, y)
    executor.destroy()
    pop.trainingModel(model, None, optimizer)(x, y)  # a new executable takes the state over
    torch.testing.assert_close(twin.state_dict()["linear.weight"], model.state_dict()["linear.weight"])
    with pytest.raises(RuntimeError, match="IPU optimizer states"):
        other.load_state_dict(torch.optim.Adam(twin.parameters()).state_dict())
