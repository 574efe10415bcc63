"""The double of PopTorch: the arguments of a call.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import logging
from collections import namedtuple
from typing import Any, Dict

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.poptorch_double.nets import Net, Variadic, batch, options


def test_arguments_are_bound_to_the_signature(pop: Any) -> None:
    """(15, 17)"""
    x, y = batch()
    executor = pop.inferenceModel(Net())
    executor(x, y=y)  # positional and keyword forms are equivalent
    executor(y=y, x=x, scale=1.0)
    for args, kwargs in (((x, y, 1.0, 2), {}), ((x, y), {"z": 1}), ((x, y), {"y": y})):
        with pytest.raises(AssertionError):
            executor(*args, **kwargs)
    with pytest.raises(pop.Error, match="Mandatory parameter y missing"):
        executor(x)


def test_python_values_are_baked_in(pop: Any) -> None:
    """(16)"""
    executor = pop.inferenceModel(Net())
    executor(*batch(), scale=2.0)
    with pytest.raises(pop.Error, match="Value mismatch for scale"):
        executor(*batch(), scale=3.0)
    with pytest.raises(pop.Error, match="Type mismatch for scale"):
        executor(*batch(), scale=2)


def test_non_contiguous_and_gradient_inputs_are_warned_about(pop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """(18)"""
    x, y = batch()
    executor = pop.inferenceModel(Net())
    with caplog.at_level(logging.WARNING, "poptorch"):
        expected = executor(x.clone().requires_grad_(), y)[0]
        actual = executor(x.t().contiguous().t(), y)[0]
        executor(x.t().contiguous().t(), y)
    assert [("requires_grad" in text, "not contiguous" in text) for text in caplog.messages] == [
        (True, False),
        (False, True),
    ]
    assert torch.equal(expected, actual)


def test_later_calls_are_compared_with_the_compile_call(pop: Any) -> None:
    """(19, 20, 29)"""
    x, y = batch(4)
    executor = pop.inferenceModel(Net(), options(pop, 2))
    executor(x, y)
    wrong = {
        "Shape mismatch for x": (x[:10], y[:10]),
        "Data type mismatch for y": (x, y.int()),
        "Type mismatch for y": (x, (y,)),
    }
    for message, args in wrong.items():
        with pytest.raises(pop.Error, match=message) as caught:
            executor(*args)
        assert "destroy()" in str(caught.value) and executor.num_compilations == 1
    variadic = pop.inferenceModel(Variadic())
    variadic(x, y)
    with pytest.raises(pop.Error, match="Number of positional arguments"):
        variadic(x)


Pair = namedtuple("Pair", "first second")


def test_nests_of_arguments(pop: Any) -> None:
    """(9, 15, 21, 22)"""
    x, _ = batch()
    executor = pop.inferenceModel(Nested())
    executor({"a": x, "b": x + 1}, (x, [x]))
    swapped = executor({"b": x + 1, "a": x}, (x, [x]))  # another order of keys is put right
    torch.testing.assert_close(swapped["pair"].first, x)
    assert type(swapped["pair"]) is Pair
    with pytest.raises(pop.Error, match="Keys mismatch for by_type"):
        executor({"a": x}, (x, [x]))
    with pytest.raises(pop.Error, match="Length mismatch"):
        executor({"a": x, "b": x}, (x, [x], x))
    with pytest.raises(pop.Error, match="Type mismatch"):
        executor({"a": x, "b": x}, [x, [x]])


def test_wrong_tuple_keys_are_type_errors(pop: Any) -> None:
    """(21)"""
    x, _ = batch()
    executor = pop.inferenceModel(Nested())
    key = ("a", "to", "b")
    executor({"a": x, key: x}, x)
    with pytest.raises(TypeError):
        executor({"a": x, ("b", "to", "a"): x}, x)
    with pytest.raises(pop.Error, match="Shape mismatch"):
        executor({"a": x, key: x[:2]}, x)


class Nested(nn.Module):
    def forward(self, by_type: Dict[Any, Tensor], rest: Any) -> Any:
        return {"pair": Pair(by_type["a"] * 1, 7)}


def test_hetero_data_flattens_in_insertion_order(pop: Any) -> None:
    """(23, 24, 25, 77): two batches of another order pass and swap their tensors."""
    from torch_geometric.data import HeteroData

    def data(order: str) -> HeteroData:
        made = HeteroData()
        for name in order:
            made[name].x = torch.full((2, 3), float(ord(name)))
        made["a", "to", "b"].edge_index = torch.zeros(2, 4, dtype=torch.long)
        return made

    executor = pop.inferenceModel(TypeA())
    assert float(executor(data("ab"))[0, 0]) == ord("a")
    assert float(executor(data("ba"))[0, 0]) == ord("b")


class TypeA(nn.Module):
    def forward(self, data: Any) -> Tensor:
        return data["a"].x * 1


def test_fixed_size_options_of_poptorch_geometric(pop: Any) -> None:
    """(81)"""
    import poptorch_geometric

    sizes = poptorch_geometric.FixedSizeOptions(num_nodes={"a": 3, "b": 2}, num_edges={("a", "to", "b"): 7})
    assert (sizes.total_num_nodes, sizes.total_num_edges, sizes.num_graphs, sizes.is_hetero()) == (5, 7, 2, True)
    assert poptorch_geometric.FixedSizeOptions(3).to_hetero(["a"], [("a", "to", "a")]).num_edges == {
        ("a", "to", "a"): 6
    }
    with pytest.raises(ValueError, match="at least 2"):
        poptorch_geometric.FixedSizeOptions(3, num_graphs=1)
