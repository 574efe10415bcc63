"""The thin reader gives what zarr gives, and notices every kind of damage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from heteroshards.schemas.errors import CorruptChunkError, CorruptMetadataError, ManifestError, StoreError
from heteroshards.schemas.store.memory import aligned_empty
from heteroshards.schemas.store.zip_files import ZipFiles
from heteroshards.schemas.tensors import TensorSpec
from heteroshards.trainer.reading.buffers import PAGE_BYTES, BufferPool
from heteroshards.trainer.reading.store import Store, open_store
from tests.layouts import stored_at
from tests.trainer.store_factory import ZARR_FORMATS, chunk_file, manifest_of, set_manifest, write_store


@pytest.mark.parametrize("codec", ["none", "blosc-lz4", "zstd"])
@pytest.mark.parametrize("zarr_format", ZARR_FORMATS)
@pytest.mark.parametrize("features", ["table", "inline"])
def test_reads_what_zarr_reads(store_of, codec, zarr_format, features):
    store = store_of(codec=codec, zarr_format=zarr_format, features=features)
    group = zarr.open_group(store.path, mode="r")
    for spec in store.manifest.tensors:
        read = store.read(spec.path)
        assert read.dtype == spec.dtype
        np.testing.assert_array_equal(read, group[spec.path][:], err_msg=spec.path)


def test_last_chunk_is_cut_to_the_rows_of_the_tensor(table_store: Store):
    reader = table_store.reader("val/seeds/targets/y")
    assert reader.spec.shape[0] % reader.spec.chunk_rows == 0  # 3 batches of 3
    reader = table_store.reader("test/seeds/targets/y")
    assert (reader.spec.shape[0], reader.spec.chunk_rows, reader.spec.num_chunks) == (5, 3, 2)
    assert [len(reader.read(i)) for i in range(2)] == [3, 2]


def test_reads_into_the_given_buffer(table_store: Store):
    reader = table_store.reader("train/seeds/targets/y")
    buffer = aligned_empty(reader.spec.chunk_bytes)
    assert np.shares_memory(reader.read(1, lambda size: buffer[:size]), buffer)
    np.testing.assert_array_equal(buffer.view("int32").reshape(3, -1), table_store.read("train/seeds/targets/y")[3:6])


@pytest.mark.parametrize("codec", ["none", "blosc-lz4"])
def test_a_zip_file_is_read_as_a_folder_is(store_of, tmp_path, codec):
    store = store_of(codec=codec)
    archive = shutil.make_archive(str(tmp_path / "store"), "zip", store.path)
    zipped = open_store(archive)
    assert isinstance(zipped.new_files(), ZipFiles)
    for path in ("train/nodes/movie/n_id", "features/movie/x"):
        np.testing.assert_array_equal(zipped.read(path), store.read(path))


def test_damage_in_a_zip_file_is_found_too(tmp_path):
    path = write_store(tmp_path / "store")
    file, _ = damaged_chunk(path)
    flip(file)
    with pytest.raises(CorruptChunkError, match="checksum"):
        open_store(shutil.make_archive(str(tmp_path / "zip"), "zip", str(path))).read("train/nodes/movie/n_id")
    file.unlink()
    with pytest.raises(CorruptChunkError, match="missing"):
        open_store(shutil.make_archive(str(tmp_path / "gap"), "zip", str(path))).read("train/nodes/movie/n_id")


def damaged_chunk(path: Path, zarr_format: int = 2) -> "tuple[Path, TensorSpec]":
    """Chunk 1 of train's movie ids (batches 3 to 5)."""
    spec = stored_at(open_store(path).manifest, "train/nodes/movie/n_id").spec
    return chunk_file(path, spec, zarr_format, 1), spec


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def swap(file: Path) -> None:
    """Exchange it with the next chunk, of the same size when stored without a codec."""
    other = file.with_name(file.name.replace("1", "2", 1))
    first, second = file.read_bytes(), other.read_bytes()
    file.write_bytes(second)
    other.write_bytes(first)


DAMAGES = {"missing": Path.unlink, "wrong size": truncate, "checksum": flip}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_every_damage_is_found_and_named(tmp_path, codec, damage):
    path = write_store(tmp_path / "store", codec=codec)
    file, spec = damaged_chunk(path)
    DAMAGES[damage](file)
    with pytest.raises(CorruptChunkError, match=damage) as caught:
        open_store(path).read(spec.path)
    message = str(caught.value)
    assert str(file) in message
    assert "split train, batch 3 to 5" in message
    assert "make prepare" in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = write_store(tmp_path / "store")
    file, spec = damaged_chunk(path)
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match="a file of the store cannot be read; got Is a directory") as caught:
        open_store(path).read(spec.path)
    assert str(file) in str(caught.value)


def test_swapped_chunks_are_found(tmp_path):
    path = write_store(tmp_path / "store", codec="none")
    file, spec = damaged_chunk(path)
    swap(file)
    with pytest.raises(CorruptChunkError, match="checksum"):
        open_store(path).read(spec.path)


def test_without_checks_only_the_checksum_is_left_out(tmp_path):
    path = write_store(tmp_path / "store", codec="none")
    file, spec = damaged_chunk(path)
    flip(file)
    open_store(path).read(spec.path, check_chunks=False)
    truncate(file)
    with pytest.raises(CorruptChunkError, match="wrong size"):
        open_store(path).read(spec.path, check_chunks=False)
    file.unlink()
    with pytest.raises(CorruptChunkError, match="missing"):
        open_store(path).read(spec.path, check_chunks=False)


def test_undecodable_bytes_are_an_error_without_checks(tmp_path):
    path = write_store(tmp_path / "store", codec="zstd")
    file, spec = damaged_chunk(path)
    file.write_bytes(b"\x00" * file.stat().st_size)
    with pytest.raises(CorruptChunkError, match="does not decode"):
        open_store(path).read(spec.path, check_chunks=False)


def test_a_changed_checksum_table_is_found(tmp_path):
    path = write_store(tmp_path / "store")
    table = zarr.open_group(str(path), mode="r+")["checksums"]
    table[0, 0] = table[0, 0] ^ np.uint32(1)
    with pytest.raises(CorruptChunkError, match=r"checksums/0\.0 .*fails its checksum"):
        open_store(path).read("train/nodes/movie/n_id")
    (path / "checksums" / "0.0").unlink()
    with pytest.raises(CorruptChunkError, match=r"checksums/0\.0 .*is missing"):
        open_store(path).read("train/nodes/movie/n_id")


def test_an_array_that_the_manifest_does_not_describe_is_refused(tmp_path):
    path = write_store(tmp_path / "store")
    meta = path / "train" / "seeds" / "targets" / "y" / ".zarray"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "dtype": "<f4"}))
    with pytest.raises(CorruptMetadataError, match="fails its checksum"):
        open_store(path).read("train/seeds/targets/y")
    set_manifest(path, manifest_of(path))  # as a faulty writer would, with checksums that fit
    with pytest.raises(ManifestError, match=r"<f4.*<i4"):
        open_store(path).read("train/seeds/targets/y")


def test_buffers_are_aligned_and_never_shared_while_in_use():
    torch = pytest.importorskip("torch")
    pool = BufferPool()
    first = pool.take(1000)
    assert first.ctypes.data % PAGE_BYTES == 0
    assert first.nbytes == 1000
    tensor = torch.from_numpy(first.view("int32")).unbind(0)[3]  # a view of a view keeps the memory alive
    address = first.ctypes.data
    del first
    second = pool.take(1000)
    assert second.ctypes.data != address
    del tensor
    assert pool.take(1000).ctypes.data == address
    assert pool.num_buffers == 2
