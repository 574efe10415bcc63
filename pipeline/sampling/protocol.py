"""What every kind of sampling offers. Seeds are rows of the seed table: int32 [B, S], -1 in pads."""

from typing import Protocol

import numpy as np

from heteroshards.pipeline.sampling.batches import PaddedBatches, Sizes
from heteroshards.schemas.budget import Budget


class Sampler(Protocol):
    """What neighbor sampling and the whole graph have in common."""

    def count(self, seeds: np.ndarray, keys: np.ndarray) -> Sizes: ...

    def pad(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> PaddedBatches: ...

    def reserve_edges(self, max_edges: np.ndarray) -> None:
        """Make room for batches of up to `max_edges` (int64 [edge types]) edges, untrimmed, before they are padded."""
