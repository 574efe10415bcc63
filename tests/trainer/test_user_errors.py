"""Whatever a user's model raises, wherever: one error that names model, line, phase and batches."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.nn import Linear

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import BackendError, ConfigError, ModelError
from heteroshards.trainer.backends.cuda_graphs import MIN_TORCH, CudaGraphsBackend
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.backends.versions import torch_version
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.graph_double import CpuGraphDevice

HERE = "tests.trainer.test_user_errors"
BATCHES = r"split train, epoch \d+, batches \[\d+\]: "
MINE = r"\w+ \(.*test_user_errors.py:\d+\): "

pytestmark = pytest.mark.usefixtures("one_thread")


class Plain(nn.Module):
    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__()
        self.seed_type, self.mode = graph.seed_type, config.options.get("mode", "")
        self.head = Linear(-1, graph.num_classes)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.head(x_dict[self.seed_type])


class Fails(Plain):
    """In forward, when it trains, or after so many evaluations."""

    evaluations = 0

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        if self.training and self.mode == "train":
            raise ZeroDivisionError("while training")
        if not self.training:
            type(self).evaluations += 1
            if self.mode == "evaluation" and self.evaluations > int(self.late):
                raise StopIteration("while evaluating")
        return super().forward(x_dict, edge_index_dict)

    late = 1


class OfTwoMinds(Plain):
    """Returns something else while it trains."""

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        out = super().forward(x_dict, edge_index_dict)
        return (out, out) if self.training else out


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise LookupError("in backward")


class FailsBackward(Plain):
    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return Backward.apply(super().forward(x_dict, edge_index_dict))


class SparseGradients(Plain):
    """pytorch#101370: Adam takes no sparse gradients."""

    extra_inputs = ("n_id",)

    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__(graph, config)
        self.table = nn.Embedding(graph.node(graph.seed_type).num_nodes, 4, sparse=True)

    def forward(self, x_dict: Any, edge_index_dict: Any, n_id_dict: Any) -> Any:
        return self.head(self.table(n_id_dict[self.seed_type].clamp(min=0)))


class OddState(Plain):
    def get_extra_state(self) -> Any:
        if self.mode == "raise":
            raise OSError("no state")
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


class SwitchesBadly(Plain):
    def train(self, mode: bool = True) -> Any:
        if not mode and self.mode == "switch":
            raise IndexError("no eval mode")
        return super().train(mode)


class Typed(Plain):
    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        raise ConfigError("its own typed error")


class Interrupted(Plain):
    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        if self.training:
            raise KeyboardInterrupt
        return super().forward(x_dict, edge_index_dict)


def job(root: Path, factory: str, mode: str = "", **train: Any) -> JobConfig:
    config = make_config(root, **{"epochs": 1, **train})
    model = config.model.model_copy(update={"name": f"{HERE}:{factory}", "options": {"mode": mode}})
    return config.model_copy(update={"model": model})


CASES = [
    ("Fails", "train", MINE + "the model's (forward pass|training forward pass) failed; got ZeroDivisionError: while"),
    ("FailsBackward", "", BATCHES + MINE + "the model's backward pass failed; got LookupError: in backward"),
    ("SparseGradients", "", BATCHES + r"\w+: the model's optimizer failed; got RuntimeError: .*sparse"),
    ("OddState", "", r"OddState: the model's state_dict holds what is no tensor; got .*_extra_state \(dict\)"),
    ("OddState", "raise", MINE + "the model's state_dict failed; got OSError: no state"),
    ("SwitchesBadly", "switch", MINE + "the model's forward pass failed; got IndexError: no eval mode"),
]


@pytest.mark.parametrize(("factory", "mode", "message"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_every_phase_is_told(table_store: Any, tmp_path: Path, factory: str, mode: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        fit(job(tmp_path, factory, mode), table_store, tmp_path / "run", backend=EagerBackend())


def test_evaluation_is_told_with_split_and_batches(table_store: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Fails, "late", 30)
    monkeypatch.setattr(Fails, "evaluations", 0)
    message = r"split \w+, batches \[\d+\]: " + MINE + "the model's evaluation failed; got StopIteration: while eval"
    with pytest.raises(ModelError, match=message):
        fit(job(tmp_path, "Fails", "evaluation", epochs=9), table_store, tmp_path / "run", backend=EagerBackend())


def test_an_output_that_training_changes_is_told(table_store: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OfTwoMinds.*(wrong shape; got tuple|forward pass failed)"):
        fit(job(tmp_path, "OfTwoMinds"), table_store, tmp_path / "run", backend=EagerBackend())


def test_typed_errors_and_ctrl_c_pass_through(table_store: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^its own typed error\.$"):
        fit(job(tmp_path, "Typed"), table_store, tmp_path / "run", backend=EagerBackend())
    with pytest.raises(KeyboardInterrupt):
        fit(job(tmp_path, "Interrupted"), table_store, tmp_path / "other", backend=EagerBackend())


@pytest.mark.skipif(torch_version() < MIN_TORCH, reason="an old torch")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("FailsBackward", "the model's backward pass failed; got LookupError"),
        ("SparseGradients", "the model's optimizer failed; got RuntimeError: .*sparse"),
    ],
)
def test_what_fails_before_a_capture_is_the_models(
    table_store: Any, tmp_path: Path, factory: str, message: str
) -> None:
    """What fails in the capture alone is the backend's: see `test_cuda_graphs`."""
    with pytest.raises(ModelError, match=BATCHES + f".*{message}"):
        backend = CudaGraphsBackend(CpuGraphDevice())
        fit(job(tmp_path, factory), table_store, tmp_path / "run", backend=backend)


CAN_COMPILE, REASON = InductorBackend(Path()).is_available()


@pytest.mark.skipif(not CAN_COMPILE, reason=REASON)
def test_a_compilers_error_is_the_models_where_it_fails_without_one(
    table_store: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    backend = InductorBackend(tmp_path)
    compile_model = backend.compile

    def compile_and_arm(*args: Any) -> Any:
        compiled = compile_model(*args)
        FailsLate.is_armed = True
        return compiled

    monkeypatch.setattr(backend, "compile", compile_and_arm)
    monkeypatch.setattr(FailsLate, "is_armed", False)
    message = BATCHES + MINE + "the model's forward pass failed; got ZeroDivisionError: late"
    with pytest.raises(ModelError, match=message):
        fit(job(tmp_path, "FailsLate"), table_store, tmp_path / "run", backend=backend)


@pytest.mark.skipif(not CAN_COMPILE, reason=REASON)
@pytest.mark.parametrize("factory", ["DependsOnValues", "SparseGradients"])
def test_what_the_compiler_alone_refuses_is_the_backends(table_store: Any, tmp_path: Path, factory: str) -> None:
    message = BATCHES + f"{factory}: the train step does not compile"
    with pytest.raises(BackendError, match=message):
        fit(job(tmp_path, factory), table_store, tmp_path / "run", backend=InductorBackend(tmp_path))


class FailsLate(Plain):
    is_armed = False

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        if self.training and self.is_armed:
            raise ZeroDivisionError("late")
        return super().forward(x_dict, edge_index_dict)


class DependsOnValues(Plain):
    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        out = super().forward(x_dict, edge_index_dict)
        return out if bool(self.head.weight.sum() < 1e9) else -out
