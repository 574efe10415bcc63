"""Graphcore's IPU through PopTorch. The only module, with its `poptorch_*` neighbors, that imports `poptorch`.

What it relies on, of PopTorch 3.4's host API (public documentation and source of graphcore/poptorch):

- One call takes deviceIterations x replicationFactor x gradientAccumulation micro-batches, joined on dim 0 of every
  tensor, contiguous, of one shape and dtype for the whole life of an executable; int32 and float32 pass as they are.
- Training and inference are executors over one torch model: one for training, one for each shape that is inferred.
  The model must be switched to train() or eval() before each is compiled. An executor holds its IPUs from compilation
  until it is detached; detaching brings weights and optimizer state to the host, and the next call takes them along
  again. So at most one executor is attached at a time, and weights travel by themselves.
- Parameters and buffers travel by address, without their strides: `weights.lay_out_for_ipu` makes them contiguous.
- The loss is found in the graph: exactly one torch loss, which must be returned. `SeedModel` is built that way.
- Any violation arrives as poptorch.Error, or as an ordinary error of Python's. Where the latter comes from a line of
  the model's own code, it is told as the model's.
"""

import contextlib
import importlib.util
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.config import IpuConfig, JobConfig, TrainConfig
from heteroshards.schemas.errors import BackendError, ConfigError, HeteroShardsError
from heteroshards.schemas.inputs import InputSpec
from heteroshards.trainer.backends.base import Backend, CompiledModel
from heteroshards.trainer.backends.compiling import Compiling
from heteroshards.trainer.backends.poptorch_layers import require_supported
from heteroshards.trainer.backends.poptorch_options import (
    batches_per_call,
    cache_folder,
    environment,
    make_optimizer,
    make_options,
)
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.backends.weights import lay_out_for_ipu
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.user_errors import is_theirs, phase_failed

_PHASES = {  # what a model's own error belongs to
    "wrap": "building",
    "compile train": "forward pass",
    "train": "forward pass",
    "compile infer": "evaluation",
    "infer": "evaluation",
    "weights": "state_dict",
}


# What may change when a run goes on: how it is compiled and waited for, never what is computed.
FREE_IPU_KEYS = {"ipu_model", "ipu_version", "executable_cache", "connection_type", "available_memory_proportion"}


class PopTorchBackend(Backend):
    """Trains and infers on IPUs.

    Args:
        ipu: the `[ipu]` section.
        cache: folder of compiled code, kept between runs.
        offline: compile for hardware that is not here; nothing can be run then.
    """

    name = "poptorch"
    one_shape_a_split = True  # wrapping rewrites a model and its parameters, and is refused for those that are wrapped

    host_gathers = (
        "an IPU cannot hold feature tables",
        ("Use 'auto': an IPU's own memory is small, and features are gathered on the host."),
    )
    way_out = "See docs/ipu.md."

    @classmethod
    def configured(cls, cache: Path, ipu: IpuConfig) -> "PopTorchBackend":
        return cls(ipu, cache)

    @classmethod
    def identity(cls, config: JobConfig) -> Dict[str, Any]:
        return {"ipu": config.ipu.model_dump(mode="json", exclude=FREE_IPU_KEYS)}

    @classmethod
    def offline(cls, config: JobConfig, cache: Path) -> "Optional[Tuple[PopTorchBackend, Path]]":
        folder = cache_folder(config.ipu, cache)
        if folder is None:
            where = "[ipu] executable_cache"
            raise ConfigError("compiling keeps nothing", where=where, actual="'off'", limit="a folder")
        if config.ipu.ipu_model:
            hint = "Leave ipu_model out: executables are compiled for hardware."
            raise ConfigError("the IPU model is not hardware", where="[ipu] ipu_model", hint=hint)
        return cls(config.ipu, cache, offline=True), folder

    def missed(self, wanted: str, reason: str) -> str:
        if not self.is_installed():
            return ""
        return f"backend '{wanted}' does not run on an IPU, although PopTorch is installed: {reason}."

    def __init__(self, ipu: IpuConfig, cache: Path, offline: bool = False) -> None:
        self._ipu = ipu
        self._cache = cache_folder(ipu, cache)
        self._offline = offline

    @staticmethod
    def is_installed() -> bool:
        """Whether there is a package `poptorch`, be it one that cannot be imported."""
        try:
            return "poptorch" in sys.modules or importlib.util.find_spec("poptorch") is not None
        except (ImportError, ValueError):  # one that was half imported
            return True

    def is_available(self) -> Tuple[bool, str]:
        try:
            import_poptorch()
        except Exception as error:  # it asserts, among others, that torch has the version it was built for
            return False, f"PopTorch cannot be imported ({_line(error)}); it comes with the Poplar SDK"
        return True, ""

    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> "PopTorchModel":
        return PopTorchModel(model, train, self._ipu, example, self._cache, self._offline, siblings)


def import_poptorch() -> Any:
    """`poptorch`, and `poptorch_geometric` where it is installed: that replaces some PyG operators while tracing."""
    import poptorch

    try:
        import poptorch_geometric  # noqa: F401
    except ModuleNotFoundError:
        pass  # our models do without
    except Exception as error:
        warnings.warn(f"poptorch_geometric is installed but cannot be imported: {_line(error)}", stacklevel=2)
    return poptorch


class PopTorchModel(CompiledModel):
    """One torch model with a training executor for its own shape and an inference executor for every shape of the
    store, each compiled at its first call."""

    def __init__(
        self,
        model: SeedModel,
        train: TrainConfig,
        ipu: IpuConfig,
        example: Sequence[Tensor],
        cache: Optional[Path],
        offline: bool = False,
        siblings: Sequence[SeedModel] = (),
    ) -> None:
        poptorch = import_poptorch()
        self._poptorch, self._model = poptorch, model
        self.num_compilations = {"train": 0, "infer": 0}
        self._compiled: Set[str] = set()
        self.compiling = Compiling()
        self.step_batches, self.infer_batches = batches_per_call(ipu, "train"), batches_per_call(ipu, "infer")
        self.environment = environment()
        self._inputs = [model.inputs, *(sibling.inputs for sibling in siblings)]
        (model, *siblings)[find_shape(self._inputs, example)].initialise(example)
        require_supported(model, ipu.replication_factor)
        if ipu.half:
            for part in model.children():
                if part is not model.objective:  # the loss is computed in float32
                    part.half()
        for of_shape in (model, *siblings):
            of_shape.mark_loss = partial(poptorch.identity_loss, reduction="none")
        lay_out_for_ipu(model)
        if cache is not None:
            _make_folder(cache)
        self._attached: Optional[str] = None
        self._is_replicated = ipu.replication_factor > 1
        self._proven: Set[str] = set()
        self._tolerance = 0.05 if ipu.half else 1e-3
        with self._translated("wrap"):
            options = {k: make_options(poptorch, ipu, train.rng_seed, k, cache, offline) for k in self.num_compilations}
            self._optimizer = make_optimizer(poptorch, model.parameters(), train, ipu)
            training = poptorch.trainingModel(model.train(), options=options["train"], optimizer=self._optimizer)
            self._executors: Dict[str, Any] = {"train": training}
            # Copies of the wrapped model, so that PopTorch brings them what was trained.
            wrapped = [model, *(model.for_budget(other.budget, other.sparse_entries) for other in siblings)]
            for shape, of_shape in enumerate(wrapped):
                self._executors[_name("infer", shape)] = poptorch.inferenceModel(
                    of_shape.eval(), options=options["infer"]
                )

    def step(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        return self._call("train", batch, self.step_batches, self._inputs[:1])

    def infer(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        return self._call("infer", batch, self.infer_batches, self._inputs)

    def compile_only(self, kind: str, example: Sequence[Tensor]) -> None:
        """Compile the "train" or "infer" executor of one batch's shape, not to be run: fills the executable cache."""
        group = self.step_batches if kind == "train" else self.infer_batches
        shape = find_shape(self._inputs, example)
        self._compile(kind, shape, [torch.cat([tensor] * group) for tensor in example])

    def _call(
        self, kind: str, batch: Sequence[Tensor], group: int, shapes: Sequence[Sequence[InputSpec]]
    ) -> Tuple[Tensor, Tensor]:
        shape = find_shape(shapes, batch, group)
        name = _name(kind, shape)
        if self._attached not in (None, name):
            self._detach()
        if name not in self._compiled:
            self._compile(kind, shape, batch)
        with self._translated(kind):
            self._attached = name
            out, loss = self._executors[name](*batch)
        out, loss = out.float(), loss.float()
        if self._is_replicated and name not in self._proven:
            self._prove_order(batch, out, loss)
            self._proven.add(name)
        return out, loss

    def _prove_order(self, batch: Sequence[Tensor], out: Tensor, loss: Tensor) -> None:
        """Output k must belong to input batch k. PopTorch does not promise that under replication, so its first call
        is checked: the loss of output k on the labels of batch k, computed here, is the loss that came back."""
        num = loss.numel()
        targets, masks = {}, out.chunk(num)
        for spec, tensor in zip(self._model.inputs, batch):
            if spec.kind == "target":
                targets[spec.key] = tensor.chunk(num)
            elif spec.kind == "seed_mask":
                masks = tensor.chunk(num)
        here = torch.stack(
            [
                self._model.objective.loss(logits, {name: of[i] for name, of in targets.items()}, masks[i])
                for i, logits in enumerate(out.chunk(num))
            ]
        )
        if not torch.allclose(here, loss.view(-1), rtol=self._tolerance, atol=self._tolerance):
            raise BackendError(
                "the replicas' outputs come back in another order than their batches went in",
                actual=f"losses {loss.view(-1).tolist()}",
                limit=f"{here.tolist()}",
                hint="Set [ipu] replication_factor = 1, and report this: it decides an open question.",
            )

    def _compile(self, kind: str, shape: int, batch: Sequence[Tensor]) -> None:
        name = _name(kind, shape)
        self._model.train(kind == "train")
        self._compiled.add(name)
        self.num_compilations[kind] += 1
        with self.compiling.first(kind, shape), self._translated(f"compile {kind}"):
            self._executors[name].compile(*batch)

    def _detach(self) -> None:
        """Give the IPUs back; weights and optimizer state come to the host."""
        if self._attached is not None:
            with self._translated("detach"):
                self._executors[self._attached].detachFromDevice()
            self._attached = None

    def model_state(self) -> Dict[str, Tensor]:
        """In float32, whatever the device computes in: weights are interchangeable with every other backend."""
        self._detach()
        with self._translated("weights"):
            state = self._model.state_dict()
            return {
                name: (tensor.float() if tensor.dtype == torch.float16 else tensor).detach().cpu().clone()
                for name, tensor in state.items()
            }

    def load_model_state(self, state: Dict[str, Tensor]) -> None:
        self._detach()
        self._model.load_state_dict(state)  # a mismatch is the checkpoint's, not PopTorch's

    def optimizer_state(self) -> Dict[str, Any]:
        """In PopTorch's own form, which no other backend reads."""
        self._detach()
        with self._translated("optimizer state"):
            return dict(self._optimizer.state_dict())

    def load_optimizer_state(self, state: Dict[str, Any]) -> None:
        self._detach()
        with self._translated("optimizer state"):
            self._optimizer.load_state_dict(state)
            if self.num_compilations["train"]:
                self._executors["train"].setOptimizer(self._optimizer)

    def close(self) -> None:
        """Free executables and devices. Never raises: it runs in a `finally`, where another error may be on its way."""
        for name, executor in getattr(self, "_executors", {}).items():
            if name in self._compiled:
                with contextlib.suppress(Exception):
                    executor.destroy()
        self._attached = None

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """PopTorch's errors as one clear BackendError. Subclasses first; their attributes are read at once."""
        poptorch = self._poptorch
        try:
            yield
        except poptorch.RecoverableError as error:
            action = getattr(error, "recovery_action", "a reset")
            hint = (
                f"Let the operator do the reset {action}, then repeat the command: "
                "training goes on from the run's last.pt, which is written after each epoch."
            )
            raise BackendError(f"the IPU failed, and can recover ({doing})", actual=_line(error), hint=hint) from error
        except poptorch.UnrecoverableError as error:
            hint = "Take the machine out of use; the run goes on elsewhere from its last.pt."
            raise BackendError(f"the IPU failed for good ({doing})", actual=_line(error), hint=hint) from error
        except HeteroShardsError:
            raise
        except Exception as error:
            if is_theirs(error) and not isinstance(error, poptorch.Error):
                raise phase_failed(_PHASES.get(doing, doing), error, self._model.name) from error
            hint = "Long messages of PopTorch are in poptorch_error.log in the working folder."
            if doing.startswith("compile"):
                hint = f"Does the model keep to static shapes and branches (docs/ipu.md)? {hint}"
            what, name = f"PopTorch refused ({doing})", self._model.name
            raise BackendError(what, actual=_line(error), where=name, hint=hint) from error


def _name(kind: str, shape: int) -> str:
    """Of an executor."""
    return f"{kind}, shape {shape}" if shape else kind


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return f"{type(error).__name__}: {text[:300]}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = "[ipu] executable_cache"
        raise ConfigError("the folder of executables cannot be used", actual=error, where=place) from None
