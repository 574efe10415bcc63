"""The enumerations that options take."""

from __future__ import annotations

import enum


class OutputMode(enum.Enum):
    All = 0
    Sum = 1
    Final = 2
    EveryN = 3


class ConnectionType(enum.Enum):
    Always = 0
    OnDemand = 1
    Never = 2


class ReductionType(enum.Enum):
    Sum = 0
    Mean = 1
    NoReduction = 2


class MeanReductionStrategy(enum.Enum):
    Running = 0
    Post = 1


class SyncPattern(enum.Enum):
    Full = 0
    SinglePipeline = 1
    ReplicaAndLadder = 2
