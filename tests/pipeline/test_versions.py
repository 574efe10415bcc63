"""What decides bytes has versions; a changed kernel under an old one is found.

    python -m tests.pipeline.test_versions

records the code as it is, where the stores below are still made of the same tensors, or a version was raised.
"""

import ast
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heteroshards.pipeline import prepare
from heteroshards.pipeline.versions import DECIDING, versions
from heteroshards.pipeline.writing.manifest import fingerprint_of
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.sampling import SamplingSpec
from tests.pipeline.stores import manifest_of, read
from tests.raw_manifest import path_of
from tests.strategies import random_graph

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("versions.json")
RECORDED_WITH = (3, 11)  # code is written out a little differently by each Python

JOBS: dict[str, dict[str, Any]] = {
    "balanced": {"sampling": {"fanout": [3, 2], "batch_size": 8, "rounds": 2}},
    "random, two shapes": {
        "sampling": {"fanout": [3, 2], "batch_size": 8, "grouping": "random"},
        "budget": {"shapes": 2},
    },
    "packed, replacing": {"sampling": {"fanout": [2, 2], "batch_size": 8, "grouping": "packed", "replace": True}},
    "trimmed": {
        "sampling": {"fanout": [4, 4], "batch_size": 8},
        "budget": {"mode": "uniform", "nodes": 25, "edges": 30, "oversize": "trim_nodes_and_edges"},
    },
    "whole": {"sampling": {"mode": "full"}},
}


def code_of(module: str) -> str:
    """A module without comments and docstrings."""
    tree = ast.parse((ROOT / "pipeline" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def digest_of_code(name: str) -> str:
    text = "\n".join(code_of(module) for module in DECIDING[name].modules)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_store(job: dict[str, Any], folder: Path) -> str:
    """Of every tensor of a small store."""
    types = {("a", "to", "b"): 150, ("b", "to", "a"): 150, ("a", "at", "a"): 90}
    data = random_graph(np.random.default_rng(5), {"a": 60, "b": 30}, types, "a", {"a": 3})
    place = {"root": str(folder), "layout": "per_type"}
    store = prepare(data, JobConfig(dataset={"seed_type": "a"}, store=place, **job))
    digest = hashlib.sha256()
    for tensor in manifest_of(store)["tensors"]:
        digest.update(path_of(tensor).encode() + read(store, path_of(tensor)).tobytes())
    return digest.hexdigest()[:16]


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


@pytest.mark.skipif(sys.version_info[:2] != RECORDED_WITH, reason="code is compared with one Python only")
@pytest.mark.parametrize("name", DECIDING)
def test_what_decides_bytes_changes_with_its_version(name: str) -> None:
    found = {"version": DECIDING[name].version, "code": digest_of_code(name)}
    assert found == recorded()["code"][name], f"raise the version of {name!r} or record it: see {__file__}"


@pytest.mark.parametrize("name", JOBS)
def test_stores_are_made_of_the_recorded_tensors(name: str, tmp_path: Path) -> None:
    assert digest_of_store(JOBS[name], tmp_path) == recorded()["stores"][name]


def test_a_raised_version_is_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    config, spec = JobConfig(), SamplingSpec.model_construct(mode="full")
    before = fingerprint_of(config, spec, "content")
    assert fingerprint_of(config, spec, "content") == before
    monkeypatch.setitem(DECIDING, "sampling", DECIDING["sampling"]._replace(version=10**6))
    assert fingerprint_of(config, spec, "content") != before


def record() -> str:
    """Write what is recorded anew; an error where tensors changed and no version did."""
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: digest_of_store(job, Path(folder) / str(i)) for i, (name, job) in enumerate(JOBS.items())}
    before = recorded() if RECORD.exists() else None
    held = {name: of["version"] for name, of in before["code"].items()} if before else {}
    if before and before["stores"] != stores and versions() == held:
        return "tensors of stores changed: raise a version in pipeline/versions.py first"
    code = {name: {"version": of.version, "code": digest_of_code(name)} for name, of in DECIDING.items()}
    RECORD.write_text(json.dumps({"code": code, "stores": stores}, indent=2) + "\n", encoding="utf-8")
    return ""


if __name__ == "__main__":
    sys.exit(record())
