"""The optimizer as the device has it: a copy of its settings, and the state (44, 66-71)."""

from __future__ import annotations

from typing import Any

import torch
from poptorch import optim
from poptorch._errors import graph_error
from torch import Tensor, nn

_KINDS = {  # AdamW first: newer torch derives it from Adam
    torch.optim.AdamW: ("lr", "betas", "eps", "weight_decay"),
    torch.optim.Adam: ("lr", "betas", "eps", "weight_decay"),
    torch.optim.SGD: ("lr", "momentum", "dampening", "weight_decay"),
    torch.optim.RMSprop: ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
}


def check_supported(optimizer: Any) -> type:
    """The torch class that does the same.

    Raises:
        AssertionError: another kind of optimizer.
        ValueError: a variant that the device does not have (68).
    """
    own = tuple(kind for kind in vars(optim).values() if isinstance(kind, type) and issubclass(kind, optim.Optimizer))
    is_known = type(optimizer) in _KINDS or isinstance(optimizer, own)
    assert is_known, f"Unsupported optimizer type {type(optimizer).__name__}"
    for group in optimizer.param_groups:
        if group.get("nesterov") or group.get("amsgrad"):
            raise ValueError("Nesterov momentum and AMSGrad are not supported")
    if getattr(optimizer, "bias_correction", True) is False or getattr(optimizer, "use_tf_variant", False):
        raise NotImplementedError("the double does not emulate bias_correction=False or use_tf_variant")
    return next(kind for kind in _KINDS if isinstance(optimizer, kind))


class DeviceOptimizer:
    """Settings are those at the last `update`: later changes on the host are not seen."""

    def __init__(self, host: Any, names: dict[int, str], parameters: dict[str, nn.Parameter]) -> None:
        self.kind = check_supported(host)
        self.parameters = parameters
        groups = [[names[id(p)] for p in group["params"]] for group in host.param_groups]
        self._names = [name for group in groups for name in group]
        self._inner = self.kind([{"params": [parameters[name] for name in group]} for group in groups], lr=0.0)
        self._groups, self._globals = self._settings(host)
        self._constants = self._constant_settings(host)
        self._apply()

    def update(self, host: Any) -> None:
        """Take over settings that may change (69)."""
        if check_supported(host) is not self.kind:
            raise graph_error(f"the optimizer was compiled as {self.kind.__name__} and cannot become another kind")
        groups, globals_ = self._settings(host)
        for name in self._constants:
            before = [group.get(name) for group in self._groups] + [self._globals.get(name)]
            after = [group.get(name) for group in groups] + [globals_.get(name)]
            if before != after:
                raise graph_error(f"{name} was compiled as a constant and cannot change: mark it as variable")
        types = [name for name in globals_ if name.endswith("accum_type")]
        if any(globals_[name] != self._globals[name] for name in types):
            raise ValueError("accumulator types cannot change after compilation")  # 71
        self._groups, self._globals = groups, globals_
        self._apply()

    def step(self, gradients: dict[str, Tensor | None]) -> None:
        """One update of all parameters."""
        for name in self._names:
            self.parameters[name].grad = gradients[name]
        if self._globals.get("max_grad_norm"):
            parameters = [self.parameters[name] for name in self._names]
            nn.utils.clip_grad_norm_(parameters, self._globals["max_grad_norm"])
        self._inner.step()
        self._inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """`ipu_state` and `ipu_param`, by the names of parameters."""
        state = {
            f"{name}___{key}": value.detach().clone() if isinstance(value, Tensor) else value
            for name in self._names
            for key, value in self._inner.state[self.parameters[name]].items()
        }
        return {"ipu_state": state, "ipu_param": {**self._globals, "groups": [dict(group) for group in self._groups]}}

    def load(self, state: dict[str, Any]) -> None:
        """The state that `state` returned; settings stay."""
        for name in self._names:
            entries = {}
            for key, value in state["ipu_state"].items():
                owner, _, entry = key.rpartition("___")
                if owner == name:
                    entries[entry] = value.clone() if isinstance(value, Tensor) else value
            self._inner.state[self.parameters[name]] = entries

    def accumulate(self, total: Tensor | None, gradient: Tensor) -> Tensor:
        """The sum of gradients, in the type of the accumulator."""
        total = gradient.clone() if total is None else total + gradient
        return total.half().float() if self._globals.get("accum_type") is torch.float16 else total

    def _settings(self, host: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        groups = [{name: group[name] for name in _KINDS[self.kind]} for group in host.param_groups]
        return groups, {name: getattr(host, name) for name in getattr(host, "_extra", {})}

    def _constant_settings(self, host: Any) -> list[str]:
        names = [*_KINDS[self.kind], *[name for name in self._globals if not name.endswith("accum_type")]]
        if isinstance(host, optim.Optimizer):
            return [name for name in names if host.variable_attrs.isConstant(name)]
        constant = {"betas", "alpha", "centered"}
        defaults = {"weight_decay": 0.01 if self.kind is torch.optim.AdamW else 0, "momentum": 0, "dampening": 0}
        defaults["eps"] = 1e-8
        is_default = {n for n, value in defaults.items() if all(group.get(n) == value for group in self._groups)}
        return [name for name in names if name in constant | is_default]

    def _apply(self) -> None:
        for mine, group in zip(self._inner.param_groups, self._groups):
            mine.update(group)
