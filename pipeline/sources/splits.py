"""Which seed nodes belong to which split: from masks, or drawn at random."""

from collections.abc import Mapping

import numpy as np

from heteroshards.pipeline.sources.masks import ALL_NODES
from heteroshards.schemas.config import DatasetConfig, RandomSplit
from heteroshards.schemas.errors import ConfigError, GraphError
from heteroshards.schemas.layout import PREDICT


def split_seeds(is_known: np.ndarray, masks: Mapping[str, np.ndarray], config: DatasetConfig) -> dict[str, np.ndarray]:
    """Split -> ids of its seed nodes, int64, ascending.

    `is_known` bool [nodes] says which nodes have a label; `masks` are bool [nodes] by split. Split predict may hold any
    node, whatever is known of it.

    Raises:
        ConfigError: there is neither a train split nor a predict split.
        GraphError: a split has no seeds or an unlabelled one, or two splits share a node.
    """
    seeds = {} if config.random_split is None else draw_splits(is_known, config.random_split)
    seeds |= {split: np.flatnonzero(mask) for split, mask in masks.items()}
    if config.predict == ALL_NODES:
        seeds[PREDICT] = np.arange(len(is_known))
    if not {"train", PREDICT} & set(seeds):
        raise ConfigError("there is no train split", where="[dataset]", hint="Name a mask, or give train a share.")
    where = f"node type '{config.seed_type}'"
    taken = np.full(len(is_known), "", dtype="<U5")
    for split, ids in seeds.items():
        if not len(ids):
            hint = "Leave the split out of [dataset] masks, or draw another random_split."
            hint = "Leave [dataset] predict out, or name another mask." if split == PREDICT else hint
            raise GraphError(f"split '{split}' has no seed nodes", where=where, hint=hint)
        if split == PREDICT:
            continue
        unlabelled = ids[~is_known[ids]]
        if len(unlabelled):
            hint = "Leave unlabelled nodes out of the masks; [dataset] predict takes them."
            text = f"{len(unlabelled)} of {len(ids)} seed nodes of split '{split}' have no label"
            raise GraphError(text, actual=f"node {unlabelled[0]} for one", where=where, hint=hint)
        shared = taken[ids][taken[ids] != ""]
        if len(shared):
            text = f"splits '{shared[0]}' and '{split}' share {int((shared == shared[0]).sum())} nodes"
            raise GraphError(text, where=where, hint="Masks must not overlap.")
        taken[ids] = split
    return seeds


def draw_splits(is_known: np.ndarray, shares: RandomSplit) -> dict[str, np.ndarray]:
    """Shuffle the labelled nodes and cut them by share; a share of 0 leaves its split out.

    A pure function of which nodes are labelled and of `shares`: PCG64's `random` and a stable sort, the same on every
    machine.
    """
    labelled = np.flatnonzero(is_known)
    rng = np.random.Generator(np.random.PCG64(shares.rng_seed))
    order = labelled[np.argsort(rng.random(len(labelled)), kind="stable")]
    parts = {"train": shares.train, "val": shares.val, "test": shares.test}
    ends = [round(end * len(order)) for end in np.cumsum(list(parts.values()))]
    cut = zip(parts.items(), [0, *ends], ends, strict=False)
    return {split: np.sort(order[start:end]) for (split, share), start, end in cut if share > 0}
