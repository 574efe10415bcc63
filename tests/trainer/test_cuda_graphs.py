"""The captured step is the eager step. On a double of CUDA graphs everywhere, on a GPU where there is one."""

from typing import Any, Dict, List

import pytest
import torch
from torch import nn

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import BackendError, ConfigError
from heteroshards.schemas.tensors import table_bytes
from heteroshards.trainer import job as job_module
from heteroshards.trainer.backends import resolve_backend
from heteroshards.trainer.backends.cuda_graphs import MIN_TORCH, CudaGraphsBackend
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.backends.versions import torch_version
from heteroshards.trainer.job import open_job
from heteroshards.trainer.runs.names import LAST
from heteroshards.trainer.runs.report import read_metrics
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.graph_double import CpuGraphDevice
from tests.trainer.run_cases import equal, stop_at, weights

HERE = "tests.trainer.test_cuda_graphs"
OF_STEPS = ("loss", "val_loss", "val_accuracy")
IS_NEW_ENOUGH = torch_version() >= MIN_TORCH

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not IS_NEW_ENOUGH, reason=f"torch {torch.__version__} is older than {MIN_TORCH}"),
]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def with_model(config: JobConfig, **values: Any) -> JobConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=values)})


def numbers(run: Any) -> List[Dict[str, float]]:
    return [{name: record[name] for name in OF_STEPS} for record in read_metrics(run)]


def assert_same_run(one: Any, other: Any) -> None:
    assert numbers(one) == numbers(other)
    assert equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("model", "optimizer", "shapes", "choice"),
    [
        ("to_hetero", {"optimizer": "adam"}, 1, "never"),
        ("to_hetero", {"optimizer": "adamw"}, 3, "always"),
        ("hetero_conv", {"optimizer": "sgd", "momentum": 0.9}, 3, "never"),
        ("hetero_conv", {"optimizer": "sgd"}, 1, "always"),
        ("hgt", {"optimizer": "adam"}, 1, "always"),
    ],
)
def test_training_is_that_of_eager_bit_for_bit(store_of, tmp_path, model, optimizer, shapes, choice):
    store = store_of(shapes=shapes, chunk_batches=2)
    config = with_model(make_config(tmp_path, **optimizer), name=model)
    eager = fit(config, store, tmp_path / "eager", backend=EagerBackend())
    of_graphs = config.model_copy(update={"train": config.train.model_copy(update={"device_features": choice})})
    graphs = fit(of_graphs, store, tmp_path / "graphs", backend=CudaGraphsBackend(CpuGraphDevice()))
    assert_same_run(tmp_path / "eager", tmp_path / "graphs")
    assert graphs["test"] == eager["test"]
    assert graphs["num_compilations"] == {"train": shapes, "infer": shapes}


@pytest.mark.parametrize("shapes", [1, 2])
def test_training_and_inference_have_shapes_of_their_own(store_of, tmp_path, shapes):
    store, config = store_of(shapes=shapes, apart=True, chunk_batches=2), make_config(tmp_path)
    fit(config, store, tmp_path / "eager", backend=EagerBackend())
    graphs = fit(config, store, tmp_path / "graphs", backend=CudaGraphsBackend(CpuGraphDevice()))
    assert_same_run(tmp_path / "eager", tmp_path / "graphs")
    assert graphs["num_compilations"] == {"train": shapes, "infer": shapes}


def test_an_interrupted_run_goes_on_bit_for_bit(table_store, tmp_path):
    config = make_config(tmp_path)
    fit(config, table_store, tmp_path / "whole", backend=CudaGraphsBackend(CpuGraphDevice()))

    with pytest.raises(KeyboardInterrupt):
        fit(config, table_store, tmp_path / "run", backend=stop_at(CudaGraphsBackend(CpuGraphDevice()), 12))
    saved = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert saved["progress"]["position"] == 5
    assert set(saved["rng"]) == {"cpu", "device"}
    fit(config, table_store, tmp_path / "run", True, backend=CudaGraphsBackend(CpuGraphDevice()))
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_python_runs_for_the_capture_only(table_store, tmp_path, monkeypatch):
    monkeypatch.setattr(job_module, "_prove", lambda *_: None)  # it runs copies
    config = with_model(make_config(tmp_path), name=f"{HERE}:Counting")
    Counting.calls = 0
    fit(config, table_store, tmp_path / "run", backend=CudaGraphsBackend(CpuGraphDevice()))
    assert Counting.calls == 1 + 3 + 3  # initialise; two warm-ups and the capture of each kind


@pytest.mark.parametrize("name", ["Looking", "Branching"])
def test_what_cannot_be_captured_is_said(table_store, tmp_path, name):
    config = with_model(make_config(tmp_path), name=f"{HERE}:{name}", allow_padding_dependence=True)
    with pytest.raises(BackendError, match=r"split train, epoch 1.*the train step cannot be captured"):
        fit(config, table_store, tmp_path / "run", backend=CudaGraphsBackend(CpuGraphDevice()))


@pytest.mark.parametrize("calls_before", [0, 2])  # while warming up, and within the capture, whose end then fails too
def test_a_gpu_that_is_too_small_is_said(table_store, tmp_path, calls_before):
    config = with_model(make_config(tmp_path), name=f"{HERE}:TooLarge", options={"calls_before": calls_before})
    with pytest.raises(BackendError, match=r"(?s)the GPU has too little memory.*CUDA out of memory.*device_features"):
        fit(config, table_store, tmp_path / "run", backend=CudaGraphsBackend(CpuGraphDevice()))


def test_a_gpu_that_cannot_be_opened_is_said(table_store, tmp_path, monkeypatch):
    def refuse():
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors ...")

    monkeypatch.setattr(torch.cuda, "current_device", refuse)
    with pytest.raises(BackendError, match=r"(?s)the GPU cannot be used.*busy or unavailable.*another process"):
        fit(make_config(tmp_path), table_store, tmp_path / "run", backend=CudaGraphsBackend())


def test_recordings_of_one_model_share_memory(store_of, tmp_path):
    device = CpuGraphDevice()
    for run in ("one", "other"):
        fit(make_config(tmp_path), store_of(shapes=3), tmp_path / run, backend=CudaGraphsBackend(device))
    assert len(device.memories) == 12 and len(set(device.memories)) == 2


def test_buffers_that_no_checkpoint_holds_are_as_if_nothing_was_captured(table_store, tmp_path):
    config = with_model(make_config(tmp_path), name=f"{HERE}:CallsSeen")
    seen = {}
    for backend in (EagerBackend(), CudaGraphsBackend(CpuGraphDevice())):
        with open_job(config, table_store, backend) as job:
            with job.stream("train", torch.arange(3).numpy()) as stream:
                for _, tensors in stream:
                    out, _ = job.compiled.step(tensors)
            seen[backend.name] = out
    assert torch.equal(*seen.values())


def test_results_and_states_outlive_the_next_step(table_store, tmp_path):
    with open_job(make_config(tmp_path), table_store, CudaGraphsBackend(CpuGraphDevice())) as job:
        with job.stream("train", torch.arange(3).numpy()) as stream:
            batches = [tensors for _, tensors in stream]
        out, loss = job.compiled.step(batches[0])
        kept, state, model = (out.clone(), loss.clone()), job.compiled.optimizer_state(), job.compiled.model_state()
        second = job.compiled.step(batches[1])[1]
        assert torch.equal(out, kept[0]) and torch.equal(loss, kept[1])
        job.compiled.step(batches[2])
        job.compiled.load_model_state(model)
        job.compiled.load_optimizer_state(state)  # in place: the graph knows its tensors by their addresses
        job.compiled.load_rng_state(job.compiled.rng_state())
        again = job.compiled.optimizer_state()
        assert all(torch.equal(again["state"][0][name], value) for name, value in state["state"][0].items())
        assert second.isfinite() and job.compiled.num_compilations == {"train": 1, "infer": 0}


def test_where_there_is_room_only_ids_travel(table_store, tmp_path):
    graph = table_store.manifest.graph
    moved = {}
    for room in (0, 2 * table_bytes(graph), 2 * table_bytes(graph) - 2):
        device = CpuGraphDevice(room)
        with open_job(make_config(tmp_path), table_store, CudaGraphsBackend(device)) as job:
            kinds = {spec.kind for spec in job.inputs[0]}
            with job.stream("train", torch.arange(3).numpy()) as stream:
                list(stream)
        moved[room] = (sum(device.transfers), "x" in kinds)
    (host, has_x), (ids, has_no_x), short = moved.values()
    assert (has_x, has_no_x) == (True, False) and short == (host, True)
    assert ids < host


SUMS = {"allow_padding_dependence": True}  # over all edges


def test_edge_features_may_lie_beside_the_model_too(table_store, tmp_path):
    found = []
    for choice in ("never", "always"):
        config = with_model(make_config(tmp_path, device_features=choice), name=f"{HERE}:WithEdges", **SUMS)
        fit(config, table_store, tmp_path / choice, backend=EagerBackend())
        with open_job(config, table_store, EagerBackend()) as job:
            kinds = {spec.kind for spec in job.inputs[0]}
            assert ("e_id" in kinds, "edge_attr" in kinds) == (choice == "always", choice == "never")
            found.append(job.identity)
    assert_same_run(tmp_path / "never", tmp_path / "always")
    assert found[0] == found[1]  # a run may go on, or be scored, with the other choice


def test_device_features_that_cannot_be(store_of, tmp_path):
    config = make_config(tmp_path, device_features="always")
    with pytest.raises(ConfigError, match="has its features inline"), open_job(
        config, store_of(features="inline"), EagerBackend()
    ):
        pass
    backend = EagerBackend()
    backend.host_gathers = PopTorchBackend.host_gathers
    with pytest.raises(ConfigError, match="an IPU cannot hold feature tables"), open_job(config, store_of(), backend):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_nothing_stands_in_for_a_gpu(tmp_path):
    with pytest.raises(BackendError, match=r"'cuda_graphs' does not work here.*no NVIDIA GPU"):
        resolve_backend("cuda_graphs", tmp_path)
    assert resolve_backend("auto", tmp_path).name != "cuda_graphs"


@needs_gpu
@pytest.mark.parametrize("model", ["to_hetero", "hetero_conv", "hgt"])
@pytest.mark.parametrize("choice", ["never", "always"])
def test_on_a_gpu(table_store, tmp_path, model, choice):
    config = with_model(make_config(tmp_path, device_features=choice), name=model, dropout=0.0)
    fit(config, table_store, tmp_path / "cpu", backend=EagerBackend())
    graphs = fit(config, table_store, tmp_path / "gpu", backend=resolve_backend("cuda_graphs", tmp_path))
    assert graphs["num_compilations"] == {"train": 1, "infer": 1}
    for here, there in zip(numbers(tmp_path / "cpu"), numbers(tmp_path / "gpu")):
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-2)


@needs_gpu
def test_on_a_gpu_several_shapes_share_memory(store_of, tmp_path):
    store, config = store_of(shapes=3, chunk_batches=2), with_model(make_config(tmp_path), dropout=0.0)
    fit(config, store, tmp_path / "cpu", backend=EagerBackend())
    graphs = fit(config, store, tmp_path / "gpu", backend=resolve_backend("cuda_graphs", tmp_path))
    assert graphs["num_compilations"] == {"train": 3, "infer": 3}
    for here, there in zip(numbers(tmp_path / "cpu"), numbers(tmp_path / "gpu")):
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-2)


@needs_gpu
def test_on_a_gpu_an_interrupted_run_draws_the_same_dropout(table_store, tmp_path):
    config = make_config(tmp_path)
    fit(config, table_store, tmp_path / "whole", backend=resolve_backend("cuda_graphs", tmp_path))
    with pytest.raises(KeyboardInterrupt):
        fit(config, table_store, tmp_path / "run", backend=stop_at(resolve_backend("cuda_graphs", tmp_path), 12))
    fit(config, table_store, tmp_path / "run", True, backend=resolve_backend("cuda_graphs", tmp_path))
    for whole, parts in zip(numbers(tmp_path / "whole"), numbers(tmp_path / "run")):
        assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-2)  # atomic additions come in any order


class Counting(nn.Module):
    """Linear in the seeds' own features."""

    calls = 0

    def __init__(self, graph, config):
        super().__init__()
        self.seed_type, self.linear = graph.seed_type, nn.LazyLinear(graph.num_classes)

    def forward(self, x_dict, edge_index_dict):
        type(self).calls += 1
        return self.linear(x_dict[self.seed_type])


class Looking(Counting):
    def forward(self, x_dict, edge_index_dict):
        out = super().forward(x_dict, edge_index_dict)
        return out * 2 if self.training and float(out.detach().sum()) > 1e9 else out


class TooLarge(Counting):
    def __init__(self, graph, config):
        super().__init__(graph, config)
        self.left = config.options["calls_before"]

    def forward(self, x_dict, edge_index_dict):
        if torch.is_grad_enabled():
            if self.left == 0:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            self.left -= 1
        return super().forward(x_dict, edge_index_dict)


class CallsSeen(Counting):
    def __init__(self, graph, config):
        super().__init__(graph, config)
        self.register_buffer("calls_seen", torch.zeros(()), persistent=False)

    def forward(self, x_dict, edge_index_dict):
        self.calls_seen += 1
        return super().forward(x_dict, edge_index_dict) + self.calls_seen


class Branching(Counting):
    def forward(self, x_dict, edge_index_dict):
        out = super().forward(x_dict, edge_index_dict)
        return out + out[out > 0].sum()


class WithEdges(Counting):
    extra_inputs = ("edge_attr",)

    def forward(self, x_dict, edge_index_dict, edge_attr_dict):
        out = super().forward(x_dict, edge_index_dict)
        return out + sum(attr.mean() for attr in edge_attr_dict.values())
