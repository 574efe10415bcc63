"""The strict double, installed for a test."""

from typing import Any, Iterator

import pytest

from tests.poptorch_double import installed


@pytest.fixture
def poptorch() -> Iterator[Any]:
    with installed() as package:
        yield package
