"""From `[ipu]` and `[train]` to PopTorch's options and optimizers. Numbers in brackets are rules of PopTorch's host
API that a choice follows, as listed in the docstring of `trainer.backends.poptorch`."""

import os
from pathlib import Path
from typing import Any, Dict, Iterable, Optional

from torch import nn

from heteroshards.schemas.config import IpuConfig, TrainConfig
from heteroshards.schemas.paths import as_path

# Variables that change what a bare Options() means, or how a device is found.
ENVIRONMENT = (
    "POPTORCH_DEFAULT_OPTIONS",
    "POPTORCH_CACHE_DIR",
    "POPTORCH_IPU_MODEL",
    "POPTORCH_WAIT_FOR_IPU",
    "POPTORCH_LOG_LEVEL",
    "POPLAR_ENGINE_OPTIONS",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK",
)


def environment() -> Dict[str, str]:
    """Those of `ENVIRONMENT` that are set: they belong to a run's record."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def batches_per_call(ipu: IpuConfig, kind: str) -> int:
    """Micro-batches that one call of the "train" or "infer" executor takes."""
    accumulation = ipu.gradient_accumulation if kind == "train" else 1
    return ipu.device_iterations * ipu.replication_factor * accumulation


def cache_folder(ipu: IpuConfig, cache: Path) -> Optional[Path]:
    """Where executables are kept; None keeps none."""
    if ipu.executable_cache == "off":
        return None
    return as_path(ipu.executable_cache) if ipu.executable_cache else cache / "poptorch"


def make_options(poptorch: Any, ipu: IpuConfig, rng_seed: int, kind: str, cache: Optional[Path], offline: bool) -> Any:
    """Options of the "train" or "infer" executor: two objects, because inference refuses accumulation (5).

    Outputs of every micro-batch come back (All), or reported losses would cover the last one only (36).
    """
    options = poptorch.Options()
    options.deviceIterations(ipu.device_iterations)
    options.replicationFactor(ipu.replication_factor)
    options.outputMode(poptorch.OutputMode.All)
    options.randomSeed(rng_seed if ipu.rng_seed is None else ipu.rng_seed)
    if kind == "train":
        options.Training.gradientAccumulation(ipu.gradient_accumulation)
        kinds = {"mean": poptorch.ReductionType.Mean, "sum": poptorch.ReductionType.Sum}
        options.Training.accumulationAndReplicationReductionType(kinds[ipu.reduction])
    options.Precision.enableStochasticRounding(ipu.stochastic_rounding)
    options.Precision.enableFloatingPointExceptions(ipu.floating_point_exceptions)
    if ipu.available_memory_proportion is not None:
        options.setAvailableMemoryProportion({"IPU0": ipu.available_memory_proportion})
    options.enableExecutableCaching(None if cache is None else str(cache))  # said either way: it beats the environment
    options.useIpuModel(ipu.ipu_model and not offline)  # likewise (52)
    if offline:
        options.useOfflineIpuTarget(ipu.ipu_version)
        return options
    kinds = {"always": poptorch.ConnectionType.Always, "on_demand": poptorch.ConnectionType.OnDemand}
    options.connectionType(kinds[ipu.connection_type])
    return options


def make_optimizer(poptorch: Any, parameters: Iterable[nn.Parameter], train: TrainConfig, ipu: IpuConfig) -> Any:
    """PopTorch's own optimizer, whose explicit arguments are variables of the executable (69)."""
    common = {"lr": train.lr, "weight_decay": train.weight_decay, "loss_scaling": ipu.loss_scaling}
    if train.optimizer == "sgd":
        return poptorch.optim.SGD(parameters, momentum=train.momentum, **common)
    kind = poptorch.optim.AdamW if train.optimizer == "adamw" else poptorch.optim.Adam
    return kind(parameters, **common)
