"""The arrays that kernels work on: one worker's scratch, and the padded output."""

from typing import NamedTuple

import numpy as np


class Draw(NamedTuple):
    """How neighbors are drawn.

    Attributes:
        replace: with replacement.
        is_last: those of the latest edges, instead of any.
        window: int64, how much earlier than the seed's time an edge may be that has a time; negative: no limit.
    """

    replace: bool
    is_last: bool
    window: np.int64


class Workspace(NamedTuple):
    """Scratch of one worker. Holds the batch sampled last.

    Attributes:
        local_id: int32 [all nodes], the local id of a node in the batch, or OUTSIDE.
        nodes: int32 [all nodes], per type the batch's nodes in order of discovery.
        origin: int32 [all nodes], beside each of `nodes` the seed that led to it first: its node, or where trees are
            disjoint which seed of the batch it is.
        new_id: int32 [all nodes], scratch of trimming, by type and old local id.
        src, dst, e_id: int32 [edge slots], per edge type the batch's edges in order of discovery.
        slot_offset: int64 [E + 1], where each edge type's slots start.
        node_end: int64 [T, H + 1], nodes of hops 0..h; edge_end: int64 [E, H], edges of hops 1..h+1.
        picks: int64 [largest fanout], scratch of one draw.
        seen: uint8 [all edges], 1 once an edge was drawn; or empty, and nothing is noted.
        is_open: uint8 [all nodes], 1 where what is drawn at the last hop is left out; or empty, and nothing is.
    """

    local_id: np.ndarray
    nodes: np.ndarray
    origin: np.ndarray
    new_id: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    e_id: np.ndarray
    slot_offset: np.ndarray
    node_end: np.ndarray
    edge_end: np.ndarray
    picks: np.ndarray
    seen: np.ndarray
    is_open: np.ndarray


class Padded(NamedTuple):
    """Output of B padded batches, tensor after tensor.

    Attributes:
        n_id: int32 [B * all rows]; type t is the [B, N_t] block at B * row_offset[t].
        e_id: int32 [B * all columns]; edge type e is the [B, M_e] block at B * column_offset[e].
        edge_index: int32 [2 * B * all columns]; edge type e is the [B, 2, M_e] block at 2 * B * column_offset[e].
        row_offset: int64 [T + 1]; column_offset: int64 [E + 1].
        tree: as `n_id`, which seed of its batch each node belongs to; or empty, where trees are not disjoint.
    """

    n_id: np.ndarray
    e_id: np.ndarray
    edge_index: np.ndarray
    row_offset: np.ndarray
    column_offset: np.ndarray
    tree: np.ndarray
