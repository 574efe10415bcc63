"""A packed store and one with an array per type hold the same batches: nothing above a `Store` can tell them apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from heteroshards.schemas.errors import CorruptChunkError, ManifestError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.run_cases import equal, weights
from tests.trainer.store_factory import ZARR_FORMATS, manifest_of, set_manifest, write_store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("options", [{}, {"features": "inline", "codec": "none"}, {"shapes": 2, "apart": True}])
@pytest.mark.parametrize("zarr_format", ZARR_FORMATS)
def test_every_item_is_equal(tmp_path: Path, zarr_format: int, options: Any) -> None:
    stores = [
        open_store(write_store(tmp_path / name, zarr_format=zarr_format, is_packed=name == "packed", **options))
        for name in ("packed", "plain")
    ]
    assert len(stores[0].manifest.tensors) < len(stores[1].manifest.tensors)
    for split in ("train", "val", "test"):
        packed, plain = (ShardDataset(store, split) for store in stores)
        assert len(packed) == len(plain)
        for one, other in zip((packed[i] for i in range(len(packed))), (plain[i] for i in range(len(plain)))):
            assert list(one) == list(other)
            for name in one:
                assert torch.equal(one[name], other[name]) and one[name].is_contiguous(), name
    for spec in stores[1].manifest.tensors:
        assert stores[0].spec(spec.path) == spec or spec.path not in stores[0].manifest.tensors
        np.testing.assert_array_equal(stores[0].read(spec.path), stores[1].read(spec.path))


def test_training_is_equal_bit_for_bit(tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=2)
    for name in ("packed", "plain"):
        store = open_store(write_store(tmp_path / name, is_packed=name == "packed"))
        fit(config, store, tmp_path / f"run-{name}", backend=EagerBackend())
    assert equal(weights(tmp_path / "run-packed"), weights(tmp_path / "run-plain"))


def test_a_chunk_is_sound_for_a_reader_when_all_its_types_are(tmp_path: Path) -> None:
    """Whoever reads ids of movies only must not vouch for those of actors."""
    path = write_store(tmp_path / "store", is_packed=True, codec="none")
    store = open_store(path, check_chunks=False)
    at = store.columns("val/nodes/actor/n_id")
    array = zarr.open_array(str(path / at.path), mode="r+")
    values = array[:]
    values[0, at.start] = 10**6
    array[:] = values
    with pytest.raises(CorruptChunkError, match=r"all_nodes/n_id.*split val"):
        ShardDataset(store, "val")[0]


def test_a_manifest_whose_layout_is_another_is_refused(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", is_packed=True)
    set_manifest(path, {**manifest_of(path), "layout": "per_type"})
    with pytest.raises(ManifestError, match="a tensor is not listed"):
        open_store(path)
