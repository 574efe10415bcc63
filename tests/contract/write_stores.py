"""Write stores with the versions installed here, for `make test-ipu-host` to read with an IPU host's.

    python -m tests.contract.write_stores FOLDER

Each comes with a JSON file of what its batches must read as: a digest per tensor of the first and the last batch.
"""

import json
import sys
from pathlib import Path

import numpy as np

from heteroshards import pipeline
from heteroshards.trainer import open_store
from tests.pipeline.build import job
from tests.strategies import random_graph
from tests.trainer.test_foreign_stores import digests

TYPES = {
    ("movie", "to", "director"): 60,
    ("movie", "to", "actor"): 120,
    ("director", "to", "movie"): 60,
    ("actor", "to", "movie"): 120,
}
VARIANTS = {
    "table": {},
    "inline-zstd": {"features": "inline", "codec": "zstd"},
    "plain": {"codec": "none", "chunk_batches": 3},
}


def main(folder: Path) -> None:
    data = random_graph(
        np.random.default_rng(0),
        {"movie": 60, "director": 20, "actor": 50},
        TYPES,
        "movie",
        {"movie": 6, "director": 5},
    )
    for name, store in VARIANTS.items():
        config = job(data, folder, sampling={"batch_size": 4, "rounds": 2, "fanout": [3, 2]}, store=store)
        path = pipeline.prepare(data, config, store=folder / name)
        (folder / f"{name}.json").write_text(json.dumps(digests(open_store(path))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
