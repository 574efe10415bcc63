"""Shapes are chosen as a search over every cut of the order would choose them."""

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heteroshards.pipeline.sizing.shape_classes import shape_batches


@st.composite
def cases(draw):
    num_batches, num_types = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    rows = st.lists(st.integers(0, 6), min_size=num_types, max_size=num_types)
    counts = draw(st.lists(rows, min_size=num_batches, max_size=num_batches))
    row_bytes = draw(st.lists(st.integers(1, 5), min_size=num_types, max_size=num_types))
    return np.array(counts), np.array(row_bytes), draw(st.integers(1, 4))


def padded_bytes(counts, row_bytes, classes):
    """By a loop: every batch of a class costs the most of each type in it, plus one."""
    return sum(len(rows) * int((counts[rows].max(axis=0) + 1) @ row_bytes) for rows in classes)


def by_search(counts, row_bytes, most_shapes):
    order = sorted(range(len(counts)), key=lambda b: (int(counts[b] @ row_bytes), counts[b].tolist(), b))
    found = []
    for num in range(1, min(most_shapes, len(order)) + 1):
        for inner in combinations(range(1, len(order)), num - 1):
            bounds = [0, *inner, len(order)]
            classes = [order[i:j] for i, j in pairwise(bounds)]
            found.append(padded_bytes(counts, row_bytes, classes))
    return min(found)


@given(cases())
def test_no_cut_of_the_order_is_cheaper(case):
    counts, row_bytes, num_shapes = case
    shaping = shape_batches(counts, row_bytes, num_shapes)
    assert shaping.padded_bytes == tuple(by_search(counts, row_bytes, k) for k in range(1, num_shapes + 1))
    assert shaping.real_bytes == int((counts @ row_bytes).sum())
    classes = [np.flatnonzero(shaping.shape_of == shape) for shape in range(shaping.num_shapes)]
    assert padded_bytes(counts, row_bytes, classes) == shaping.padded_bytes[-1]
    assert all(np.array_equal(shaping.most[i], counts[rows].max(axis=0)) for i, rows in enumerate(classes))
    costs = (shaping.most + 1) @ row_bytes
    assert (np.diff(costs) >= 0).all() and len(np.unique(shaping.most, axis=0)) == len(shaping.most)
    assert shaping.waste == tuple(padded / max(1, shaping.real_bytes) for padded in shaping.padded_bytes)


@given(cases(), st.integers(1, 4))
def test_cells_bound_the_search_and_keep_what_is_promised(case, max_cells):
    counts, row_bytes, num_shapes = case
    exact, coarse = (shape_batches(counts, row_bytes, num_shapes, cells) for cells in (512, max_cells))
    assert coarse.padded_bytes[0] == exact.padded_bytes[0]
    assert all(c >= e for c, e in zip(coarse.padded_bytes, exact.padded_bytes, strict=True))
    assert list(coarse.padded_bytes) == sorted(coarse.padded_bytes, reverse=True)
    assert coarse.num_shapes <= min(num_shapes, max_cells)
    assert (counts <= coarse.most[coarse.shape_of]).all()


def test_equal_batches_are_one_shape():
    shaping = shape_batches(np.full((5, 2), 3), np.array([1, 1]), 4)
    assert shaping.num_shapes == 1 and shaping.padded_bytes == (40, 40, 40, 40)


def test_many_batches_take_cells_of_equal_number():
    counts = np.random.default_rng(0).integers(0, 100, (5000, 2))
    shaping = shape_batches(counts, np.array([4, 8]), 4)
    assert shaping.num_shapes == 4
    assert (counts <= shaping.most[shaping.shape_of]).all()
    assert shaping.waste[3] < shaping.waste[1] < shaping.waste[0]
