"""Our forward passes of PyG's convolutions give what PyG's own give: results, gradients, initial weights."""

from typing import Any, List

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, SAGEConv

from heteroshards.trainer.models.convolutions import MANY_RELATIONS, Relation, _alike, gat, sage
from heteroshards.trainer.models.sparse import Features
from tests.trainer.model_cases import sparse_rows

SOURCES, DESTINATIONS = 9, 5


def matrix(rows: int, width: int, seed: int) -> np.ndarray:
    """Mostly zeros; the first row is zeros, as a pad row is."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, width)) * (rng.random((rows, width)) < 0.3)
    values[0] = 0
    return values.astype(np.float32)


def edges(seed: int) -> Tensor:
    """Some repeated; one destination has none."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.integers(0, SOURCES, 24), rng.integers(0, DESTINATIONS - 1, 24)]))


def features(matrices: List[np.ndarray], is_sparse: List[bool]) -> List[Features]:
    return [sparse_rows(m) if sparse else torch.from_numpy(m) for m, sparse in zip(matrices, is_sparse)]


def learned(out: Tensor, convs: List[Any]) -> List[Tensor]:
    """What came out, and the values and gradients of all parameters."""
    out.square().sum().backward()
    parameters = list(nn.ModuleList(convs).parameters())
    return [out.detach(), *(p.detach() for p in parameters), *(p.grad for p in parameters)]


def assert_same(actual: List[Tensor], expected: List[Tensor]) -> None:
    for one, other in zip(actual, expected):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


FORMS = pytest.mark.parametrize("is_sparse", [[False, False], [True, False], [False, True], [True, True]])


@FORMS
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize(("heads", "channels", "width"), [(1, 5, 6), (3, 4, 6), (2, 1, 1), (1, 1, 6)])
def test_attention(is_sparse: List[bool], is_shared: bool, heads: int, channels: int, width: int) -> None:
    """With itself as its neighbor (`is_shared`) a type has one matrix for both ends."""
    x_src = matrix(SOURCES, width, 0)
    x_dst = x_src[:DESTINATIONS] if is_shared else matrix(DESTINATIONS, 4, 1)
    found = []
    for forms in (None, is_sparse):
        torch.manual_seed(0)
        conv = GATConv(-1 if is_shared else (-1, -1), channels, heads=heads, add_self_loops=False)
        x = features([x_src, x_dst], forms or [False, False])
        out = gat(conv, *x, edges(2)) if forms else conv(tuple(x), edges(2))
        found.append(learned(out, [conv]))
    assert_same(*found)


@FORMS
@pytest.mark.parametrize("num_relations", [1, 3])
@pytest.mark.parametrize(("channels", "width"), [(5, 6), (1, 6), (5, 1), (1, 1)])
def test_means(is_sparse: List[bool], num_relations: int, channels: int, width: int) -> None:
    matrices, found = [matrix(SOURCES, width, 0), matrix(DESTINATIONS, 4, 1)], []
    for forms in (None, is_sparse):
        torch.manual_seed(0)
        convs = [SAGEConv((-1, -1), channels) for _ in range(num_relations)]
        x_src, x_dst = features(matrices, forms or [False, False])
        if forms:
            out = sage([Relation(conv, x_src, edges(i)) for i, conv in enumerate(convs)], x_dst)
        else:
            out = torch.stack([conv((x_src, x_dst), edges(i)) for i, conv in enumerate(convs)]).sum(dim=0)
        found.append(learned(out, convs))
    assert_same(*found)


@pytest.mark.parametrize("few_numbers", [0, DESTINATIONS * 6, 2**15])
def test_many_relations_go_together_where_they_are_small(monkeypatch: pytest.MonkeyPatch, few_numbers: int) -> None:
    """Of two widths, from shared and from own sources, sparse ones and a rare width among them."""
    monkeypatch.setattr("heteroshards.trainer.models.convolutions.FEW_NUMBERS", few_numbers)
    wide, narrow, sparse = matrix(SOURCES, 7, 0), matrix(SOURCES, 6, 1), matrix(SOURCES, 6, 2)
    sources = [wide, narrow] * MANY_RELATIONS + [matrix(SOURCES, 6, 3), sparse, matrix(SOURCES, 5, 4)]
    found = []
    for is_ours in (False, True):
        torch.manual_seed(0)
        convs = [SAGEConv((-1, -1), 5) for _ in sources]
        x_dst, tensors = torch.from_numpy(matrix(DESTINATIONS, 4, 5)), {id(m): torch.from_numpy(m) for m in sources}
        if is_ours:
            x_srcs = [sparse_rows(m) if m is sparse else tensors[id(m)] for m in sources]
            relations = [Relation(conv, x, edges(i)) for i, (conv, x) in enumerate(zip(convs, x_srcs))]
            sizes = sorted(len(group) for group in _alike(relations, DESTINATIONS))[-2:]
            assert sizes == {0: [1, 1], DESTINATIONS * 6: [1, 9]}.get(few_numbers, [8, 9])
            out = sage(relations, x_dst)
        else:
            pairs = enumerate(zip(convs, sources))
            out = torch.stack([conv((tensors[id(m)], x_dst), edges(i)) for i, (conv, m) in pairs]).sum(dim=0)
        found.append(learned(out, convs))
    assert_same(*found)


@pytest.mark.skipif(torch.__version__.startswith("2.0"), reason="torch 2.0 traces no sum() from a start")
def test_relations_that_go_together_compile_as_one_graph() -> None:
    x = torch.from_numpy(matrix(SOURCES, 6, 0))
    convs = [SAGEConv((6, 6), 5) for _ in range(MANY_RELATIONS)]
    relations = [Relation(conv, x, edges(i)) for i, conv in enumerate(convs)]
    compiled = torch.compile(sage, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(relations, x[:DESTINATIONS]), sage(relations, x[:DESTINATIONS]))
