"""Layers that look across rows are found and named, whoever wrote them; others pass in silence."""

import io
import json
import sys
import types

import pytest
import torch
from torch import nn

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.models import norms
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.runs.report import Console
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.padding_cases import (
    CONVOLUTIONS,
    MASKED,
    REASONS,
    SEEN,
    UNTOUCHED,
    WIDTH,
    Attending,
    Convolution,
    MeanOf,
    Net,
    Remembering,
    Single,
    SortedLSTM,
    Stubborn,
    Whiten,
)
from tests.trainer.store_factory import write_store

pytestmark = pytest.mark.filterwarnings("ignore:There exist node types")  # HeteroConv, of directors


def config_of(root, model, **train):
    return JobConfig.model_validate({**make_config(root, **train).model_dump(), "model": model})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(write_store(tmp_path_factory.mktemp("proof") / "s"))


@pytest.fixture
def run(store, tmp_path, monkeypatch):
    """Open a job with a model; what it said, or the error that it raised."""
    module = types.ModuleType("models_of_a_user")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def run(make, **model):
        module.net = lambda graph, config: make(graph)
        said = io.StringIO()
        config = config_of(tmp_path, model={"name": f"{module.__name__}:net", **model})
        with open_job(config, store, EagerBackend(), Console(said)) as job:
            return said.getvalue(), job

    return run


@pytest.mark.parametrize("name", SEEN)
def test_layers_that_see_pads_are_named(run, name):
    with pytest.raises(ModelError, match="changes with the padding") as caught:
        run(lambda graph: Net(graph, SEEN[name]))
    text = str(caught.value)
    named = {"BatchNorm of PyG": "BatchNorm1d"}.get(name, name)
    assert f"{named} 'odd." in text and "norms" in text and "allow_padding_dependence" in text
    said, job = run(lambda graph: Net(graph, SEEN[name]), allow_padding_dependence=True)
    assert f"{named} 'odd." in said and job.padding_dependence in said


def quiet(said):
    return "padding" not in said


@pytest.mark.parametrize("name", UNTOUCHED)
def test_layers_that_pads_do_not_touch_pass_in_silence(run, name):
    said, job = run(lambda graph: Net(graph, UNTOUCHED[name]))
    assert quiet(said) and job.padding_dependence is None


@pytest.mark.parametrize("name", MASKED)
def test_masked_norms_pass_in_silence(run, name):
    assert quiet(run(lambda graph: Net(graph, MASKED[name], masked=True))[0])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_pass_in_silence(run, name):
    assert quiet(run(lambda graph: Convolution(graph, CONVOLUTIONS[name]))[0])


def test_semantic_attention_and_lstm_are_found(run):
    with pytest.raises(ModelError, match="HANConv 'han'"):
        run(Attending)
    with pytest.raises(ModelError, match="LSTM"):
        run(lambda graph: Convolution(graph, lambda: SortedLSTM(WIDTH, WIDTH, aggr="lstm")))


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv", "hgt"])
@pytest.mark.parametrize("featureless", ["embedding", "constant"])
def test_built_in_models_do_not_depend_on_padding(store, tmp_path, monkeypatch, name, featureless):
    """They are not tested at every start, because they are here."""
    from heteroshards.trainer import job
    from heteroshards.trainer.models import build_model

    config = config_of(tmp_path, model={"name": name, "featureless": featureless, "dropout": 0.3})
    monkeypatch.setattr(job, "build_model", lambda _, graph: build_model(config.model, graph))
    said = io.StringIO()
    named = config.model_copy(update={"model": config.model.model_copy(update={"name": "theirs:net"})})
    with open_job(named, store, EagerBackend(), Console(said)):
        assert quiet(said.getvalue())


def test_nothing_changes_by_being_tested(run, monkeypatch):
    """Weights, buffers and random numbers are those of a run without the test, bit for bit."""
    from heteroshards.trainer import job

    def state(is_tested):
        if not is_tested:
            monkeypatch.setattr(job, "_prove", lambda *args: None)
        _, opened = run(lambda graph: Net(graph, lambda: norms.BatchNorm(WIDTH), masked=True))
        return opened.compiled.model_state(), torch.get_rng_state()

    (tested, one), (untested, other) = state(True), state(False)
    assert torch.equal(one, other) and tested.keys() == untested.keys() and tested
    assert all(torch.equal(tested[name], untested[name]) for name in tested)


def test_what_a_model_keeps_from_run_to_run_says_nothing(run):
    assert quiet(run(lambda graph: Net(graph, Remembering))[0])


def test_of_a_model_of_one_size_the_values_are_tried(run):
    assert quiet(run(lambda graph: Net(graph, Stubborn))[0])
    with pytest.raises(ModelError, match="MeanOf"):
        run(lambda graph: Net(graph, MeanOf))


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_tested_is_said_and_runs(run, reason):
    said, job = run(lambda graph: Net(graph, REASONS[reason]))
    assert "could not be tested: " in said and reason in said and job.padding_dependence is None


def test_models_in_single_precision_are_tested_in_it(run):
    assert quiet(run(lambda graph: Net(graph, Single))[0])
    with pytest.raises(ModelError, match="Whiten"):
        run(lambda graph: Net(graph, lambda: nn.Sequential(Single(), Whiten())))


def test_it_is_kept_in_the_result(store, tmp_path, monkeypatch):
    module = types.ModuleType("models_of_a_user")
    module.net = lambda graph, config: Net(graph, lambda: nn.BatchNorm1d(WIDTH))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    config = config_of(tmp_path, model={"name": "models_of_a_user:net"}, epochs=1)
    with pytest.raises(ModelError, match="BatchNorm1d"):
        fit(config, store, tmp_path / "run", backend=EagerBackend())
    allowed = config_of(tmp_path, model={"name": "models_of_a_user:net", "allow_padding_dependence": True}, epochs=1)
    fit(allowed, store, tmp_path / "run", backend=EagerBackend())
    assert "BatchNorm1d 'odd." in json.loads((tmp_path / "run" / "result.json").read_text())["padding_dependence"]
