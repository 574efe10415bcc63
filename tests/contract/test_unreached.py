"""Types that no batch has anything of: they are no inputs of a model, every line says so, and nothing else changes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from heteroshards.pipeline import prepare
from heteroshards.pipeline.forecast.job import forecast
from heteroshards.pipeline.inspect.command import look_at
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.manifest import parse_manifest
from heteroshards.trainer import fit, open_store
from heteroshards.trainer.backends.cuda_graphs import CudaGraphsBackend
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.checkpoint import open_trained
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import open_job
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.runs.report import Console
from tests.pipeline.build import job as any_job
from tests.pipeline.stores import manifest_of, read, reseal
from tests.strategies import graphs
from tests.trainer.graph_double import CpuGraphDevice

MODELS = ("to_hetero", "hetero_conv", "hgt")
NODES, EDGES = ("city", "venue"), ("city__has__author", "venue__prints__paper", "paper__cites__author")


def graph(printed: int | None = None, num_papers: int = 24) -> HeteroData:
    """Author 5 writes nothing, so no batch has it, nor what leads to it. Venues print nothing but paper `printed`."""
    rng, data = torch.Generator().manual_seed(0), HeteroData()
    ids = torch.arange(num_papers)
    data["paper"].x, data["paper"].y = torch.randn(num_papers, 4, generator=rng), ids % 3
    data["paper"].train_mask, data["paper"].val_mask, data["paper"].test_mask = (
        ids < 12,
        (ids > 11) & (ids < 18),
        ids > 17,
    )
    data["author"].x, data["city"].x = torch.randn(6, 5, generator=rng), torch.eye(3, 40)
    data["venue"].num_nodes = 2
    edges = torch.stack([torch.arange(2 * num_papers) % 5, torch.arange(2 * num_papers) // 2])
    data["author", "writes", "paper"].edge_index, data["paper", "rev", "author"].edge_index = edges, edges.flip(0)
    data["city", "has", "author"].edge_index = torch.tensor([[0, 1, 2], [5, 5, 5]])
    data["paper", "cites", "author"].edge_index = torch.tensor([[0, 7], [5, 5]])
    prints = [[], []] if printed is None else [[0], [printed]]
    data["venue", "prints", "paper"].edge_index = torch.tensor(prints, dtype=torch.long)
    return data


def job(root, model="to_hetero", **sections) -> JobConfig:
    train = {"epochs": 1, "backend": "eager", "cache": str(root / "c"), **sections.pop("train", {})}
    values = {
        "name": "job",
        "dataset": {"seed_type": "paper"},
        "store": {"root": str(root / "stores")},
        "sampling": {"fanout": [2, 2], "batch_size": 4, "rounds": 2, **sections.pop("sampling", {})},
        "model": {"name": model, "hidden_channels": 8, "heads": 2},
        "train": train,
        **sections,
    }
    return JobConfig.model_validate(values)


def inputs_of(opened) -> set[str]:
    return {spec.key for spec in opened.inputs[0] if spec.kind != "target"}


class Lines(Console):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


@settings(max_examples=30, deadline=None)
@given(
    data=graphs(),
    fanout=st.sampled_from([[2], [2, 2], [0, 2], [-1, 1, 2]]),
    budget=st.sampled_from([{}, {"scope": "all"}, {"mode": "uniform", "nodes": 9, "edges": 3}]),
)
def test_they_are_the_types_that_no_ledger_counts(tmp_path_factory, data, fanout, budget):
    given_sizes = {**budget, "oversize": "trim_nodes_and_edges"} if "mode" in budget else budget
    sampling = {"batch_size": 3, "rounds": 1, "fanout": fanout}
    try:
        store = prepare(data, any_job(data, tmp_path_factory.mktemp("s"), sampling=sampling, budget=given_sizes))
    except BudgetError:
        return  # one seed alone is too much
    manifest = parse_manifest(manifest_of(store), "")
    for kind, names, found in (
        ("nodes", manifest.graph.node_names, manifest.unreached.nodes),
        ("edges", manifest.graph.edge_keys, manifest.unreached.edges),
    ):
        total = sum(read(store, f"{split.name}/stats/num_{kind}").sum(axis=(0, 2)) for split in manifest.splits)
        assert [name for name, count in zip(names, total, strict=True) if not count] == list(found)
    assert manifest.reached.seed_type == manifest.graph.seed_type


def test_prepare_plan_inspect_and_training_say_so(tmp_path):
    config, said, console = job(tmp_path), [], Lines()
    planned = forecast(from_data(graph(), config.dataset, {}), config)
    path = prepare(graph(), config, report=said.append)
    store = open_store(path)
    assert store.manifest.unreached.nodes == NODES and set(store.manifest.unreached.edges) == set(EDGES)
    fit(config, store, tmp_path / "run", console=console)
    (noted,) = [note.line for note in store.manifest.notes if note.code == "unreached"]
    assert noted in said and noted in planned.notes and noted in look_at(path)
    for line in (noted, console.said[0]):
        assert "no batch has any" in line and all(name in line for name in (*NODES, *EDGES))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("device", ["cpu", "graphs"])
def test_models_are_built_for_the_rest(tmp_path, model, device):
    """With feature tables beside the model and with sparse rows (the cities' are), too."""
    store = open_store(prepare(graph(), job(tmp_path)))
    backend = CudaGraphsBackend(CpuGraphDevice()) if device == "graphs" else EagerBackend()
    config = job(tmp_path, model, train={"device_features": "always"} if device == "graphs" else {})
    result = fit(config, store, tmp_path / "run", backend=backend)
    assert np.isfinite(result["test"]["loss"])
    with open_job(config, store, EagerBackend()) as opened:
        assert inputs_of(opened) == {"paper", "author", "author__writes__paper", "paper__rev__author"}
        names = " ".join(opened.compiled.model_state())
        assert not any(name in names for name in ("city", "venue", "cites"))


@pytest.mark.parametrize("model", MODELS)
def test_what_only_inference_reaches_keeps_its_weights(tmp_path, model):
    config = job(tmp_path, model)
    store = open_store(prepare(graph(printed=20), config))
    assert store.manifest.unreached.nodes == ("city",)
    ledger = {split: read(store.path, f"{split}/stats/num_edges").sum(axis=(0, 2)) for split in ("train", "test")}
    place = store.manifest.graph.edge_keys.index("venue__prints__paper")
    assert ledger["train"][place] == 0 < ledger["test"][place]
    fit(config, store, tmp_path / "run")
    with open_trained(config, store, EagerBackend(), tmp_path / "run" / BEST) as opened:
        assert {"venue", "venue__prints__paper"} <= inputs_of(opened)
        assert len(answer(opened, "test").node_id) == 6


@pytest.mark.parametrize("model", MODELS)
def test_seeds_without_any_edge_are_trained_on(tmp_path, model):
    data = graph()
    for edge_type in data.edge_types:
        data[edge_type].edge_index = torch.zeros(2, 0, dtype=torch.long)
    config = job(tmp_path, model)
    store = open_store(prepare(data, config))
    assert store.manifest.reached.node_names == ("paper",) and store.manifest.reached.edge_types == ()
    assert np.isfinite(fit(config, store, tmp_path / "run")["test"]["loss"])


@pytest.mark.parametrize("model", MODELS)
def test_weights_go_to_stores_that_reach_more_or_less(tmp_path, model):
    """What the weights do not know is left out and told; what they know and no batch has is pads."""
    fewer, more = (open_store(prepare(graph(printed), job(tmp_path, model))) for printed in (None, 20))
    for trained_on, other, told in (
        (fewer, more, "edge type 'venue__prints__paper': left out, because training had none"),
        (more, fewer, "edge type 'venue__prints__paper': in no batch here"),
    ):
        run = tmp_path / f"run-{trained_on is fewer}"
        config = job(tmp_path, model)
        if trained_on is more:  # learned vectors of venues would belong to nodes by number
            config = config.model_copy(update={"model": config.model.model_copy(update={"featureless": "constant"})})
        fit(config, trained_on, run)
        with open_trained(config, trained_on, EagerBackend(), run / BEST) as opened:
            expected, known = answer(opened, "train"), inputs_of(opened)
        with open_trained(config, other, EagerBackend(), run / BEST) as opened:
            assert inputs_of(opened) == known
            assert any(line.startswith(told) for line in opened.weights["differences"])
            np.testing.assert_allclose(answer(opened, "train").values, expected.values, atol=1e-5)


def test_verify_finds_a_type_that_is_said_to_be_in_no_batch_and_is(tmp_path):
    store = prepare(graph(), job(tmp_path))
    assert not verify(store).findings
    left = manifest_of(store)["unreached"]
    reseal(store, unreached={**left, "edges": [*left["edges"], "author__writes__paper"]})
    assert "a batch has what the manifest says that none has" in json.dumps([f.what for f in verify(store).findings])
