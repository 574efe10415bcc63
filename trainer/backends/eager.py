"""Plain PyTorch, operation by operation. The base of the backends that stay inside PyTorch."""

import copy
from typing import Any, Callable, ContextManager, Dict, Sequence, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.config import TrainConfig
from heteroshards.trainer.backends.base import Backend, CompiledModel
from heteroshards.trainer.backends.compiling import Compiling
from heteroshards.trainer.backends.optimizers import make_optimizer
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.backends.weights import lay_out_for_optimizer
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.sparse import laid_by_columns
from heteroshards.trainer.models.user_errors import phase_failed, telling

Call = Callable[..., Tuple[Tensor, Tensor]]
CPU = torch.device("cpu")


class EagerBackend(Backend):
    """Works everywhere; nothing is compiled."""

    name = "eager"
    takes_sparse_features = True

    def is_available(self) -> Tuple[bool, str]:
        return True, ""

    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> CompiledModel:
        return TorchModel(model, train, example, siblings)


class TorchModel(CompiledModel):
    """Steps and inference in this process. A subclass replaces `forward` by compiled code, per kind and shape.

    Weights are initialised on the CPU, so that they are the same on every `device`.
    """

    def __init__(
        self,
        model: SeedModel,
        train: TrainConfig,
        example: Sequence[Tensor],
        siblings: Sequence[SeedModel] = (),
        device: torch.device = CPU,
    ) -> None:
        self._model = model
        self._models = (model, *siblings)
        self._inputs = [shape.inputs for shape in self._models]
        self.num_compilations = {"train": 0, "infer": 0}
        self.compiling = Compiling()
        self._models[find_shape(self._inputs, example)].initialise(example)
        lay_out_for_optimizer(model)
        model.to(device)
        self._parameters = list(model.parameters())
        self._optimizer = make_optimizer(self._parameters, train, laid_by_columns(self._parameters))

    def forward(self, kind: str, shape: int, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """`(out, loss)`; `kind` is "train" or "infer", `shape` the index of the batch's."""
        return self._models[shape](*batch)

    def backward(self, loss: Tensor) -> None:
        """Gradients of all parameters."""
        loss.backward()

    def step(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        shape = find_shape(self._inputs, batch)
        with self._telling("forward pass"):
            self._set_mode(training=True)
            self.drop_gradients()
            out, loss = self.forward("train", shape, batch)
        with self._telling("backward pass"):
            self.backward(loss)
        with self._telling("optimizer"):
            self._optimizer.step()
        return out.detach(), loss.detach()

    def infer(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        shape = find_shape(self._inputs, batch)
        with self._telling("evaluation"), torch.no_grad():
            self._set_mode(training=False)
            return self.forward("infer", shape, batch)

    def failed(self, phase: str, error: Exception, name: str) -> Exception:
        """What to raise from an error of the model's, see `trainer.models.user_errors.telling`."""
        return phase_failed(phase, error, name)

    def model_state(self) -> Dict[str, Tensor]:
        with self._telling("state_dict"):
            return {name: tensor.detach().cpu().clone() for name, tensor in self._model.state_dict().items()}

    def load_model_state(self, state: Dict[str, Tensor]) -> None:
        self._model.load_state_dict(state)

    def optimizer_state(self) -> Dict[str, Any]:
        return copy.deepcopy(self._optimizer.state_dict())

    def load_optimizer_state(self, state: Dict[str, Any]) -> None:
        self._optimizer.load_state_dict(copy.deepcopy(state))

    def drop_gradients(self) -> None:
        """Of every parameter; the optimizer may have been handed others in their place."""
        for parameter in self._parameters:
            parameter.grad = None

    def close(self) -> None:
        self.drop_gradients()

    def _telling(self, phase: str) -> ContextManager[None]:
        return telling(phase, self._model.name, self.failed)

    def _set_mode(self, training: bool) -> None:
        for model in self._models:
            if model.training != training:
                model.train(training)
