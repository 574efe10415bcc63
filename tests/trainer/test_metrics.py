"""Scores against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heteroshards.trainer.tasks.classification import Classification
from heteroshards.trainer.tasks.metrics import accuracy, macro_f1, scores
from heteroshards.trainer.tasks.objective import is_better

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)

TASK = Classification(3)


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


def test_unknown_labels_do_not_count():
    labels, predictions = np.array([0, -100, 1]), np.array([0, 0, 0])
    assert scores(labels, predictions)["accuracy"] == 0.5
    assert math.isnan(scores(labels[1:2], predictions[1:2])["macro_f1"])


@pytest.mark.parametrize("monitor", ["accuracy", "macro_f1", "loss"])
def test_better_is_strictly_better_and_a_number(monitor):
    up, down = (0.25, 0.5) if monitor == "loss" else (0.5, 0.25)
    assert is_better(TASK, monitor, up, down) and not is_better(TASK, monitor, down, up)
    assert not is_better(TASK, monitor, up, up)
    assert is_better(TASK, monitor, down, None)
    for odd in (float("nan"), float("inf"), float("-inf")):
        assert not is_better(TASK, monitor, odd, None) and not is_better(Classification(3), monitor, odd, down)
