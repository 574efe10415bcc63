"""Weights on another store, with stores of the factory; whole jobs stand in tests/contract/test_other_store.py."""

import numpy as np
import pytest
import torch

from heteroshards.schemas.errors import CheckpointError
from heteroshards.schemas.manifest import NUMBERING
from heteroshards.trainer import fit
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.checkpoint import KEYS, open_trained
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.runs.reuse import differences, facts_of, ordered_as
from tests.trainer.conftest import make_config

NUMBERS = {"source": {NUMBERING: {"movie": "m", "director": "d", "actor": "a"}}}


def test_the_same_numbering_lets_learned_vectors_be_used(store_of, tmp_path):
    config, store = make_config(tmp_path, epochs=1), store_of(**NUMBERS)
    fit(config, store, tmp_path / "run")
    other = store_of(features="inline", shapes=2, **NUMBERS)
    with open_trained(config, other, EagerBackend(), tmp_path / "run" / BEST) as job:
        assert np.isfinite(answer(job, "test").values).all()
        assert job.weights["trained_on"] == store.path
    unknown = store_of(rng_seed=1)
    with pytest.raises(CheckpointError, match=r"'director' has no features.*do not say how nodes are numbered"):
        with open_trained(config, unknown, EagerBackend(), tmp_path / "run" / BEST):
            pass
    renumbered = store_of(rng_seed=2, source={NUMBERING: {**NUMBERS["source"][NUMBERING], "director": "x"}})
    with pytest.raises(CheckpointError, match=r"'director' has no features.*here they are others"):
        with open_trained(config, renumbered, EagerBackend(), tmp_path / "run" / BEST):
            pass


@pytest.mark.parametrize("facts", [None, {}, {"graph": {}}, "whole but wrong"])
def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_fits_its_own_store_only(store_of, tmp_path, facts):
    config, store = make_config(tmp_path, epochs=1), store_of(**NUMBERS)
    fit(config, store, tmp_path)
    contents = torch.load(tmp_path / BEST, weights_only=True)
    whole = {**contents["trained_on"], "graph": {"node_types": []}}
    torch.save(
        {**{key: contents[key] for key in KEYS}, "trained_on": whole if isinstance(facts, str) else facts},
        tmp_path / BEST,
    )
    with open_trained(config, store, EagerBackend(), tmp_path / BEST):
        pass
    with pytest.raises(CheckpointError, match=r"does not say what its store was like|the checkpoint's graph"):
        with open_trained(config, store_of(features="inline", **NUMBERS), EagerBackend(), tmp_path / BEST):
            pass


def test_stores_of_one_content_do_not_differ(table_store):
    assert differences(facts_of(table_store), table_store) == []


def test_an_order_is_taken_over_and_types_that_are_new_come_last(table_store):
    graph = table_store.manifest.graph
    turned = graph.model_copy(update={"node_types": graph.node_types[::-1], "edge_types": graph.edge_types[::-1]})
    assert ordered_as(graph, turned).metadata == turned.metadata
    fewer = graph.model_copy(update={"node_types": graph.node_types[1:]})
    assert ordered_as(graph, fewer).node_names == ("director", "actor", "movie")
