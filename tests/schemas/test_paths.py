"""Paths as people write them."""

from pathlib import Path

import pytest

from heteroshards.schemas.config import load_config
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.paths import as_path, expand


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORK", "/of/mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_home_and_variables_are_expanded(home: Path) -> None:
    assert as_path("~") == home and as_path("~/a b/c") == home / "a b/c"
    assert as_path("$WORK/x") == as_path("${WORK}/x") == Path("/of/mine/x")
    assert as_path(Path("~/x")) == home / "x"
    assert as_path("a/~/b") == Path("a/~/b") and as_path("plain") == Path("plain") and as_path("a$") == Path("a$")


def test_addresses_and_existing_names_stay(home: Path) -> None:
    assert expand("https://host/~me/$x") == "https://host/~me/$x"
    Path("odd$name").mkdir()
    Path("~odd").mkdir()
    assert as_path("odd$name") == Path("odd$name") and as_path("~odd") == Path("~odd")
    assert as_path(Path("/a/$b")) == Path("/a/$b"), "a Path was made by a program"


def test_what_cannot_be_expanded_is_an_error(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$NO_SUCH/x: the environment variable 'NO_SUCH'.*not set. Set NO_SUCH"):
        as_path("$NO_SUCH/x")
    with pytest.raises(ConfigError, match="no user 'no-such-user'"):
        as_path("~no-such-user/x")


def test_a_config_is_found_at_home_and_keeps_what_was_written(home: Path) -> None:
    home.mkdir()
    (home / "job.toml").write_text("[store]\nroot = '~/stores'")
    assert load_config("~/job.toml").store.root == "~/stores"
