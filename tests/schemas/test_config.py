"""Job files: defaults, overrides, and errors that help."""

from pathlib import Path

import pytest

from heteroshards.schemas.config import DatasetConfig, JobConfig, SamplingConfig, load_config
from heteroshards.schemas.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def problem(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert str(tmp_path / "job.toml") in str(caught.value)
    return str(caught.value)


def test_an_empty_file_is_the_default_job_under_its_own_name(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == JobConfig(name="job")


def test_overrides_win_and_none_is_no_override(tmp_path: Path) -> None:
    path = write(tmp_path, "[model]\nname = 'hgt'\n[train]\nepochs = 3")
    config = load_config(path, {"model.name": "to_hetero", "train.epochs": None, "store.root": "s", "name": "n"})
    assert (config.model.name, config.train.epochs, config.store.root, config.name) == ("to_hetero", 3, "s", "n")


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        ("[sampling]\nfanuot = [5]", "fanuot", "fanout"),
        ("[trian]\nepochs = 1", "trian", "train"),
        ("[model]\nhidden_chanels = 3", "hidden_chanels", "hidden_channels"),
        ("[dataset.random_split]\ntrian = 0.5", "trian", "train"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path, text: str, key: str, suggestion: str) -> None:
    message = problem(tmp_path, text)
    assert f"unknown key '{key}'" in message
    assert f"Did you mean '{suggestion}'?" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dataset]\nsource = 'pyg'", "needs 'class_name'"),
        ("[dataset]\nsource = 'file'\npath = 'x'\nargs = { a = 1 }", "'args' has no meaning with source = 'file'"),
        ("[dataset]\nclass_name = 'IMDB'", "'class_name' has no meaning with source = 'synthetic'"),
        ("[dataset]\nsource = 'function'\nfunction = 'nothing'", "package.module:function"),
        ("[dataset]\nmasks = { train = 'm' }\nrandom_split = { train = 0.5 }", "exclude each other"),
        ("[dataset]\nmasks = { tarin = 'm' }", "masks must name some of the splits"),
        ("[dataset]\nrandom_split = { train = 0.9, val = 0.9 }", "add up"),
        ("[dataset]\nsubset = { movie = 0 }", "n >= 1"),
        ("[sampling]\nfanout = []", "at least one hop"),
        ("[sampling]\nfanout = { a__b__c = [1, 2], default = [3] }", "same number of hops"),
        ("[sampling]\nfanout = [-2]", "or -1"),
        ("[sampling]\nmode = 'full'\nrounds = 3", "'rounds' has no meaning with mode = 'full'"),
        ("[sampling]\nbatch_size = 0", "greater than or equal to 1"),
        ("[budget]\nmode = 'uniform'\nnodes = 5", "needs 'edges'"),
        ("[budget]\nmode = 'uniform'\nnodes = 5\nedges = { a__b__c = 3 }", "'edges' is one number"),
        ("[budget]\nmode = 'explicit'\nnodes = { a = 0 }\nedges = { a__b__c = 3 }", "'nodes' must be 1 to"),
        ("[budget]\noversize = 'skip'", "'oversize' has no meaning with mode = 'exact'"),
        ("[budget]\nmode = 'sampled'\nshapes = 2", "'shapes' has no meaning with mode = 'sampled'"),
        ("[budget]\nshapes = 17", "less than or equal to 16"),
        ("[budget]\nshapes = 2\n[sampling]\nmode = 'full'", "'shapes' has no meaning with [sampling] mode = 'full'"),
        ("[store]\nzarr_format = 4", "zarr_format"),
        ("[model]\noptions = { depth = 3 }", "model of your own"),
        ("[train]\nmomentum = 0.9", "'momentum' has no meaning with optimizer = 'adam'; it belongs to optimizer"),
        ("[ipu]\nloss_scaling = 2.0", "'loss_scaling' has no meaning with half = false; it belongs to half = true"),
        ("name = 'a/b'", "name"),
        ("[dataset", "not TOML"),
    ],
)
def test_contradictions_are_explained(tmp_path: Path, text: str, words: str) -> None:
    assert words in problem(tmp_path, text)


def test_a_missing_file_lists_its_neighbors(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(ConfigError, match=r"does not exist.*job\.toml"):
        load_config(tmp_path / "jbo.toml")


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_the_digest_follows_what_decides_the_store_and_nothing_else() -> None:
    base = JobConfig()
    other_training = JobConfig(name="other", train={"epochs": 1}, model={"name": "hgt"}, store={"root": "elsewhere"})
    assert base.content_digest() == other_training.content_digest()
    for change in ({"sampling": {"rounds": 9}}, {"dataset": {"args": {"rng_seed": 1}}}, {"store": {"pad_value": 1.0}}):
        assert JobConfig(**change).content_digest() != base.content_digest()


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SamplingConfig().rounds = 3  # type: ignore[misc]


def test_default_masks_are_the_three_of_pyg() -> None:
    assert DatasetConfig().masks == {"train": "train_mask", "val": "val_mask", "test": "test_mask"}
