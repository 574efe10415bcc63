"""What `make test-pythons` compares stores with."""

import json
import shutil
from pathlib import Path

import numpy as np

from heteroshards.pipeline import prepare
from heteroshards.schemas.config import JobConfig
from tests.compare_stores import differences
from tests.strategies import random_graph


def test_every_difference_but_versions_is_told(tmp_path: Path) -> None:
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30}, {("b", "to", "a"): 90}, "a", {"a": 3})
    one = prepare(data, JobConfig(dataset={"seed_type": "a"}, sampling={"fanout": [2]}), store=tmp_path / "one")
    other = Path(shutil.copytree(one, tmp_path / "other"))
    root = json.loads((other / ".zattrs").read_text())
    root["manifest"]["provenance"]["python"] = "3.99"
    (other / ".zattrs").write_text(json.dumps(root))
    assert differences(one, other) == []
    root["manifest"]["pad_value"] = 1.0
    (other / ".zattrs").write_text(json.dumps(root))
    chunk = other / "train" / "seeds" / "targets" / "y" / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    (other / "more").touch()
    assert differences(one, other) == ["more", "train/seeds/targets/y/0.0", "manifest"]
