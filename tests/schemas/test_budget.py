"""A budget holds itself to what padding needs of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import BudgetError


def budget(**changes):
    values = {
        "mode": "exact",
        "num_nodes": {"a": 10, "b": 4},
        "num_edges": {"a__to__b": 8},
        "max_seeds": 3,
        "hop_nodes": {"a": (4, 10), "b": (1, 3)},
        "hop_edges": {"a__to__b": (8,)},
    }
    return Budget(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_nodes": {"a": 0, "b": 4}}, "node type 'a' is 0; it must be 1 to"),
        ({"num_edges": {"a__to__b": 2**31}}, "edge type 'a__to__b'"),
        ({"hop_nodes": {"a": (4, 10)}}, "must name the same types"),
        ({"hop_nodes": {"a": (10, 4), "b": (1, 3)}}, "capacities of 'a' up to each hop must ascend"),
        ({"hop_nodes": {"a": (4, 11), "b": (1, 3)}}, "from 1 to 10"),
        ({"hop_edges": {"a__to__b": ()}}, "capacities of 'a__to__b'"),
        ({"max_seeds": 0}, "max_seeds"),
        ({"more": 1}, "more"),
    ],
)
def test_what_cannot_be_a_budget_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        budget(**changes)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_batch_fits_where_every_type_leaves_its_pad_slot(a, b, edges):
    counts = {"a": a, "b": b}, {"a__to__b": edges}
    assert budget().fits(*counts) == (a < 10 and b < 4 and edges < 8)
    assert len(budget().violations(*counts)) == (a >= 10) + (b >= 4) + (edges >= 8)


def test_the_error_names_every_type_with_its_count_and_limit():
    with pytest.raises(BudgetError) as caught:
        budget().require_fits({"a": 10, "b": 1}, {"a__to__b": 99}, "split train, batch 7", "a batch")
    text = str(caught.value)
    assert "'a' has 10 nodes, its budget of 10 holds 9" in text and "'a__to__b' has 99 edges" in text
    assert text.startswith("split train, batch 7") and "'b'" not in text and "trim_nodes_and_edges" in text
