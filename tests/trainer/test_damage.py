"""A damaged store stops training with an error that names the file, or is used without the damaged shards."""

import json
import os
import shutil

import numpy as np
import pytest

from heteroshards.schemas.errors import (
    CorruptChunkError,
    CorruptMetadataError,
    HeteroShardsError,
    StoreChangedError,
    StoreError,
)
from heteroshards.trainer.backends.eager import EagerBackend, TorchModel
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import backend_of, open_job
from heteroshards.trainer.predict import predict
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.order import shuffled_order
from heteroshards.trainer.reading.store import open_store
from heteroshards.trainer.runs.names import BEST, LAST
from heteroshards.trainer.runs.report import Console, read_metrics
from heteroshards.trainer.training import fit
from tests.layouts import stored_at
from tests.poptorch_double import installed
from tests.trainer.conftest import make_config
from tests.trainer.poptorch_backend.cases import ipu_job
from tests.trainer.run_cases import equal, losses, stop_at, weights
from tests.trainer.store_factory import ZARR_FORMATS, chunk_file, write_store


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def chunk(path, tensor, index):
    store = open_store(path)
    return chunk_file(path, stored_at(store.manifest, tensor).spec, store.manifest.zarr_format, index)


class Lines(Console):
    def __init__(self):
        super().__init__()
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def read_all(path, check_chunks=True):
    store = open_store(path, check_chunks)
    for split in store.manifest.splits:
        dataset = ShardDataset(store, split.name)
        for index in range(len(dataset)):
            dataset[index]


@pytest.mark.parametrize("zarr_format", ZARR_FORMATS)
def test_every_flipped_byte_of_the_root_attributes(tmp_path, zarr_format):
    """One bit of every byte, in turn; at every tenth position all eight."""
    path = write_store(tmp_path / "store", zarr_format=zarr_format, rounds={"train": 1})
    file = path / ("zarr.json" if zarr_format == 3 else ".zattrs")
    data = file.read_bytes()
    for place in range(0, len(data), 7):
        for bit in range(8) if place % 70 == 0 else (place % 8,):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            file.write_bytes(bytes(changed))
            with pytest.raises(StoreError) as caught:
                open_store(path)
            assert str(file) in str(caught.value), (place, bit)


@pytest.mark.parametrize("zarr_format", ZARR_FORMATS)
def test_every_file_that_training_reads(tmp_path, zarr_format):
    """A flipped byte in each is named, and for a chunk of batches the split and the batches, too."""
    path = write_store(tmp_path / "store", zarr_format=zarr_format, rounds={"train": 1}, codec="zstd")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and "stats" not in file.parts]
    read_all(path)
    for file in [file for file in files if not is_group(file.parent) or file in (path / "zarr.json", path / ".zattrs")]:
        data = file.read_bytes()
        flip(file)
        with pytest.raises((CorruptChunkError, CorruptMetadataError)) as caught:
            read_all(path)
        assert str(file) in str(caught.value)
        if isinstance(caught.value, CorruptChunkError) and "train" in file.parts:
            assert caught.value.split == "train" and len(caught.value.batches) == 2
            assert "split train, batch {} to {}".format(*caught.value.batches) in str(caught.value)
        file.write_bytes(data)
    read_all(path)


def is_group(folder):
    """What its metadata says is in the arrays' own, too."""
    file = folder / "zarr.json"
    return (folder / ".zgroup").exists() or (file.exists() and json.loads(file.read_text())["node_type"] == "group")


def test_batches_are_named_by_the_splits_numbers(tmp_path):
    """In a store of several shapes, too, where a part's rows begin at 0."""
    path = write_store(tmp_path / "store", shapes=3, chunk_batches=2)
    part = open_store(path).split("train").first_batches[1]
    flip(chunk(path, "train/shape_1/seeds/targets/y", 1))
    with pytest.raises(CorruptChunkError, match=f"split train, batch {part + 2} to {part + 3}"):
        read_all(path)


def test_without_checks_a_flipped_byte_is_not_looked_for(tmp_path):
    path = write_store(tmp_path / "store", codec="none")
    flip(chunk(path, "train/seeds/targets/y", 0))
    attributes = path / "train" / "seeds" / "targets" / "y" / ".zattrs"
    attributes.write_text(attributes.read_text() + " ")
    root = path / ".zattrs"
    root.write_text(root.read_text() + "\n")
    read_all(path, check_chunks=False)
    config = make_config(tmp_path, epochs=1, check_chunks=False)
    fit(config, open_store(path, check_chunks=False), tmp_path / "run")


def reference(config, path, run, damaged):
    """What training gives when the damaged batches are taken from the order by hand."""

    class Without(EagerBackend):
        pass

    store = open_store(path)
    original = shuffled_order

    def order(info, *rest):
        found = original(info, *rest)
        return found[~np.isin(found, damaged)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heteroshards.trainer.training.shuffled_order", order)
        return fit(config, store, run, backend=Without())


@pytest.fixture
def damaged(tmp_path):
    """(whole, damaged): two equal stores, the second without batches 3 to 5 of train and 3 to 4 of test."""
    whole = write_store(tmp_path / "whole")
    path = shutil.copytree(whole, tmp_path / "damaged")
    flip(chunk(path, "train/edges/actor__to__movie/edge_index", 1))
    chunk(path, "test/seeds/n_id", 1).unlink()
    return whole, path


def test_a_damaged_shard_stops_training(damaged, tmp_path):
    with pytest.raises(CorruptChunkError, match="split train, batch 3 to 5"):
        fit(make_config(tmp_path), open_store(damaged[1]), tmp_path / "run")
    assert not (tmp_path / "run" / BEST).exists()


def test_skipping_trains_on_the_rest_and_says_so(damaged, tmp_path):
    whole, path = damaged
    config, console = make_config(tmp_path, on_corrupt="skip"), Lines()
    result = fit(config, open_store(path), tmp_path / "run", console=console)
    reference(config, whole, tmp_path / "by_hand", [3, 4, 5])
    assert losses(tmp_path / "run") == losses(tmp_path / "by_hand")
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "by_hand"))
    num_seeds = open_store(whole).read_stats("train", "num_seeds")
    train, test = result["left_out"]
    assert (train["split"], train["batches"], train["num_seeds"]) == ("train", [3, 5], num_seeds[3:6].sum())
    assert train["files"] == [str(chunk(path, "train/edges/actor__to__movie/edge_index", 1))]
    assert (test["split"], test["batches"], test["num_seeds"]) == ("test", [3, 4], 7)
    assert test["files"] == [str(chunk(path, "test/seeds/n_id", 1))]
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert [record.get("batches_left_out") for record in read_metrics(tmp_path / "run")] == [3, None, 3, None]
    assert result["test"]["batches_left_out"] == 2 and "batches_left_out" not in result["val"]
    told = "\n".join(console.lines)
    assert told.count("warning: going on without batches 3 to 5 of split train") == 1
    assert (
        f"left out: batches 3 to 5 of split train, {num_seeds[3:6].sum()} seeds; damaged: {train['files'][0]}" in told
    )
    assert "left out: batches 3 to 4 of split test, 7 seeds" in told


def test_answers_and_predictions_lack_the_lost_seeds(damaged, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    config = make_config(tmp_path, on_corrupt="skip")
    found = {}
    for path in damaged:
        store = open_store(path)
        with open_job(config, store, backend_of(config)) as job:
            found[path] = answer(job, "test")
            predict(job, ["test"], tmp_path / f"{path.name}.parquet")
    seeds = open_store(damaged[0]).read_seeds("test", "n_id")[:3]
    lost = found[damaged[1]]
    assert lost.node_id.tolist() == sorted(seeds[seeds >= 0].tolist())
    is_kept = np.isin(found[damaged[0]].node_id, lost.node_id)
    np.testing.assert_array_equal(lost.values, found[damaged[0]].values[is_kept])
    assert len(pq.read_table(str(tmp_path / "damaged.parquet"))) == len(lost.node_id) == 12


@pytest.mark.parametrize("at", [1, 4, 7, 14])
def test_a_run_that_skips_resumes_bit_for_bit(damaged, tmp_path, at):
    config = make_config(tmp_path, on_corrupt="skip")
    whole = fit(config, open_store(damaged[1]), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(config, open_store(damaged[1]), tmp_path / "cut", backend=stop_at(EagerBackend(), at))
    assert fit(config, open_store(damaged[1]), tmp_path / "cut", resume_run=True) == whole
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert equal(weights(tmp_path / "cut", LAST), weights(tmp_path / "whole", LAST))


def test_a_run_that_stopped_at_damage_can_go_on_without_it(damaged, tmp_path):
    whole, path = damaged
    fit(make_config(tmp_path, epochs=1), open_store(whole), tmp_path / "run")
    with pytest.raises(CorruptChunkError):
        fit(make_config(tmp_path), open_store(path), tmp_path / "run", resume_run=True)
    fit(make_config(tmp_path, on_corrupt="skip"), open_store(path), tmp_path / "run", resume_run=True)
    assert [record.get("batches_left_out") for record in read_metrics(tmp_path / "run")] == [None, None, 3, None]


def test_damage_that_comes_while_training(damaged, tmp_path, monkeypatch):
    """The shard that is damaged during the run is left out from then on."""
    whole, _ = damaged
    original, steps = TorchModel.step, []

    def step(self, batch):
        steps.append(1)
        if len(steps) == 9:
            flip(chunk(whole, "train/seeds/targets/y", 0))
        return original(self, batch)

    monkeypatch.setattr(TorchModel, "step", step)
    result = fit(make_config(tmp_path, on_corrupt="skip"), open_store(whole), tmp_path / "run")
    assert [entry["batches"] for entry in result["left_out"]] == [[0, 2]]
    assert [record.get("batches_left_out") for record in read_metrics(tmp_path / "run")] == [None, None, 3, None]


def test_calls_of_several_batches_are_filled_with_intact_ones(damaged, tmp_path):
    """Poptorch's calls of two batches over the five that are left of a round: the first of the order again."""
    seen = []
    with installed():
        from heteroshards.trainer.backends.poptorch import PopTorchModel

        original = PopTorchModel.step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PopTorchModel, "step", lambda self, b: seen.append(len(b[-1])) or original(self, b))
            config = ipu_job(tmp_path, {"device_iterations": 2}, epochs=1, on_corrupt="skip")
            result = fit(config, open_store(damaged[1]), tmp_path / "run")
    assert seen == [8, 8, 8]
    assert [entry["batches"] for entry in result["left_out"]] == [[3, 5], [3, 4]]
    assert read_metrics(tmp_path / "run")[0]["batches_left_out"] == 3


@pytest.mark.parametrize("on_corrupt", ["stop", "skip"])
@pytest.mark.parametrize("what", ["features/movie/x", "checksums", "metadata"])
def test_what_belongs_to_every_batch_always_stops(tmp_path, what, on_corrupt):
    path = write_store(tmp_path / "store")
    file = path / "train/seeds/targets/y/.zarray" if what == "metadata" else path / what / "0.0"
    flip(file)
    with pytest.raises((CorruptChunkError, CorruptMetadataError), match="fails its checksum") as caught:
        fit(make_config(tmp_path, on_corrupt=on_corrupt), open_store(path), tmp_path / "run")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("split", "text"), [("train", "no batch of an epoch is left"), ("val", "of split val is left")]
)
def test_a_split_without_an_intact_shard_is_an_error(tmp_path, split, text):
    path = write_store(tmp_path / "store", rounds={"train": 1, "val": 1})
    for file in (path / split / "seeds" / "targets" / "y").glob("[0-9]*"):
        flip(file)
    with pytest.raises(CorruptChunkError, match=text):
        fit(make_config(tmp_path, on_corrupt="skip"), open_store(path), tmp_path / "run")


def test_a_damaged_ledger_costs_no_batch(tmp_path):
    """How many seeds a batch has is also known from its mask."""
    path = write_store(tmp_path / "store")
    config = make_config(tmp_path, epochs=2, on_corrupt="skip")
    fit(config, open_store(path), tmp_path / "whole")
    flip(chunk(path, "train/stats/num_seeds", 0))
    with pytest.raises(CorruptChunkError, match="stats/num_seeds"):
        fit(make_config(tmp_path, epochs=2), open_store(path), tmp_path / "stopped")
    assert fit(config, open_store(path), tmp_path / "run")["left_out"] == []
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_an_unreadable_sector_is_damage(tmp_path, monkeypatch):
    path, original = write_store(tmp_path / "store"), os.readv
    bad = os.stat(chunk(path, "train/seeds/targets/y", 1)).st_ino

    def readv(file, buffers):
        if os.fstat(file).st_ino == bad:
            raise OSError(5, "Input/output error")
        return original(file, buffers)

    monkeypatch.setattr(os, "readv", readv)
    result = fit(make_config(tmp_path, on_corrupt="skip"), open_store(path), tmp_path / "run")
    assert [entry["batches"] for entry in result["left_out"]] == [[3, 5]]


def replace(path, other):
    path.rename(path.with_name("aside"))
    shutil.copytree(other, path)


def rewrite(path, other):
    file = path / ".zattrs"
    file.write_bytes((other / ".zattrs").read_bytes())


def vanish(path, other):
    path.rename(path.with_name("aside"))


def restore(path):
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(path.with_name("original"), path)


CHANGES = {"replaced": replace, "rewritten": rewrite, "vanished": vanish}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    fit(make_config(folder, epochs=2), open_store(write_store(folder / "store")), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("at", "check_chunks", "on_corrupt"),
    [(0, True, "skip"), (10, True, "stop"), (0, False, "stop"), (10, False, "skip")],
)
def test_a_store_that_changes_while_it_is_read(
    tmp_path, monkeypatch, undisturbed, change, check_chunks, on_corrupt, at
):
    """Another one is renamed over it, its manifest is rewritten, or it vanishes: never damage that could be skipped,
    never weights of a mixture, and the run goes on when it is back."""
    config = make_config(tmp_path, epochs=2, check_chunks=check_chunks, on_corrupt=on_corrupt, prefetch=1)
    path, other = write_store(tmp_path / "store"), write_store(tmp_path / "other", rng_seed=1)
    shutil.copytree(path, tmp_path / "original")
    original, steps = TorchModel.step, []

    def step(self, batch):
        steps.append(1)
        if len(steps) == at + 1:
            CHANGES[change](path, other)
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TorchModel, "step", step)
        with pytest.raises(StoreChangedError, match=r"while it was read|no longer be read"):
            fit(config, open_store(path), tmp_path / "run")
    assert (tmp_path / "run" / LAST).exists() == (tmp_path / "run" / BEST).exists() == (at > 8)
    assert len(read_metrics(tmp_path / "run")) == (at > 8)
    restore(path)
    assert fit(config, open_store(path), tmp_path / "run", resume_run=at > 8)["left_out"] == []
    assert losses(tmp_path / "run") == losses(undisturbed)
    assert equal(weights(tmp_path / "run"), weights(undisturbed))


def test_a_store_that_was_copied_back_is_the_same(tmp_path):
    path = write_store(tmp_path / "store")
    shutil.copytree(path, tmp_path / "original")
    store = open_store(path)
    restore(path)
    store.require_unchanged()
    assert fit(make_config(tmp_path, epochs=1), store, tmp_path / "run")["epochs"] == 1


def test_a_store_that_changes_while_it_is_scored(tmp_path, monkeypatch):
    config = make_config(tmp_path, check_chunks=False)
    path, other = write_store(tmp_path / "store"), write_store(tmp_path / "other", rng_seed=1)
    original, calls = TorchModel.infer, []

    def infer(self, batch):
        calls.append(1)
        if len(calls) == 2:
            replace(path, other)
        return original(self, batch)

    monkeypatch.setattr(TorchModel, "infer", infer)
    with open_job(config, open_store(path, False), EagerBackend()) as job:
        with pytest.raises(StoreChangedError):
            predict(job, ["test"], tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()


def test_every_error_of_a_store_has_its_exit_code():
    for kind in (CorruptChunkError, CorruptMetadataError, StoreChangedError):
        assert issubclass(kind, HeteroShardsError) and kind.exit_code == 5
