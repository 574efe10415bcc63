"""Interruption, resumption, locking: a store appears whole or not at all."""

import json
import threading

import numpy as np
import pytest
import zarr

from heteroshards import pipeline
from heteroshards.pipeline.writing import encode, zarr_compat
from heteroshards.pipeline.writing.writer import StoreWriter, locked
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.manifest import parse_manifest
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.schemas.tensors import TensorSpec
from tests.pipeline.build import job
from tests.pipeline.stores import files_of, manifest_of
from tests.raw_manifest import path_of, shape_of
from tests.strategies import random_graph


@pytest.fixture(scope="module")
def data():
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    return random_graph(np.random.default_rng(0), {"a": 60, "b": 20}, types, "a", {"a": 3})


def config(data, root, **store):
    return job(
        data, root, sampling={"batch_size": 2, "rounds": 4, "fanout": [2, 2]}, store={"chunk_batches": 2, **store}
    )


def visible(folder):
    """What stands in a folder, without the lock files that stay there."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


class Stopped(BaseException):  # as a signal: no error that a command could tell
    """Stands for a kill: nothing after it runs."""


@pytest.mark.parametrize("chunks_before", [0, 1, 7, 40, 150, 400])
def test_a_stopped_prepare_shows_nothing_and_goes_on_to_the_same_bytes(data, tmp_path, monkeypatch, chunks_before):
    whole = pipeline.prepare(data, config(data, tmp_path / "whole"))
    monkeypatch.setattr("heteroshards.pipeline.writing.partitions.SHARDS_PER_PARTITION", 3)
    chunks_before = min(chunks_before, parse_manifest(manifest_of(whole), "test").num_chunks - 1)
    written = []
    original = StoreWriter.write_chunk

    def stop_after(self, *args):
        if len(written) == chunks_before:
            raise Stopped
        written.append(args)
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write_chunk", stop_after)
        with pytest.raises(Stopped):
            pipeline.prepare(data, config(data, tmp_path / "stopped"))
    assert not (tmp_path / "stopped" / whole.name).exists()
    rewritten = []

    def count(self, *args):
        rewritten.append(args)
        return original(self, *args)

    monkeypatch.setattr(StoreWriter, "write_chunk", count)
    store = pipeline.prepare(data, config(data, tmp_path / "stopped"))
    assert files_of(store) == files_of(whole)
    total = len([f for f in files_of(store) if f.rpartition("/")[2][0].isdigit() and not f.startswith("checksums")])
    assert len(rewritten) <= total
    if chunks_before >= 150:
        assert len(rewritten) < total, "finished partitions are not written again"


def test_a_work_folder_of_another_plan_is_not_mixed_in(data, tmp_path, monkeypatch):
    whole = pipeline.prepare(data, config(data, tmp_path, codec="zstd"), store=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finalise", lambda self, partitions: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            pipeline.prepare(data, config(data, tmp_path), store=tmp_path / "store")
    store = pipeline.prepare(data, config(data, tmp_path, codec="zstd"), store=tmp_path / "store")
    assert files_of(store) == files_of(whole)


def test_finalise_names_what_is_missing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(StoreWriter, "is_finished", lambda self, name: name == "val-000000")
    with pytest.raises(StoreError, match=r"features-a-x, stats-train.*only missing partitions"):
        pipeline.prepare(data, config(data, tmp_path))


def test_every_chunk_has_its_checksum(data, tmp_path):
    import google_crc32c

    for zarr_format in (2, 3):
        store = pipeline.prepare(data, config(data, tmp_path, zarr_format=zarr_format))
        root = zarr.open_group(str(store), mode="r")
        table, rows = np.asarray(root["checksums"]), 0
        manifest = root.attrs["manifest"]
        for tensor in manifest["tensors"]:
            chunk_dir = store / path_of(tensor) / ("c" if zarr_format == 3 else "")
            chunks = [f for f in chunk_dir.rglob("*") if f.is_file() and f.name[0].isdigit()]
            first, num_chunks = rows, -(-shape_of(manifest, tensor)[0] // tensor["chunk_rows"])
            rows += num_chunks
            assert num_chunks == len(chunks)
            for file in chunks:
                index = int(str(file.relative_to(chunk_dir)).replace("/", ".").split(".")[0])
                assert table[first + index].tolist() == [google_crc32c.value(file.read_bytes()), file.stat().st_size]
        assert rows == len(table)
        assert google_crc32c.value(table.tobytes()) == root.attrs["manifest"]["checksums_crc32c"]


def test_one_waits_while_another_works(tmp_path):
    store, order, waited = tmp_path / "s", [], []
    inside, go = threading.Event(), threading.Event()

    def first():
        with locked(store, lambda: None):
            inside.set()
            go.wait(10)
            order.append("first")

    def second():
        with locked(store, lambda: (waited.append(True), go.set())):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"] and waited


def test_never_two_at_once(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(50):
            with locked(tmp_path / "s", lambda: None):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 200 and max(most) == 1


def test_two_prepares_at_once_make_one_store(data, tmp_path):
    results, said = [], []

    def run():
        results.append(pipeline.prepare(data, config(data, tmp_path), report=said.append))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2 and results[0] == results[1]
    assert visible(tmp_path) == [results[0].name]


def test_gathering_from_an_empty_table_gives_pads():
    class Manifest:
        pad_value = 2.0

    class Writer:
        manifest = Manifest()

    encoder = encode.Encoder(None, Writer())
    rows = encoder._gather(np.empty((0, 3), np.float32), np.full((2, 4), -1, np.int32))
    assert rows.shape == (2, 4, 3) and (rows == 2).all()


def test_force_after_a_stop_in_the_middle_of_the_swap(data, tmp_path):
    store = pipeline.prepare(data, config(data, tmp_path), store=tmp_path / "x")
    before = files_of(store)
    left = tmp_path / "x.partial" / "replaced"
    left.mkdir(parents=True)
    (left / "file").touch()
    pipeline.prepare(data, config(data, tmp_path), store=tmp_path / "x", force=True)
    assert files_of(store) == before and visible(tmp_path) == ["x"]


def test_force_never_replaces_what_is_no_store(data, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("thesis")
    with pytest.raises(StoreError, match="no store"):
        pipeline.prepare(data, config(data, tmp_path), store=tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "thesis"


def test_a_damaged_store_is_an_error_and_force_mends_it(data, tmp_path):
    store = pipeline.prepare(data, config(data, tmp_path), store=tmp_path / "x")
    before = files_of(store)
    (store / ".zattrs").write_text("")
    with pytest.raises(StoreError, match="attributes cannot be read"):
        pipeline.prepare(data, config(data, tmp_path), store=store)
    pipeline.prepare(data, config(data, tmp_path), store=store, force=True)
    assert files_of(store) == before


@pytest.mark.parametrize("codec", ["none", "blosc-lz4", "zstd"])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "bool", "float16", "float32"])
def test_metadata_of_format_2_is_what_zarr_itself_writes(tmp_path, codec, dtype):
    spec = TensorSpec(
        role="nodes",
        part="train",
        owner="movie",
        name="n_id",
        dims=("batch", "movie_node"),
        shape=(7, 5),
        chunk_rows=3,
        dtype=dtype,
        codec=codec,
        pad_value=-1.0,
        description="global node id of each row",
    )
    (tmp_path / "ours").mkdir()
    zarr_compat.create_arrays(LocalFiles(tmp_path / "ours"), 2, [spec])
    root = zarr.open_group(str(tmp_path / "theirs"), mode="w", **({"zarr_format": 2} if zarr_compat.IS_ZARR_3 else {}))
    options = {"shape": spec.shape, "chunks": spec.chunks, "dtype": dtype, "fill_value": None}
    attributes = {"_ARRAY_DIMENSIONS": list(spec.dims), "description": spec.description, "pad_value": -1.0}
    if zarr_compat.IS_ZARR_3:
        parent = root.require_group("train/nodes/movie")
        parent.create_array("n_id", **options, compressors=zarr_compat.compressor(codec), attributes=attributes)
    else:
        array = root.create_dataset(spec.path, **options, compressor=zarr_compat.compressor(codec))
        array.attrs.update(attributes)
    theirs = zarr.open_array(str(tmp_path / "theirs" / spec.path), mode="r")
    ours = zarr.open_array(str(tmp_path / "ours" / spec.path), mode="r")
    assert dict(ours.attrs) == dict(theirs.attrs)
    for name in (".zarray", ".zattrs"):
        documents = [json.loads((tmp_path / side / spec.path / name).read_text()) for side in ("ours", "theirs")]
        if name == ".zarray":  # zarr 2 leaves the default out
            documents[1].setdefault("dimension_separator", ".")
        assert documents[0] == documents[1]
    assert zarr.open_group(str(tmp_path / "ours"), mode="r")["train/nodes/movie"] is not None
