"""PopTorch's optimizers: torch's with more arguments. They hold settings; the device does the work (66-70)."""

from __future__ import annotations

from typing import Any

import torch
from poptorch._errors import host_error

_TYPES = (torch.float32, torch.float16)
GROUP_VARIABLES = ("lr", "momentum", "dampening", "weight_decay", "betas", "eps", "alpha", "max_weight_norm")
GLOBAL_VARIABLES = ("loss_scaling", "velocity_scaling", "max_grad_norm")


class VariableAttributes:
    """Which attributes may change after compilation (69)."""

    def __init__(self, explicit: set[str]) -> None:
        self._variable = set(explicit)

    def isConstant(self, name: str) -> bool:  # noqa: N802
        return name not in self._variable

    def markAsVariable(self, name: str) -> None:  # noqa: N802
        self._variable.add(name)

    def markAsConstant(self, name: str) -> None:  # noqa: N802
        self._variable.discard(name)


class Optimizer:
    """What PopTorch's own optimizers share: settings of the device, and a state that lives there."""

    _extra: dict[str, Any] = {"loss_scaling": 1.0}

    def _set_extra(self, explicit: dict[str, Any], torch_args: set[str]) -> None:
        for name in explicit:
            if name not in self._extra:
                raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
        for name, default in self._extra.items():
            value = explicit.get(name, default)
            if name.endswith("accum_type"):
                message = f"{name} must be set to either torch.float16 or torch.float32 not {value}"
                assert value in _TYPES, message
            setattr(self, name, value)
        self.variable_attrs = VariableAttributes(set(explicit) | torch_args)
        self._executor: Any = None  # where the state is, once an executable runs
        self._device_state: dict[str, Any] | None = None
        self.has_new_state = False

    def state_dict(self) -> dict[str, Any]:
        """torch's `state` and `param_groups`, and the device's `ipu_state` and `ipu_param` (70)."""
        if self._executor is not None:
            self._executor._read_optimizer_state()
        device_state = self._device_state or {"ipu_state": None, "ipu_param": None}
        return {**torch.optim.Optimizer.state_dict(self), **device_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A state of PopTorch's; torch's own is a RuntimeError."""
        if "ipu_state" not in state or "ipu_param" not in state:
            raise RuntimeError("Only IPU optimizer states can be loaded onto the IPU.")
        torch.optim.Optimizer.load_state_dict(self, {key: state[key] for key in ("state", "param_groups")})
        self._device_state = {key: state[key] for key in ("ipu_state", "ipu_param")}
        self.has_new_state = self.has_state()

    def has_state(self) -> bool:
        """Whether the host has a state that a device could take over."""
        return bool(self._device_state and self._device_state["ipu_state"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_executor": None}

    def step(self, closure: Any = None) -> None:
        raise host_error("step() is never called on the host: calling the wrapped model updates its weights")


class SGD(Optimizer, torch.optim.SGD):
    """As torch's; lr is mandatory."""

    _extra = {
        "loss_scaling": 1.0,
        "velocity_scaling": None,
        "use_combined_accum": None,
        "accum_type": torch.float32,
        "velocity_accum_type": torch.float32,
        "max_grad_norm": None,
    }

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float | None = None,
        dampening: float | None = None,
        weight_decay: float | None = None,
        nesterov: bool = False,
        **extra: Any,
    ) -> None:
        given = _given(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        torch.optim.SGD.__init__(self, params, nesterov=nesterov, **given)
        self._set_extra(extra, set(given))


class _AdamBase(Optimizer):
    _extra = {
        "loss_scaling": 1.0,
        "accum_type": torch.float32,
        "first_order_momentum_accum_type": torch.float32,
        "second_order_momentum_accum_type": torch.float32,
        "max_grad_norm": None,
    }

    def __init__(
        self,
        params: Any,
        lr: float | None = None,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        amsgrad: bool = False,
        **extra: Any,
    ) -> None:
        given = _given(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self._torch_class.__init__(self, params, amsgrad=amsgrad, **given)
        self._set_extra(extra, set(given))


class Adam(_AdamBase, torch.optim.Adam):
    """As torch's."""

    _torch_class = torch.optim.Adam


class AdamW(_AdamBase, torch.optim.AdamW):
    """As torch's; `bias_correction` can be switched off."""

    _torch_class = torch.optim.AdamW
    _extra = {**_AdamBase._extra, "bias_correction": True}


class RMSprop(Optimizer, torch.optim.RMSprop):
    """As torch's."""

    _extra = {
        "loss_scaling": 1.0,
        "accum_type": torch.float32,
        "first_order_momentum_accum_type": torch.float32,
        "second_order_momentum_accum_type": torch.float32,
        "use_tf_variant": False,
    }

    def __init__(
        self,
        params: Any,
        lr: float | None = None,
        alpha: float | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        momentum: float | None = None,
        centered: bool = False,
        **extra: Any,
    ) -> None:
        given = _given(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        torch.optim.RMSprop.__init__(self, params, centered=centered, **given)
        self._set_extra(extra, set(given))


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
