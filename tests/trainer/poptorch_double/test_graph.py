"""The double of PopTorch: what a graph may hold.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import copy
import logging
from typing import Any, Callable, List, Optional

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainer.poptorch_double.nets import ROWS, Body, Net, Variadic, batch, mse, options, trace


def test_exactly_one_final_loss(pop: Any) -> None:
    """(6, 7, 8)"""
    legal: List[Callable[..., Any]] = [
        lambda net, out, x: (out, mse(out)),
        lambda net, out, x: {"nested": [mse(out).detach(), out]},
        lambda net, out, x: pop.identity_loss(mse(out) + functional.l1_loss(out, out * 0), reduction="none"),
        lambda net, out, x: (out.exp().sum(), pop.identity_loss(out.pow(2), reduction="mean")),
        lambda net, out, x: (mse(out), functional.l1_loss(out, out * 0))[0],  # the other one is dead code
    ]
    for body in legal:
        trace(pop, body)
    missing: List[Callable[..., Any]] = [
        lambda net, out, x: out.pow(2).mean(),
        lambda net, out, x: (out, mse(out))[0],  # not returned
    ]
    for body in missing:
        with pytest.raises(pop.Error, match="Couldn't find a loss in graph!"):
            trace(pop, body)
    for body in (
        lambda net, out, x: (mse(out), functional.l1_loss(out, out * 0)),
        lambda net, out, x: mse(out) + mse(out * 2),
    ):
        with pytest.raises(pop.Error, match="Multiple independent losses"):
            trace(pop, body)
    pop.inferenceModel(Body(lambda net, out, x: out))(batch()[0])  # inference needs none
    with pytest.raises(AssertionError, match="reduction"):
        pop.identity_loss(torch.ones(2), reduction="max")


def test_the_final_loss_alone_is_differentiated(pop: Any) -> None:
    """(7): what is computed from the loss does not matter."""
    executor = trace(pop, lambda net, out, x: mse(out) * 100)
    model = copy.deepcopy(Body(lambda net, out, x: mse(out)))
    model.load_state_dict(executor.model.state_dict())
    x = batch()[0]
    executor(x)
    model(x).backward()
    expected = model.linear.weight.detach() - 0.01 * model.linear.weight.grad
    torch.testing.assert_close(executor.model.state_dict()["linear.weight"], expected)


def test_cross_entropy_with_weights_or_smoothing(pop: Any) -> None:
    """(10)"""
    target = torch.zeros(ROWS, dtype=torch.long)

    def body(**extra: Any) -> Callable[..., Any]:
        return lambda net, out, x: functional.cross_entropy(out, x[:, 0].long() * 0, **extra)

    trace(pop, body(ignore_index=-100))
    for extra in ({"weight": torch.ones(4)}, {"label_smoothing": 0.1}):
        with pytest.raises(pop.Error, match="cross_entropy"):
            trace(pop, body(**extra))
    with pytest.raises(pop.Error, match="weight"):
        trace(pop, lambda net, out, x: functional.nll_loss(out.log_softmax(1), target, torch.ones(4)))


def test_a_micro_batch_needs_a_seed(pop: Any) -> None:
    """(10): what the device makes of 0/0 is not specified."""
    x, y = batch(2)
    executor = pop.trainingModel(Net(), options(pop, 2))
    executor.compile(x, torch.full_like(y, -100))  # values are unknown while tracing
    executor(x, torch.where(torch.arange(2 * ROWS) % ROWS == 1, y, -100))
    with pytest.raises(pop.Error, match="ignored"):
        executor(x, torch.where(torch.arange(2 * ROWS) == 1, y, -100))


DYNAMIC: List[Callable[..., Any]] = [
    lambda net, out, x: mse(out[x[:, 0] > 0]),
    lambda net, out, x: mse(torch.masked_select(out, out > 0)),
    lambda net, out, x: mse(out[torch.nonzero(x[:, 0]).flatten()]),
    lambda net, out, x: mse(out) * x.long().unique().numel(),
    lambda net, out, x: mse(out) * x.sum().item(),
    lambda net, out, x: mse(out) if x.sum() > 0 else mse(out * 2),
    lambda net, out, x: mse(out) * float(x.max()),
    lambda net, out, x: mse(out) * int(x.max()),
    lambda net, out, x: mse(out) * len(x.tolist()),
    lambda net, out, x: mse(out) * x.sum().numpy(),
    lambda net, out, x: mse(torch.repeat_interleave(out, x[:, 0].long().clamp(1, 2), dim=0)),
]


@pytest.mark.parametrize("body", DYNAMIC)
def test_what_depends_on_data_is_refused(pop: Any, body: Callable[..., Any]) -> None:
    """(11)"""
    with pytest.raises(pop.Error, match=r"depends on data|only exists on the device"):
        trace(pop, body)


def test_static_masks_are_fine(pop: Any) -> None:
    """(11)"""

    def assigned(net: Any, out: Tensor, x: Tensor) -> Tensor:
        out = out.clone()
        out[x[:, 0] > 0] = 0.0
        return mse(out)

    trace(pop, assigned)
    trace(pop, lambda net, out, x: mse(torch.where(x[:, :1] > 0, out, torch.zeros_like(out))))
    trace(pop, lambda net, out, x: mse(out[x[:, 0].long().clamp(0, 1)]))


def test_integers_may_be_clamped_on_one_side(pop: Any) -> None:
    """(91)"""
    trace(pop, lambda net, out, x: mse(out[x[:, 0].long().clamp(min=0).clamp(max=1)]))


def test_zero_sized_weights_end_in_an_error_that_hides_the_cause(pop: Any) -> None:
    """(90)"""
    model = Net()
    model.register_buffer("nothing", torch.zeros(0, 3))
    with pytest.raises(UnboundLocalError, match="cpu_aliases"):
        pop.trainingModel(model)(*batch())


def test_weights_are_moved_by_address(pop: Any) -> None:
    """(89): a transposed matrix arrives scrambled, and what is trained is written back to where it came from."""
    model = Net()
    seen = model.linear.weight.detach().clone()
    model.linear.weight.data = seen.t().contiguous().t()
    executor = pop.trainingModel(model, optimizer=pop.optim.SGD(model.parameters(), lr=0.0))
    executor(*batch())
    device = executor._executable.read_weights()["linear.weight"]
    assert torch.equal(device, seen.t().reshape(seen.shape)) and not torch.equal(device, seen)
    executor.copyWeightsToHost()
    executor.destroy()
    assert torch.equal(model.linear.weight, seen)


def test_zero_sized_tensors_are_refused(pop: Any) -> None:
    """(12): among inputs, and inside the graph."""
    with pytest.raises(pop.Error, match="Zero-sized tensors are unsupported"):
        pop.inferenceModel(Variadic())(torch.zeros(0, 3))
    with pytest.raises(pop.Error, match="Zero-sized tensors are unsupported"):
        pop.inferenceModel(Variadic())(torch.zeros(2, 3), torch.zeros(4, 0))
    with pytest.raises(pop.Error, match="Zero-sized tensors are unsupported"):
        trace(pop, lambda net, out, x: mse(out) + out[:0].sum())


def test_tensors_of_the_cpu_inside_a_model(pop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """(13)"""
    constant = torch.ones(4)
    with caplog.at_level(logging.WARNING, "poptorch"):
        trace(pop, lambda net, out, x: mse(out * torch.ones(4)) + isinstance(out, torch.LongTensor))
        trace(pop, lambda net, out, x: mse(out * torch.tensor([1.0, 2.0, 3.0, 4.0])))
    assert [text.split(":")[0] for text in caplog.messages] == [
        "No device set in torch.ones()",
        "No device set in torch.tensor()",
    ]
    illegal: List[Callable[..., Any]] = [
        lambda net, out, x: mse(out * torch.FloatTensor([1.0])),
        lambda net, out, x: mse(out[torch.LongTensor([0, 1])]),
        lambda net, out, x: mse(out * torch.ones(4, device="cpu")),
        lambda net, out, x: mse(out.cpu()),
        lambda net, out, x: mse(out.to("cpu")),
        lambda net, out, x: mse(out * constant),
    ]
    for body in illegal:
        with pytest.raises(pop.Error, match=r"(?i)cpu|explicit"):
            trace(pop, body)
    assert isinstance(torch.LongTensor([1]), torch.LongTensor)  # the real one is back


def test_parameters_and_buffers_stay_where_they_are(pop: Any) -> None:
    """(13)"""

    def reassigned(net: Any, out: Tensor, x: Tensor) -> Tensor:
        net.seen = net.seen + 1
        return mse(out)

    def removed(net: Any, out: Tensor, x: Tensor) -> Tensor:
        del net.seen
        return mse(out)

    def updated(net: Any, out: Tensor, x: Tensor) -> Tensor:
        net.seen.add_(1)
        return mse(out)

    with pytest.raises(pop.Error, match="reassigned"):
        trace(pop, reassigned)
    with pytest.raises(pop.Error, match="removed"):
        trace(pop, removed)
    executor = trace(pop, updated)
    assert executor.model.seen.tolist() == [0, 0]  # tracing runs nothing
    executor(batch()[0])
    assert executor.model.seen.tolist() == [1, 1]
    with pytest.raises(pop.Error, match="broadcastBuffers"):  # (52)
        pop.trainingModel(Body(updated), options(pop, replicas=2))(batch(2)[0])
    pop.trainingModel(Body(updated), options(pop, replicas=2).broadcastBuffers(False))(batch(2)[0])


def test_unsupported_layers(pop: Any) -> None:
    """(79)"""
    from torch_geometric.nn import GATConv, GCNConv, RGCNConv

    edges = torch.zeros(2, 4, dtype=torch.long)
    for layer in (GATConv(3, 4), GCNConv(3, 4), RGCNConv(3, 4, 2)):
        with pytest.raises(pop.Error, match="supported"):
            pop.inferenceModel(layer)(torch.ones(5, 3), edges)
    pop.inferenceModel(GATConv(3, 4, add_self_loops=False).eval())(torch.ones(5, 3), edges)


def test_aggregations_need_a_size(pop: Any) -> None:
    """(77, 78)"""
    from torch_geometric.nn import SumAggregation

    class Aggregate(nn.Module):
        def forward(self, x: Tensor, index: Tensor, size: Optional[int] = None) -> Tensor:
            return SumAggregation()(x, index, dim_size=size)

    x, index = torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    with pytest.raises((pop.Error, ValueError), match=r"dim_size|device"):
        pop.inferenceModel(Aggregate())(x, index)
    assert pop.inferenceModel(Aggregate())(x, index, 2).shape == (2, 3)


def test_a_model_knows_where_it_runs(pop: Any) -> None:
    executor = pop.inferenceModel(Body(lambda net, out, x: out * 0 + float(pop.isRunningOnIpu())))
    assert executor(batch()[0])[0, 0] == 1.0 and not pop.isRunningOnIpu()


def test_backward_is_refused_on_outputs(pop: Any) -> None:
    """(14)"""
    for output in pop.trainingModel(Net())(*batch()):
        with pytest.raises(pop.Error, match="backward"):
            output.backward()
