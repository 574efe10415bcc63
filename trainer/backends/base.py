"""What every backend offers: compile a model for the shapes of a store, then step and infer with it."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.config import IpuConfig, JobConfig, TrainConfig
from heteroshards.trainer.backends.compiling import Compiling
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.reading.transfer import Transfer


class CompiledModel(ABC):
    """A model, its optimizer and its compiled code.

    A call takes the tensors of `SeedModel.inputs`, in order, of one batch, or of `step_batches` (`infer_batches`)
    batches joined on dim 0; it then returns `out` joined likewise, and one loss per batch. Of several shapes, the one
    that a batch has is recognised by its sizes.

    Attributes:
        num_compilations: {"train": n, "infer": n}, counted as they happen; a second one of a kind and shape is an
            error, so there is exactly one per shape that was met: one of each where train has a budget of its own
            and only other splits are inferred.
        step_batches, infer_batches: batches per call.
        compiling: what the first calls took, and whom it tells that they compile.
        notes: what a person should know, in lines.
        environment: variables that changed what the backend did; they belong to a run's record.
        transfer: brings batches to where the model runs.
    """

    num_compilations: Dict[str, int]
    compiling: Compiling
    notes: Sequence[str] = ()
    step_batches: int = 1
    infer_batches: int = 1
    environment: Mapping[str, str] = MappingProxyType({})
    transfer: Transfer = Transfer()

    @abstractmethod
    def step(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Forward, backward and optimizer update in training mode; detached `(out, loss)` from before the update.

        `out` is `[step_batches * max_seeds, objective.width]`; `loss` has `step_batches` elements.

        Raises:
            SignatureMismatchError: shapes or dtypes differ from those compiled for.
            BackendError: the model does not compile, or would have to be compiled again.
        """

    @abstractmethod
    def infer(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """`(out, loss)` in eval mode, without gradients, with the present weights; errors as for `step`."""

    @abstractmethod
    def model_state(self) -> Dict[str, Tensor]:
        """A copy of the weights, on the CPU."""

    @abstractmethod
    def load_model_state(self, state: Dict[str, Tensor]) -> None:
        """Take over weights in place; compiled code stays valid."""

    @abstractmethod
    def optimizer_state(self) -> Dict[str, Any]:
        """A copy of the optimizer's state."""

    @abstractmethod
    def load_optimizer_state(self, state: Dict[str, Any]) -> None:
        """Take over an optimizer's state."""

    def rng_state(self) -> Dict[str, Tensor]:
        """The state of every random generator that a step draws from, by name, on the CPU."""
        return {"cpu": torch.get_rng_state()}

    def load_rng_state(self, state: Dict[str, Tensor]) -> None:
        """Take over random states."""
        torch.set_rng_state(state["cpu"])

    def compile_only(self, kind: str, batch: Sequence[Tensor]) -> None:
        """Of a `Backend.offline`: keep the executable of "train" or "infer" for batches like this one."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Free what compilation holds. Belongs into a `finally`."""


class Backend(ABC):
    """One way to run models.

    Attributes:
        takes_sparse_features: whether models may get features as sparse rows (`trainer.models.sparse`).
        must_pay: whether compiling takes so long that `auto` looks first whether it can pay within the run.
        one_shape_a_split: whether all batches of a split must have one shape.
        host_gathers: why feature tables cannot lie beside the model, with the way out; None where they can.
        stand_in: the backend that runs instead where this one does not work and was asked for by name; "" is none.
        way_out: the hint where there is none.
    """

    name: str
    takes_sparse_features = False
    must_pay = False
    one_shape_a_split = False
    host_gathers: Optional[Tuple[str, str]] = None
    stand_in = ""
    way_out = "Use [train] backend = 'auto', which takes what there is."

    @classmethod
    def configured(cls, cache: Path, ipu: IpuConfig) -> "Backend":
        """As a config asks for it. `cache` is a folder of compiled code, kept between runs."""
        return cls()

    @classmethod
    def identity(cls, config: JobConfig) -> Dict[str, Any]:
        """What of a config, besides `[train]`, makes two runs with it the same computation."""
        return {}

    @classmethod
    def offline(cls, config: JobConfig, cache: Path) -> "Optional[Tuple[Backend, Path]]":
        """One that compiles for hardware that is not here, and the folder of its executables; None where none can.

        Raises:
            ConfigError: the config says that nothing is kept, or that there is no hardware.
        """
        return None

    def missed(self, wanted: str, reason: str) -> str:
        """What to warn of where `wanted` ("auto", or its own name) came to this one, which does not work here; "" of
        nothing."""
        return ""

    @abstractmethod
    def is_available(self) -> Tuple[bool, str]:
        """Whether it runs on this machine, and the reason when it does not."""

    def room_for_features(self) -> int:
        """Bytes of feature tables that may lie beside the model, instead of features in every batch."""
        return 0

    @abstractmethod
    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> CompiledModel:
        """Initialise the model from one batch, make its optimizer, and bind both to the signatures of all shapes.

        Args:
            model: for the first shape of the store, which split train has if there is one.
            example: a batch of any of the shapes.
            siblings: the same model for the store's other shapes (`SeedModel.for_budget`).

        Raises:
            BackendError: the backend refuses the model.
            SignatureMismatchError: the example is not of the shapes and dtypes of any of them.
            ModelError: the model breaks its contract (see `SeedModel.initialise`).
        """
