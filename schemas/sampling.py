"""How batches are sampled: the resolved form that is recorded in a store."""

from typing import Any, Dict, Literal, Optional, Tuple

from pydantic import Field, model_validator

from heteroshards.schemas.base import Frozen

Grouping = Literal["random", "balanced", "packed"]


class SamplingSpec(Frozen):
    """Neighbor sampling with PyG's directional semantics, or the whole graph as one batch.

    Attributes:
        mode: `neighbor`, or `full` (one batch per split that holds the whole graph).
        fanouts: edge type key -> maximum number of in-neighbors per node at each hop, hop 1 (next to the
            seeds) first; -1 takes all. Empty in `full` mode.
        replace: draw neighbors with replacement.
        is_disjoint: each seed has a sample of its own, so that a node may be in a batch once for each.
        strategy: which of a node's edges are drawn that are there at the seed's time: `uniform`, any, or `last`, the
            latest.
        window: how much earlier than the seed's time an edge may be that has a time, in the times' own unit.
        batch_size: seeds per batch, before padding; on average with grouping `packed`.
        grouping: how seeds were grouped into batches: `random`, `balanced` or `packed`.
        max_seeds: with `packed`, the most seeds a batch may hold; else `batch_size`.
        rounds: split -> number of resampling passes.
        rng_seed: root of every random draw.
    """

    mode: Literal["neighbor", "full"]
    fanouts: Dict[str, Tuple[int, ...]]
    replace: bool
    is_disjoint: bool = False
    strategy: Literal["uniform", "last"] = "uniform"
    window: Optional[int] = Field(default=None, ge=0, lt=2**63)
    batch_size: int = Field(ge=1)
    grouping: Grouping
    max_seeds: int = Field(ge=1)
    rounds: Dict[str, int]
    rng_seed: int = Field(ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_fanouts(self) -> Any:
        lengths = {len(f) for f in self.fanouts.values()}
        if len(lengths) > 1:
            raise ValueError(f"every edge type needs the same number of hops, got {sorted(lengths)}")
        if any(k < -1 for fanout in self.fanouts.values() for k in fanout):
            raise ValueError("a fanout is a number of neighbors, or -1 for all of them")
        if any(r < 1 for r in self.rounds.values()):
            raise ValueError("every split needs at least one round")
        return self

    @property
    def num_hops(self) -> int:
        """Hops sampled; 0 in `full` mode, where everything counts as hop 0."""
        return max((len(f) for f in self.fanouts.values()), default=0)
