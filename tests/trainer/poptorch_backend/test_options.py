"""What a job says reaches PopTorch, and what cannot work is refused before."""

import warnings

import pytest

from heteroshards.schemas.config import IpuConfig
from heteroshards.schemas.errors import BackendError, ConfigError
from heteroshards.trainer.backends import BackendFallbackWarning
from heteroshards.trainer.job import backend_of, compile_offline
from heteroshards.trainer.training import fit
from tests.trainer.poptorch_backend.cases import (
    FEEDING,
    ipu_job,
    on_double,
)


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


def test_variables_that_change_bare_options_are_recorded(store_of, tmp_path, poptorch, monkeypatch):
    """(54)"""
    monkeypatch.setenv("POPLAR_ENGINE_OPTIONS", '{"a": 1}')
    assert fit(ipu_job(tmp_path, epochs=1), store_of(), tmp_path / "run")["environment"] == {
        "POPLAR_ENGINE_OPTIONS": '{"a": 1}'
    }


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


def test_without_the_sdk_the_error_says_so(tmp_path):
    with pytest.raises(BackendError, match=r"PopTorch cannot be imported.*Poplar SDK"):
        backend_of(ipu_job(tmp_path))


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


def test_a_folder_of_executables_that_cannot_be_made(store_of, tmp_path, poptorch):
    (tmp_path / "poptorch").write_text("a file")
    with pytest.raises(ConfigError, match="executable_cache"):
        on_double(store_of(), tmp_path)
