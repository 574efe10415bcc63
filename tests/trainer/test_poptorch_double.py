"""The double of PopTorch rejects what the host rules forbid and accepts the legal twin.

Numbers in parentheses are those of the facts about PopTorch that each test holds the double to.
"""

import copy
import logging
import pickle
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.poptorch_double import installed

ROWS = 5


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    with installed() as poptorch:
        yield poptorch


@pytest.fixture()
def pop(package: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("POPTORCH_CACHE_DIR", "POPTORCH_IPU_MODEL", "POPTORCH_DEFAULT_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(package.double, "compilations", 0)
    monkeypatch.setattr(package.double, "cache_hits", 0)
    return package


class Net(nn.Module):
    """Logits and their loss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tuple[Tensor, Tensor]:
        out = self.linear(x) * scale
        return out, functional.cross_entropy(out, y)


class Body(nn.Module):
    """A net whose forward is the test's: `body(net, out, x)` after a linear layer."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("seen", torch.zeros(2))
        self.body = body

    def forward(self, x: Any) -> Any:
        return self.body(self, self.linear(x), x)


def batch(num: int = 1, seed: int = 0) -> Tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num * ROWS, 3, generator=generator)
    return x, torch.randint(0, 4, (num * ROWS,), generator=generator).int().long()


def options(pop: Any, iterations: int = 1, replicas: int = 1, accumulation: int = 1, mode: Optional[str] = None) -> Any:
    made = pop.Options().deviceIterations(iterations).replicationFactor(replicas)
    made.Training.gradientAccumulation(accumulation)
    return made.outputMode(pop.OutputMode[mode]) if mode else made


def trace(pop: Any, body: Callable[..., Any]) -> Any:
    """Compile for training; the executor. Losses are made by the body."""
    executor = pop.trainingModel(Body(body))
    executor.compile(batch()[0])
    return executor


def mse(out: Tensor) -> Tensor:
    return functional.mse_loss(out, torch.zeros_like(out))


def host_memory(model: nn.Module) -> Tensor:
    """A view of a weight, taken before wrapping: reading it later fetches nothing from the device."""
    return model.linear.weight.detach()


# Wrapping and options


def test_the_model_is_wrapped_once_and_unwrapped_after_compilation_only(pop: Any) -> None:
    """(1, 2, 3, 45)"""
    model = Net()
    executor = pop.trainingModel(model)
    assert type(model).__name__ == "PoptorchNet" and type(model.linear.weight).__name__ == "PoptorchParameter"
    with pytest.raises(RuntimeError, match="already been wrapped"):
        pop.trainingModel(model)
    executor.destroy()  # before compilation: nothing happens
    with pytest.raises(RuntimeError, match="already been wrapped"):
        pop.trainingModel(executor)
    executor(*batch())
    executor.destroy()
    assert type(model) is Net and type(model.linear.weight) is nn.Parameter and type(model.seen) is Tensor
    pop.trainingModel(model)
    assert executor.model is model


def test_lazy_parameters_are_refused(pop: Any) -> None:
    """(80)"""
    model = Net()
    model.linear.weight = nn.UninitializedParameter()
    with pytest.raises(pop.Error, match="lazy"):
        pop.trainingModel(model)


def test_the_training_flag_of_the_wrapped_copy_is_its_own(pop: Any) -> None:
    """(2): the top module's flag as it was at wrapping."""
    model = Body(lambda net, out, x: out + float(net.training))
    executor = pop.inferenceModel(model.eval())
    model.train()
    x = batch()[0]
    torch.testing.assert_close(executor(x), model.linear(x).detach())


def test_options_are_frozen_and_copied(pop: Any) -> None:
    """(4, 49)"""
    given = options(pop, 2)
    executor = pop.inferenceModel(Net(), given)
    with pytest.raises(AttributeError, match="frozen"):
        given.deviceIterations(3)
    with pytest.raises(AttributeError, match="frozen"):
        given.Training.gradientAccumulation(3)
    assert given.clone().deviceIterations(3).device_iterations == 3
    assert executor.options is not given and executor.options.device_iterations == 2
    with pytest.raises(pop.Error, match="Expected poptorch"):
        pop.inferenceModel(Net(), {"deviceIterations": 2})


def test_inference_takes_no_gradient_accumulation(pop: Any) -> None:
    """(5)"""
    with pytest.raises(pop.Error, match="gradientAccumulation"):
        pop.inferenceModel(Net(), options(pop, accumulation=2))


def test_options_check_types_and_names_but_not_sense(pop: Any) -> None:
    """(49, 50)"""
    bad: List[Callable[[Any], Any]] = [
        lambda o: o.deviceIterations(2.0),
        lambda o: o.outputMode("All"),
        lambda o: o.outputMode(pop.OutputMode.EveryN),
        lambda o: o.connectionType("Never"),
        lambda o: o.noSuchOption(1),
        lambda o: o.Training.no_such_field,
        lambda o: o.Precision.enableStochasticRounding(1),
        lambda o: o.Precision.setPartialsType(torch.int32),
        lambda o: o.setAvailableMemoryProportion(0.6),
        lambda o: o.setAvailableMemoryProportion({"IPU0": 2.0}),
        lambda o: o.useOfflineIpuTarget(3),
        lambda o: o.TensorLocations.numIOTiles(33),
    ]
    for set_it in bad:
        with pytest.raises(AssertionError):
            set_it(pop.Options())
    with pytest.raises(ValueError, match="Mean or Sum"):
        pop.Options().Training.accumulationAndReplicationReductionType(pop.ReductionType.NoReduction)
    with pytest.raises(AttributeError, match="setter"):
        pop.Options().device_iterations = 2
    with pytest.raises(pop.Error, match="at least 1"):
        pop.inferenceModel(Net(), pop.Options().deviceIterations(0)).compile(*batch())
    legal = pop.Options().randomSeed(3).enableExecutableCaching(None).useIpuModel(True).modelName("m").logDir("d")
    legal._Popart.set("defaultPrefetchBufferingDepth", 3)
    legal.Precision.enableFloatingPointExceptions(True).setPartialsType(torch.half)
    assert legal.random_seed == 3 and torch.initial_seed() == 3 and legal.Precision.partials_type is torch.half


def test_the_number_of_ipus_is_a_power_of_two(pop: Any) -> None:
    """(55)"""
    with pytest.raises(pop.Error, match="power of two"):
        pop.inferenceModel(Net(), options(pop, replicas=3)).compile(*batch(3))
    pop.inferenceModel(Net(), options(pop, replicas=3).autoRoundNumIPUs(True)).compile(*batch(3))


def test_options_from_json_file_and_environment(pop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(53, 54)"""
    text = '{"deviceIterations": 3, "outputMode": ["OutputMode.EveryN", 3], "Training.gradientAccumulation": 2}'
    monkeypatch.setenv("POPTORCH_DEFAULT_OPTIONS", text)
    monkeypatch.setenv("POPTORCH_CACHE_DIR", "somewhere")
    monkeypatch.setenv("POPTORCH_IPU_MODEL", "1")
    bare = pop.Options()
    assert (bare.device_iterations, bare.output_return_period, bare.Training.gradient_accumulation) == (3, 3, 2)
    assert bare.cache_dir == "somewhere" and bare.use_ipu_model
    assert not bare.useIpuModel(False).use_ipu_model
    path = tmp_path / "options"
    path.write_text("deviceIterations(5)\n")
    assert pop.Options().loadFromFile(str(path)).device_iterations == 5
    path.write_text("deviceIterations(\n")
    with pytest.raises(pop.ConfigFileError):
        pop.Options().loadFromFile(str(path))
    assert pickle.loads(pickle.dumps(bare)).device_iterations == 3


# Arguments


def test_arguments_are_bound_to_the_signature(pop: Any) -> None:
    """(15, 17)"""
    x, y = batch()
    executor = pop.inferenceModel(Net())
    executor(x, y=y)  # positional and keyword forms are equivalent
    executor(y=y, x=x, scale=1.0)
    for args, kwargs in (((x, y, 1.0, 2), {}), ((x, y), {"z": 1}), ((x, y), {"y": y})):
        with pytest.raises(AssertionError):
            executor(*args, **kwargs)
    with pytest.raises(pop.Error, match="Mandatory parameter y missing"):
        executor(x)


def test_python_values_are_baked_in(pop: Any) -> None:
    """(16)"""
    executor = pop.inferenceModel(Net())
    executor(*batch(), scale=2.0)
    with pytest.raises(pop.Error, match="Value mismatch for scale"):
        executor(*batch(), scale=3.0)
    with pytest.raises(pop.Error, match="Type mismatch for scale"):
        executor(*batch(), scale=2)


def test_non_contiguous_and_gradient_inputs_are_warned_about(pop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """(18)"""
    x, y = batch()
    executor = pop.inferenceModel(Net())
    with caplog.at_level(logging.WARNING, "poptorch"):
        expected = executor(x.clone().requires_grad_(), y)[0]
        actual = executor(x.t().contiguous().t(), y)[0]
        executor(x.t().contiguous().t(), y)
    assert [("requires_grad" in text, "not contiguous" in text) for text in caplog.messages] == [
        (True, False),
        (False, True),
    ]
    assert torch.equal(expected, actual)


def test_later_calls_are_compared_with_the_compile_call(pop: Any) -> None:
    """(19, 20, 29)"""
    x, y = batch(4)
    executor = pop.inferenceModel(Net(), options(pop, 2))
    executor(x, y)
    wrong = {
        "Shape mismatch for x": (x[:10], y[:10]),
        "Data type mismatch for y": (x, y.int()),
        "Type mismatch for y": (x, (y,)),
    }
    for message, args in wrong.items():
        with pytest.raises(pop.Error, match=message) as caught:
            executor(*args)
        assert "destroy()" in str(caught.value) and executor.num_compilations == 1
    variadic = pop.inferenceModel(Variadic())
    variadic(x, y)
    with pytest.raises(pop.Error, match="Number of positional arguments"):
        variadic(x)


class Variadic(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return tensors[0] * 2


Pair = namedtuple("Pair", "first second")


def test_nests_of_arguments(pop: Any) -> None:
    """(9, 15, 21, 22)"""
    x, _ = batch()
    executor = pop.inferenceModel(Nested())
    executor({"a": x, "b": x + 1}, (x, [x]))
    swapped = executor({"b": x + 1, "a": x}, (x, [x]))  # another order of keys is put right
    torch.testing.assert_close(swapped["pair"].first, x)
    assert type(swapped["pair"]) is Pair
    with pytest.raises(pop.Error, match="Keys mismatch for by_type"):
        executor({"a": x}, (x, [x]))
    with pytest.raises(pop.Error, match="Length mismatch"):
        executor({"a": x, "b": x}, (x, [x], x))
    with pytest.raises(pop.Error, match="Type mismatch"):
        executor({"a": x, "b": x}, [x, [x]])


def test_wrong_tuple_keys_are_type_errors(pop: Any) -> None:
    """(21)"""
    x, _ = batch()
    executor = pop.inferenceModel(Nested())
    key = ("a", "to", "b")
    executor({"a": x, key: x}, x)
    with pytest.raises(TypeError):
        executor({"a": x, ("b", "to", "a"): x}, x)
    with pytest.raises(pop.Error, match="Shape mismatch"):
        executor({"a": x, key: x[:2]}, x)


class Nested(nn.Module):
    def forward(self, by_type: Dict[Any, Tensor], rest: Any) -> Any:
        return {"pair": Pair(by_type["a"] * 1, 7)}


def test_hetero_data_flattens_in_insertion_order(pop: Any) -> None:
    """(23, 24, 25, 77): two batches of another order pass and swap their tensors."""
    from torch_geometric.data import HeteroData

    def data(order: str) -> HeteroData:
        made = HeteroData()
        for name in order:
            made[name].x = torch.full((2, 3), float(ord(name)))
        made["a", "to", "b"].edge_index = torch.zeros(2, 4, dtype=torch.long)
        return made

    executor = pop.inferenceModel(TypeA())
    assert float(executor(data("ab"))[0, 0]) == ord("a")
    assert float(executor(data("ba"))[0, 0]) == ord("b")


class TypeA(nn.Module):
    def forward(self, data: Any) -> Tensor:
        return data["a"].x * 1


def test_fixed_size_options_of_poptorch_geometric(pop: Any) -> None:
    """(81)"""
    import poptorch_geometric

    sizes = poptorch_geometric.FixedSizeOptions(num_nodes={"a": 3, "b": 2}, num_edges={("a", "to", "b"): 7})
    assert (sizes.total_num_nodes, sizes.total_num_edges, sizes.num_graphs, sizes.is_hetero()) == (5, 7, 2, True)
    assert poptorch_geometric.FixedSizeOptions(3).to_hetero(["a"], [("a", "to", "a")]).num_edges == {
        ("a", "to", "a"): 6
    }
    with pytest.raises(ValueError, match="at least 2"):
        poptorch_geometric.FixedSizeOptions(3, num_graphs=1)


# Types and the batch dimension


def test_64_bit_types_lose_half_their_bits(pop: Any) -> None:
    """(26, 27)"""
    executor = pop.inferenceModel(Variadic())
    assert executor(torch.tensor([2**32 + 3])).tolist() == [6]
    double = pop.inferenceModel(Variadic())(torch.tensor([0.1], dtype=torch.float64))
    assert double.dtype is torch.float32 and float(double) == pytest.approx(0.2)
    for dtype in (torch.bfloat16, torch.complex64):
        with pytest.raises(pop.Error, match="Unsupported tensor type"):
            pop.inferenceModel(Variadic())(torch.zeros(2, dtype=dtype))


def test_dim_0_of_every_tensor_is_divided(pop: Any) -> None:
    """(29, 30, 31)"""
    x, y = batch(4)
    with pytest.raises(AssertionError, match="Invalid batch dimension"):
        pop.trainingModel(Net(), options(pop, 2, 2, 2))(x, y)  # 20 rows by 8
    scalar = torch.tensor(2.0)
    with pytest.raises(AssertionError, match="Invalid batch dimension"):
        pop.inferenceModel(Variadic(), options(pop, 2))(x, scalar)
    pop.inferenceModel(Variadic())(x, scalar)
    rows = pop.inferenceModel(Rows(), options(pop, 2))
    with pytest.raises(IndexError):
        rows(torch.zeros(2, 6, dtype=torch.long))  # each micro-batch sees one row of edge_index
    assert Rows.seen == (1, 6)
    assert pop.inferenceModel(Rows(), options(pop, 2))(torch.arange(24).view(4, 6)).shape == (12,)


class Rows(nn.Module):
    seen: Tuple[int, ...] = ()

    def forward(self, edge_index: Tensor) -> Tensor:
        Rows.seen = tuple(edge_index.shape)
        return edge_index[0] + edge_index[1]


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_output_modes(pop: Any, monkeypatch: pytest.MonkeyPatch, is_contiguous: bool) -> None:
    """(33, 34, 35): dim 0 by mode; scalars become 1-D when there are several."""
    monkeypatch.setattr(pop.double, "contiguous_replicas", is_contiguous)
    model, (x, y) = Net(), batch(8)
    alone = [model(x[k : k + ROWS], y[k : k + ROWS])[1].detach() for k in range(0, 8 * ROWS, ROWS)]
    of_replica = [[0, 1, 2, 3], [4, 5, 6, 7]] if is_contiguous else [[0, 2, 4, 6], [1, 3, 5, 7]]
    expected = {
        "All": [[k] for k in range(8)],
        "Final": [[own[-1]] for own in of_replica],
        "Sum": of_replica,
        "EveryN": [[own[i]] for own in of_replica for i in (1, 3)],
    }
    for mode, members in expected.items():
        made = options(pop, 4, 2).outputMode(pop.OutputMode[mode], 2)
        out, loss = pop.inferenceModel(model, made)(x, y)
        assert out.shape == (len(members) * ROWS, 4)
        torch.testing.assert_close(loss, torch.stack([sum(alone[k] for k in own) for own in members]))
    assert pop.inferenceModel(model)(*batch())[1].dim() == 0
    with pytest.raises(pop.Error, match="EveryN"):
        pop.inferenceModel(model, options(pop, 4, 2).outputMode(pop.OutputMode.EveryN, 3))(x, y)


def test_default_output_modes(pop: Any) -> None:
    """(35, 36)"""
    assert pop.trainingModel(Net(), options(pop, 2, 2, 2))(*batch(8))[1].shape == (2,)
    assert pop.inferenceModel(Net(), options(pop, 4, 2))(*batch(8))[1].shape == (8,)


# The graph


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


# Updates


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


# Life cycle


def test_a_model_is_compiled_once(pop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """(39)"""
    executor = pop.trainingModel(Net())
    executor.compile(*batch())
    assert executor.isCompiled() and executor.isAttachedToDevice() and executor.updates == []
    with caplog.at_level(logging.WARNING, "poptorch"):
        executor.compile(*batch())
    assert "ignored" in caplog.text
    executor(*batch())
    assert executor.num_compilations == pop.double.compilations == 1
    executor.destroy()
    assert not executor.isCompiled() and not executor.isAttachedToDevice()


def test_attaching_and_detaching(pop: Any) -> None:
    """(40)"""
    model = Net()
    host = host_memory(model)
    executor = pop.trainingModel(model)
    for act in (executor.attachToDevice, executor.detachFromDevice):
        with pytest.raises(pop.Error, match="not been compiled"):
            act()
    executor(*batch())
    with pytest.raises(pop.Error, match="already attached"):
        executor.attachToDevice()
    before = host.clone()
    executor.detachFromDevice()
    assert not torch.equal(before, host)  # detaching reads the weights back
    with pytest.raises(pop.Error, match="not attached"):
        executor.detachFromDevice()
    executor(*batch())
    assert executor.isAttachedToDevice()


READERS: List[Callable[[nn.Module], Any]] = [
    lambda model: model.state_dict(),
    lambda model: list(model.parameters()),
    lambda model: dict(model.named_parameters()),
    lambda model: list(model.buffers()),
    lambda model: model.linear.weight.sum(),
    lambda model: model.destroy(),
]


@pytest.mark.parametrize("read", READERS)
def test_weights_of_the_host_are_stale_until_they_are_read(pop: Any, read: Callable[[nn.Module], Any]) -> None:
    """(41, 45)"""
    model = Net()
    host = host_memory(model)
    before = host.clone()
    executor = pop.trainingModel(model)
    executor(*batch())
    assert torch.equal(host, before)
    read(model)
    assert not torch.equal(host, before)
    assert not executor.copyWeightsToHostIfNeeded()  # a second read fetches nothing


def test_explicit_copies(pop: Any) -> None:
    """(41)"""
    model = Net()
    executor = pop.trainingModel(model)
    for copy_weights in (executor.copyWeightsToHost, executor.copyWeightsToDevice):
        with pytest.raises(pop.Error, match="not been compiled"):
            copy_weights()
    x, y = batch()
    first = executor(x, y)[1]
    executor.copyWeightsToHost()
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.zero_()
    assert float(executor(x, y)[1]) != pytest.approx(float(torch.tensor(4.0).log()))  # an edit is not seen
    zeros = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    executor.load_state_dict(zeros)
    assert float(executor(x, y)[1]) == pytest.approx(float(torch.tensor(4.0).log())) != pytest.approx(float(first))


def test_a_state_dict_is_plain(pop: Any) -> None:
    """(43)"""
    model = Net()
    executor = pop.trainingModel(model)
    executor(*batch())
    assert {type(tensor) for tensor in model.state_dict().values()} == {Tensor}
    Net().load_state_dict(pickle.loads(pickle.dumps(model.state_dict())))


def test_inference_follows_training(pop: Any) -> None:
    """(42): only if it was wrapped after the training model."""
    model, (x, y) = Net(), batch()
    early = pop.inferenceModel(model)
    before = early(x, y)[1]
    trained = pop.trainingModel(model)
    late = pop.inferenceModel(trained)
    torch.testing.assert_close(late(x, y)[1], before)
    trained(x, y)
    assert float(late(x, y)[1]) < float(before)
    torch.testing.assert_close(early(x, y)[1], before)
    early.copyWeightsToDevice()
    torch.testing.assert_close(early(x, y)[1], late(x, y)[1])


def test_an_offline_target_compiles_only(pop: Any, tmp_path: Path) -> None:
    """(46, 52)"""
    executor = pop.inferenceModel(Net(), pop.Options().useOfflineIpuTarget(21))
    with pytest.raises(AssertionError, match="offline"):
        executor(*batch())
    executor.compile(*batch())
    assert not executor.isAttachedToDevice()
    executor.save(str(tmp_path / "new" / "net"))
    loaded = pop.load(str(tmp_path / "new" / "net"))
    assert loaded.options.connection_type is pop.ConnectionType.Always
    torch.testing.assert_close(loaded(*batch())[0], executor.model(*batch())[0].detach())


def test_saved_executables(pop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(46)"""
    path = str(tmp_path / "net")
    executor = pop.trainingModel(Net(), options(pop, 2))
    with pytest.raises(pop.Error, match="not been compiled"):
        executor.save(path)
    executor.compileAndExport(path, *batch(2), export_model=False)
    with pytest.raises(AssertionError, match="not exported"):
        pop.load(path)
    twin = pop.trainingModel(Net(), options(pop, 2))
    twin.loadExecutable(path)
    twin(*batch(2))
    assert twin.num_compilations == 0
    with pytest.raises(pop.Error, match="another model"):
        pop.trainingModel(Wider(), options(pop, 2)).loadExecutable(path)
    content = pickle.loads(Path(path).read_bytes())
    Path(path).write_bytes(pickle.dumps({**content, "version": "3.3.0"}))
    with pytest.raises(pop.Error, match=r"3\.3\.0"):
        pop.trainingModel(Net(), options(pop, 2)).loadExecutable(path)
    Path(path).write_bytes(b"")
    with pytest.raises(pop.Error, match="Invalid file"):
        pop.load(path)


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 6)


def test_executables_are_cached_by_graph_and_options(pop: Any, tmp_path: Path) -> None:
    """(47)"""
    cache = tmp_path / "cache"

    def compiled(model: nn.Module, made: Any) -> int:
        pop.inferenceModel(model, made.enableExecutableCaching(str(cache))).compile(*batch(2))
        return pop.double.cache_hits

    assert [compiled(Net(), options(pop)), compiled(Net(), options(pop))] == [0, 1]
    assert [compiled(Wider(), options(pop)), compiled(Net(), options(pop, 2))] == [1, 1]
    assert len(list(cache.iterdir())) == 3 and pop.double.compilations == 4


def test_random_state(pop: Any) -> None:
    """(48): the device has a generator of its own."""
    executor = pop.inferenceModel(nn.Dropout(), pop.Options().randomSeed(5))
    with pytest.raises(pop.Error, match="not been compiled"):
        executor.rng_state  # noqa: B018
    x = torch.ones(4, 16)
    executor.compile(x)
    assert executor.rng_state[0] == 5
    state, host = executor.rng_state, torch.get_rng_state()
    first, second = executor(x), executor(x)
    assert not torch.equal(first, second) and torch.equal(host, torch.get_rng_state())
    executor.rng_state = state
    assert torch.equal(executor(x), first)


# Optimizers


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


# Errors


@pytest.mark.parametrize("at", ["execute", "compile", "attach"])
def test_injected_failures(pop: Any, at: str) -> None:
    """(73, 74, 76)"""
    executor = pop.trainingModel(Net())
    pop.double.fail_next(pop.RecoverableError, "link down", "poplar_link_error", "tile", "LINK_RESET", at=at)
    with pytest.raises(pop.RecoverableError, match="link down") as caught:
        executor(*batch())
    assert caught.value.recovery_action == "LINK_RESET" and isinstance(caught.value, pop.Error)
    assert (caught.value.type, caught.value.location) == ("poplar_link_error", "tile")
    pop.double.fail_next(pop.RecoverableError, "again", recovery_action="IPU_RESET", at=at)
    assert caught.value.recovery_action == "LINK_RESET"
    executor.isCompiled() and executor.isAttachedToDevice() and executor.detachFromDevice()
    executor.destroy()
    with pytest.raises(pop.RecoverableError):
        executor(*batch())
    assert caught.value.recovery_action == "IPU_RESET"  # kept on the class: read it at once
    executor(*batch())


def test_errors_of_the_python_layer_describe_themselves(pop: Any) -> None:
    """(73, 74)"""
    with pytest.raises(pop.Error) as caught:
        pop.inferenceModel(Net())(batch()[0])
    assert "message" in vars(caught.value) and caught.value.type == "poptorch_py_error"
    with pytest.raises(pop.UnrecoverableError):
        pop.double.fail_next(pop.UnrecoverableError, "dead")
        pop.inferenceModel(Net())(*batch())


def test_nothing_of_the_double_stays_behind() -> None:
    before = list(sys.path), {name for name in sys.modules if name.startswith("poptorch")}
    with pytest.raises(KeyError), installed() as poptorch:
        assert sys.modules["poptorch"] is poptorch and poptorch.__version__.endswith("double")
        raise KeyError
    assert before == (sys.path, {name for name in sys.modules if name.startswith("poptorch")})
