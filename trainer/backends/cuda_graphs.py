"""An NVIDIA GPU, without a launch per kernel: the whole step is captured in a CUDA graph once, and then replayed.

A step on a small batch is hundreds of kernels of a few microseconds each, which take longer to launch than to run. A
graph is launched as one. It reads and writes the same memory each time, so a batch is first copied into the graph's own
inputs, and nothing that the graph knows by its address (weights, gradients, the optimizer's state) is ever replaced.
"""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.config import TrainConfig
from heteroshards.schemas.errors import BackendError, HeteroShardsError
from heteroshards.trainer.backends.base import Backend, CompiledModel
from heteroshards.trainer.backends.eager import TorchModel
from heteroshards.trainer.backends.graph_device import CudaDevice, GraphDevice
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.backends.versions import torch_version
from heteroshards.trainer.compat import copy_all
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.user_errors import first_line

MIN_TORCH = (2, 6)
CAPTURABLE = "Use [train] backend = 'eager', or a model without data-dependent shapes, branches and .item()."
SMALLER = "Prepare smaller batches, set [train] device_features = 'never', or free the memory that others hold."
BUSY = "See nvidia-smi: another process may own it, or hold its memory. CUDA_VISIBLE_DEVICES chooses another GPU."
FEATURE_SHARE = 0.5  # of the free memory: activations and the graphs need the rest


class CudaGraphsBackend(Backend):
    """Forward pass, loss, backward pass and optimizer of a step as one CUDA graph per shape, inference as another.

    Args:
        device: the GPU; by default the current one.
    """

    name = "cuda_graphs"

    def __init__(self, device: Optional[GraphDevice] = None) -> None:
        self._device = device

    def is_available(self) -> Tuple[bool, str]:
        if torch_version() < MIN_TORCH:
            return False, f"torch {torch.__version__} is older than {MIN_TORCH[0]}.{MIN_TORCH[1]}"
        if self._device is None and not (torch.version.cuda and torch.cuda.is_available()):
            return False, "there is no NVIDIA GPU that torch can use"
        return True, ""

    def room_for_features(self) -> int:
        return int(FEATURE_SHARE * self._opened().free_bytes())

    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> CompiledModel:
        return CudaGraphsModel(self._opened(), model, train, example, siblings)

    def _opened(self) -> GraphDevice:
        if self._device is None:
            with _explained("the GPU cannot be used", BUSY):
                self._device = CudaDevice()
        return self._device


class Recording:
    """One call on one shape, captured.

    Args:
        call: takes the inputs, returns `(out, loss)`, and synchronises with nothing.
        example: a batch of the shape.
        memory: `device.memory()`, shared with the model's other recordings.
    """

    def __init__(
        self, device: GraphDevice, call: Callable[..., Tuple[Tensor, Tensor]], example: Sequence[Tensor], memory: Any
    ) -> None:
        inputs = [tensor.to(device.device, copy=True) for tensor in example]
        self._results, self._replay = device.record(lambda: call(*inputs), memory)
        self._inputs = [[i for i in inputs if i.dtype == dtype] for dtype in _dtypes(inputs)]

    def __call__(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Copies of the results: the next call writes over the graph's own."""
        for inputs in self._inputs:  # one kernel copies all of one dtype
            copy_all(inputs, [tensor for tensor in batch if tensor.dtype == inputs[0].dtype])
        self._replay()
        out, loss = self._results
        return out.clone(), loss.clone()


def _dtypes(tensors: Sequence[Tensor]) -> List[torch.dtype]:
    return list(dict.fromkeys(tensor.dtype for tensor in tensors))


class CudaGraphsModel(TorchModel):
    """Its two calls per shape are captured when first used. Results stay on the device until somebody looks."""

    def __init__(
        self,
        device: GraphDevice,
        model: SeedModel,
        train: TrainConfig,
        example: Sequence[Tensor],
        siblings: Sequence[SeedModel] = (),
    ) -> None:
        self._device = device
        super().__init__(model, train, example, siblings, device.device)
        self.transfer = device.transfer()
        self._memory = device.memory()
        for group in self._optimizer.param_groups:  # lets a step be captured; sgd has nothing to prepare for it
            if "capturable" in group:
                group["capturable"] = True
        self._recordings: Dict[Tuple[str, int], Recording] = {}

    def step(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        return self._call("train", batch, self._train)

    def infer(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        return self._call("infer", batch, self._infer)

    def _call(self, kind: str, batch: Sequence[Tensor], run: Callable[..., Tuple[Tensor, Tensor]]) -> Any:
        shape = find_shape(self._inputs, batch)
        if (kind, shape) not in self._recordings:
            with self._telling("forward pass" if kind == "train" else "evaluation"):
                self._set_mode(training=kind == "train")
            self.num_compilations[kind] += 1
            told = self.compiling.first(kind, shape, "capturing")
            with told, _explained(f"the {kind} step cannot be captured", CAPTURABLE), self._unchanged():
                call = lambda *inputs: run(shape, inputs)  # noqa: E731
                self._recordings[kind, shape] = Recording(self._device, call, batch, self._memory)
        with _explained(f"the {kind} step failed"):
            return self._recordings[kind, shape](batch)

    def failed(self, phase: str, error: Exception, name: str) -> Exception:
        """What fails while a call is recorded, and did not in the same calls before, is what a recording forbids."""
        is_ours = isinstance(error, torch.cuda.OutOfMemoryError) or (
            self._device.is_recording and isinstance(error, RuntimeError)
        )
        return error if is_ours else super().failed(phase, error, name)

    def _train(self, shape: int, inputs: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        with self._telling("forward pass"):
            self.drop_gradients()
            out, loss = self._models[shape](*inputs)
        with self._telling("backward pass"):
            loss.backward()
        with self._telling("optimizer"):
            self._optimizer.step()
        return out.detach(), loss.detach()

    def _infer(self, shape: int, inputs: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        with self._telling("evaluation"), torch.no_grad():
            out, loss = self._models[shape](*inputs)
            return out, loss

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Undo what the calls around a capture do to weights, optimizer and random state, at their addresses."""
        rng, optimizer = self._device.rng_state(), self.optimizer_state()
        kept = [(tensor, tensor.detach().clone()) for tensor in self._changeable()]
        yield
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)
        self._overwrite_optimizer(optimizer)
        self._device.set_rng_state(rng)

    def _changeable(self) -> List[Tensor]:
        """Weights and buffers, those too that no checkpoint holds, but for feature tables, which nothing writes to."""
        resident = self._model.resident
        tables = {id(table) for table in resident.buffers()} if resident is not None else set()
        return [*self._model.parameters(), *(buffer for buffer in self._model.buffers() if id(buffer) not in tables)]

    def _overwrite_optimizer(self, state: Dict[str, Any]) -> None:
        """Put values into the optimizer's tensors; zeros, with which an optimizer begins, where there are none."""
        for index, values in self._optimizer.state_dict()["state"].items():
            for name, tensor in values.items():
                if isinstance(tensor, Tensor):
                    before = state["state"].get(index, {}).get(name)
                    tensor.zero_() if before is None else tensor.copy_(before)

    def optimizer_state(self) -> Dict[str, Any]:
        return _on_cpu(super().optimizer_state())

    def load_optimizer_state(self, state: Dict[str, Any]) -> None:
        if self.num_compilations["train"]:
            self._overwrite_optimizer(state)
        else:
            super().load_optimizer_state(state)

    def rng_state(self) -> Dict[str, Tensor]:
        return {**super().rng_state(), "device": self._device.rng_state()}

    def load_rng_state(self, state: Dict[str, Tensor]) -> None:
        super().load_rng_state(state)
        self._device.set_rng_state(state["device"])

    def close(self) -> None:
        self._recordings.clear()
        super().close()


@contextmanager
def _explained(what: str, hint: str = "") -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # all of torch's CUDA errors, among them what a capture does not allow
        first = _first_of(error)
        if isinstance(first, HeteroShardsError):
            raise first from first.__cause__
        if isinstance(first, torch.cuda.OutOfMemoryError):
            what, hint = f"{what}: the GPU has too little memory", SMALLER
        raise BackendError(what, actual=first_line(first), hint=hint) from error


def _first_of(error: BaseException) -> BaseException:
    """The error that began it: where a captured call fails, ending the capture fails, too, and that is what arrives."""
    while isinstance(error.__context__, (RuntimeError, HeteroShardsError)):
        error = error.__context__
    return error


def _on_cpu(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    return [_on_cpu(value) for value in tree] if isinstance(tree, list) else tree
