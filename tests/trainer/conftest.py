"""Stores that tests read (shared, never written to) and jobs to train on them."""

from pathlib import Path
from typing import Any, Callable

import pytest

from heteroshards.schemas.config import JobConfig
from heteroshards.trainer.reading.store import Store, open_store
from tests.trainer.store_factory import shared_store


@pytest.fixture(scope="session")
def store_of() -> Callable[..., Store]:
    """An open store with the given `write_store` options, which others read, too."""
    return lambda **options: open_store(shared_store(**options))


@pytest.fixture(scope="session")
def table_store(store_of: Callable[..., Store]) -> Store:
    return store_of()


@pytest.fixture()
def config(tmp_path: Path) -> JobConfig:
    return make_config(tmp_path)


def make_config(root: Path, **train: Any) -> JobConfig:
    """A small, quick job with dropout, so that a resumed run must restore the random state too."""
    values = {
        "name": "tiny",
        "store": {"root": str(root / "stores")},
        "model": {"hidden_channels": 8, "dropout": 0.2},
        "train": {
            "epochs": 4,
            "lr": 0.02,
            "backend": "eager",
            "root": str(root / "runs"),
            "cache": str(root / "c"),
            **train,
        },
    }
    return JobConfig.model_validate(values)
