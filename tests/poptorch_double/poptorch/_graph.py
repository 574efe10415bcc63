"""Tracing: one micro-batch runs under observation, and what a static graph cannot hold is refused (6-13, 79)."""

# ruff: noqa: SIM905

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from poptorch._errors import graph_error
from poptorch._structure import flatten
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

logger = logging.getLogger("poptorch")

LOSSES = frozenset(
    (
        "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div "
        "poisson_nll_loss binary_cross_entropy_with_logits hinge_embedding_loss margin_ranking_loss "
        "soft_margin_loss ctc_loss cosine_embedding_loss triplet_margin_loss multilabel_margin_loss "
        "multilabel_soft_margin_loss"
    ).split()
)
_FACTORIES = frozenset(
    ("arange empty full linspace logspace ones rand randint randn randperm range tensor zeros").split()
)
_TO_HOST = frozenset(("tolist numpy item cpu __bool__ __int__ __float__ __index__ __contains__").split())
_DYNAMIC = frozenset(
    (
        "nonzero nonzero_numpy masked_select unique_dim _unique _unique2 unique_consecutive "
        "_local_scalar_dense equal is_nonzero allclose argwhere bincount"
    ).split()
)
_LEGACY = "LongTensor IntTensor ShortTensor ByteTensor BoolTensor FloatTensor DoubleTensor HalfTensor".split()
_watches: list[LossWatch] = []
_on_ipu: list[bool] = []


def identity_loss(x: Tensor, reduction: str) -> Tensor:
    """Mark a tensor as a loss (8); `reduction` is "none", "mean" or "sum"."""
    assert reduction in ("none", "mean", "sum"), f"Unsupported reduction type {reduction!r}"
    loss = x.clone() if reduction == "none" else getattr(x, reduction)()
    for watch in _watches:
        watch.mark([x], loss)
    return loss


def is_running_on_ipu() -> bool:
    """True while a model is traced or run."""
    return bool(_on_ipu)


class LossWatch(TorchFunctionMode):
    """Collects the results of all loss functions, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []

    def __enter__(self) -> Any:
        _watches.append(self)
        _on_ipu.append(True)
        return super().__enter__()

    def __exit__(self, *details: Any) -> None:
        _watches.remove(self)
        _on_ipu.pop()
        super().__exit__(*details)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in ("cross_entropy", "nll_loss"):
            self.check_targets(*args, **kwargs)
        result = func(*args, **kwargs)
        if name in LOSSES:
            self.mark(flatten([list(args), kwargs]), result)
        return result

    def check_targets(self, logits: Tensor, target: Tensor, *rest: Any, **kwargs: Any) -> None:
        """0/0 where every target is ignored: what a device returns is not specified, so the double refuses (10)."""
        ignored = kwargs.get("ignore_index", rest[2] if len(rest) > 2 else -100)
        if not target.is_floating_point() and bool((target == ignored).all()):
            raise graph_error(f"cross_entropy: all {target.numel()} targets of a micro-batch are ignored")

    def mark(self, inputs: list[Tensor], loss: Tensor) -> None:
        self.losses.append(loss)


class GraphWatch(LossWatch):
    """Follows which losses reach which tensors, and refuses calls that a graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self._reaches: dict[int, frozenset[int]] = {}
        self._alive: list[Tensor] = []  # so that no id is used twice
        self.feeds: list[frozenset[int]] = []  # the losses that each loss is made from

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        _refuse_call(name, args, kwargs)
        result = super().__torch_function__(func, types, args, kwargs)
        if name not in LOSSES:
            reached = self.reached([list(args), kwargs])
            for tensor in _tensors(result):
                self._note(tensor, self._reaches.get(id(tensor), frozenset()) | reached)
            if name in ("__setitem__", "__iadd__") or (name.endswith("_") and not name.endswith("__")):
                self._note(args[0], reached)
        return result

    def mark(self, inputs: list[Tensor], loss: Tensor) -> None:
        self.feeds.append(self.reached(inputs))
        self._note(loss, self.feeds[-1] | {len(self.losses)})
        super().mark(inputs, loss)

    def check_targets(self, *args: Any, **kwargs: Any) -> None:
        """Values are unknown while tracing."""

    def reached(self, value: Any) -> frozenset[int]:
        """Numbers of the losses that a nest of tensors depends on."""
        return frozenset().union(*[self._reaches.get(id(tensor), frozenset()) for tensor in _tensors(value)])

    def final_loss(self, outputs: Any) -> int:
        """The number of the one loss that is returned and feeds no other (7, 8)."""
        live = self.reached(outputs)
        final = [loss for loss in sorted(live) if not any(loss in self.feeds[other] for other in live)]
        if not final:
            raise graph_error("Couldn't find a loss in graph!")
        if len(final) > 1:
            raise graph_error("Multiple independent losses found in graph. Use poptorch.identity_loss to mark one.")
        if not self.losses[final[0]].requires_grad:
            raise graph_error("The loss depends on no parameter that can be trained")
        return final[0]

    def _note(self, tensor: Any, reached: frozenset[int]) -> None:
        if isinstance(tensor, Tensor):
            self._alive.append(tensor)
            self._reaches[id(tensor)] = reached


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (tuple, list)) else []


def _refuse_call(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    if name in _TO_HOST:
        raise graph_error(f"{name}() needs a value that only exists on the device when the graph runs")
    if name in ("cross_entropy", "nll_loss"):
        if kwargs.get("weight") is not None or (len(args) > 2 and args[2] is not None):
            raise graph_error(f"{name}: weight is not supported")
        if kwargs.get("label_smoothing"):
            raise graph_error("cross_entropy: PopTorch would ignore label_smoothing")
    if isinstance(kwargs.get("device"), str) or (name == "to" and "cpu" in args):
        raise graph_error(f"{name}: an explicit device is an error inside a model")
    if name in _FACTORIES and "device" not in kwargs:
        logger.warning("No device set in torch.%s(): forcing to IPU", name)
    if name in ("from_numpy", "as_tensor", "frombuffer"):
        raise graph_error(f"torch.{name}() makes a CPU tensor inside a model")


class ShapeWatch(TorchDispatchMode):
    """Refuses shapes that depend on data, empty tensors and tensors of the CPU; records the operations."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.operations: list[str] = []
        self._storages: set[int] = set()
        self._alive: list[Tensor] = []
        for tensor in known:
            self._know(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        given = _tensors([list(args), kwargs])
        if name == "lift_fresh":  # torch.tensor() hands its data over
            for tensor in given:
                self._know(tensor)
        self._check_inputs(name, args, kwargs, given)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            if tensor.numel() == 0 and name != "empty":  # batch norm makes an empty reserve and never uses it
                raise graph_error(f"{name}: Zero-sized tensors are unsupported (Got shape {list(tensor.shape)})")
            self._know(tensor)
        self.operations.append(f"{name}{[(list(t.shape), str(t.dtype)) for t in _tensors(result)]}")
        return result

    def _check_inputs(self, name: str, args: Any, kwargs: dict[str, Any], given: list[Tensor]) -> None:
        is_mask_index = name == "index" and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1]))
        is_repeat = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in _DYNAMIC or is_mask_index or is_repeat:
            raise graph_error(f"aten::{name}: the shape or value depends on data, which a static graph cannot hold")
        for tensor in given:
            if tensor.dim() and tensor.untyped_storage().data_ptr() not in self._storages:
                shape = list(tensor.shape)
                raise graph_error(f"aten::{name}: expected an IPU tensor but got a CPU tensor of shape {shape}")

    def _know(self, tensor: Tensor) -> None:
        self._alive.append(tensor)
        self._storages.add(tensor.untyped_storage().data_ptr())


@contextlib.contextmanager
def _no_legacy_constructors() -> Iterator[None]:
    """`torch.LongTensor(...)` is an error inside a model (13); isinstance with it is not."""

    class Refusing(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, cls.real)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            raise graph_error(f"torch.{cls.__name__}: explicit CPU tensors are not allowed inside a model")

    real = {name: getattr(torch, name) for name in _LEGACY}
    for name, kind in real.items():
        setattr(torch, name, Refusing(name, (), {"real": kind}))
    try:
        yield
    finally:
        for name, kind in real.items():
            setattr(torch, name, kind)


substitutions: list[Callable[[], Any]] = [_no_legacy_constructors]  # active while tracing only (77)


class Trace:
    """What tracing found: the output's structure, the operations and which loss counts."""

    def __init__(self, model: nn.Module, args: list[Any], kwargs: dict[str, Any], is_training: bool) -> None:
        _refuse_layers(model)
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        inputs = flatten([args, kwargs])
        if any(tensor.numel() == 0 for tensor in state.values()):  # PopTorch's own `finally` hides the cause (90)
            raise UnboundLocalError("local variable 'cpu_aliases' referenced before assignment")
        for tensor in inputs:
            if tensor.numel() == 0:
                raise graph_error(f"Zero-sized tensors are unsupported (Got shape {list(tensor.shape)})")
        versions = {name: (id(tensor), tensor.data_ptr(), tensor._version) for name, tensor in state.items()}
        watch, shapes = GraphWatch(), ShapeWatch(inputs + list(state.values()))
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(torch.set_grad_enabled(is_training))
            for substitution in substitutions:
                stack.enter_context(substitution())
            stack.enter_context(shapes)
            stack.enter_context(watch)
            self.outputs = model(*args, **kwargs)
        self.operations = shapes.operations
        self.has_mutated_buffers = _check_state(model, versions)
        self.loss = watch.final_loss(self.outputs) if is_training else None


def _check_state(model: nn.Module, before: dict[str, tuple[int, int, int]]) -> bool:
    """Whether buffers were updated in place; removing or reassigning one is an error (13)."""
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, (_, address, _) in before.items():
        if name not in after:
            raise graph_error(f"{name} is removed from the model when calling the forward method.")
        if after[name].data_ptr() != address:
            raise graph_error(f"{name} is reassigned within the model when calling the forward method: use copy_().")
    return any(after[name]._version != version for name, (_, _, version) in before.items())


_UNSUPPORTED = ("RGCNConv", "HeteroBatchNorm", "HeteroLayerNorm")
_WITHOUT_LOOPS = ("GATConv", "GATv2Conv", "GCNConv", "HANConv")


def _refuse_layers(model: nn.Module) -> None:
    """Layers that poptorch_geometric does not support (79)."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind in _UNSUPPORTED or (kind == "RGATConv" and "within" in str(getattr(module, "attention_mechanism", ""))):
            raise graph_error(f"{name}: {kind} is not supported")
        if kind in _WITHOUT_LOOPS and getattr(module, "add_self_loops", False):
            raise graph_error(f"{name}: {kind} is only supported with add_self_loops=False")
