"""The double in the place of PopTorch."""

from typing import Any, Iterator

import pytest

from tests.poptorch_double import installed


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    with installed() as poptorch:
        yield poptorch


@pytest.fixture()
def pop(package: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("POPTORCH_CACHE_DIR", "POPTORCH_IPU_MODEL", "POPTORCH_DEFAULT_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(package.double, "compilations", 0)
    monkeypatch.setattr(package.double, "cache_hits", 0)
    return package
