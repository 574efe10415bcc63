"""`[model]`, `[train]` and `[ipu]` of a job file: what is trained on a store."""

from typing import Any, Dict, Literal, Optional

from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.backends import AUTO, BACKEND_NAMES
from heteroshards.schemas.base import Frozen


class ModelConfig(Frozen):
    """Which model is trained.

    Attributes:
        name: `to_hetero`, `hetero_conv`, `hgt`, or `package.module:factory` (see docs/own-model.md).
        hidden_channels: width.
        num_layers: message-passing layers; should equal the number of hops.
        heads: attention heads of `hetero_conv` and `hgt`.
        dropout: between layers, while training.
        featureless: what stands for the features of a type without `x`: a learned `embedding` per global node
            id, of length 1 to begin with, or a `constant` 1.
        aggr: what `to_hetero` and `hetero_conv` make of the relations into a type, `sum` or `mean`; initial weights
            are such that either begins at the scale of its inputs. `hgt` sums them, weighted by one attention over all
            of them, and takes no other. A factory of your own may read it.
        allow_padding_dependence: train a model of your own although what it says of real rows was shown to change with
            the padding around them; it is told, and kept in `result.json`.
        options: handed to a factory of your own.
    """

    name: str = "to_hetero"
    hidden_channels: int = Field(default=64, ge=1)
    num_layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    featureless: Literal["embedding", "constant"] = "embedding"
    aggr: Literal["sum", "mean"] = "sum"
    allow_padding_dependence: bool = False
    options: Dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_options(self) -> Any:
        if self.name == "hgt" and self.aggr != "sum":
            raise ValueError(
                "'aggr' is for to_hetero and hetero_conv: hgt sums messages, weighted by one attention over all "
                f"relations into a type; got aggr = '{self.aggr}'. Leave it out, or choose another model"
            )
        if self.allow_padding_dependence and ":" not in self.name:
            raise ValueError("'allow_padding_dependence' is for models of your own: no built-in one depends on padding")
        if self.options and ":" not in self.name:
            raise ValueError("'options' belongs to a model of your own (name = 'package.module:factory')")
        return self

    def identity(self) -> Dict[str, Any]:
        """What makes two models the same one, as plain values."""
        return self.model_dump(mode="json", exclude={"allow_padding_dependence"})


class TrainConfig(Frozen):
    """How it is trained.

    Attributes:
        lr: learning rate.
        weight_decay: L2 penalty.
        epochs: at most this many passes, counted from 1; epoch e reads round e - 1 modulo the number of rounds.
        optimizer: `adam`, `adamw` or `sgd`.
        momentum: of `sgd`.
        patience: stop after this many epochs without a better validation; 0 never stops early.
        monitor: the validation score that says which epoch is the best: `accuracy`, `macro_f1` or `loss` (the lower
            the better). Of equal ones the earliest is; a score that is no number is never better.
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
    momentum: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    monitor: Literal["accuracy", "macro_f1", "loss"] = "accuracy"
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

    @model_validator(mode="after")
    def _check_momentum(self) -> Any:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError("'momentum' belongs to optimizer = 'sgd'")
        return self


class IpuConfig(Frozen):
    """How backend `poptorch` uses an IPU; no other backend reads it.

    One call takes device_iterations x replication_factor x gradient_accumulation batches and makes
    device_iterations optimizer updates.

    Attributes:
        device_iterations: updates per call, without the host.
        replication_factor: copies of the model, each on an IPU of its own; a power of two.
        gradient_accumulation: batches per update and replica.
        reduction: of gradients over accumulation and replicas, `mean` or `sum`.
        half: compute in float16.
        loss_scaling: with `half`: multiplies the loss before the backward pass, and divides the gradients after it.
        stochastic_rounding: with `half`: of float16 results.
        floating_point_exceptions: stop on NaN and overflow.
        available_memory_proportion: share of an IPU's memory that matrix products may use for temporaries.
        ipu_model: run on the SDK's IPU model, a simulator on the CPU.
        ipu_version: the hardware that `compile` prepares executables for without a device, 2 or 21.
        executable_cache: folder of executables; "" is `<train.cache>/poptorch`, "off" keeps none.
        connection_type: when to take a device: `always` (as soon as compiled) or `on_demand`.
        rng_seed: of dropout and rounding on the device; default is train.rng_seed.
    """

    device_iterations: int = Field(default=1, ge=1, le=2**20)
    replication_factor: int = Field(default=1, ge=1, le=2**12)
    gradient_accumulation: int = Field(default=1, ge=1, le=2**20)
    reduction: Literal["mean", "sum"] = "mean"
    half: bool = False
    loss_scaling: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    stochastic_rounding: bool = False
    floating_point_exceptions: bool = False
    available_memory_proportion: Optional[float] = Field(default=None, gt=0, le=1)
    ipu_model: bool = False
    ipu_version: Literal[2, 21] = 2
    executable_cache: str = ""
    connection_type: Literal["always", "on_demand"] = "always"
    rng_seed: Optional[int] = Field(default=None, ge=0, lt=2**63)

    @field_validator("replication_factor")
    @classmethod
    def _check_power(cls, factor: int) -> int:
        if factor & (factor - 1):
            raise ValueError(f"IPUs are taken in powers of two, so replication_factor must be one; got {factor}")
        return factor

    @model_validator(mode="after")
    def _check_half(self) -> Any:
        if not self.half and (self.stochastic_rounding or self.loss_scaling != 1.0):
            raise ValueError("'stochastic_rounding' and 'loss_scaling' are for half = true")
        return self
