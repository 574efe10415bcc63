"""`[sampling]`: how batches are sampled."""

from typing import Any, Dict, List, Literal, Union

from pydantic import Field, model_validator

from heteroshards.schemas.config.variants import Section, With, only
from heteroshards.schemas.sampling import Grouping

MAX_FANOUT = 1_000_000
Fanout = Union[List[int], Dict[str, List[int]]]
DRAWN = With("mode", "neighbor")


class SamplingConfig(Section):
    """How batches are sampled.

    Attributes:
        mode: `neighbor`, or `full`: the whole graph as one batch per split.
        fanout: most in-neighbors per node at each hop (hop 1, next to the seeds, first), -1 for all; a list for
            every edge type, or a table of lists by edge type key ("src__rel__dst"), "default" for the others.
        replace: draw with replacement.
        batch_size: seeds per batch; a short last one is padded with masked seeds.
        grouping: which seeds share a batch: `random`; `balanced` (batches that need nearly equally much of every
            type); `packed` (likewise, and the number of seeds varies: with a given budget as many as fit).
        max_seeds: with `packed`, the most seeds in a batch; 0 is twice the batch size.
        rounds: resampling passes over the train split; epoch e, counted from 1, reads round e - 1 modulo `rounds`.
        eval_rounds: resampling passes over val, test and predict; probabilities are averaged over them.
        rng_seed: root of all draws.
    """

    mode: Literal["neighbor", "full"] = "neighbor"
    fanout: Fanout = only([5, 5], DRAWN)
    replace: bool = only(False, DRAWN)
    batch_size: int = only(64, DRAWN, ge=1, lt=2**24)
    grouping: Grouping = only("balanced", DRAWN)
    max_seeds: int = only(0, DRAWN, With("grouping", "packed"), ge=0, lt=2**24)
    rounds: int = only(8, DRAWN, ge=1, le=1_000_000)
    eval_rounds: int = only(1, DRAWN, ge=1, le=1_000_000)
    rng_seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_mode(self) -> Any:
        if 0 < self.max_seeds < self.batch_size:
            raise ValueError(f"max_seeds ({self.max_seeds}) must be at least batch_size ({self.batch_size})")
        lists = list(self.fanout.values()) if isinstance(self.fanout, dict) else [self.fanout]
        if not lists:
            raise ValueError("the fanout table is empty; give it a 'default'")
        for fanout in lists:
            if not fanout or any(not -1 <= k <= MAX_FANOUT for k in fanout):
                raise ValueError(
                    f"a fanout lists at least one hop, each a number of neighbors up to {MAX_FANOUT}, or -1 for all; "
                    f"got {fanout}"
                )
        if len({len(fanout) for fanout in lists}) != 1:
            raise ValueError(f"every fanout must list the same number of hops; got {self.fanout}")
        return self
