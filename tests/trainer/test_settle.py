"""`auto` compiles only where that can pay within the run, and stays with what a run was begun with."""

import io
import json
from pathlib import Path
from typing import Any, Tuple

import pytest

from heteroshards.schemas.config import JobConfig, ModelConfig
from heteroshards.trainer import settle as settling
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.job import identity_of
from heteroshards.trainer.runs.names import LAST
from heteroshards.trainer.runs.report import Console
from heteroshards.trainer.settle import Estimate, estimate, num_steps, settle, trained_with
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.model_cases import budget, schema, seed_model
from tests.trainer.run_cases import losses

PAYS = Estimate(num_operators=500, step_s=0.05, num_steps=100_000)
NEVER = Estimate(num_operators=6000, step_s=0.2, num_steps=90)


def auto(root: Path, **train: Any) -> JobConfig:
    return make_config(root, **{"backend": "auto", **train})


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what is estimated; asking for an estimate where none is set fails the test."""

    def set_to(value: Estimate) -> None:
        monkeypatch.setattr(settling, "estimate", lambda *_: value)

    def fail(*_: Any) -> None:
        raise AssertionError("nothing was to be estimated")

    monkeypatch.setattr(settling, "estimate", fail)
    return set_to


def test_compiling_pays_by_operators_and_steps() -> None:
    compile_s = settling.COMPILE_S + 1000 * settling.COMPILE_S_PER_OPERATOR
    enough = compile_s / settling.MOST_SAVED / 0.1
    assert Estimate(1000, 0.1, enough * 1.01).can_pay
    assert not Estimate(1000, 0.1, enough * 0.99).can_pay
    assert not Estimate(1000, 0.1, enough * 1.01, num_shapes=2).can_pay
    assert not Estimate(2000, 0.1, enough * 1.01).can_pay
    assert Estimate(1000, 0.2, enough * 0.51).can_pay
    assert not NEVER.can_pay and PAYS.can_pay


def test_ninety_relations_are_not_compiled_for_a_short_run() -> None:
    line = NEVER.line()
    assert "backend auto runs eager: compiling 6000 operators would take about 250 s" in line
    assert "about 18 s" in line and "--backend inductor" in line


def test_auto_runs_eager_and_says_so(table_store: Any, tmp_path: Path, found: Any) -> None:
    lines = io.StringIO()
    inductor = InductorBackend(tmp_path)
    found(NEVER)
    assert settle(auto(tmp_path), table_store, inductor, lambda _: tmp_path, Console(lines)).name == "eager"
    assert lines.getvalue() == NEVER.line() + "\n"
    found(PAYS)
    assert settle(auto(tmp_path), table_store, inductor, lambda _: tmp_path, Console(lines)) is inductor
    assert lines.getvalue().count("\n") == 1


def test_every_other_choice_is_obeyed(table_store: Any, tmp_path: Path, found: Any) -> None:
    inductor, eager = InductorBackend(tmp_path), EagerBackend()
    config = auto(tmp_path, backend="inductor")
    assert settle(config, table_store, inductor, lambda _: tmp_path) is inductor
    assert settle(auto(tmp_path), table_store, eager, lambda _: tmp_path) is eager  # what auto comes to without g++


@pytest.mark.parametrize("name", ["eager", "inductor"])
@pytest.mark.parametrize("is_one_folder", [False, True])
def test_a_run_goes_on_with_what_it_began_with(
    table_store: Any, tmp_path: Path, found: Any, name: str, is_one_folder: bool
) -> None:
    config, inductor = auto(tmp_path), InductorBackend(tmp_path)
    folder_of = lambda backend: tmp_path / ("run" if is_one_folder else backend)  # noqa: E731
    folder_of(name).mkdir()
    (folder_of(name) / "run.json").write_text(json.dumps(identity_of(config, table_store, name)))
    longer = auto(tmp_path, epochs=1000)
    assert settle(longer, table_store, inductor, folder_of).name == name
    for case in (auto(tmp_path, lr=0.5), None):  # another job, or a new start
        found(NEVER if name == "inductor" else PAYS)
        other = settle(case or config, table_store, inductor, folder_of, is_new=case is None)
        assert other.name != name


def test_what_is_damaged_or_missing_decides_nothing(table_store: Any, tmp_path: Path, found: Any) -> None:
    found(NEVER)
    for text in ("", "[]", "{", '{"backend": "eager"}'):
        (tmp_path / "run.json").write_text(text)
        (tmp_path / LAST).write_text(text)
        assert settle(auto(tmp_path), table_store, InductorBackend(tmp_path), lambda _: tmp_path).name == "eager"
        assert trained_with(auto(tmp_path), InductorBackend(tmp_path), lambda _: tmp_path).name == "inductor"


def test_fit_settles_and_resumes(table_store: Any, tmp_path: Path, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heteroshards.trainer.training.backend_of", lambda config: InductorBackend(tmp_path))
    found(NEVER)
    assert fit(auto(tmp_path, epochs=2), table_store, tmp_path / "run")["backend"] == "eager"
    found(PAYS)  # by a number that would have the other half compiled
    assert fit(auto(tmp_path, epochs=4), table_store, tmp_path / "run", resume_run=True)["backend"] == "eager"
    fit(make_config(tmp_path), table_store, tmp_path / "plain", backend=EagerBackend())
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")
    folder_of = lambda backend: tmp_path / ("run" if backend == "eager" else "absent")  # noqa: E731
    assert trained_with(auto(tmp_path), InductorBackend(tmp_path), folder_of).name == "eager"


def test_operators_and_steps_are_counted(table_store: Any, store_of: Any, tmp_path: Path) -> None:
    one, other = estimate(auto(tmp_path), table_store), estimate(auto(tmp_path), table_store)
    assert one.num_operators == other.num_operators > 50
    assert one.step_s > 0 and one.num_shapes == 1
    config = auto(tmp_path, epochs=5, eval_every=2)
    batches = {split: table_store.split(split).num_batches for split in ("val", "test")}
    assert one.num_steps == num_steps(auto(tmp_path), table_store)
    assert num_steps(config, table_store) == pytest.approx(5 * 8 + (3 * batches["val"] + batches["test"]) / 3)
    assert num_steps(config, store_of(rounds={"train": 1})) == 5 * 8


def test_the_count_covers_the_backward_pass() -> None:
    """So that it follows what a compiler has to do."""
    graph = schema((("movie", "to", "movie"),), {"movie": 4})
    model, batch = seed_model(graph, budget(graph), ModelConfig(hidden_channels=8, heads=2))
    counts: Tuple[int, ...] = ()
    for with_backward in (False, True):
        with settling._Counter() as counter:
            _, loss = model(*batch)
            if with_backward:
                loss.backward()
        counts += (counter.count,)
    assert counts[1] > 1.5 * counts[0]
