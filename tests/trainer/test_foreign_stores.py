"""Stores that the pipeline wrote elsewhere, with other versions of Python, numpy and zarr (`make test-ipu-host`)."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest

from heteroshards.schemas.config import ModelConfig
from heteroshards.trainer import ShardDataset, open_store
from heteroshards.trainer.training import fit
from tests.poptorch_double import installed
from tests.trainer.conftest import make_config
from tests.trainer.poptorch_backend.cases import MODELS, check_call_by_call

FOLDER = os.environ.get("HETEROSHARDS_FOREIGN_STORES", "")
STORES = sorted(path.stem for path in Path(FOLDER).glob("*.json")) if FOLDER else []
pytestmark = pytest.mark.skipif(not STORES, reason="run by `make test-ipu-host`, which writes the stores")


def digests(store: Any) -> Dict[str, Dict[str, str]]:
    """sha256 of every tensor of the first and last batch of each split."""
    found = {}
    for split in store.manifest.splits:
        dataset = ShardDataset(store, split.name)
        for index in (0, len(dataset) - 1):
            tensors = {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in dataset[index].items()}
            found[f"{split.name}/{index}"] = tensors
    return found


@pytest.mark.parametrize("name", STORES or ["none"])
def test_every_tensor_reads_as_where_it_was_written(name):
    expected = json.loads((Path(FOLDER) / f"{name}.json").read_text())
    assert digests(open_store(Path(FOLDER) / name)) == expected


@pytest.mark.parametrize("name", STORES or ["none"])
@pytest.mark.parametrize("model", MODELS)
def test_training_runs_eagerly_and_on_the_double(tmp_path, name, model):
    store = open_store(Path(FOLDER) / name)
    config = make_config(tmp_path, epochs=2).model_copy(update={"model": ModelConfig(name=model, hidden_channels=8)})
    assert 0 <= fit(config, store, tmp_path / "run")["test"]["accuracy"] <= 1
    with installed():
        check_call_by_call(store, tmp_path, model, num_calls=1)
