"""Which stores open, which are refused, and how the store of a config is found."""

import pickle

import numpy as np
import pytest

from heteroshards.schemas import FORMAT_VERSION
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, FormatVersionError, ManifestError, StoreError, StoreIncompleteError
from heteroshards.trainer.reading.store import changed_keys, open_store, resolve_store
from tests.trainer.factory_graph import source
from tests.trainer.store_factory import PAD_VALUE, ZARR_FORMATS, publish, write_store


@pytest.mark.parametrize("zarr_format", ZARR_FORMATS)
def test_opens(store_of, zarr_format):
    store = store_of(zarr_format=zarr_format)
    assert store.manifest.zarr_format == zarr_format
    assert store.split("train").num_rounds == 2
    with pytest.raises(ConfigError, match="it has train, val, test"):
        store.split("extra")
    with pytest.raises(StoreError, match="no tensor 'train/nope'"):
        store.reader("train/nope")


def test_refuses_what_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="there is no store") as caught:
        open_store(tmp_path / "absent")
    assert "make prepare" in str(caught.value)
    with pytest.raises(StoreError, match="no zarr store"):
        open_store(tmp_path)
    (tmp_path / ".zattrs").write_text('{"other": 1}')
    with pytest.raises(StoreError, match="no manifest"):
        open_store(tmp_path)
    (tmp_path / ".zattrs").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        open_store(tmp_path)
    (tmp_path / "file").write_text("no archive")
    with pytest.raises(StoreError, match="neither a folder nor a zip file"):
        open_store(tmp_path / "file")


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"complete": False}, StoreIncompleteError, "not finished"),
        ({"format_version": 99}, FormatVersionError, f"got version 99; expected version {FORMAT_VERSION}"),
        ({"surprise": 1}, ManifestError, "surprise"),
    ],
)
def test_refuses_unfinished_newer_and_malformed(tmp_path, values, error, text):
    path = write_store(tmp_path / "store", rounds={"train": 1}, **values)
    with pytest.raises(error, match=text) as caught:
        open_store(path)
    assert str(path) in str(caught.value)


def test_tables_end_with_a_pad_row_and_are_read_once(table_store):
    table = table_store.table("features/movie/x")
    np.testing.assert_array_equal(table[:-1], source().tables["features/movie/x"])
    assert (table[-1] == PAD_VALUE).all()
    assert table_store.table("features/movie/x") is table
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_stores_travel_to_workers_by_name(table_store):
    table_store.table("features/movie/x")
    data = pickle.dumps(table_store)
    assert len(data) < 1000
    assert pickle.loads(data).fingerprint == table_store.fingerprint


def test_the_store_of_a_config(tmp_path, config):
    with pytest.raises(StoreError, match="make prepare"):
        resolve_store(config)
    path = publish(tmp_path / "stores", config, rounds={"train": 1})
    assert resolve_store(config).path == str(path)
    assert resolve_store(config, str(path)).path == str(path)


def test_a_changed_config_is_named(tmp_path, config):
    path = publish(tmp_path / "stores", config, rounds={"train": 1})
    values = config.model_dump(exclude_unset=True)
    changed = JobConfig.model_validate({**values, "sampling": {"batch_size": 5}})
    with pytest.raises(StoreError, match=r"sampling.batch_size: 64 -> 5\."):
        resolve_store(changed)
    assert resolve_store(changed, str(path)).path == str(path)
    same = JobConfig.model_validate({**values, "train": {"lr": 0.5}})
    assert resolve_store(same).path == str(path)


def test_a_damaged_pointer_is_an_error(tmp_path, config):
    publish(tmp_path / "stores", config, rounds={"train": 1})
    (tmp_path / "stores" / "tiny.latest").write_text("[]")
    with pytest.raises(StoreError, match="pointer"):
        resolve_store(config)


def test_changed_keys():
    assert changed_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None}) == ["a.c: 2 -> 3"]
    assert changed_keys({"a": 1}, {"b": 1}) == ["a: 1 -> null", "b: null -> 1"]
