"""The double of PopTorch: wrapping a model, and its options.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import pickle
from pathlib import Path
from typing import Any, Callable, List

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.poptorch_double.nets import Body, Net, batch, options


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
