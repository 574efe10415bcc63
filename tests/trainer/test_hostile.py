"""A manifest made by somebody else: it can neither make the reader look outside the store nor take all memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.store import open_store
from tests.raw_manifest import tensor_at
from tests.trainer.store_factory import manifest_of, set_manifest, write_store

ROOT = Path(__file__).resolve().parents[2]
MEMORY_BYTES = 2**29
READ = """
import resource, sys
from pathlib import Path
import torch
from heteroshards.schemas.errors import StoreError
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.store import open_store

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, resource.RLIM_INFINITY))
for path in sys.argv[1:]:
    try:
        store = open_store(path, {check})
        for split in store.manifest.splits:
            store.read_seeds(split.name, "n_id")
            store.read_stats(split.name, "num_seeds")
            dataset = ShardDataset(store, split.name)
            [dataset[index] for index in range(len(dataset))]
        print("read")
    except StoreError as error:
        print(type(error).__name__, str(error)[:300].replace(chr(10), " "))
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("whole") / "store", rounds={"train": 1})


def rename(manifest, name):
    """Node type `actor` under another name, wherever the manifest says it."""
    text = json.dumps(manifest)
    return json.loads(text.replace('"actor"', json.dumps(name)).replace("/actor/", f"/{json.dumps(name)[1:-1]}/"))


def many_features(manifest, num):
    manifest["graph"]["node_types"][0]["attributes"][0]["width"] = num
    manifest["dimensions"]["features"]["movie_feature"] = num


def many_nodes(manifest, num):
    manifest["graph"]["node_types"][0]["num_nodes"] = num
    manifest["dimensions"]["features"]["movie_id"] = num
    tensor_at(manifest, "features/movie/x")["chunk_rows"] = num


def many_batches(manifest, num):
    for spec in manifest["tensors"]:
        if spec["part"] == "train":
            spec["chunk_rows"] = num
    manifest["dimensions"]["train"]["batch"] = num
    manifest["splits"][0]["parts"][0]["round_starts"] = [0, num]
    manifest["chunk_batches"] = num


def large_budget(manifest, num):
    manifest["budgets"][0]["num_nodes"]["movie"] = num
    sizes = manifest["dimensions"]["train"]
    sizes["node" if "node" in sizes else "movie_node"] = num


def set_at(*place, value):
    def change(manifest):
        for key in place[:-1]:
            manifest = manifest[key]
        manifest[place[-1]] = value

    return change


NAMES = ("..", "../../etc", "/etc/passwd", "a\0b", "a\\b", "a/b", "", ".", "\n", "x" * 300, "zarr.json", "\ud800")
CHANGES = {
    **{f"type name {name[:20]!r}": (lambda m, n=name: m.update(rename(m, n))) for name in NAMES},
    **{f"split name {name[:20]!r}": set_at("splits", 0, "name", value=name) for name in NAMES},
    **{f"{key} {name[:20]!r}": set_at("tensors", 0, key, value=name) for name in NAMES for key in ("part", "name")},
    **{f"owner {name[:20]!r}": set_at("tensors", 0, "owner", value=name) for name in NAMES},
    **{f"target {name[:20]!r}": set_at("graph", "task", "targets", 0, "name", value=name) for name in NAMES},
    **{
        f"dtype {name!r}": set_at("graph", "node_types", 0, "attributes", 0, "dtype", value=name)
        for name in ("object", "<U9", ">f4", "O", "V8", "M8[s]", "complex64", "bool", "", None, 7)
    },
    **{f"tensor dtype {n!r}": set_at("tensors", 0, "dtype", value=n) for n in ("object", ">i4", "<U9", "float64", 7)},
    **{
        f"{change.__name__} {num}": (lambda m, c=change, n=num: c(m, n))
        for change in (many_features, many_nodes, many_batches, large_budget)
        for num in (2**22, 2**31 - 1, 2**31, 2**62, 10**30, -1, 0)
    },
    "nested lists": set_at("graph", "node_types", value=[[[[]]]]),
    "a table for a list": set_at("tensors", value={"a": 1}),
    "a list for a table": set_at("budgets", 0, "num_nodes", value=[1, 2]),
    "a number for the graph": set_at("graph", value=3),
    "a type twice": lambda m: m["graph"]["node_types"].append(m["graph"]["node_types"][1]),
    "an edge type twice": lambda m: m["graph"]["edge_types"].append(m["graph"]["edge_types"][0]),
    "a split twice": lambda m: m["splits"].append(m["splits"][0]),
    "a tensor twice": lambda m: m["tensors"].append(m["tensors"][0]),
    "no tensors": set_at("tensors", value=[]),
    "negative rounds": set_at("splits", 0, "parts", 0, "round_starts", value=[0, -8]),
    "no hops": set_at("budgets", 0, "hop_nodes", "movie", value=[]),
    "hops beyond the budget": set_at("budgets", 0, "hop_nodes", "movie", value=[1, 2, 99]),
    "seeds in no batch": set_at("unreached", "nodes", value=["movie"]),
    "an unknown type in no batch": set_at("unreached", "edges", value=["nobody__knows__it"]),
    "edges at a node type in no batch": set_at("unreached", "nodes", value=["actor"]),
    "an odd config": set_at("config", value={"store": [1]}),
    "pad_value": set_at("pad_value", value=float("inf")),
    "a large pad_value": set_at("pad_value", value=1e39),
    "another codec": set_at("tensors", 0, "codec", value="none"),
    "smaller shards": set_at("tensors", 0, "chunk_rows", value=1),
}


def changed(whole, path, change):
    """A copy of the store with another manifest and checksums that fit it; arrays are links to the whole one's."""
    path.mkdir()
    for entry in whole.iterdir():
        (path / entry.name).symlink_to(entry)
    (path / ".zattrs").unlink()
    manifest = manifest_of(whole)
    change(manifest)
    checksums = integrity.checksums_of(LocalFiles(whole), integrity.metadata_files(LocalFiles(whole), 2))
    (path / ".zattrs").write_bytes(integrity.render_root(2, manifest, checksums))
    return path


def shown_by(paths, check=True):
    """What a process of its own says of each store, and the most memory it held, in MiB."""
    command = [sys.executable, "-c", READ.format(memory=MEMORY_BYTES, check=check), *map(str, paths)]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    *lines, peak = shown.stdout.splitlines()
    return lines, int(peak.split()[1]) / 1024


@pytest.mark.parametrize("check", [True, False])
def test_hostile_manifests_end_in_typed_errors_with_little_memory(whole, tmp_path, check):
    paths = [changed(whole, tmp_path / str(i), change) for i, change in enumerate(CHANGES.values())]
    (read,), least = shown_by([whole], check)
    lines, most = shown_by(paths, check)
    assert read == "read"
    assert len(lines) == len(CHANGES)
    harmless = {"an odd config"}
    assert [name for name, line in zip(CHANGES, lines) if line == "read"] == [n for n in CHANGES if n in harmless]
    assert most < least + 100, "MiB: declared giants take no memory"


@pytest.mark.parametrize("codec", ["none", "blosc-lz4", "zstd"])
def test_giants_that_all_of_the_store_agrees_on(tmp_path, codec):
    """Manifest, array metadata and checksums tell of a terabyte of features; the files are tiny."""
    path = write_store(tmp_path / "store", rounds={"train": 1}, codec=codec)
    manifest = manifest_of(path)
    num = 2**31 - 1
    spec = tensor_at(manifest, "features/movie/x")
    many_nodes(manifest, num)
    file = path / "features" / "movie" / "x" / ".zarray"
    array = json.loads(file.read_text())
    file.write_text(json.dumps({**array, "shape": [num, 6], "chunks": [num, 6]}))
    first = manifest["tensors"].index(spec)
    table = np.frombuffer((path / "checksums" / "0.0").read_bytes(), "<u4").reshape(-1, 2).copy()
    num_before = open_store(path).spec("features/movie/x").num_chunks
    table = np.delete(table, np.s_[first + 1 : first + num_before], axis=0)
    table[first, 1] = 2**32 - 1
    (path / "checksums" / "0.0").write_bytes(table.tobytes())
    meta = path / "checksums" / ".zarray"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "shape": [len(table), 2], "chunks": [len(table), 2]}))
    import google_crc32c

    manifest["checksums_crc32c"] = google_crc32c.value(table.tobytes())
    set_manifest(path, manifest)
    (line,), _ = shown_by([path])
    assert line.startswith("CorruptChunkError") and "features/movie/x/0.0" in line, line


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"manifest": ' * 50_000, '{"manifest": 1' + "0" * 10_000 + "}", "\xff", "3"]
)
def test_root_attributes_that_are_no_table(tmp_path, text):
    (tmp_path / ".zattrs").write_text(text, encoding="latin-1")
    for check in (True, False):
        with pytest.raises(StoreError):
            open_store(tmp_path, check)


def test_a_manifest_nested_deeply_where_anything_may_stand(whole, tmp_path):
    nested = {}
    for _ in range(300):
        nested = {"a": nested}
    path = changed(whole, tmp_path / "store", set_at("source", value=nested))
    assert open_store(path).manifest.source
    assert len(ShardDataset(path, "train")) == 8


def test_an_endless_root_is_not_read(tmp_path):
    with (tmp_path / ".zattrs").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(StoreError, match="larger than any that is written"):
        open_store(tmp_path)


def test_a_file_much_larger_than_its_chunk_is_not_read(whole, tmp_path):
    import shutil

    path = shutil.copytree(whole, tmp_path / "store")
    with (path / "train" / "seeds" / "targets" / "y" / "0.0").open("r+b") as file:
        file.truncate(2**40)
    (line,), _ = shown_by([path], check=False)
    assert "wrong size; got 1099511627776 bytes" in line
