"""A few random cases, and that the fuzz would notice."""

from collections import Counter

import pytest

from heteroshards.pipeline.writing.place import store_path
from heteroshards.pipeline.writing.writer import work_folder
from heteroshards.schemas.errors import StoreError
from tests.fuzz.graphs import TRAINED, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_random_graphs_and_configs_end_well_or_with_a_typed_error() -> None:
    tally = run(40, seed_=20261124)
    assert not tally.findings, "\n".join(tally.lines())
    assert tally.num_cases == 40 and tally.spoilt > 4
    assert tally.outcomes[TRAINED] > 10, tally.lines()
    assert len(tally.outcomes) > 4, tally.lines()


def test_a_case_alone_ends_as_it_does_among_others() -> None:
    alone = [run(4, 5, only).outcomes for only in range(4)]
    assert [outcomes.total() for outcomes in alone] == [1] * 4
    assert sum(alone, start=Counter()) == run(4, 5).outcomes


@pytest.mark.parametrize("fault", ["an error of python", "a store half written"])
def test_a_fault_is_a_finding(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def broken(data, config, **options):  # type: ignore[no-untyped-def]
        if fault == "an error of python":
            raise KeyError("movie")
        work_folder(store_path(config, "0" * 12)).mkdir(parents=True)
        raise StoreError("the disk is full")

    monkeypatch.setattr("heteroshards.pipeline.preparation.run.prepare", broken)
    tally = run(10, seed_=0)
    assert len(tally.findings) + sum(count for what, count in tally.outcomes.items() if "ConfigError" in what) == 10
    assert tally.findings and TRAINED not in tally.outcomes
