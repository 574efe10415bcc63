"""The double of PopTorch: types, and the batch dimension.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

from typing import Any, Tuple

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.poptorch_double.nets import ROWS, Net, Variadic, batch, options


def test_64_bit_types_lose_half_their_bits(pop: Any) -> None:
    """(26, 27)"""
    executor = pop.inferenceModel(Variadic())
    assert executor(torch.tensor([2**32 + 3])).tolist() == [6]
    double = pop.inferenceModel(Variadic())(torch.tensor([0.1], dtype=torch.float64))
    assert double.dtype is torch.float32 and float(double) == pytest.approx(0.2)
    for dtype in (torch.bfloat16, torch.complex64):
        with pytest.raises(pop.Error, match="Unsupported tensor type"):
            pop.inferenceModel(Variadic())(torch.zeros(2, dtype=dtype))


def test_dim_0_of_every_tensor_is_divided(pop: Any) -> None:
    """(29, 30, 31)"""
    x, y = batch(4)
    with pytest.raises(AssertionError, match="Invalid batch dimension"):
        pop.trainingModel(Net(), options(pop, 2, 2, 2))(x, y)  # 20 rows by 8
    scalar = torch.tensor(2.0)
    with pytest.raises(AssertionError, match="Invalid batch dimension"):
        pop.inferenceModel(Variadic(), options(pop, 2))(x, scalar)
    pop.inferenceModel(Variadic())(x, scalar)
    rows = pop.inferenceModel(Rows(), options(pop, 2))
    with pytest.raises(IndexError):
        rows(torch.zeros(2, 6, dtype=torch.long))  # each micro-batch sees one row of edge_index
    assert Rows.seen == (1, 6)
    assert pop.inferenceModel(Rows(), options(pop, 2))(torch.arange(24).view(4, 6)).shape == (12,)


class Rows(nn.Module):
    seen: Tuple[int, ...] = ()

    def forward(self, edge_index: Tensor) -> Tensor:
        Rows.seen = tuple(edge_index.shape)
        return edge_index[0] + edge_index[1]


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_output_modes(pop: Any, monkeypatch: pytest.MonkeyPatch, is_contiguous: bool) -> None:
    """(33, 34, 35): dim 0 by mode; scalars become 1-D when there are several."""
    monkeypatch.setattr(pop.double, "contiguous_replicas", is_contiguous)
    model, (x, y) = Net(), batch(8)
    alone = [model(x[k : k + ROWS], y[k : k + ROWS])[1].detach() for k in range(0, 8 * ROWS, ROWS)]
    of_replica = [[0, 1, 2, 3], [4, 5, 6, 7]] if is_contiguous else [[0, 2, 4, 6], [1, 3, 5, 7]]
    expected = {
        "All": [[k] for k in range(8)],
        "Final": [[own[-1]] for own in of_replica],
        "Sum": of_replica,
        "EveryN": [[own[i]] for own in of_replica for i in (1, 3)],
    }
    for mode, members in expected.items():
        made = options(pop, 4, 2).outputMode(pop.OutputMode[mode], 2)
        out, loss = pop.inferenceModel(model, made)(x, y)
        assert out.shape == (len(members) * ROWS, 4)
        torch.testing.assert_close(loss, torch.stack([sum(alone[k] for k in own) for own in members]))
    assert pop.inferenceModel(model)(*batch())[1].dim() == 0
    with pytest.raises(pop.Error, match="EveryN"):
        pop.inferenceModel(model, options(pop, 4, 2).outputMode(pop.OutputMode.EveryN, 3))(x, y)


def test_default_output_modes(pop: Any) -> None:
    """(35, 36)"""
    assert pop.trainingModel(Net(), options(pop, 2, 2, 2))(*batch(8))[1].shape == (2,)
    assert pop.inferenceModel(Net(), options(pop, 4, 2))(*batch(8))[1].shape == (8,)
