"""Attributes on their way from a graph to a trained model, whichever way they travel."""

import numpy as np
import pytest
import torch

from heteroshards.pipeline import prepare
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer import open_store
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.training import fit
from tests.strategies import random_graph

KEY = "a__to__b type"


def graph():
    """`a` has words (mostly zeros), a code and no x, `b type` a code alone; edges between them a code."""
    types = {("a", "to", "b type"): 90, ("b type", "to", "a"): 90}
    data = random_graph(np.random.default_rng(0), {"a": 60, "b type": 30}, types, "a")
    data["a"].words = (torch.rand(60, 40, generator=torch.Generator().manual_seed(0)) < 0.02).float()
    data["a"].kind, data["b type"].kind = torch.arange(60) % 9, torch.arange(30) % 4
    data["a", "to", "b type"].role = torch.arange(90) % 3
    return data


def job(root, attributes, **train):
    return JobConfig.model_validate(
        {
            "dataset": {"seed_type": "a", "attributes": attributes},
            "sampling": {"fanout": [3, 2], "batch_size": 8, "rounds": 1},
            "store": {"root": str(root / "stores")},
            "model": {"hidden_channels": 8},
            "train": {"epochs": 2, "backend": "eager", "root": str(root / "runs"), "cache": str(root / "c"), **train},
        }
    )


def test_numbers_of_any_name_come_as_they_are_sparse_and_dense(tmp_path):
    found, kinds = [], []
    for train in ({"sparse_features": "never"}, {"sparse_features": "auto"}, {"device_features": "always"}):
        config = job(tmp_path, {"a": ["words"]}, **train)
        store = open_store(prepare(graph(), config))
        with open_job(config, store, EagerBackend()) as opened:
            kinds.append({spec.kind for spec in opened.inputs[0] if spec.key == "a"} & {"x", "x_values", "n_id"})
            with opened.stream("train", np.arange(2)) as stream:
                found.append([opened.compiled.step(tensors)[1].item() for _, tensors in stream])
    assert kinds == [{"x"}, {"x_values"}, {"n_id"}]
    assert found[1] == pytest.approx(found[0], rel=1e-5) and found[2] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("name", ["to_hetero", "hetero_conv", "hgt"])
def test_codes_are_learned_from(tmp_path, name):
    """The class of a node is its code: a model that sees it finds out."""
    data = graph()
    data["a"].y = data["a"].kind = torch.arange(60) % 3
    config = job(tmp_path, {"a": ["words", "kind"], "b type": ["kind"], KEY: ["role"]}, epochs=60, lr=0.05)
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": name, "heads": 2})})
    store = open_store(prepare(data, config))
    assert fit(config, store, tmp_path / "run")["test"]["accuracy"] > 0.9
