"""Fixtures for every room."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.layouts import choose_layout

# Before torch is there: OpenMP threads of two test workers wait for each other's cores, spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
choose_layout()
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private, writable DATASETS_DIR with the raw files of IMDB and DBLP.

    They come from the folder that HETEROSHARDS_DATA names, or from shared/data beside the repository; tests that
    need them are skipped where neither is there, because the data may not be handed on with the code.
    """
    source = Path(os.environ.get("HETEROSHARDS_DATA") or ROOT.parent / "shared" / "data")
    if not (source / "IMDB" / "raw").is_dir():
        pytest.skip(f"no real data: {source}/IMDB/raw is absent (set HETEROSHARDS_DATA to a folder that has it)")
    target = tmp_path_factory.mktemp("datasets")
    for name in ("IMDB", "DBLP"):
        shutil.copytree(source / name / "raw", target / name / "raw", copy_function=shutil.copyfile)
        (target / name).chmod(0o755)
        (target / name / "raw").chmod(0o755)
    return target


@pytest.fixture
def one_thread() -> Any:
    """torch on one thread: OpenMP threads that wait for a busy core spin, which makes steps 100 times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def datasets_dir(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATASETS_DIR set to `real_data`, so that configs/imdb.toml and configs/dblp.toml load as they are."""
    monkeypatch.setenv("DATASETS_DIR", str(real_data))
    return real_data


@pytest.fixture(scope="session")
def imdb(real_data: Path) -> Any:
    """The real IMDB graph. Shared by all tests: do not change it."""
    from heteroshards.pipeline.sources import load_dataset
    from heteroshards.schemas.config import DatasetConfig

    return load_dataset(DatasetConfig(source="pyg", class_name="IMDB", root=str(real_data / "IMDB"))).data
