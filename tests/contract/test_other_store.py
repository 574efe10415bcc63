"""A run's weights on another store: what agrees is used and differences are told, what does not is refused by name."""

import copy
import json

import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from torch_geometric.data import HeteroData

from heteroshards.pipeline import prepare
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import CheckpointError
from heteroshards.trainer import fit, open_store
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.checkpoint import load_model, open_trained
from heteroshards.trainer.cli import main
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import open_job
from heteroshards.trainer.predict import predict
from heteroshards.trainer.runs.names import BEST


def graph(num_papers: int = 24, featureless: bool = False) -> HeteroData:
    """The first papers and authors, with the edges among them, are the same whatever `num_papers` is."""
    rng, data = torch.Generator().manual_seed(0), HeteroData()
    ids = torch.arange(num_papers)
    data["paper"].x = torch.randn(64, 4, generator=rng)[:num_papers]
    data["paper"].y = ids % 3
    data["paper"].train_mask, data["paper"].val_mask, data["paper"].test_mask = (
        ids < 12,
        (ids >= 12) & (ids < 18),
        ids >= 18,
    )
    data["author"].x = torch.randn(6, 5, generator=rng)
    if featureless:
        del data["author"].x
        data["author"].num_nodes = 6
    edges = torch.stack([torch.arange(2 * num_papers) % 6, torch.arange(2 * num_papers) // 2])
    data["author", "writes", "paper"].edge_index = edges
    data["paper", "rev", "author"].edge_index = edges.flip(0)
    data["author", "writes", "paper"].edge_attr = torch.ones(2 * num_papers, 2)
    return data


def job(root, model=(), **sections) -> JobConfig:
    values = {
        "name": "job",
        "dataset": {"seed_type": "paper", **sections.pop("dataset", {})},
        "store": {"root": str(root / "stores"), **sections.pop("store", {})},
        "sampling": {"fanout": [2, 2], "batch_size": 4, "rounds": 1, **sections.pop("sampling", {})},
        "model": {"hidden_channels": 8, "heads": 2, **dict(model)},
        "train": {"epochs": 1, "backend": "eager", "root": str(root / "runs"), "cache": str(root / "c")},
        **sections,
    }
    return JobConfig.model_validate(values)


def trained(root, data=None, **sections):
    """(config, store, the file of weights)"""
    config = job(root, **sections)
    store = open_store(prepare(graph() if data is None else data, config))
    fit(config, store, root / "run")
    return config, store, root / "run" / BEST


def answers(config, store, weights, split="test"):
    with open_trained(config, store, EagerBackend(), weights) as opened:
        return answer(opened, split), dict(opened.weights)


USABLE = {
    "all neighbors": ({"sampling": {"fanout": [-1, -1]}}, "sampling.fanout: [2, 2] -> [-1, -1]"),
    "one hop": ({"sampling": {"fanout": [3]}}, "sampling.fanout: [2, 2] -> [3]"),
    "three hops": ({"sampling": {"fanout": [2, 2, 2]}}, "sampling.fanout: [2, 2] -> [2, 2, 2]"),
    "whole graph": ({"sampling": {"mode": "full", "fanout": [5, 5], "batch_size": 64, "rounds": 8}}, "sampling.mode"),
    "another budget": ({"budget": {"mode": "uniform", "nodes": 40, "edges": 90}}, "budget.mode"),
    "shapes": ({"budget": {"shapes": 3}}, "budget.shapes: 1 -> 3"),
    "inline": ({"store": {"features": "inline", "e_id": False}}, 'store.features: "table" -> "inline"'),
    "pad value": ({"store": {"pad_value": 7.0}}, "store.pad_value: 0.0 -> 7.0"),
    "predict": ({"dataset": {"predict": "all"}}, 'dataset.predict: null -> "all"'),
}


@pytest.mark.parametrize("name", USABLE)
def test_the_same_graph_written_otherwise(tmp_path, name):
    sections, told = USABLE[name]
    config, store, weights = trained(tmp_path)
    other = open_store(prepare(graph(), job(tmp_path, **copy.deepcopy(sections))))
    found, said = answers(config, other, weights)
    assert said["trained_on"] == store.path
    assert any(told in line for line in said["differences"]), said
    if name in ("another budget", "shapes", "inline", "pad value"):  # the same samples, so the same answers
        expected, _ = answers(config, store, weights)
        assert torch.allclose(torch.tensor(found.values), torch.tensor(expected.values), atol=1e-6)


def test_all_neighbors_give_what_the_weights_say_of_the_whole_graph(tmp_path):
    config, _, weights = trained(tmp_path)
    every = open_store(prepare(graph(), job(tmp_path, sampling={"fanout": [-1, -1]})))
    full = {"mode": "full", "fanout": [5, 5], "batch_size": 64, "rounds": 8}
    whole = open_store(prepare(graph(), job(tmp_path, sampling=full)))
    sampled, full_batch = (answers(config, store, weights)[0] for store in (every, whole))
    assert torch.allclose(torch.tensor(sampled.values), torch.tensor(full_batch.values), atol=1e-5)


def test_tomorrows_graph(tmp_path):
    config, _, weights = trained(tmp_path)
    later = open_store(prepare(graph(40), job(tmp_path, dataset={"predict": "all"})))
    with open_trained(config, later, EagerBackend(), weights) as opened:
        assert predict(opened, ["predict"], tmp_path / "p.parquet") == 40
    said = json.loads(pq.read_schema(tmp_path / "p.parquet").metadata[b"heteroshards"])
    assert "node type 'paper', num_nodes: 24 -> 40" in said["weights"]["differences"]
    assert said["store"] == later.path and said["fingerprint"] == later.fingerprint


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv", "hgt"])
def test_types_in_another_order(tmp_path, name):
    config, store, weights = trained(tmp_path, model={"name": name})
    first, turned = graph(), HeteroData()
    for of in reversed(first.node_types):
        turned[of].update(first[of])
    for of in reversed(first.edge_types):
        turned[of].update(first[of])
    other = open_store(prepare(turned, job(tmp_path, sampling={"fanout": [-1, -1]})))
    same = open_store(prepare(first, job(tmp_path, sampling={"fanout": [-1, -1]})))
    assert other.manifest.graph.node_names != store.manifest.graph.node_names
    found, expected = (answers(config, each, weights)[0] for each in (other, same))
    assert torch.allclose(torch.tensor(found.values), torch.tensor(expected.values), atol=1e-5)
    with open_job(config, other, EagerBackend()) as opened, pytest.raises(CheckpointError, match="open_trained"):
        load_model(weights, opened)


def _narrow(data):
    data["paper"].x = data["paper"].x[:, :3]


def _bare(data):
    del data["author"].x
    data["author"].num_nodes = 6


def _wide_edges(data):
    data["author", "writes", "paper"].edge_attr = torch.ones(48, 3)


def _another_label(data):
    data["paper"].z = (data["paper"].y + 1) % 3


def _more_classes(data):
    data["paper"].y[0] = 3


def _fewer_classes(data):
    data["paper"].y %= 2


def _without_edges(data):
    del data["paper", "rev", "author"]


def _another_relation(data):
    data["paper", "cites", "paper"].edge_index = torch.zeros(2, 1, dtype=torch.long)


def _another_type(data):
    data["venue"].num_nodes = 2


def _seeds_are_authors(data):
    ids = torch.arange(6)
    data["author"].y, data["author"].train_mask, data["author"].test_mask = ids % 3, ids < 3, ids >= 3


REFUSED = {
    "narrow features": (_narrow, {}, "node type 'paper' has 3 features, not 4 features"),
    "no features": (_bare, {}, "node type 'author' has no features, not 5 features"),
    "wide edge features": (_wide_edges, {}, "edge type 'author__writes__paper' has 3 features, not 2 features"),
    "another label": (_another_label, {"label": "z"}, "label: 'y' -> 'z'.*another order"),
    "more classes": (_more_classes, {}, "classes: 3 -> 4"),
    "fewer classes": (_fewer_classes, {}, r"classes: 3 -> 2; \[dataset\] num_classes"),
    "an edge type less": (_without_edges, {}, "edge type 'paper__rev__author' is missing"),
    "an edge type more": (_another_relation, {}, "edge type 'paper__cites__paper' is new"),
    "a node type more": (_another_type, {}, "node type 'venue' is new"),
    "another seed type": (_seeds_are_authors, {"seed_type": "author"}, "seed type: 'paper' -> 'author'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(tmp_path, name):
    change, dataset, text = REFUSED[name]
    config, _, weights = trained(tmp_path)
    data = graph()
    change(data)
    other = open_store(prepare(data, job(tmp_path, dataset=dataset)))
    with pytest.raises(CheckpointError, match=text):
        answers(config, other, weights)
    with open_job(config, other, EagerBackend()) as opened, pytest.raises(CheckpointError, match=text):
        load_model(weights, opened)


def test_fewer_classes_are_used_where_the_config_says_how_many_there_are(tmp_path):
    config, _, weights = trained(tmp_path)
    data = graph()
    _fewer_classes(data)
    other = open_store(prepare(data, job(tmp_path, dataset={"num_classes": 3})))
    assert answers(config, other, weights)[0].values.shape == (6, 3)


def test_learned_vectors_are_used_where_nodes_keep_their_numbers(tmp_path):
    config, _, weights = trained(tmp_path, graph(featureless=True))
    every = job(tmp_path, sampling={"fanout": [-1, -1]}, dataset={"predict": "all"})
    answers(config, open_store(prepare(graph(featureless=True), every)), weights)
    later = open_store(prepare(graph(40, featureless=True), job(tmp_path)))
    with pytest.raises(CheckpointError, match=r"'author' has no features, its learned vectors .*constant"):
        answers(config, later, weights)
    turned = graph(featureless=True)
    for of in turned.edge_types:
        turned[of].edge_index[of.index("author") // 2] = 5 - turned[of].edge_index[of.index("author") // 2]
    with pytest.raises(CheckpointError, match="here they are others"):
        answers(config, open_store(prepare(turned, job(tmp_path))), weights)


def test_constant_features_need_no_numbers(tmp_path):
    config, _, weights = trained(tmp_path, graph(featureless=True), model={"featureless": "constant"})
    assert (
        len(answers(config, open_store(prepare(graph(40, featureless=True), job(tmp_path))), weights)[0].node_id) == 22
    )


class _LooksUp(torch.nn.Module):
    extra_inputs = ("n_id",)

    def __init__(self, schema, config):
        super().__init__()
        self.vectors = torch.nn.Embedding(schema.node("paper").num_nodes, schema.num_classes)

    def forward(self, x_dict, edge_index_dict, n_id_dict):
        return self.vectors(n_id_dict["paper"].clamp(min=0))


def test_a_model_that_looks_nodes_up_needs_all_numbers(tmp_path):
    model = {"name": f"{__name__}:_LooksUp"}
    config, _, weights = trained(tmp_path, model=model)
    answers(config, open_store(prepare(graph(), job(tmp_path, sampling={"fanout": [1, 1]}))), weights)
    with pytest.raises(CheckpointError, match="looks nodes up by number"):
        answers(config, open_store(prepare(graph(40), job(tmp_path))), weights)


def test_going_on_with_training_stays_strict(tmp_path):
    config, _, weights = trained(tmp_path)
    other = open_store(prepare(graph(), job(tmp_path, sampling={"fanout": [-1, -1]})))
    with pytest.raises(CheckpointError, match=r"belongs to another job: .*store: "):
        fit(config, other, weights.parent, resume_run=True)


def test_the_commands_tell_what_differs(tmp_path):
    _, store, weights = trained(tmp_path)
    other = prepare(graph(40), job(tmp_path, sampling={"fanout": [-1, -1]}))
    (tmp_path / "job.toml").write_text(
        "name = 'job'\n[dataset]\nseed_type = 'paper'\n[model]\nhidden_channels = 8\nheads = 2\n"
        "[train]\nbackend = 'eager'\n"
    )
    options = ["--config", str(tmp_path / "job.toml"), "--store", str(other), "--run", str(weights.parent)]
    result = CliRunner().invoke(main, ["evaluate", *options])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["weights"]["trained_on"] == store.path
    assert "sampling.fanout: [2, 2] -> [-1, -1]" in said["weights"]["differences"]
    assert "sampling.fanout: [2, 2] -> [-1, -1]" in result.stderr and f"are used on {other}" in result.stderr
    result = CliRunner().invoke(main, ["predict", *options])
    assert json.loads(result.stdout.splitlines()[-1])["output"].endswith(f"run/predictions-{other.name}.parquet")


CODES = {"attributes": {"author": ["x", "kind"], "paper": ["kind"]}}


def _with_codes(data, most):
    data["paper"].kind, data["author"].kind = torch.arange(24) % (most + 1), torch.arange(6) % 2
    return data


def test_fewer_codes_are_some_of_those_that_the_weights_know(tmp_path):
    config, _, weights = trained(tmp_path, _with_codes(graph(), 6), dataset=CODES)
    other = open_store(prepare(_with_codes(graph(), 4), job(tmp_path, dataset=CODES)))
    assert answers(config, other, weights)[0].values.shape == (6, 3)
    more = open_store(prepare(_with_codes(graph(), 7), job(tmp_path, dataset=CODES)))
    with pytest.raises(CheckpointError, match=r"'paper' has \[8\] values of kind, where weights know \[7\]"):
        answers(config, more, weights)
    plain = open_store(prepare(graph(), job(tmp_path)))
    with pytest.raises(CheckpointError, match=r"'paper' has 4 features, not kind \(1 codes\)"):
        answers(config, plain, weights)
