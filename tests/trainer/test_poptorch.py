"""The real trainer through the strict double: training, inference, feeding, life cycle and failures on an IPU host.

Each test names the rules of PopTorch's host API that it holds the backend to; `poptorch_double/` shows that the
double rejects what breaks them.
"""

import json
import sys
import warnings

import numpy as np
import pytest
import torch
from torch_geometric.nn import Linear

from heteroshards.schemas.config import IpuConfig, TrainConfig
from heteroshards.schemas.errors import BackendError, ConfigError, ModelError, SignatureMismatchError
from heteroshards.trainer import ShardDataset
from heteroshards.trainer.backends import BackendFallbackWarning
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.poptorch import PopTorchBackend
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, compile_offline, open_job
from heteroshards.trainer.runs.report import Console
from heteroshards.trainer.training import fit
from tests.poptorch_double import installed
from tests.trainer.poptorch_case import (
    FEEDING,
    MODELS,
    built,
    calls_of,
    check_call_by_call,
    example_of,
    ipu_job,
    on_double,
)


@pytest.fixture
def poptorch():
    with installed() as package:
        yield package


@pytest.mark.parametrize("contiguous", [True, False], ids=["blocks", "dealt"])
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_weights_follow_plain_pytorch_call_by_call(store_of, tmp_path, poptorch, name, contiguous):
    """Whichever way the host hands micro-batches to replicas (33)."""
    poptorch.double.contiguous_replicas = contiguous
    check_call_by_call(store_of(chunk_batches=4), tmp_path, name)


def test_gradients_can_be_summed(store_of, tmp_path, poptorch):
    """(50)"""
    check_call_by_call(store_of(chunk_batches=4), tmp_path, "to_hetero", num_calls=2, reduction="sum")


def test_a_hetero_data_batch_passes_through_poptorch_geometrics_parser(store_of, poptorch):
    """(23-25, 77): every tensor arrives under its own name and in its own shape."""
    import poptorch_geometric  # noqa: F401

    class Look(torch.nn.Module):
        def forward(self, batch):
            movie = batch["movie"]
            return movie.x.sum(), movie.n_id, batch["movie", "to", "actor"].edge_index, batch["actor"].nodes_mask

    batch = ShardDataset(store_of(), "train", as_hetero_data=True)[0]
    total, n_id, edge_index, mask = poptorch.inferenceModel(Look())(batch)
    torch.testing.assert_close(total, batch["movie"].x.sum())
    assert torch.equal(n_id.long(), batch["movie"].n_id)
    assert torch.equal(edge_index.long(), batch["movie", "to", "actor"].edge_index)
    assert torch.equal(mask, batch["actor"].nodes_mask)


def test_one_compilation_per_kind_and_weights_that_travel(store_of, tmp_path, poptorch):
    """(39-43, 45): inference sees trained weights; only one executor holds the device."""
    store = store_of()
    compiled, model = on_double(store, tmp_path)
    (train,), (test,) = calls_of(store, model, 1, 1), calls_of(store, model, 1, 1, "test")
    before = compiled.infer(test)[1]
    for _ in range(30):
        compiled.step(train)
    after = compiled.infer(test)[0]
    plain = built(store)
    plain.initialise(test)
    plain.load_state_dict(compiled.model_state())
    torch.testing.assert_close(after, plain.eval()(*test)[0].detach(), atol=1e-5, rtol=1e-5)
    assert compiled.infer(train)[1] < before
    assert compiled.num_compilations == {"train": 1, "infer": 1} and poptorch.double.compilations == 2
    attached = [executor.isAttachedToDevice() for executor in compiled._executors.values()]
    assert sum(attached) <= 1
    compiled.close()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # torch 2.0 warns of its own torch.load
@pytest.mark.parametrize(("optimizer", "more"), [("adam", {}), ("adamw", {}), ("sgd", {"momentum": 0.9})])
def test_optimizers_and_their_state(store_of, tmp_path, poptorch, optimizer, more):
    """(66-70): a state that was saved goes on as if nothing had happened; a plain torch state is refused."""
    store = store_of()
    train = TrainConfig(lr=0.01, optimizer=optimizer, **more)
    first, model = on_double(store, tmp_path, train=train)
    batches = calls_of(store, model, 1, 4)
    for batch in batches[:2]:
        first.step(batch)
    torch.save({"model": first.model_state(), "optimizer": first.optimizer_state()}, tmp_path / "saved.pt")
    expected = [first.step(batch)[1] for batch in batches[2:]]
    first.close()
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    second, _ = on_double(store, tmp_path, train=train)
    second.load_model_state(saved["model"])
    second.load_optimizer_state(saved["optimizer"])
    for batch, loss in zip(batches[2:], expected):
        torch.testing.assert_close(second.step(batch)[1], loss, atol=1e-6, rtol=1e-5)
    with pytest.raises(BackendError, match="optimizer state"):
        second.load_optimizer_state(torch.optim.Adam(model.parameters()).state_dict())
    second.close()


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_trainer_as_an_ipu_user_runs_it(store_of, tmp_path, poptorch, name):
    """`auto` picks poptorch where it is installed; calls wrap around (training) and fill up (evaluation)."""
    store = store_of(rounds={"train": 2, "val": 1, "test": 2})
    model = {"name": name, "hidden_channels": 8, "heads": 2}
    config = ipu_job(tmp_path, FEEDING, model, backend="auto", epochs=2)
    assert backend_of(config).name == "poptorch"
    result = fit(config, store, tmp_path / "run")
    assert result["backend"] == "poptorch"
    assert result["num_compilations"] == {"train": 1, "infer": 1}
    assert 0 <= result["test"]["accuracy"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


def test_evaluation_drops_what_fills_up_the_last_call(store_of, tmp_path, poptorch):
    """Answers on a split whose batches are no multiple of a call are those of the eager backend."""
    store = store_of(rounds={"train": 1, "test": 2})
    answers = []
    for backend, ipu in (("eager", {}), ("poptorch", {"device_iterations": 4})):
        config = ipu_job(tmp_path, ipu, backend=backend)
        with open_job(config, store, backend_of(config)) as job:
            assert store.split("test").num_batches % job.compiled.infer_batches or backend == "eager"
            answers.append(answer(job, "test"))
    np.testing.assert_allclose(answers[0].values, answers[1].values, atol=1e-5)
    assert answers[0].node_id.tolist() == answers[1].node_id.tolist()
    assert answers[0].loss == pytest.approx(answers[1].loss, rel=1e-5)


def test_an_interrupted_run_goes_on(store_of, tmp_path, poptorch):
    store = store_of()
    model = {"hidden_channels": 8}  # no dropout: the device's random state is not part of a checkpoint
    config = ipu_job(tmp_path, {"device_iterations": 2}, model, epochs=3)
    whole = fit(config, store, tmp_path / "whole")
    fit(ipu_job(tmp_path, {"device_iterations": 2}, model, epochs=1), store, tmp_path / "parts")
    parts = fit(config, store, tmp_path / "parts", resume_run=True)
    assert parts["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=1e-4)


def test_weights_are_interchangeable_with_eager(store_of, tmp_path, poptorch):
    """(43): a state loads without poptorch, in float32, under the same names."""
    store = store_of()
    compiled, _ = on_double(store, tmp_path)
    state = compiled.model_state()
    compiled.close()
    plain = built(store)
    plain.initialise(example_of(store, plain))
    assert state.keys() == plain.state_dict().keys()
    assert {type(value) for value in state.values()} == {torch.Tensor}
    plain.load_state_dict(state)


@pytest.mark.skipif(torch.__version__.startswith("2.0"), reason="torch 2.0 cannot multiply float16 matrices on a CPU")
def test_half_precision_trains_and_saves_float32(store_of, tmp_path, poptorch):
    """(28)"""
    store = store_of()
    compiled, model = on_double(store, tmp_path, half=True, loss_scaling=128.0, stochastic_rounding=True)
    (batch,) = calls_of(store, model, 1, 1)
    first = float(compiled.step(batch)[1])
    for _ in range(20):
        out, loss = compiled.step(batch)
    assert float(loss) < first and out.dtype == torch.float32
    assert {value.dtype for value in compiled.model_state().values() if value.is_floating_point()} == {torch.float32}
    compiled.close()


def test_options_reach_poptorch(store_of, tmp_path, poptorch):
    """(5, 36, 47, 49-52): two objects, outputs of every micro-batch, and each key of [ipu] where it belongs."""
    ipu = {**FEEDING, "reduction": "sum", "available_memory_proportion": 0.3, "floating_point_exceptions": True}
    compiled, _ = on_double(store_of(), tmp_path, **ipu, rng_seed=7, connection_type="on_demand")
    train, infer = (compiled._executors[kind].options for kind in ("train", "infer"))
    assert (train.device_iterations, train.replication_factor, train.Training.gradient_accumulation) == (4, 2, 2)
    assert (infer.device_iterations, infer.replication_factor, infer.Training.gradient_accumulation) == (4, 2, 1)
    for options in (train, infer):
        assert options.output_mode == poptorch.OutputMode.All
        assert options.random_seed == 7
    assert compiled.infer_batches == 8
    compiled.close()


def test_executables_are_kept_beside_the_runs_and_found_again(store_of, tmp_path, poptorch):
    """(47)"""
    store = store_of()
    for _ in range(2):
        compiled, model = on_double(store, tmp_path)
        compiled.step(calls_of(store, model, 1, 1)[0])
        compiled.close()
    assert list((tmp_path / "poptorch").iterdir())
    assert poptorch.double.cache_hits == 1
    compiled, model = on_double(store, tmp_path / "none", executable_cache="off")
    compiled.step(calls_of(store, model, 1, 1)[0])
    assert not (tmp_path / "none").exists()


def test_compiling_for_a_device_that_is_not_here(store_of, tmp_path, poptorch):
    """(52): executables for both kinds, nothing run."""
    config = ipu_job(tmp_path, {"device_iterations": 2, "ipu_version": 21})
    folder = compile_offline(config, store_of())
    assert len(list(folder.iterdir())) >= 2 and poptorch.double.compilations == 2
    with pytest.raises(ConfigError, match="executable_cache"):
        compile_offline(ipu_job(tmp_path, {"executable_cache": "off"}), store_of())


def test_training_and_inference_have_a_budget_each(store_of, tmp_path, poptorch):
    """(2, 40-42): executors of one model; each batch has its own shape, weights travel from training to all of them.
    Split train, when it is inferred, takes an executor more."""
    store = store_of(apart=True, chunk_batches=4)
    config = ipu_job(tmp_path, {"device_iterations": 2})
    with open_job(config, store, backend_of(config)) as job, open_job(config, store, EagerBackend()) as plain:
        for _ in range(2):
            with job.stream("train", np.arange(4), group=2) as stream:
                for _, tensors in stream:
                    job.compiled.step(tensors)
            plain.compiled.load_model_state(job.compiled.model_state())
            for split in ("val", "train"):
                found, expected = answer(job, split), answer(plain, split)
                np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
        assert job.compiled.num_compilations == {"train": 1, "infer": 2}


def test_offline_every_program_of_a_run_is_compiled(store_of, tmp_path, poptorch):
    compile_offline(ipu_job(tmp_path), store_of(apart=True))
    assert poptorch.double.compilations == 2
    compile_offline(ipu_job(tmp_path), store_of(rounds={"predict": 1}))
    assert poptorch.double.compilations == 3, "nothing to train on"


def test_another_shape_is_refused_before_poptorch_sees_it(store_of, tmp_path, poptorch):
    store = store_of()
    compiled, model = on_double(store, tmp_path, device_iterations=2)
    (batch,) = calls_of(store, model, 1, 1)
    with pytest.raises(SignatureMismatchError, match="compiled for"):
        compiled.step(batch)
    assert poptorch.double.compilations == 0
    compiled.close()


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


def test_devices_are_given_back_when_training_fails(store_of, tmp_path, poptorch):
    """(45): destroy() in a finally."""
    compiled, model = on_double(store_of(), tmp_path)
    executor = compiled._executors["train"]
    compiled.step(calls_of(store_of(), model, 1, 1)[0])
    compiled.close()
    compiled.close()
    assert not executor.isCompiled() and type(model).__name__ == "SeedModel"


def test_layers_that_do_not_run_on_an_ipu_are_named(store_of, tmp_path, poptorch):
    """(79)"""
    from torch_geometric.nn import GATConv, RGCNConv

    store = store_of()
    model = built(store)
    model.model.more = torch.nn.ModuleList([GATConv(4, 4), GATConv(4, 4, add_self_loops=False), RGCNConv(4, 4, 2)])
    with pytest.raises(ModelError, match=r"more.0 \(GATConv\): pass add_self_loops=False; model.more.2 \(RGCNConv\)"):
        PopTorchBackend(IpuConfig(), tmp_path).compile(model, TrainConfig(), example_of(store, model))


def test_variables_that_change_bare_options_are_recorded(store_of, tmp_path, poptorch, monkeypatch):
    """(54)"""
    monkeypatch.setenv("POPLAR_ENGINE_OPTIONS", '{"a": 1}')
    assert fit(ipu_job(tmp_path, epochs=1), store_of(), tmp_path / "run")["environment"] == {
        "POPLAR_ENGINE_OPTIONS": '{"a": 1}'
    }


def test_without_the_sdk_the_error_says_so(tmp_path):
    with pytest.raises(BackendError, match=r"PopTorch cannot be imported.*Poplar SDK"):
        backend_of(ipu_job(tmp_path))


@pytest.mark.parametrize(
    ("ipu", "message"),
    [
        ({"replication_factor": 3}, "powers of two"),
        ({"device_iterations": 0}, "greater than or equal to 1"),
        ({"loss_scaling": 2.0}, "half = true"),
        ({"ipu_version": 3}, "2 or 21"),
    ],
)
def test_options_are_checked_before_poptorch_sees_them(ipu, message):
    """(49): PopTorch itself takes deviceIterations(0)."""
    with pytest.raises(ValueError, match=message):
        IpuConfig(**ipu)


def test_fixed_size_options_both_ways(store_of, poptorch):
    from heteroshards.trainer.backends.poptorch_sizes import budget_config, fixed_size_options

    manifest = store_of().manifest
    options = fixed_size_options(manifest.graph, manifest.budgets[0])
    assert options.num_nodes == manifest.budgets[0].num_nodes
    back = budget_config(options, manifest.graph)
    assert back == {"mode": "explicit", "nodes": manifest.budgets[0].num_nodes, "edges": manifest.budgets[0].num_edges}
    options.num_nodes = options.num_edges = 1000
    assert budget_config(options, manifest.graph) == {"mode": "uniform", "nodes": 1000, "edges": 1000}
    options.num_nodes = {"alien": 3}
    with pytest.raises(ConfigError, match="different node types"):
        budget_config(options, manifest.graph)


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_outputs_in_another_order_are_found_under_replication(store_of, tmp_path, poptorch, kind, monkeypatch):
    """(33, 34): which output belongs to which batch is not promised there, so the first call proves it."""
    store = store_of()
    compiled, model = on_double(store, tmp_path, replication_factor=2)
    (batch,) = calls_of(store, model, 2, 1)
    executor = compiled._executors[kind]
    run = type(executor).__call__
    swap = lambda self, *given: tuple(torch.cat(part.chunk(2)[::-1]) for part in run(self, *given))  # noqa: E731
    monkeypatch.setattr(type(executor), "__call__", swap)
    with pytest.raises(BackendError, match="in another order"):
        (compiled.step if kind == "train" else compiled.infer)(batch)
    compiled.close()


def test_a_package_that_cannot_be_imported_is_a_reason_and_auto_goes_on(tmp_path, monkeypatch):
    """(72, 86): PopTorch asserts versions while it is imported."""
    (tmp_path / "poptorch").mkdir()
    (tmp_path / "poptorch" / "__init__.py").write_text("assert False, 'built for torch 2.0.1'")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendError, match=r"built for torch 2.0.1"):
        backend_of(ipu_job(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert backend_of(ipu_job(tmp_path, backend="auto")).name != "poptorch"
    (said,) = [str(warning.message) for warning in caught if "PopTorch" in str(warning.message)]
    assert "although PopTorch is installed" in said and "built for torch 2.0.1" in said
    assert all(warning.category is BackendFallbackWarning for warning in caught)


def test_where_it_is_not_installed_auto_says_nothing_of_it(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backend_of(ipu_job(tmp_path, backend="auto"))
    assert not [warning for warning in caught if "PopTorch" in str(warning.message)]


def test_off_beats_the_environment(store_of, tmp_path, poptorch, monkeypatch):
    """(47, 52, 54)"""
    monkeypatch.setenv("POPTORCH_CACHE_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("POPTORCH_IPU_MODEL", "1")
    compiled, _ = on_double(store_of(), tmp_path, executable_cache="off")
    options = compiled._executors["train"].options
    assert options.cache_dir is None and options.use_ipu_model is False
    compile_offline(ipu_job(tmp_path), store_of())
    with pytest.raises(ConfigError, match="not hardware"):
        compile_offline(ipu_job(tmp_path, {"ipu_model": True}), store_of())


def test_a_folder_of_executables_that_cannot_be_made(store_of, tmp_path, poptorch):
    (tmp_path / "poptorch").write_text("a file")
    with pytest.raises(ConfigError, match="executable_cache"):
        on_double(store_of(), tmp_path)


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


def test_adam_follows_eager_too(store_of, tmp_path, poptorch):
    """Against the eager backend itself, one batch a call."""
    store = store_of()
    train = TrainConfig(lr=0.01, weight_decay=0.001)
    compiled, model = on_double(store, tmp_path, train=train)
    plain = built(store)
    eager = EagerBackend().compile(plain, train, example_of(store, plain))
    eager.load_model_state(compiled.model_state())
    for batch in calls_of(store, model, 1, 6):
        torch.testing.assert_close(compiled.step(batch)[1].squeeze(), eager.step(batch)[1], atol=1e-3, rtol=1e-2)
    for name, value in eager.model_state().items():
        torch.testing.assert_close(compiled.model_state()[name], value, atol=1e-3, rtol=1e-2, msg=name)
    compiled.close()


def test_a_call_larger_than_a_round_is_told(store_of, tmp_path, poptorch, capsys):
    console = Console(sys.stderr)
    fit(ipu_job(tmp_path, {"device_iterations": 64}, epochs=1), store_of(), tmp_path / "run", console=console)
    assert "warning: one call takes 64 batches" in capsys.readouterr().err


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
    store, settings = store_of(), {"name": "tests.trainer.test_poptorch:Strided"}
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
    config = ipu_job(tmp_path, None, {"name": "tests.trainer.test_poptorch:Strided"})
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
    config = ipu_job(tmp_path, None, {"name": "tests.trainer.test_poptorch:Raising", "options": {"when": when}})
    message = (
        rf"split \w+, .*batches \[\d+\]: Raising \(.*test_poptorch.py:\d+\): the model's {phase} failed; got KeyError"
    )
    with pytest.raises(ModelError, match=message):
        fit(config, store_of(), tmp_path / "run")
