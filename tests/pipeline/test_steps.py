"""`prepare init | partition I | finalise`: a job array writes the store that one `prepare` writes, byte for byte."""

import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards import pipeline
from heteroshards.pipeline.cli import main
from heteroshards.pipeline.preparation import steps
from heteroshards.pipeline.sizing import saved_plan
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.writing.writer import StoreWriter, locked, work_folder
from heteroshards.schemas.errors import BudgetError, ConfigError, StoreError
from tests.pipeline.build import job
from tests.pipeline.stores import files_of
from tests.strategies import graphs, random_graph


def silent(*_):
    pass


class Array:
    """One store, prepared in steps."""

    def __init__(self, data, config, store=None, workers=1):
        self.source = from_data(data, config.dataset, {"dataset": "a HeteroData in memory"})  # as pipeline.prepare says
        self.config, self.store, self.workers = config, store, workers

    def init(self):
        options = {"workers": self.workers, "report": silent, "progress": silent}
        return steps.init(self.source, self.config, store=self.store, **options)

    def write(self, *numbers):
        options = {"workers": self.workers, "report": silent, "progress": silent}
        return steps.write_partitions(self.source, self.config, numbers, store=self.store, **options)

    def finalise(self):
        return steps.finalise(self.source, self.config, store=self.store, report=silent)


@pytest.fixture(scope="module")
def data():
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    return random_graph(np.random.default_rng(0), {"a": 60, "b": 20}, types, "a", {"a": 3})


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    monkeypatch.setattr("heteroshards.pipeline.writing.partitions.SHARDS_PER_PARTITION", 2)


def config_of(data, root, **sections):
    sampling = {"batch_size": 4, "rounds": 2, "fanout": [3, 2]}
    return job(data, root, sampling=sampling, store={"chunk_batches": 2}, **sections)


@settings(max_examples=10, deadline=None)
@given(
    data=graphs(),
    grouping=st.sampled_from(["random", "balanced", "packed"]),
    oversize=st.sampled_from(["", "shapes", "skip", "trim_nodes_and_edges"]),
    mode=st.sampled_from(["neighbor", "neighbor", "full"]),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_same_bytes_in_any_order(tmp_path_factory, data, grouping, oversize, mode, shuffle):
    root = tmp_path_factory.mktemp("stores")
    sampling = (
        {"mode": mode} if mode == "full" else {"batch_size": 3, "rounds": 2, "fanout": [2, 2], "grouping": grouping}
    )
    is_over = oversize and mode != "full"
    budget = {"mode": "sampled", "num_batches": 1, "oversize": oversize} if is_over else {}
    if budget.get("oversize") == "shapes":
        budget = {"shapes": 2}
    config = job(data, root, sampling=sampling, budget=budget, store={"chunk_batches": 1})
    try:
        whole = files_of(pipeline.prepare(data, config, store=root / "whole"))
    except BudgetError:
        return
    array = Array(data, config, root / "array", workers=2)
    numbers = list(range(array.init().num_partitions))
    shuffle.shuffle(numbers)
    for first in range(0, len(numbers), 8):
        array.write(*numbers[first : first + 8])
    assert files_of(array.finalise().path) == whole
    assert not work_folder(root / "array").exists()


def test_finalise_names_exactly_what_is_missing(data, tmp_path):
    array = Array(data, config_of(data, tmp_path))
    num = array.init().num_partitions
    assert num > 8
    array.write(0, 2, 3)
    with pytest.raises(StoreError, match=rf"{num - 3} of {num} partitions are missing; got all but 1, 4-{num - 1}\."):
        array.finalise()
    assert array.write(*range(1, num - 1)).missing == (num - 1,)
    with pytest.raises(StoreError, match=rf"1 of {num} partitions are missing; got all but {num - 1}\."):
        array.finalise()
    array.write(num - 1)
    assert files_of(array.finalise().path)
    assert array.finalise().is_there and array.init().is_there


def test_a_partition_that_is_there_is_not_written_again(data, tmp_path, monkeypatch):
    array = Array(data, config_of(data, tmp_path))
    array.init()
    array.write(0, 1)
    monkeypatch.setattr(StoreWriter, "write_chunk", lambda *_: pytest.fail("written again"))
    array.write(0, 1)
    assert array.init().missing[0] == 2, "init takes over what is there"


def test_prepare_finishes_what_was_begun_in_steps(data, tmp_path):
    whole = files_of(pipeline.prepare(data, config_of(data, tmp_path), store=tmp_path / "whole"))
    array = Array(data, config_of(data, tmp_path), tmp_path / "array")
    array.init()
    array.write(1, 4)
    assert files_of(pipeline.prepare(data, config_of(data, tmp_path), store=tmp_path / "array")) == whole


def test_many_writers_at_once_and_one_partition_twice(data, tmp_path):
    whole = files_of(pipeline.prepare(data, config_of(data, tmp_path), store=tmp_path / "whole"))
    array, errors = Array(data, config_of(data, tmp_path), tmp_path / "array"), []
    num = array.init().num_partitions

    def work(first):
        try:
            array.write(*(number % num for number in range(first, first + num // 2 + 1)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 0, num // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == [] and files_of(array.finalise().path) == whole


def test_a_whole_prepare_waits_for_writers_of_partitions(tmp_path):
    waited, order = [], []
    with locked(tmp_path / "s", silent, is_shared=True), locked(tmp_path / "s", silent, is_shared=True):

        def prepare():
            with locked(tmp_path / "s", lambda: waited.append(True)):
                order.append("prepare")

        thread = threading.Thread(target=prepare)
        thread.start()
        thread.join(0.3)
        order.append("partitions")
    thread.join(30)
    assert order == ["partitions", "prepare"] and waited == [True]


def test_steps_out_of_turn(data, tmp_path):
    array = Array(data, config_of(data, tmp_path), tmp_path / "s")
    for step in (lambda: array.write(0), array.finalise):
        with pytest.raises(StoreError, match=r"no store is being prepared in steps.*prepare init"):
            step()
    num = array.init().num_partitions
    with pytest.raises(ConfigError, match=rf"no such partition; got {num}; expected 0 to {num - 1}"):
        array.write(num)
    other = Array(data, config_of(data, tmp_path, budget={"mode": "uniform", "nodes": 99, "edges": 99}), tmp_path / "s")
    with pytest.raises(StoreError, match="other data or another config"):
        other.write(0)


def test_partitions_by_other_versions_are_refused(data, tmp_path, monkeypatch):
    array = Array(data, config_of(data, tmp_path))
    array.init()
    monkeypatch.setattr(steps, "provenance", lambda: {"numcodecs": "0.0.1"})
    with pytest.raises(StoreError, match=r"other versions.*0\.0\.1"):
        array.write(0)


def test_a_plan_comes_back_as_it_was_saved(data, tmp_path):
    config = config_of(data, tmp_path, budget={"mode": "uniform", "nodes": 10, "edges": 15, "oversize": "skip"})
    array = Array(data, config)
    planned = steps.plan_store(steps.request_of(array.source, config, None))
    assert any(fit.num_batches_skipped for parts in planned.fitted.values() for fit in parts)
    saved_plan.save(tmp_path / "plan.npz", planned.fitted, planned.most_edges)
    fitted, most_edges = saved_plan.load(tmp_path / "plan.npz")
    assert np.array_equal(most_edges, planned.most_edges) and list(fitted) == list(planned.fitted)
    pairs = [pair for name, parts in planned.fitted.items() for pair in zip(parts, fitted[name], strict=True)]
    for fit, again in pairs:
        blocks = (f.plan.block(0, f.plan.num_batches) for f in (fit, again))
        assert all(np.array_equal(one, other) for one, other in zip(*blocks, strict=True))
        assert again.plan.round_starts() == fit.plan.round_starts() and again.shape == fit.shape
        assert again.num_batches_skipped == fit.num_batches_skipped
        assert np.array_equal(again.trimmed.num_edges, fit.trimmed.num_edges)


def test_the_three_commands(tmp_path):
    config = tmp_path / "tiny.toml"
    lines = ["[dataset]", "args = {scale = 0.02, num_features = 8}", "[sampling]", "batch_size = 8", "rounds = 2"]
    config.write_text("\n".join([*lines, "[store]", f"root = '{tmp_path / 'stores'}'"]))

    def run(*args):
        return CliRunner().invoke(main, ["prepare", *map(str, args)])

    begun = run("init", "--config", config)
    assert begun.exit_code == 0, begun.output
    num = int(begun.stdout)
    assert run("finalise", "--config", config).exit_code == 5
    assert run("partition", num, "--config", config).exit_code == 2
    written = run("partition", *range(num), "--config", config)
    assert written.exit_code == 0 and f"{num} of {num} partitions are there" in written.output
    done = run("finalise", "--config", config)
    assert done.exit_code == 0 and done.output.startswith("written")
    assert "nothing changed" in run("--config", config).output, "prepare finds what finalise let appear"
    assert run("init", "--config", config).stdout.strip() == "0"
    store = Path(done.output.split()[1])
    before = files_of(store)
    assert run("--config", config, "--force").exit_code == 0 and files_of(store) == before
    refused = run("--config", config, "init")
    assert refused.exit_code == 2 and "options go behind the step" in refused.output
