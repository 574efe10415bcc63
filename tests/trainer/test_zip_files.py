"""Stores in zip files, as zarr, `zip -r` and other programs make them."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ChainDataset, ConcatDataset, DataLoader

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.store.zip_files import ZipFiles
from heteroshards.trainer.reading.dataset import ShardDataset, ShardIterable
from heteroshards.trainer.reading.store import open_store
from tests.trainer.store_factory import ZARR_FORMATS, shared_store, write_store


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_zip(path, entries, folders=()):
    with zipfile.ZipFile(path, "w") as file:
        for name in folders:
            file.writestr(name, b"")
        for name, data in entries.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: ZipInfo would tidy it up
            file.writestr(info, data)
    return path


@pytest.fixture(scope="module", params=ZARR_FORMATS)
def store(tmp_path_factory, request):
    return write_store(tmp_path_factory.mktemp("zip") / "s", zarr_format=request.param)


WAYS = {
    "flat": ("", ()),
    "in its folder": ("s/", ("s/",)),
    "with folders above": ("home/me/my stores/s/", ("home/", "home/me/")),
    "of a point": ("./", ()),
    "of a point and a folder": ("./s/", ()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_junk_beside", [False, True])
def test_a_zip_made_by_hand_opens(store, tmp_path, way, is_junk_beside):
    prefix, folders = WAYS[way]
    entries = {prefix + name: data for name, data in files_of(store).items()}
    if is_junk_beside:
        entries.update({f"__MACOSX/{prefix}._.zattrs": b"mac", f"{prefix}.DS_Store": b"mac", "README.txt": b"hello"})
    archive = write_zip(tmp_path / "hand made.zip", entries, folders)
    there, here = open_store(archive), open_store(store)
    for path in ("train/nodes/movie/n_id", "features/movie/x", "test/seeds/targets/y"):
        np.testing.assert_array_equal(there.read(path), here.read(path))


def test_backslashes_and_names_that_are_not_said_to_be_utf_8(tmp_path):
    raw = write_zip(tmp_path / "z.zip", {"s\\.zattrs": b"1", "s\\W~~rter\\0": b"2"})
    raw.write_bytes(raw.read_bytes().replace(b"~~", "ö".encode()))  # without the flag, as some programs leave it
    found = ZipFiles(str(raw), lambda: str(raw))
    assert bytes(found.fetch("Wörter/0")) == b"2"


def test_what_is_inside_is_said(store, tmp_path):
    with pytest.raises(StoreError, match=r"no store in the zip file.*inside it: 'docs', 'notes.txt'") as caught:
        open_store(write_zip(tmp_path / "none.zip", {"notes.txt": b"", "docs/a": b""}))
    assert "prepare`" in str(caught.value) and "make prepare" not in str(caught.value)
    files = files_of(store)
    two = {f"{name}/{key}": data for name in ("a", "b") for key, data in files.items()}
    with pytest.raises(StoreError, match=r"several stores.*'a/', 'b/'"):
        open_store(write_zip(tmp_path / "two.zip", two))
    with pytest.raises(StoreError, match="nothing"):
        open_store(write_zip(tmp_path / "empty.zip", {}))
    whole = write_zip(tmp_path / "whole.zip", files).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"zip file cannot be opened.*copied whole"):
        open_store(tmp_path / "cut.zip")


def test_damage_of_an_entry_is_damage(store, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "z"), "zip", str(store)))
    path = open_store(store).reader("train/nodes/movie/n_id").tensor.key(0)
    with zipfile.ZipFile(archive) as file:
        entry = file.getinfo(path)
    data = bytearray(archive.read_bytes())
    data[entry.header_offset + 30 + len(path) + 4] ^= 255
    archive.write_bytes(bytes(data))
    with pytest.raises(CorruptChunkError, match="split train, batch 0 to"):
        open_store(archive).read("train/nodes/movie/n_id")


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("is_iterable", [False, True])
def test_workers_have_handles_of_their_own(tmp_path, start, is_iterable):
    """The files are open, and their handles have been used, before workers are forked. One of each format, as starting
    workers takes seconds."""
    stores = [shared_store(zarr_format=zarr_format) for zarr_format in ZARR_FORMATS]
    archives = [shutil.make_archive(str(tmp_path / str(i)), "zip", str(store)) for i, store in enumerate(stores)]
    datasets = [ShardDataset(archive, "train", round=0) for archive in archives]
    expected = [item for store in stores for item in ShardDataset(store, "train", round=0)]
    for dataset in datasets:
        assert torch.equal(dataset[0]["seeds/n_id"], expected[0]["seeds/n_id"])
    what = ChainDataset([ShardIterable(dataset) for dataset in datasets]) if is_iterable else ConcatDataset(datasets)
    items = list(DataLoader(what, batch_size=None, num_workers=2, multiprocessing_context=start, timeout=120))
    if is_iterable:
        items.sort(key=lambda item: item["seeds/n_id"].tolist())
        expected.sort(key=lambda item: item["seeds/n_id"].tolist())
    assert len(items) == len(expected)
    for item, other in zip(items, expected):
        assert all(torch.equal(item[key], other[key]) for key in other)
