"""The double of PopTorch: compiling, attaching, copying, saving.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import logging
import pickle
from pathlib import Path
from typing import Any, Callable, List

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.poptorch_double.nets import Net, batch, host_memory, options


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
