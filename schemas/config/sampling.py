"""`[sampling]`: how batches are sampled."""

from typing import Any, Dict, List, Literal, Optional, Union

from pydantic import Field, model_validator

from heteroshards.schemas.config.times import TimesConfig
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
        is_disjoint: every seed has a sample of its own, in which nothing changes whoever else is in its batch; a node
            may be in a batch once for each. By default where seeds have times, or are rows of a table.
        time: the attributes that say when nodes and edges came to be: `{ nodes = "time", edges = "time", unit = "s" }`.
            Then `[task] time` says when seeds ask, and nothing that is later is drawn, in no hop.
        strategy: with `time`: `uniform` draws among all that is there at the seed's time, `last` takes the latest.
        window: with `time`: how much earlier than the seed's time what has a time may be, in its unit; default is any.
        weight: the attribute of edge types that holds weights, numbers from 0: neighbors are drawn in proportion to
            them, never one of weight 0. Types without it are drawn evenly.
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
    is_disjoint: Optional[bool] = only(None, DRAWN)
    time: Optional[TimesConfig] = only(None, DRAWN)
    strategy: Literal["uniform", "last"] = only("uniform", DRAWN)
    window: Optional[int] = only(None, DRAWN, ge=0, lt=2**62)
    weight: Optional[str] = only(None, DRAWN, min_length=1)
    batch_size: int = only(64, DRAWN, ge=1, lt=2**24)
    grouping: Grouping = only("balanced", DRAWN)
    max_seeds: int = only(0, DRAWN, With("grouping", "packed"), ge=0, lt=2**24)
    rounds: int = only(8, DRAWN, ge=1, le=1_000_000)
    eval_rounds: int = only(1, DRAWN, ge=1, le=1_000_000)
    rng_seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_mode(self) -> Any:
        if self.time is None and (self.strategy != "uniform" or self.window is not None):
            raise ValueError("'strategy' and 'window' have no meaning without 'time'")
        if self.strategy == "last" and (self.replace or self.weight is not None):
            raise ValueError("strategy = 'last' draws nothing, so 'replace' and 'weight' have no meaning with it")
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
