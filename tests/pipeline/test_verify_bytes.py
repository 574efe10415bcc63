"""`verify` finds every flipped byte and every file that is missing, cut, swapped or too many."""

import shutil

import numpy as np
import pytest

from heteroshards import pipeline
from heteroshards.pipeline.inspect.command import look_at
from heteroshards.pipeline.verify import files as verify_files
from heteroshards.pipeline.verify import verify
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.checks import difference
from heteroshards.schemas.store.files import LocalFiles
from tests.pipeline.build import job
from tests.pipeline.stores import chunk_path, files_of, read
from tests.strategies import random_graph

FORMATS = [2, 3]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """zarr format -> a store of one split, a few nodes and a few dozen files."""
    data = random_graph(np.random.default_rng(0), {"a": 6, "b": 3}, {("b", "to", "a"): 9}, "a", {"a": 2})
    dataset = {"masks": {"train": "train_mask"}}
    data["a"].train_mask[:] = True
    sampling = {"batch_size": 2, "rounds": 1, "fanout": [2]}
    stores = {}
    for zarr_format in FORMATS:
        store = {"zarr_format": zarr_format, "chunk_batches": 2, "codec": "none"}
        config = job(data, tmp_path_factory.mktemp("stores"), dataset=dataset, sampling=sampling, store=store)
        stores[zarr_format] = pipeline.prepare(data, config)
    return stores


@pytest.fixture(params=FORMATS)
def store(tiny, request, tmp_path):
    return shutil.copytree(tiny[request.param], tmp_path / "store")


def names_of(verified):
    return {finding.where for finding in verified.findings}


def chunk_name(store, path, index):
    return chunk_path(store, path, index).relative_to(store).as_posix()


def root_of(store):
    return store / integrity.root_file(zarr_format_of(store))


def zarr_format_of(store):
    return 2 if (store / ".zgroup").exists() else 3


def flips(data):
    """Every byte of some data with one bit flipped, one byte at a time; the bit goes round."""
    for i in range(len(data)):
        yield data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :]


def test_a_store_as_it_was_written_is_sound(store):
    verified = verify(store)
    assert verified.is_sound and verified.findings == ()
    assert verified.num_files == len(files_of(store)) and verified.num_batches == 3


def test_every_flipped_byte_of_every_chunk_and_metadata_file(store):
    """`verify` compares each file with the checksum that the store holds of it; all files together are the store."""
    manifest, metadata = verify_files.check_root(root_of(store).read_bytes(), zarr_format_of(store), Findings(1))
    table, row = read(store, "checksums"), 0
    recorded = {**metadata, chunk_name(store, "checksums", 0): manifest.checksums_crc32c}
    for spec in manifest.tensors:
        for index in range(spec.num_chunks):
            recorded[chunk_name(store, spec.path, index)] = int(table[row, 0])
            row += 1
    assert {*recorded, root_of(store).name, ".zmetadata"} == {*files_of(store), ".zmetadata"}
    num_flipped = 0
    for name, crc in recorded.items():
        data = (store / name).read_bytes()
        assert difference(data, crc, len(data)) is None
        for flipped in flips(data):
            assert difference(flipped, crc, len(data)) is not None, name
            num_flipped += 1
    assert num_flipped > 5000


def test_every_flipped_byte_of_the_root_attributes(store):
    for flipped in flips(root_of(store).read_bytes()):
        assert not integrity.is_root_intact(flipped)
        findings = Findings(1)
        verify_files.check_root(flipped, zarr_format_of(store), findings)
        assert findings.count


def test_every_flipped_byte_of_the_consolidated_metadata(tiny, tmp_path, monkeypatch):
    store = shutil.copytree(tiny[2], tmp_path / "store")
    file, metadata = store / integrity.CONSOLIDATED, integrity.metadata_files(LocalFiles(store), 2)
    rendered = integrity.render_consolidated(LocalFiles(store), metadata)
    assert file.read_bytes() == rendered
    monkeypatch.setattr(integrity, "render_consolidated", lambda *_: rendered)  # once is enough
    for flipped in flips(rendered):
        monkeypatch.setattr(verify_files, "_read", lambda *_, flipped=flipped: flipped)
        findings = Findings(1)
        verify_files._check_consolidated(store, metadata, findings)
        assert findings.count


def test_verify_as_a_whole_names_every_flipped_file(store):
    for name in files_of(store):
        data = (store / name).read_bytes()
        (store / name).write_bytes(data[:-1] + bytes([data[-1] ^ 64]))
        assert name in names_of(verify(store)), name
        (store / name).write_bytes(data)
    assert verify(store).is_sound


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\n", lambda data: b"", None])
def test_every_file_that_is_cut_longer_emptied_or_deleted(store, change):
    for name in files_of(store):
        file, findings = store / name, Findings(100)
        data = file.read_bytes()
        file.unlink()
        if change:
            file.write_bytes(change(data))
        verify_files.check_files(store, findings)
        assert name in {finding.where for finding in findings.kept}, name
        file.write_bytes(data)
    assert verify(store).is_sound


def test_two_chunks_of_one_size_that_were_swapped(store):
    one, other = (chunk_path(store, f"train/seeds/{name}") for name in ("n_id", "targets/y"))
    first, second = one.read_bytes(), other.read_bytes()
    assert len(first) == len(second) and first != second
    one.write_bytes(second)
    other.write_bytes(first)
    assert {str(file.relative_to(store)) for file in (one, other)} <= names_of(verify(store))


@pytest.mark.parametrize(
    "name", ["train/seeds/targets/y/7.0", "train/seeds/targets/y/c/7/0", "note.txt", "features/a/x/.zarray~"]
)
def test_files_that_do_not_belong(store, name):
    (store / name).parent.mkdir(parents=True, exist_ok=True)
    (store / name).write_bytes(b"x")
    verified = verify(store)
    assert [(f.where, f.what) for f in verified.findings] == [(name, "this file does not belong to the store")]


def test_an_array_that_does_not_belong(store):
    import zarr

    array = zarr.open_group(str(store), mode="r+").create_array("train/seeds/z", shape=(3,), dtype="int32")
    array[:] = 1
    assert any(name.startswith("train/seeds/z/") for name in names_of(verify(store)))


def test_a_chunk_behind_a_link(store, tmp_path):
    file = chunk_path(store, "train/seeds/targets/y")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert [f.what for f in verify(store).findings] == ["the file was replaced by a link"]


def test_an_edited_manifest(store):
    file = root_of(store)
    file.write_text(file.read_text().replace('"content_sha256": "', '"content_sha256": "0'))
    assert [f.where for f in verify(store).findings] == [file.name]


def test_a_manifest_saved_anew_by_zarr(store):
    import zarr

    group = zarr.open_group(str(store), mode="r+")
    group.attrs["manifest"] = {**group.attrs["manifest"], "pad_value": 3.0}
    name = integrity.root_file(group.attrs["manifest"]["zarr_format"])
    assert name in names_of(verify(store))


def test_findings_are_limited_and_counted(store):
    kept = root_of(store)
    for file in store.rglob("*"):
        if file.is_file() and file != kept:
            file.unlink()
    verified = verify(store, max_findings=3)
    assert len(verified.findings) == 3 and verified.num_findings > 20
    assert f"... and {verified.num_findings - 3} more" in verified.lines()


def test_no_store(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(StoreError, match="no zarr store"):
            verify(path)


@pytest.mark.parametrize("look", [verify, look_at])
def test_a_zip_file_is_to_be_unpacked(tmp_path, look):
    (tmp_path / "store.zip").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"store\.zip: this is no zarr store. It is a file. Unpack it"):
        look(tmp_path / "store.zip")
