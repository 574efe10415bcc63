"""Random graphs and configs through prepare, verify and a step: `python -m tests.fuzz.graphs --cases N --seed S`.

A case ends well (a store that `verify` finds sound and each of whose shapes makes one eager step with finite outputs)
or with a typed error and no store, not even half of one. Everything else is a finding: the cases are drawn by
hypothesis, so the same seed draws the same ones, and `--only K` runs the K-th of them alone and shows its traceback.
"""

import argparse
import collections
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from heteroshards import pipeline
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import HeteroShardsError
from heteroshards.trainer import open_store
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from tests.fuzz import is_foreseen
from tests.strategies import job_sections, odd_graphs

TRAINED = "prepared, verified, trained"


class FindingError(Exception):
    """What must not be."""


@dataclass
class Tally:
    """How cases ended: in words -> how many; and the findings, by number of case."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    spoilt: int = 0
    findings: dict[int, str] = field(default_factory=dict)

    @property
    def num_cases(self) -> int:
        return self.outcomes.total() + len(self.findings)

    def lines(self) -> list[str]:
        """What is printed."""
        found = [f"{self.num_cases} cases ({self.spoilt} of spoilt graphs), {len(self.findings)} findings"]
        found += [f"{count:>7}  {outcome}" for outcome, count in self.outcomes.most_common()]
        return found + [f"case {number}: {text}" for number, text in self.findings.items()]


def run(num_cases: int, seed_: int, only: int | None = None) -> Tally:
    """Draw and try so many cases, or draw all of them and try one."""
    tally, number = Tally(), -1

    @seed(seed_)
    @settings(
        max_examples=num_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def each(draw: st.DataObject) -> None:
        nonlocal number
        data, way = draw.draw(odd_graphs())
        sections = draw.draw(job_sections(data))
        workers, number = draw.draw(st.integers(1, 3)), number + 1
        if only is None or number == only:
            tally.spoilt += bool(way)
            _try(tally, number, data, way, sections, workers)

    each()
    return tally


def _try(tally: Tally, number: int, data: HeteroData, way: str, sections: dict[str, Any], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally.outcomes[outcome(data, sections, Path(folder), workers)] += 1
        except Exception as error:
            text = f"{type(error).__name__}: {error}\n  {sections}\n  {way or 'not spoilt'}: {data}"
            tally.findings[number] = text + "\n" + traceback.format_exc()


def outcome(data: HeteroData, sections: dict[str, Any], folder: Path, workers: int) -> str:
    """How a case ended: `TRAINED`, or the class and the first words of a typed error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = {"seed_type": data.node_types[0], **sections["dataset"]}
            roots = {"dataset": dataset, "store": {**sections["store"], "root": str(folder / "stores")}}
            config = JobConfig(**{**sections, **roots, "train": {"backend": "eager"}})
            store = pipeline.prepare(data, config, workers=workers)
    except HeteroShardsError as error:
        _require_told(error)
        left = [path.name for path in (folder / "stores").glob("*")]
        if left:
            raise FindingError(f"{left} is left after {type(error).__name__}: {error}") from error
        return f"{type(error).__name__}: {_kind(error)}"
    left = [path.name for path in store.parent.iterdir() if path != store and path.suffix != ".lock"]
    if left:
        raise FindingError(f"{left} is left beside the store")
    verified = verify(store, from_data(data, config.dataset, {}), config)
    if not verified.is_sound:
        raise FindingError(f"verify: {verified.lines()}")
    if pipeline.prepare(data, config) != store:
        raise FindingError("a second prepare does not find the store")
    _train(config, store)
    return TRAINED


def _require_told(error: HeteroShardsError) -> None:
    """Foreseen, and one line, as a command prints it."""
    if not is_foreseen(error):
        raise error
    if "\n" in str(error):
        raise FindingError(f"a {type(error).__name__} of several lines: {error}")


def _kind(error: HeteroShardsError) -> str:
    """The error's own words without names and numbers."""
    words = error.what.split(":")[0].split(";")[0].split("'")
    return "".join(character for character in "_".join(words[::2]) if not character.isdigit())[:70]


def _train(config: JobConfig, path: Path) -> None:
    """One eager step and one inference per shape of the train split."""
    store, may_be_nan = open_store(path), config.dataset.feature_values == "allow"
    with open_job(config, store, EagerBackend()) as job:
        firsts = np.cumsum([0] + [part.num_batches for part in store.split("train").parts])[:-1]
        with job.stream("train", firsts.astype(np.int64)) as stream:
            for _, tensors in stream:
                for call in (job.compiled.step, job.compiled.infer):
                    out, loss = call(tensors)
                    if not (may_be_nan or (torch.isfinite(out).all() and torch.isfinite(loss).all())):
                        raise FindingError("outputs or losses are not finite")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="K", help="the number of one case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally = run(options.cases, options.seed, options.only)
    print("\n".join(["graphs and configs", *tally.lines()]))
    if tally.findings:
        first = next(iter(tally.findings))
        repeat = f"python -m tests.fuzz.graphs --cases {options.cases} --seed {options.seed} --only {first}"
        print(f"repeat the first finding with: {repeat}")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
