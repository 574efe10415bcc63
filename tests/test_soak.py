"""A tiny soak through the API, and that a soak would notice what it is there for. The commands' half has its own
kills in tests/pipeline/test_faults.py; one iteration of it runs here.
"""

import random
from pathlib import Path

import pytest

from heteroshards.trainer.runs.report import read_metrics
from tests import soak
from tests.soak import Commands, Report, random_job, run_pass

pytestmark = pytest.mark.usefixtures("one_thread")


def test_passes_leave_neither_files_nor_descriptors(tmp_path: Path) -> None:
    report, rng = Report(), random.Random(0)
    jobs = [random_job(rng, is_large=False) for _ in range(2)]
    for _ in range(3):
        run_pass(jobs, tmp_path, report)
    assert list(tmp_path.iterdir()) == [] and not report.lost
    assert len(report.rss) == 3 and min(report.rss) > 2**20
    assert report.descriptors[1] == report.descriptors[2]


def test_an_iteration_of_the_commands_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, job = Report(), random_job(random.Random(2), is_large=False)
    monkeypatch.setattr(soak, "random_job", lambda rng, is_large: job)
    Commands(random.Random(0), report).iterate(tmp_path)
    assert report.num_iterations == 1 and report.lost == []
    assert sum(map(sum, report.num_killed.values())) == 2
    assert len(read_metrics(tmp_path / "cut" / "run")) == 2


@pytest.mark.parametrize(
    ("rss", "descriptors", "is_flat"),
    [
        ([500, 560, 570, 570, 571, 570, 571, 570], [9] * 8, True),  # the warm-up may grow
        ([500, 510, 520, 530, 540, 550, 560, 570], [9] * 8, False),
        ([570] * 8, [9, 9, 9, 9, 9, 10, 11, 12], False),
        ([570] * 8, [5, 9, 9, 9, 9, 9, 9, 9], True),
    ],
)
def test_what_grows_is_not_flat(rss: list[int], descriptors: list[int], is_flat: bool) -> None:
    report = Report(rss=[value * 2**20 for value in rss], descriptors=descriptors)
    assert report.is_flat() is report.is_good() is is_flat
    assert ("NOT GOOD" in report.lines()[-1]) is not is_flat


def test_what_is_lost_is_not_good() -> None:
    assert not Report(lost=["losses differ"]).is_good()
