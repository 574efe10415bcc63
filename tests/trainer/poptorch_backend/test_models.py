"""Models that PopTorch would not run as they are, or whose errors it would hide."""

import numpy as np
import pytest
import torch
from torch_geometric.nn import Linear

from heteroshards.schemas.config import IpuConfig, TrainConfig
from heteroshards.schemas.errors import BackendError, ConfigError, ModelError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.training import fit
from tests.trainer.poptorch_backend.cases import (
    built,
    calls_of,
    example_of,
    ipu_job,
)


def test_failures_name_the_batches_the_reset_and_the_way_on(store_of, tmp_path, poptorch):
    """(73-76)"""
    store = store_of()
    config = ipu_job(tmp_path)
    cases = [
        ({"cls": poptorch.RecoverableError, "recovery_action": "IPU_RESET"}, r"batches \[\d+\].*IPU_RESET.*last.pt"),
        ({"cls": poptorch.UnrecoverableError}, r"failed for good.*out of use"),
        (
            {"cls": poptorch.Error, "message": "In poplar: bad"},
            r"PopTorch refused \(train\); got Error: In poplar: bad",
        ),
    ]
    for number, (fault, message) in enumerate(cases):
        poptorch.double.fail_next(**fault)
        with pytest.raises(BackendError, match=message):
            fit(config, store, tmp_path / str(number))


def test_layers_that_do_not_run_on_an_ipu_are_named(store_of, tmp_path, poptorch):
    """(79)"""
    from torch_geometric.nn import GATConv, RGCNConv

    store = store_of()
    model = built(store)
    model.model.more = torch.nn.ModuleList([GATConv(4, 4), GATConv(4, 4, add_self_loops=False), RGCNConv(4, 4, 2)])
    with pytest.raises(ModelError, match=r"more.0 \(GATConv\): pass add_self_loops=False; model.more.2 \(RGCNConv\)"):
        PopTorchBackend(IpuConfig(), tmp_path).compile(model, TrainConfig(), example_of(store, model))


def test_running_statistics_are_refused_under_replication_and_run_alone(store_of, tmp_path, poptorch):
    """(52)"""

    class Norm(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.norm = inner, torch.nn.BatchNorm1d(3)

        def forward(self, x_dict, edge_index_dict, **trimmer):
            return self.norm(self.inner(x_dict, edge_index_dict, **trimmer))

    store = store_of()
    for factor in (1, 2):
        model = built(store)
        model.model = Norm(model.model)
        backend = PopTorchBackend(IpuConfig(replication_factor=factor), tmp_path)
        if factor == 2:
            with pytest.raises(ModelError, match="running statistics"):
                backend.compile(model, TrainConfig(), example_of(store, model))
        else:
            compiled = backend.compile(model, TrainConfig(), example_of(store, model))
            assert compiled.step(calls_of(store, model, 1, 1)[0])[1].isfinite().all()
            compiled.close()


class Strided(torch.nn.Module):
    """Weights that lie otherwise in memory: transposed, in every second place, tied, a buffer, a part of another."""

    def __init__(self, graph, config):
        super().__init__()
        self.seed_type, num = graph.seed_type, graph.num_classes
        wide = torch.linspace(-1, 1, 4 * 6 * 6).reshape(6, 24)
        self.square = torch.nn.Parameter(wide[:, :6].clone().t())
        self.second = torch.nn.Parameter(wide[:, 1:13:2])
        self.third = torch.nn.Parameter(wide[:, 13::2][:, :num])  # of the same memory, another part
        self.tied = torch.nn.Linear(6, 6, bias=False)
        self.tied.weight = self.square
        self.register_buffer("shift", torch.linspace(0, 1, 36).reshape(6, 6).t()[::2])

    def forward(self, x_dict, edge_index_dict):
        x = self.tied((x_dict[self.seed_type] @ self.square).tanh()) @ self.second
        return (x + self.shift.sum(0) * self.shift[0]) @ self.third


def test_weights_are_made_contiguous_wherever_they_lie(store_of, tmp_path, poptorch):
    """(89): else they are uploaded, trained and saved scrambled. What is tied stays tied."""
    store, settings = store_of(), {"name": "tests.trainer.poptorch_backend.test_models:Strided"}
    train = {"optimizer": "sgd", "momentum": 0.9, "epochs": 2}
    fit(ipu_job(tmp_path, None, settings, **train), store, tmp_path / "ipu")
    fit(ipu_job(tmp_path, None, settings, backend="eager", **train), store, tmp_path / "cpu")
    states = [torch.load(tmp_path / run / "last.pt", weights_only=True)["model"] for run in ("ipu", "cpu")]
    assert states[0].keys() == states[1].keys() and "model.third" in states[0]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=1e-4, rtol=1e-3, msg=name)
    assert torch.equal(states[0]["model.square"], states[0]["model.tied.weight"])


def test_the_double_scrambles_what_is_not_contiguous(store_of, tmp_path, poptorch, monkeypatch):
    """(89), so that the test above would fail without the rule."""
    monkeypatch.setattr("heteroshards.trainer.backends.poptorch.lay_out_for_ipu", lambda model: None)
    store = store_of()
    config = ipu_job(tmp_path, None, {"name": "tests.trainer.poptorch_backend.test_models:Strided"})
    with open_job(config, store, backend_of(config)) as ipu, open_job(config, store, EagerBackend()) as cpu:
        with ipu.stream("test", np.array([0])) as stream:
            ((_, batch),) = list(stream)
        assert not torch.allclose(ipu.compiled.infer(batch)[0], cpu.compiled.infer(batch)[0], atol=0.1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.register_buffer("none", torch.zeros(0, 3)), r"SeedModel|without elements.*model.none \(0, 3\)"),
        (lambda m: m.register_parameter("no", torch.nn.Parameter(torch.zeros(2, 0))), r"model.no \(2, 0\)"),
        (lambda m: m.register_parameter("view", torch.nn.Parameter(m.head.weight.data.t())), r"share memory.*view"),
    ],
    ids=["buffer", "parameter", "view"],
)
def test_weights_that_cannot_be_moved_are_named_first(store_of, tmp_path, poptorch, spoil, message):
    """(90): PopTorch would end in an UnboundLocalError, or train one memory twice."""
    store = store_of()
    model = built(store)
    model.initialise(example_of(store, model))
    spoil(model.model)
    with pytest.raises(ModelError, match=message):
        PopTorchBackend(IpuConfig(), tmp_path).compile(model, TrainConfig(), example_of(store, model))
    assert poptorch.double.compilations == 0


def test_matrices_laid_by_columns_never_reach_an_ipu(store_of, tmp_path, poptorch):
    """Sparse features are the CPU's, and so is the layout that suits them."""
    config = ipu_job(tmp_path)
    with open_job(config, store_of(zeros=0.97), backend_of(config)) as job:
        assert job.identity["sparse_features"] == []
        weights = [*job.compiled._model.parameters(), *job.compiled._model.buffers()]
        assert all(weight.is_contiguous() for weight in weights)
    with pytest.raises(ConfigError, match="takes no sparse features"), open_job(
        ipu_job(tmp_path, sparse_features="always"), store_of(zeros=0.97), backend_of(config)
    ):
        pass


class Raising(torch.nn.Module):
    def __init__(self, graph, config):
        super().__init__()
        self.seed_type, self.when = graph.seed_type, config.options["when"]
        self.head = Linear(-1, graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        import poptorch

        if poptorch.isRunningOnIpu() and self.training == (self.when == "train"):
            raise KeyError("of the model's own")
        return self.head(x_dict[self.seed_type])


@pytest.mark.parametrize(("when", "phase"), [("train", "forward pass"), ("infer", "evaluation")])
def test_errors_of_the_model_are_told_as_its_own(store_of, tmp_path, poptorch, when, phase):
    """(75)"""
    config = ipu_job(
        tmp_path, None, {"name": "tests.trainer.poptorch_backend.test_models:Raising", "options": {"when": when}}
    )
    message = (
        rf"split \w+, .*batches \[\d+\]: Raising \(.*test_models.py:\d+\): the model's {phase} failed; got KeyError"
    )
    with pytest.raises(ModelError, match=message):
        fit(config, store_of(), tmp_path / "run")
