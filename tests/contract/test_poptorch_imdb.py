"""The real trainer feeds the real IMDB graph to the strict double of PopTorch, and gets what plain PyTorch gets."""

import pytest

from heteroshards import pipeline
from heteroshards.schemas.config import JobConfig
from heteroshards.trainer import open_store
from tests.poptorch_double import installed
from tests.trainer.poptorch_backend.cases import MODELS, check_call_by_call


@pytest.fixture(scope="module")
def imdb_store(imdb, tmp_path_factory):
    config = JobConfig(
        sampling={"fanout": [3, 3], "batch_size": 8, "rounds": 1},
        store={"root": str(tmp_path_factory.mktemp("stores")), "chunk_batches": 16},
    )
    return open_store(pipeline.prepare(imdb, config))


@pytest.mark.parametrize("name", MODELS)
def test_imdb_call_by_call(imdb_store, tmp_path, name):
    """device_iterations 4, gradient_accumulation 2, replication 2: (29-38, 80)."""
    with installed():
        check_call_by_call(imdb_store, tmp_path, name, num_calls=2)
