"""StaticHGTConv against PyG's HGTConv."""

from typing import Dict, List, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import HGTConv

from heteroshards.trainer.models import StaticHGTConv

SIZES = {"a": 3, "b": 8, "c": 5}
EDGE_TYPES = [("a", "x", "b"), ("b", "x", "a"), ("b", "y", "a"), ("a", "z", "a"), ("c", "x", "a")]
Types = List[Tuple[str, str, str]]


def _inputs(edge_types: Types, seed: int) -> Tuple[Dict[str, Tensor], Dict[Tuple[str, str, str], Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x_dict = {name: torch.randn(6, size, generator=generator) for name, size in SIZES.items()}
    edges = {edge_type: torch.randint(6, (2, 9), generator=generator) for edge_type in edge_types}
    return x_dict, edges


def _in_double(x_dict: Dict[str, Tensor], *models: torch.nn.Module) -> Dict[str, Tensor]:
    """The same inputs, for models that are converted in place: ours takes products in another order than PyG's."""
    for model in models:
        model.double()
    return {name: x.double() for name, x in x_dict.items()}


def _randomise(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))


@settings(max_examples=25, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    is_lazy=st.booleans(),
    edge_types=st.sets(st.sampled_from(EDGE_TYPES), min_size=1),
    seed=st.integers(0, 1000),
)
def test_equals_pyg(heads: int, is_lazy: bool, edge_types: Types, seed: int) -> None:
    ordered = [edge_type for edge_type in EDGE_TYPES if edge_type in edge_types]
    x_dict, edges = _inputs(ordered, seed)
    metadata = (list(SIZES), ordered)
    sizes = -1 if is_lazy else SIZES
    theirs, ours = HGTConv(sizes, 8, metadata, heads), StaticHGTConv(sizes, 8, metadata, heads)
    theirs(x_dict, edges), ours(x_dict, edges)
    x_dict = _in_double(x_dict, theirs, ours)
    _randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    expected, actual = theirs(x_dict, edges), ours(x_dict, edges)
    assert set(actual) == {name for name, value in expected.items() if value is not None}
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("is_lazy", [True, False])
def test_state_dicts_load_both_ways(is_lazy: bool) -> None:
    x_dict, edges = _inputs(EDGE_TYPES, 0)
    metadata = (list(SIZES), EDGE_TYPES)
    theirs, ours = HGTConv(SIZES, 8, metadata, 2), StaticHGTConv(-1 if is_lazy else SIZES, 8, metadata, 2)
    ours(x_dict, edges)  # PyG 2.4 cannot load into a lazy HGTConv, ours or its own
    x_dict = _in_double(x_dict, theirs, ours)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x_dict, edges)["b"], theirs(x_dict, edges)["b"], atol=1e-9, rtol=1e-9)
    _randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]
    torch.testing.assert_close(ours(x_dict, edges)["a"], theirs(x_dict, edges)["a"], atol=1e-9, rtol=1e-9)


def test_gradients_equal_pyg() -> None:
    x_dict, edges = _inputs(EDGE_TYPES, 3)
    metadata = (list(SIZES), EDGE_TYPES)
    theirs, ours = HGTConv(SIZES, 8, metadata, 2), StaticHGTConv(SIZES, 8, metadata, 2)
    x_dict = _in_double(x_dict, theirs, ours)
    ours.load_state_dict(theirs.state_dict())
    for model in (theirs, ours):
        sum(value.square().sum() for value in model(x_dict, edges).values()).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if expected[name].grad is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-9, rtol=1e-9)


def test_a_relation_may_be_absent_from_the_batch() -> None:
    x_dict, edges = _inputs(EDGE_TYPES[:1] + EDGE_TYPES[2:], 5)
    metadata = (list(SIZES), EDGE_TYPES)
    theirs, ours = HGTConv(SIZES, 8, metadata, 2), StaticHGTConv(SIZES, 8, metadata, 2)
    x_dict = _in_double(x_dict, theirs, ours)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x_dict, edges)["a"], theirs(x_dict, edges)["a"], atol=1e-9, rtol=1e-9)
    only = {EDGE_TYPES[1]: torch.randint(6, (2, 9))}
    torch.testing.assert_close(ours(x_dict, only)["b"], theirs(x_dict, only)["b"], atol=1e-9, rtol=1e-9)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        StaticHGTConv(-1, 8, (["a"], []), heads=3)
