"""Scores against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heteroshards.trainer.tasks.metrics import (
    UNDEFINED,
    UndefinedError,
    accuracy,
    auroc,
    average_precision,
    f1,
    macro_f1,
    mae,
    mean_over_labels,
    r2,
    rmse,
    score,
)
from heteroshards.trainer.tasks.task import is_better

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def loop_f1(labels, predictions):
    values = []
    for c in sorted(set(labels) | set(predictions)):
        tp = sum(1 for y, p in zip(labels, predictions) if y == c and p == c)
        fp = sum(1 for y, p in zip(labels, predictions) if y != c and p == c)
        fn = sum(1 for y, p in zip(labels, predictions) if y == c and p != c)
        precision, recall = tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn) if tp + fn else 0.0
        values.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(values) / len(values)


@given(pairs)
def test_equal_the_loops(found):
    labels, predictions = (list(column) for column in zip(*found))
    y, p = np.array(labels), np.array(predictions)
    assert accuracy(y, p) == pytest.approx(sum(a == b for a, b in found) / len(found))
    assert macro_f1(y, p) == pytest.approx(loop_f1(labels, predictions))


def test_by_hand():
    labels, predictions = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    assert accuracy(labels, predictions) == 0.5
    assert macro_f1(labels, predictions) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=30)


def loop_auroc(labels, scores):
    pairs = [(a, b) for y, a in zip(labels, scores) if y for z, b in zip(labels, scores) if not z]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def loop_average_precision(labels, scores):
    """Precision at each threshold, weighted by the recall that it gains."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        said = [y for y, s in zip(labels, scores) if s >= threshold]
        recall = sum(said) / sum(labels)
        total, before = total + (recall - before) * sum(said) / len(said), recall
    return total


@given(binary)
def test_curves_equal_the_loops(found):
    labels, scores = (list(column) for column in zip(*found))
    y, s = np.array(labels), np.array(scores, float)
    if 0 < sum(labels) < len(labels):
        assert auroc(y, s) == pytest.approx(loop_auroc(labels, scores))
    else:
        with pytest.raises(UndefinedError, match=f"none of {len(labels)} seeds has {1 - labels[0]}"):
            auroc(y, s)
    if sum(labels):
        assert average_precision(y, s) == pytest.approx(loop_average_precision(labels, scores))
    else:
        with pytest.raises(UndefinedError, match="has 1"):
            average_precision(y, s)


def test_errors_by_hand():
    values, answers = np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 4.0])
    assert mae(values, answers) == pytest.approx(2 / 3)
    assert rmse(values, answers) == pytest.approx(math.sqrt(4 / 3))
    assert r2(values, answers) == pytest.approx(1 - 4 / (14 / 3))
    assert f1(np.array([0, 1, 1]), np.array([1, 1, 0])) == 0.5 and f1(np.array([0]), np.array([0])) == 0.0


@pytest.mark.parametrize(
    ("metric", "values", "reason"),
    [
        (accuracy, [], "no seed is known"),
        (macro_f1, [], "no seed is known"),
        (mae, [], "no seed is known"),
        (rmse, [], "no seed is known"),
        (r2, [3.0], "two seeds, not 1"),
        (r2, [3.0, 3.0], "all 2 seeds have 3"),
    ],
)
def test_what_cannot_be_said_is_none_with_the_reason(metric, values, reason):
    array = np.array(values)
    found = score([("it", lambda: metric(array, array)), ("one", lambda: 1.0)])
    assert found["it"] is None and found["one"] == 1.0 and reason in found[UNDEFINED]["it"]
    assert not is_better("it", found["it"], None)


def test_a_model_that_answers_nan_has_no_curve():
    with pytest.raises(UndefinedError, match="NaN"):
        auroc(np.array([0, 1]), np.array([0.5, math.nan]))


def test_labels_without_a_value_do_not_count_in_the_mean():
    labels, scores = np.array([[0, 1, -100], [1, 1, 0], [1, 1, 1]]), np.array([[0.1, 0, 9], [0.2, 0, 0], [0.0, 0, 1]])
    assert mean_over_labels(auroc, labels, scores, labels >= 0) == pytest.approx((0.5 + 1.0) / 2)
    with pytest.raises(UndefinedError, match="none of 3 seeds has 0"):
        mean_over_labels(auroc, labels[:, 1:2], scores[:, 1:2], labels[:, 1:2] >= 0)
    twice = labels[:, [1, 1]]
    with pytest.raises(UndefinedError, match="none of 2 labels has one: none of 3 seeds has 0"):
        mean_over_labels(auroc, twice, scores[:, [1, 1]], twice >= 0)


@pytest.mark.parametrize("monitor", ["accuracy", "macro_f1", "loss", "rating.mae", "genre.auroc"])
def test_better_is_strictly_better_and_a_number(monitor):
    up, down = (0.25, 0.5) if monitor in ("loss", "rating.mae") else (0.5, 0.25)
    assert is_better(monitor, up, down) and not is_better(monitor, down, up)
    assert not is_better(monitor, up, up)
    assert is_better(monitor, down, None)
    for odd in (float("nan"), float("inf"), float("-inf")):
        assert not is_better(monitor, odd, None) and not is_better(monitor, odd, down)
