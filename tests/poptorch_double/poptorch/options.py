"""Options with chainable setters; fields are read in snake_case (49-54)."""
# ruff: noqa: N802, N815, SIM905

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import torch
from poptorch import enums
from poptorch._errors import ConfigFileError
from poptorch.enums import ConnectionType, MeanReductionStrategy, OutputMode, ReductionType, SyncPattern


class _Group:
    """Fields that only setters change. Unknown names are AssertionErrors, even for `hasattr` (49)."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(_fields=fields, _frozen=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        assert name in self._fields, f"Invalid option {name}, valid options are {list(self._fields)}"
        return self._fields[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"options are set by calling a setter, not by assigning to {name}")

    def _set(self, **values: Any) -> _Group:
        if self._frozen:
            raise AttributeError("Can't modify frozen Options")
        self._fields.update(values)
        return self

    def _mark(self, frozen: bool) -> None:
        self.__dict__["_frozen"] = frozen
        for value in self.__dict__.values():
            if isinstance(value, _Group):
                value._mark(frozen)

    def _key(self) -> list[str]:
        """What an executable depends on."""
        silent = "log_dir model_name show_compilation_progress_bar cache_dir random_seed".split()
        silent += ["connection_type", "offline_ipu_version", "ipu_id"]  # prepared elsewhere, used here (46, 52)
        own = [f"{name}={value}" for name, value in sorted(self._fields.items()) if name not in silent]
        return own + [part for value in self.__dict__.values() if isinstance(value, _Group) for part in value._key()]


def _setter(field: str, *kinds: type) -> Callable[..., Any]:
    def set_field(self: _Group, value: Any) -> Any:
        assert isinstance(value, kinds), f"Unexpected type {type(value)} for option {field}. Expected {kinds}"
        return self._set(**{field: value})

    return set_field


class _TrainingOptions(_Group):
    def __init__(self) -> None:
        super().__init__(
            gradient_accumulation=1,
            accumulation_and_replication_reduction_type=ReductionType.Mean,
            mean_reduction_strategy=MeanReductionStrategy.Post,
            auto_loss_scaling=False,
        )

    gradientAccumulation = _setter("gradient_accumulation", int)
    setAutomaticLossScaling = _setter("auto_loss_scaling", bool)
    setMeanAccumulationAndReplicationReductionStrategy = _setter("mean_reduction_strategy", MeanReductionStrategy)

    def accumulationAndReplicationReductionType(self, reduction_type: ReductionType) -> _Group:
        assert isinstance(reduction_type, ReductionType)
        if reduction_type is ReductionType.NoReduction:
            raise ValueError("Accumulation and replication reduction must be Mean or Sum")  # 50
        return self._set(accumulation_and_replication_reduction_type=reduction_type)


class _PrecisionOptions(_Group):
    def __init__(self) -> None:
        super().__init__(stochastic_rounding=False, floating_point_exceptions=False, partials_type=torch.float32)

    enableStochasticRounding = _setter("stochastic_rounding", bool)
    enableFloatingPointExceptions = _setter("floating_point_exceptions", bool)

    def setPartialsType(self, dtype: torch.dtype) -> _Group:
        assert dtype in (torch.float32, torch.float16), f"partials type must be float or half, not {dtype}"
        return self._set(partials_type=dtype)


class _PopartOptions(_Group):
    def __init__(self) -> None:
        super().__init__(options={})

    def set(self, key: str, value: Any) -> _Group:
        assert isinstance(key, str)
        return self._set(options={**self.options, key: value})


class TensorLocationSettings(_Group):
    def __init__(self) -> None:
        super().__init__(on_chip=None)

    useOnChipStorage = _setter("on_chip", bool)


class _TensorLocations(_Group):
    def __init__(self) -> None:
        super().__init__(optimizer=None, weight=None, activation=None, accumulator=None, num_io_tiles=0)

    setOptimizerLocation = _setter("optimizer", TensorLocationSettings)
    setWeightLocation = _setter("weight", TensorLocationSettings)
    setActivationLocation = _setter("activation", TensorLocationSettings)
    setAccumulatorLocation = _setter("accumulator", TensorLocationSettings)

    def numIOTiles(self, num_tiles: int) -> _Group:
        assert isinstance(num_tiles, int) and 32 <= num_tiles <= 192 and num_tiles % 2 == 0
        return self._set(num_io_tiles=num_tiles)


class Options(_Group):
    """Everything at its default, unless the environment says otherwise (54)."""

    def __init__(self) -> None:
        super().__init__(
            device_iterations=1,
            replication_factor=1,
            input_group_size=1,
            output_mode=None,
            output_return_period=1,
            connection_type=ConnectionType.Always,
            cache_dir=os.environ.get("POPTORCH_CACHE_DIR"),
            use_ipu_model=os.environ.get("POPTORCH_IPU_MODEL", "0") not in ("", "0"),
            offline_ipu_version=None,
            available_memory_proportion={},
            random_seed=None,
            ipu_id=None,
            model_name="",
            log_dir=".",
            log_cycle_count=False,
            show_compilation_progress_bar=True,
            synthetic_data=False,
            profiling_dir=None,
            broadcast_buffers=True,
            auto_round_num_ipus=False,
            sync_pattern=SyncPattern.Full,
        )
        self.__dict__.update(
            Training=_TrainingOptions(),
            Precision=_PrecisionOptions(),
            TensorLocations=_TensorLocations(),
            _Popart=_PopartOptions(),
        )
        if "POPTORCH_DEFAULT_OPTIONS" in os.environ:
            self.from_json(os.environ["POPTORCH_DEFAULT_OPTIONS"])

    deviceIterations = _setter("device_iterations", int)  # 0 is accepted (49)
    replicationFactor = _setter("replication_factor", int)
    connectionType = _setter("connection_type", ConnectionType)
    enableExecutableCaching = _setter("cache_dir", str, type(None))
    useIpuModel = _setter("use_ipu_model", bool)
    useIpuId = _setter("ipu_id", int)
    modelName = _setter("model_name", str)
    logDir = _setter("log_dir", str)
    logCycleCount = _setter("log_cycle_count", bool)
    showCompilationProgressBar = _setter("show_compilation_progress_bar", bool)
    enableSyntheticData = _setter("synthetic_data", bool)
    enableProfiling = _setter("profiling_dir", str, type(None))
    broadcastBuffers = _setter("broadcast_buffers", bool)
    autoRoundNumIPUs = _setter("auto_round_num_ipus", bool)
    syncPattern = _setter("sync_pattern", SyncPattern)

    def outputMode(self, output_mode: OutputMode, output_return_period: int | None = None) -> _Group:
        assert isinstance(output_mode, OutputMode), f"expected a poptorch.OutputMode, not {output_mode!r}"
        if output_mode is OutputMode.EveryN:
            assert isinstance(output_return_period, int) and output_return_period > 0, "EveryN needs a period"
        return self._set(output_mode=output_mode, output_return_period=output_return_period or 1)

    def randomSeed(self, random_seed: int) -> _Group:
        assert isinstance(random_seed, int)
        torch.manual_seed(random_seed)  # on the host, too (48)
        return self._set(random_seed=random_seed)

    def setAvailableMemoryProportion(self, proportions: dict[str, float]) -> _Group:
        assert isinstance(proportions, dict), "expected a dict such as {'IPU0': 0.6}"
        for ipu, proportion in proportions.items():
            assert isinstance(ipu, str) and ipu.startswith("IPU"), f"{ipu!r} names no IPU"
            assert isinstance(proportion, float) and 0 <= proportion <= 1, f"{proportion!r} is no proportion"
        return self._set(available_memory_proportion=proportions)

    def useOfflineIpuTarget(self, ipu_version: int = 2) -> _Group:
        assert ipu_version in (1, 2, 21), f"unknown IPU version {ipu_version}"
        assert not self.use_ipu_model, "the offline target cannot be used with the IPU model (52)"
        return self._set(offline_ipu_version=ipu_version, connection_type=ConnectionType.Never)

    def from_json(self, string: str) -> Options:
        """{"dotted.setter": value or [args]}; enumerations are written "Type.Value" (53)."""
        for name, value in json.loads(string).items():
            setter: Any = self
            for part in name.split("."):
                setter = getattr(setter, part)
            setter(*[_from_json(argument) for argument in (value if isinstance(value, list) else [value])])
        return self

    def loadFromFile(self, path: str) -> Options:
        """Lines such as `deviceIterations(4)`. They are executed: trusted files only (53)."""
        with open(path, encoding="utf-8") as lines:
            for line in filter(None, map(str.strip, lines)):
                try:
                    exec(f"options.{line}", {"poptorch": enums, "torch": torch, "options": self})
                except SyntaxError as error:
                    raise ConfigFileError(f"{path}: {line}") from error
        return self

    def clone(self) -> Options:
        """An editable copy (4)."""
        twin = copy.deepcopy(self)
        twin._mark(frozen=False)
        return twin

    def _freeze(self) -> None:
        self._mark(frozen=True)

    def _num_steps(self) -> int:
        """Micro-batches of one replica in one call."""
        return self.device_iterations * self.Training.gradient_accumulation

    def _extra(self) -> int:
        """Micro-batches in one call (29)."""
        return self._num_steps() * (self.replication_factor // self.input_group_size)


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.partition(".")[0] in vars(enums) and "." in value:
        kind, _, member = value.partition(".")
        return getattr(enums, kind)[member]
    return value
