"""Ages reach the built-in models as sinusoids beside the features, and models of one's own as they are."""

import math

import torch

from heteroshards.trainer.models.encoders.ages import PERIODS, WIDTH, AgeEncoder, with_ages


def test_sinusoids_by_hand() -> None:
    out = AgeEncoder()(torch.tensor([0.0, 7.0, 100.5, -3.0]))
    assert out.shape == (4, WIDTH)
    for row, age in zip(out.tolist(), (0.0, 7.0, 100.5, -3.0)):
        angles = [2 * math.pi * age / period for period in PERIODS]
        expected = [math.log1p(max(0.0, age)) / 8, *map(math.sin, angles), *map(math.cos, angles)]
        assert all(abs(a - b) < 1e-4 for a, b in zip(row, expected))


def test_they_stand_beside_the_features_of_types_that_have_them() -> None:
    encoder = AgeEncoder()
    x = {"a": torch.ones(2, 3), "b": torch.ones(2, 4)}
    found = with_ages(encoder, x, {"a": torch.tensor([1.0, 2.0])})
    assert found["a"].shape == (2, 3 + WIDTH) and found["b"] is x["b"]
    assert torch.equal(found["a"][:, :3], x["a"])
    assert list(encoder.parameters()) == [] and encoder.state_dict() == {}
