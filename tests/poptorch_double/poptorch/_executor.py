"""PoplarExecutor: what a wrapped model is (39-48)."""
# ruff: noqa: N802

from __future__ import annotations

import copy
import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from poptorch import double, optim
from poptorch._args import ArgumentParser, Arguments, validate
from poptorch._device import Executable, Update, by_address
from poptorch._device_optimizer import DeviceOptimizer, check_supported
from poptorch._errors import Error, graph_error, host_error
from poptorch._structure import flatten
from poptorch._wrapping import is_wrapped, plain, unwrap, wrap
from poptorch.enums import ConnectionType, OutputMode
from poptorch.options import Options
from torch import nn

logger = logging.getLogger("poptorch")
VERSION = "3.4.0+double"


class PoplarExecutor:
    """Made by `trainingModel` and `inferenceModel`.

    Attributes:
        num_compilations: how often this executor was compiled (only the double counts).
    """

    def __init__(self, model: nn.Module, options: Options | None, is_training: bool, optimizer: Any = None) -> None:
        self._executable: Executable | None = None
        self._user_model = model if is_training else copy.copy(model)
        self._model = copy.copy(model)  # shares parameters and submodules, not the training flag (2)
        self._is_training = is_training
        self._options = _own_options(options, is_training)
        self._parser = ArgumentParser(self._model.forward)
        self._is_attached = self._is_host_stale = False
        self._weights_version = 0
        self._rng_state: list[int] | None = None
        self.num_compilations = 0
        self._optimizer = None
        if is_training:
            if is_wrapped(model):
                raise RuntimeError(f"{type(model).__name__} has already been wrapped: destroy() its executor first")
            self._optimizer = optimizer or optim.SGD(model.parameters(), lr=0.01)
            self.setOptimizer(self._optimizer)
            wrap(self, self._user_model)

    @property
    def model(self) -> nn.Module:
        return self._user_model

    @property
    def options(self) -> Options:
        return self._options

    @property
    def updates(self) -> list[Update]:
        """Which micro-batches made each update since compilation (only the double tells)."""
        return self._compiled().updates

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_user_model" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._user_model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compile on the first call, then run; a training model also updates its weights."""
        offline = "Trying to run a model on an offline device (ConnectionType.Never): use model.compile(inputs)"
        assert self._options.connection_type is not ConnectionType.Never, offline
        given = self._parser(args, kwargs)
        if self._executable is None:
            self._compile(given)
        if not self._is_attached:
            self.attachToDevice()
        self._follow_training()
        executable = self._compiled()
        validate(executable.inputs, given)
        self._write_optimizer_state()
        outputs = executable.run(given.tensors(executable.inputs))
        self._rng_state = None
        self._is_host_stale = self._is_training
        for output in flatten(outputs):
            output.backward = _refuse_backward
        return outputs

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Trace and compile; a second time is ignored with a warning (39)."""
        given = self._parser(args, kwargs)
        if self._executable is not None:
            logger.warning("Call to compile() ignored: the executable is already compiled")
            return
        self._compile(given)

    def isCompiled(self) -> bool:
        return self._executable is not None

    def isAttachedToDevice(self) -> bool:
        return self._is_attached

    def attachToDevice(self) -> None:
        """Upload weights, optimizer and random state (40)."""
        self._compiled()
        if self._is_attached:
            raise host_error("Device is already attached")
        double.raise_fault("attach")
        self._is_attached = True
        self.copyWeightsToDevice()
        if isinstance(self._optimizer, optim.Optimizer):
            self._optimizer.has_new_state = self._optimizer.has_state()
            self._write_optimizer_state()

    def detachFromDevice(self) -> None:
        """Read state back, then let the device go (40)."""
        self._compiled()
        if not self._is_attached:
            raise host_error("Device is not attached")
        self.copyWeightsToHostIfNeeded()
        self._read_optimizer_state()
        self._is_attached = False

    def copyWeightsToHostIfNeeded(self) -> bool:
        if self._is_host_stale:
            self.copyWeightsToHost()
            return True
        return False

    def copyWeightsToHost(self) -> None:
        executable = self._compiled()
        self._is_host_stale = False
        self._weights_version += 1
        with plain(self._user_model) as model, torch.no_grad():
            device = executable.read_weights()
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                by_address(tensor).copy_(device[name])

    def copyWeightsToDevice(self) -> None:
        executable = self._compiled()
        self._is_host_stale = False
        with plain(self._user_model) as model:
            weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            executable.write_weights({name: by_address(tensor) for name, tensor in weights.items()})

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        """Into the host's model, and to the device if one is attached (41)."""
        result = self._user_model.load_state_dict(state_dict, strict)
        if self._is_attached:
            self.copyWeightsToDevice()
        return result

    def setOptimizer(self, optimizer: Any) -> None:
        """Needed after any change of an optimizer (44)."""
        check_supported(optimizer)
        if self._executable is not None:
            if optimizer is not self._optimizer and isinstance(self._optimizer, optim.Optimizer):
                self._read_optimizer_state()
                self._optimizer._executor = None
            self._compiled().optimizer.update(optimizer)
        if isinstance(optimizer, optim.Optimizer):
            optimizer._executor = self
        self._optimizer = optimizer

    @property
    def rng_state(self) -> list[int]:
        """Seed and state of the device's generator (48)."""
        executable = self._compiled()
        if self._rng_state is None:
            self._rng_state = [executable.seed, *executable.rng.get_state().tolist()]
        return self._rng_state

    @rng_state.setter
    def rng_state(self, state: list[int]) -> None:
        executable = self._compiled()
        self._rng_state = list(state)
        executable.seed = state[0]
        executable.rng.set_state(torch.tensor(state[1:], dtype=torch.uint8))

    def save(self, filename: str, export_model: bool = True, save_rng_state: bool = True) -> None:
        """Executable, options and, if exported, model and optimizer, as a pickle (46)."""
        executable = self._compiled()
        content: dict[str, Any] = {"version": VERSION, "inputs": executable.inputs, "options": self._options}
        content["key"] = executable.key(self._user_model_name())
        if save_rng_state:
            content["rng_state"] = self.rng_state
        with plain(self._user_model) as model:
            if export_model:
                content.update(model=model, optimizer=self._optimizer, is_training=self._is_training)
            Path(filename).parent.mkdir(parents=True, exist_ok=True)
            Path(filename).write_bytes(pickle.dumps(content, protocol=4))

    def compileAndExport(self, filename: str, *args: Any, export_model: bool = True, **kwargs: Any) -> None:
        self.compile(*args, **kwargs)
        self.save(filename, export_model)

    def loadExecutable(self, filename: str) -> None:
        """What `save` wrote, into a model that was built and wrapped again (46)."""
        content = read_saved(filename)
        executable = self._build(content["inputs"])
        if executable.key(self._user_model_name()) != content["key"]:
            raise graph_error(f"{filename} holds an executable of another model or of other options")
        self._load(executable)
        if "rng_state" in content:
            self.rng_state = content["rng_state"]

    def destroy(self) -> None:
        """Read everything back, free the executable and unwrap; nothing at all before compilation (3, 45)."""
        if self._executable is None:
            return
        if self._is_training:
            self.copyWeightsToHostIfNeeded()
            self._read_optimizer_state()
        self._executable, self._is_attached = None, False
        if self._is_training:
            unwrap(self._user_model)

    def _compile(self, given: Arguments) -> None:
        double.raise_fault("compile")
        executable = self._build(given)
        self.num_compilations += 1
        double.compilations += 1
        self._cache(executable)
        self._load(executable)

    def _build(self, given: Arguments) -> Executable:
        if any(tensor.requires_grad for tensor in given.tensors()):
            logger.warning("Input tensor has requires_grad=True set. This tensor will be detached.")
        with plain(self._user_model), plain(self._model) as model:
            executable = Executable(copy.deepcopy(model), self._options, given, self._is_training)
            if self._is_training:
                names = {id(parameter): name for name, parameter in model.named_parameters()}
                parameters = dict(executable.model.named_parameters())
                executable.optimizer = DeviceOptimizer(self._optimizer, names, parameters)
        return executable

    def _load(self, executable: Executable) -> None:
        self._executable = executable
        if self._options.connection_type is not ConnectionType.Never:
            self.attachToDevice()

    def _cache(self, executable: Executable) -> None:
        """A file per executable, found by graph and options; nothing is evicted (47)."""
        if not self._options.cache_dir:
            return
        key = executable.key(self._user_model_name())
        path = Path(self._options.cache_dir) / f"{hashlib.sha256(key.encode()).hexdigest()}.popef"
        double.cache_hits += path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())

    def _follow_training(self) -> None:
        """Inference takes over weights that were trained meanwhile, if its model was wrapped for training when this
        executor was made (42)."""
        trainer = getattr(type(self._user_model), "_poptorch_executor", lambda: None)()
        if self._is_training or trainer is None:
            return
        trainer.copyWeightsToHostIfNeeded()
        if trainer._weights_version != self._weights_version:
            self.copyWeightsToDevice()
            self._weights_version = trainer._weights_version

    def _compiled(self) -> Executable:
        if self._executable is None:
            raise host_error("Model has not been compiled or has been destroyed.")
        return self._executable

    def _read_optimizer_state(self) -> None:
        own = isinstance(self._optimizer, optim.Optimizer) and not self._optimizer.has_new_state
        if own and self._executable is not None:
            self._optimizer._device_state = self._executable.optimizer.state()

    def _write_optimizer_state(self) -> None:
        if getattr(self._optimizer, "has_new_state", False):
            self._compiled().optimizer.load(self._optimizer._device_state)
            self._optimizer.has_new_state = False

    def _user_model_name(self) -> str:
        return type(self._user_model).__name__.replace("Poptorch", "", 1)


def _own_options(options: Options | None, is_training: bool) -> Options:
    """A frozen copy with its output mode chosen; what was given is frozen, too (4, 5, 35)."""
    if options is not None:
        if not isinstance(options, Options):
            raise host_error(f"Invalid type: 'options' is of type {type(options)} (Expected poptorch.Options)")
        options._freeze()
    own = options.clone() if options is not None else Options()
    if own.output_mode is None:
        own.outputMode(OutputMode.Final if is_training else OutputMode.All)
    if not is_training and own.Training.gradient_accumulation != 1:
        raise host_error("You must set poptorch.Options().Training.gradientAccumulation to 1 for an inferenceModel().")
    own._freeze()
    return own


def _refuse_backward(*args: Any, **kwargs: Any) -> None:
    raise host_error("backward() cannot be called explicitly on outputs of a PopTorch model.")


def read_saved(filename: str) -> dict[str, Any]:
    """The content of a saved executable; the version must be exactly ours.

    Raises:
        poptorch.Error: the file is not one of those.
    """
    try:
        content = pickle.loads(Path(filename).read_bytes())
        assert content["version"] == VERSION, f"PopTorch {content['version']} is not {VERSION}"
    except (AssertionError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise host_error(f"Invalid file {filename}: {error}") from error
    if content["options"].connection_type is ConnectionType.Never:
        content["options"] = content["options"].clone()
        content["options"].connectionType(ConnectionType.Always)
    return content


__all__ = ["Error", "PoplarExecutor"]
