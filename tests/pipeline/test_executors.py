"""Nothing but plain data crosses between the driver and its workers, so that any executor will do."""

import functools
import pickle

import numpy as np
import pytest

from heteroshards import pipeline
from heteroshards.pipeline import executors
from heteroshards.pipeline.executors.executor import require_plain
from heteroshards.pipeline.executors.threads import Threads
from heteroshards.pipeline.forecast.job import forecast
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.verify.job import verify
from tests.pipeline.build import job
from tests.pipeline.stores import files_of
from tests.strategies import random_graph

TYPES = {("a", "to", "b"): 150, ("b", "to", "a"): 150}
CASES = {
    "random": {"sampling": {"grouping": "random"}},
    "balanced, inline": {"sampling": {"grouping": "balanced"}, "store": {"features": "inline", "chunk_batches": 2}},
    "packed, trimmed": {
        "sampling": {"grouping": "packed"},
        "budget": {"mode": "uniform", "nodes": 12, "edges": 15, "oversize": "trim_nodes_and_edges"},
    },
    "whole": {"sampling": {"mode": "full"}},
}


class Posted(Threads):
    """As if every worker were a process of its own: what crosses is written out and read again."""

    num_items = 0

    def map(self, function, items):
        for result in super().map(_unpacked, (pickle.dumps((function, item)) for item in items)):
            Posted.num_items += 1
            yield pickle.loads(result)


def _unpacked(worker, packed):
    function, item = pickle.loads(packed)
    return pickle.dumps(function(worker, item))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_store_is_the_same_whatever_carries_its_partitions(case, tmp_path, monkeypatch):
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30}, TYPES, "a", {"a": 3})
    plain = pipeline.prepare(data, config := job(data, tmp_path / "plain", **case))
    source = from_data(data, config.dataset, {"dataset": "a HeteroData in memory"})
    said = forecast(source, config)
    monkeypatch.setattr(executors, "Threads", Posted)
    posted = pipeline.prepare(data, job(data, tmp_path / "posted", **case), workers=3)
    assert files_of(posted) == files_of(plain)
    assert verify(posted, source, config, workers=2).is_sound
    assert forecast(source, config, workers=2) == said
    assert Posted.num_items > 10


def test_what_would_carry_more_than_itself_is_refused():
    require_plain(_unpacked)
    for function in (lambda worker, item: item, functools.partial(_unpacked, packed=b""), Posted(dict, 1).map):
        with pytest.raises(TypeError, match="cannot cross"):
            require_plain(function)
