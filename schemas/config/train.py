"""`[train]`: how it is trained."""

from typing import Literal, Optional

from pydantic import Field, field_validator

from heteroshards.schemas.backends import AUTO, BACKEND_NAMES
from heteroshards.schemas.config.variants import Section, With, only


class TrainConfig(Section):
    """How it is trained.

    Attributes:
        lr: learning rate.
        weight_decay: L2 penalty.
        epochs: at most this many passes, counted from 1; epoch e reads round e - 1 modulo the number of rounds.
        optimizer: `adam`, `adamw` or `sgd`.
        momentum: with `sgd`.
        patience: stop after this many epochs without a better validation; 0 never stops early.
        monitor: the validation score that says which epoch is the best, see `[task] metric`, which it is by default.
            Of equal ones the earliest is; a score that is no number is never better.
        eval_every: epochs between validations; the last epoch is validated only where this makes it due.
        backend: `poptorch` on an IPU (see `[ipu]`), `cuda_graphs` on an NVIDIA GPU, `inductor` or `eager` on the CPU.
            With `auto` the first of these that works here; `inductor` only where compiling can pay within the run,
            judged by the operators of a step (a line says so where it cannot).
        device_features: whether feature tables lie beside the model, so that batches bring ids only: `never`,
            `always`, or with `auto` where a GPU has room for them. Needs a store with features = "table".
        sparse_features: whether node features that are mostly zeros come to the model as sparse rows: `never`, `auto`
            (where the backend runs on the CPU, the model takes them, and at most one entry in 16 is not zero), or
            `always`, however many are not zero. Needs a store with features = "table".
        prefetch: shards read ahead in the background.
        check_chunks: compare everything that is read, chunks, manifest and metadata, with its checksum.
        request_tries: how often a request to a store's server is made at most; errors that may pass (no answer, 429,
            5xx, a cut body) are tried again. Waits double from 0.25 s, at random, or are what the server asks for.
        request_seconds: for how long after a request's first try new ones begin.
        on_corrupt: what a damaged shard does: `stop`, or `skip`: go on without its batches, and report them.
        rng_seed: of weights, dropout and the order of batches.
        root: folder of runs; each is `<root>/<name>-<model>-<backend>-s<rng_seed>` unless named.
        cache: folder of compiled code, kept between runs.
    """

    epochs: int = Field(default=30, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=0.005, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0005, ge=0, allow_inf_nan=False)
    momentum: float = only(0.0, With("optimizer", "sgd"), ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    monitor: Optional[str] = None
    eval_every: int = Field(default=1, ge=1)
    backend: str = AUTO
    device_features: Literal["auto", "always", "never"] = "auto"
    sparse_features: Literal["auto", "always", "never"] = "auto"
    prefetch: int = Field(default=2, ge=1, le=64)
    check_chunks: bool = True
    request_tries: int = Field(default=6, ge=1, le=1000)
    request_seconds: float = Field(default=60.0, ge=0, le=86400)
    on_corrupt: Literal["stop", "skip"] = "stop"
    rng_seed: int = Field(default=0, ge=0, lt=2**63)
    root: str = "runs"
    cache: str = ".cache"

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, name: str) -> str:
        if name not in BACKEND_NAMES:
            raise ValueError(f"there is no backend {name!r}; known are {', '.join(BACKEND_NAMES)}")
        return name
