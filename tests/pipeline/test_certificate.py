"""Quantile budgets: the bound holds as often as it says, the arithmetic of levels is exact, too few is an error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heteroshards import pipeline
from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.inspect.ledger import LedgerReader
from heteroshards.pipeline.inspect.report import store_report
from heteroshards.pipeline.inspect.statistics import as_json, store_use
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sizing.budgets import resolve_budget
from heteroshards.pipeline.sizing.certificate import _bound, _largest, _levels, _most_over, least_tested, quantile_sizes
from heteroshards.pipeline.sizing.counting import count_all
from heteroshards.pipeline.sizing.fitting import exceeding
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.task import Task
from tests.pipeline.build import hetero_graph, job
from tests.strategies import random_graph

SCHEMA = GraphSchema(
    node_types=(NodeTypeSchema(name="a", num_nodes=9), NodeTypeSchema(name="b", num_nodes=9)),
    edge_types=(EdgeTypeSchema(src="b", relation="to", dst="a", num_edges=9),),
    task=Task.classification("a", 2),
)


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """Sizes [count, 3] that are correlated and have a long tail."""
    base = rng.lognormal(3, 0.5, count)
    return np.stack([base * rng.lognormal(0, 0.2, count), rng.poisson(base), base**1.3], axis=1).astype(np.int32)


def sizes_of(totals: np.ndarray) -> Sizes:
    return Sizes(totals[:, :2, None], totals[:, 2:, None])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 90), st.integers(0, 100))
def test_a_size_fits_at_a_level_exactly_up_to_the_largest_one(fitted, level, size):
    column = np.sort(np.array(fitted))
    fits = _levels(column, np.array([size]))[0] <= level
    assert fits == (size <= _largest(column, level))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.floats(0.5, 0.999), st.floats(0.5, 0.99))
def test_as_many_may_overflow_as_the_bound_allows(num, quantile, confidence):
    least = least_tested(quantile, confidence)
    assert _bound(0, least, confidence) <= (1 - quantile) * (1 + 1e-9)
    assert least == 1 or _bound(0, least - 1, confidence) > 1 - quantile
    if num >= least:
        most = _most_over(num, 1 - quantile, confidence)
        assert most == 0 or _bound(most, num, confidence) <= 1 - quantile
        assert _bound(most + 1, num, confidence) > 1 - quantile


def test_the_bound_is_clopper_and_pearsons():
    for num_over, num_tested in ((0, 50), (3, 200), (17, 1000)):
        expected = stats.binomtest(num_over, num_tested, alternative="less").proportion_ci(0.9, "exact").high
        assert _bound(num_over, num_tested, 0.9) == pytest.approx(expected)


def test_the_guarantee_holds_as_often_as_it_says():
    """Jointly and per type, over many independent samples of 400 batches, at confidence 0.8."""
    rng, trials, confidence = np.random.default_rng(0), 400, 0.8
    population = draw(rng, 400_000)
    broken = np.zeros(4)
    for _ in range(trials):
        nodes, edges, certificate = quantile_sizes(sizes_of(draw(rng, 400)), 0.95, confidence, SCHEMA)
        over = population > np.concatenate([nodes, edges])
        types = [*certificate.nodes.values(), *certificate.edges.values()]
        broken[:3] += [over[:, d].mean() > bound.probability for d, bound in enumerate(types)]
        broken[3] += over.any(axis=1).mean() > certificate.joint.probability
        assert certificate.joint.probability <= 0.05
    assert (broken <= stats.binom.isf(1e-4, trials, 1 - confidence)).all(), broken
    assert broken[3] > 0.05 * trials, "the joint bound is not far too careful"


@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_the_guarantee_holds_for_the_batches_of_a_job(tmp_path, grouping):
    """Whose batches are not independent: over many jobs, at confidence 0.8."""
    data = random_graph(
        np.random.default_rng(4), {"a": 60, "b": 30}, {("b", "to", "a"): 150, ("a", "to", "b"): 90}, "a"
    )
    graph, trials, confidence, broken = hetero_graph(data), 60, 0.8, 0
    budget = {"mode": "quantile", "quantile": 0.9, "confidence": confidence, "num_batches": 80}
    for rng_seed in range(trials):
        sampling = {"batch_size": 3, "rounds": 20, "grouping": grouping, "rng_seed": rng_seed, "fanout": [2, 2]}
        config = job(data, tmp_path, sampling=sampling, budget=budget)
        spec = resolve_sampling(config, graph)
        pool = make_executor(graph, spec, "error", 1)
        counted = count_all(pool, graph, spec, config.budget, lambda *_: None)
        found = resolve_budget(config.budget, graph.schema, counted.sizes, counted.max_seeds, rng_seed)
        over = exceeding(Sizes.concatenate(list(counted.sizes.values())), found, graph.schema)
        assert found.certificate is not None and len(over) > 1.5 * found.certificate.num_tested
        broken += over.mean() > found.certificate.joint.probability
    assert broken <= stats.binom.isf(1e-4, trials, 1 - confidence)


def test_the_counts_are_those_of_the_tested_half():
    totals = draw(np.random.default_rng(1), 1000)
    nodes, edges, certificate = quantile_sizes(sizes_of(totals), 0.9, 0.9, SCHEMA)
    over = totals[500:] > np.concatenate([nodes, edges])
    assert (certificate.num_fitted, certificate.num_tested) == (500, 500)
    assert [certificate.nodes[name].num_over for name in ("a", "b")] == over[:, :2].sum(axis=0).tolist()
    assert certificate.edges["b__to__a"].num_over == over[:, 2].sum()
    assert certificate.joint.num_over == over.any(axis=1).sum() > 0


def test_too_few_batches_are_an_error_that_says_how_many():
    with pytest.raises(BudgetError, match="got 500 batches; expected at least 598"):
        quantile_sizes(sizes_of(draw(np.random.default_rng(2), 500)), 0.99, 0.95, SCHEMA)


@pytest.mark.parametrize("grouping", ["random", "balanced"])
def test_prepare_writes_the_certificate_and_says_it(tmp_path, grouping):
    data = random_graph(
        np.random.default_rng(3), {"a": 90, "b": 60}, {("b", "to", "a"): 300, ("a", "to", "b"): 200}, "a"
    )
    budget = {"mode": "quantile", "quantile": 0.9, "confidence": 0.9, "num_batches": 200}
    sampling = {"batch_size": 3, "rounds": 40, "grouping": grouping}
    config = job(data, tmp_path, sampling=sampling, budget={**budget, "oversize": "trim_nodes_and_edges"})
    said: list[str] = []
    store = pipeline.prepare(data, config, report=said.append)
    certificate = LedgerReader(store).manifest.budgets[0].certificate
    assert certificate is not None and certificate.num_tested == 100
    assert "certificate  a random batch of train overflows" in store_report(store_use(store))
    assert [found["joint"] for found in as_json(store_use(store))["certificates"]] == [certificate.joint.model_dump()]
    assert certificate.joint.probability <= 0.1
    assert any(line.startswith("budget") and "probability at most" in line for line in said)
    assert "budget   val, test: too few batches for a quantile, so the budget holds all of them" in said


def test_each_purpose_is_certified_by_its_own_batches_where_it_has_enough(tmp_path):
    types = {("b", "to", "a"): 300, ("a", "to", "b"): 200}
    data = random_graph(np.random.default_rng(3), {"a": 90, "b": 60}, types, "a")
    budget = {"mode": "quantile", "quantile": 0.9, "confidence": 0.9, "num_batches": 200, "oversize": "skip"}
    sampling = {"batch_size": 3, "rounds": 40, "eval_rounds": 20, "fanout": [2, 2]}
    store = pipeline.prepare(data, job(data, tmp_path, sampling=sampling, budget=budget))
    found = [budget.certificate for budget in LedgerReader(store).manifest.budgets]
    assert [certificate.splits for certificate in found] == [("train",), ("val", "test")]
    assert store_report(store_use(store)).count("certificate  a random batch of") == 2
    shared = pipeline.prepare(data, job(data, tmp_path, sampling=sampling, budget={**budget, "scope": "all"}))
    assert "certificate  a random batch of the job overflows" in store_report(store_use(shared))
