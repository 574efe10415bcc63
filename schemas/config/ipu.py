"""`[ipu]`: what an IPU is told."""

from typing import Literal, Optional

from pydantic import Field, field_validator

from heteroshards.schemas.config.variants import Section, With, only


class IpuConfig(Section):
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
    loss_scaling: float = only(1.0, With("half", True), gt=0, allow_inf_nan=False)
    stochastic_rounding: bool = only(False, With("half", True))
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
