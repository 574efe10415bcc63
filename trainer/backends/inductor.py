"""torch.compile with one static graph per shape for training and one for inference, and compiled code kept on disk.

The folder of compiled code is the environment variable TORCHINDUCTOR_CACHE_DIR, which torch reads at each
compilation and which it has no other way to set. It is set while one of our models compiles and put back after. Where
the folder cannot be written, a temporary one stands in.
"""

import contextlib
import os
import shutil
import sys
import sysconfig
import tempfile
import types
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.config import IpuConfig, TrainConfig
from heteroshards.schemas.errors import BackendError
from heteroshards.trainer.backends.base import Backend, CompiledModel
from heteroshards.trainer.backends.eager import Call, TorchModel
from heteroshards.trainer.backends.signature import find_shape
from heteroshards.trainer.backends.versions import torch_version
from heteroshards.trainer.compat import inductor, is_of_the_compiler
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.user_errors import first_line

MIN_TORCH = (2, 6)  # PyG's message passing does not trace into one graph reliably before
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class InductorBackend(Backend):
    """`torch.compile(fullgraph=True, dynamic=False)`: exactly one compilation per shape for training, one for
    inference.

    Args:
        cache: folder of compiled code, kept between runs.
    """

    name = "inductor"
    takes_sparse_features = True
    must_pay = True
    stand_in = "eager"

    def __init__(self, cache: Path) -> None:
        self._cache = cache / "inductor"

    @classmethod
    def configured(cls, cache: Path, ipu: IpuConfig) -> "InductorBackend":
        return cls(cache)

    def missed(self, wanted: str, reason: str) -> str:
        return f"backend '{wanted}' runs as 'eager', because torch.compile does not work here: {reason}."

    def is_available(self) -> Tuple[bool, str]:
        if torch_version() < MIN_TORCH:
            return False, f"torch {torch.__version__} is older than {MIN_TORCH[0]}.{MIN_TORCH[1]}"
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not shutil.which(compiler):
            return False, f"there is no C++ compiler '{compiler}'"
        try:
            tempfile.gettempdir()
        except OSError:
            return False, "no folder for temporary files can be written"
        headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
        if not headers.is_file():
            return False, f"Python's headers are not installed ({headers} is missing)"
        return True, ""

    def compile(
        self, model: SeedModel, train: TrainConfig, example: Sequence[Tensor], siblings: Sequence[SeedModel] = ()
    ) -> CompiledModel:
        return InductorModel(model, train, example, self._cache, siblings)


class InductorModel(TorchModel):
    """Its two calls per shape are compiled when first used."""

    def __init__(
        self,
        model: SeedModel,
        train: TrainConfig,
        example: Sequence[Tensor],
        cache: Path,
        siblings: Sequence[SeedModel] = (),
    ) -> None:
        super().__init__(model, train, example, siblings)
        self._cache, self._temporary = cache, None
        reason = why_not_writable(cache)
        if reason:
            self._temporary = tempfile.TemporaryDirectory(prefix="heteroshards-")
            self._cache = Path(self._temporary.name)
            self.notes = [f"compiled code is not kept for the next run: {cache} cannot be written ({reason})"]
        self._was_compiled_again = False
        self._under_way: Tuple[int, Sequence[Tensor]] = (find_shape(self._inputs, example), example)
        self._calls: Dict[Tuple[str, int], Call] = {
            (kind, shape): self._compiled(kind, shape)
            for kind in self.num_compilations
            for shape in range(len(self._models))
        }

    def forward(self, kind: str, shape: int, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        self._under_way = (shape, batch)
        return self._calls[kind, shape](*batch)

    def step(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        with self._compiling("train", batch):
            return super().step(batch)

    def infer(self, batch: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        with self._compiling("infer", batch):
            return super().infer(batch)

    def close(self) -> None:
        super().close()
        self._calls.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _compiled(self, kind: str, shape: int) -> Call:
        compile_graph, is_compiled = inductor(), False

        def compile_once(graph: torch.fx.GraphModule, example: List[Tensor]) -> Any:
            nonlocal is_compiled
            self.num_compilations[kind] += 1
            if is_compiled:
                self._was_compiled_again = True
                raise _CompiledAgainError
            is_compiled = True
            return compile_graph(graph, example)

        return torch.compile(_own_code(self._models[shape]), backend=compile_once, fullgraph=True, dynamic=False)

    @contextlib.contextmanager
    def _compiling(self, kind: str, batch: Sequence[Tensor]) -> Iterator[None]:
        shape = find_shape(self._inputs, batch)
        if not self.compiling.is_first(kind, shape):
            yield
            return
        with self.compiling.first(kind, shape), _cache_folder(self._cache):
            yield

    def failed(self, phase: str, error: Exception, name: str) -> Exception:
        """An error of the compiler's is the model's own where the model raises without a compiler, too."""
        if not is_of_the_compiler(error):
            return super().failed(phase, error, name)
        kind = "infer" if phase == "evaluation" else "train"
        if self._was_compiled_again:
            hint = "A compiled model must stay as it is: no changed modules, modes or flags between steps."
            return BackendError(f"the {kind} step would be compiled a second time", where=name, hint=hint)
        own = self._error_without_compiler(phase)
        if own is not None:
            return super().failed(phase, own, name)
        hint = "Use [train] backend = 'eager', or a model without data-dependent shapes and branches."
        return BackendError(f"the {kind} step does not compile", actual=first_line(error), where=name, hint=hint)

    def _error_without_compiler(self, phase: str) -> Optional[Exception]:
        shape, batch = self._under_way
        try:
            with torch.set_grad_enabled(phase != "evaluation"):
                _, loss = self._models[shape](*batch)
            if phase == "backward pass":
                loss.backward()
        except Exception as error:
            return error
        return None


def why_not_writable(folder: Path) -> str:
    """Nothing where files can be made in the folder (which is made), else the reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


class _CompiledAgainError(Exception):
    pass


def _own_code(model: SeedModel) -> Call:
    """A call of the model with a code object of its own. Compiled code is kept per code object, at most eight
    versions of it, so that models in one process (five seeds, say) would use up each other's."""

    def call(*tensors: Tensor) -> Tuple[Tensor, Tensor]:
        return model(*tensors)

    return types.FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


@contextlib.contextmanager
def _cache_folder(folder: Path) -> Iterator[None]:
    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CACHE_VARIABLE, None)
        else:
            os.environ[_CACHE_VARIABLE] = before
