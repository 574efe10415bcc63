"""The device: its own copy of the weights, and the loop over micro-batches (33-38)."""

from __future__ import annotations

import copy
import os
from typing import Any, NamedTuple

import torch
from poptorch import double
from poptorch._args import Arguments, narrow, to_device, to_host
from poptorch._device_optimizer import DeviceOptimizer
from poptorch._errors import Error, device_error, graph_error
from poptorch._graph import LossWatch, Trace
from poptorch._structure import flatten, rebuild
from poptorch.enums import OutputMode, ReductionType
from poptorch.options import Options
from torch import Tensor, nn


class Update(NamedTuple):
    """One update of the weights: `executor.updates` lists them all."""

    call: int  # number of the call, from 0
    micro_batches: tuple[int, ...]  # positions along dim 0 whose gradients were reduced


def by_address(tensor: Tensor) -> Tensor:
    """What is moved of a weight: as many values as it has, from its address on, whatever its strides (89)."""
    if tensor.is_contiguous():
        return tensor
    with torch.no_grad():
        return tensor.as_strided(tensor.shape, torch.empty(tensor.shape, device="meta").stride())


class Executable:
    """A compiled graph and the memory of the devices it runs on.

    Args:
        model: a copy of the user's model that nobody else holds.
        inputs: the arguments of the compile call, at full size.
    """

    def __init__(self, model: nn.Module, options: Options, inputs: Arguments, is_training: bool) -> None:
        self.model, self.options, self.inputs = model, options, inputs
        self.is_training = is_training
        self.optimizer: DeviceOptimizer | None = None
        self.updates: list[Update] = []
        self.num_calls = 0
        self._extra = options._extra()
        self.is_half = any(parameter.dtype is torch.float16 for parameter in model.parameters())
        model.float() if self.is_half else model  # the CPU lacks half kernels; weights are rounded instead
        self._check_options()
        args, kwargs = self._arguments([narrow(t, self._extra) for t in inputs.tensors()])
        self.trace = Trace(copy.deepcopy(model), args, kwargs, is_training)
        if self.trace.has_mutated_buffers and options.replication_factor > 1 and options.broadcast_buffers:
            raise graph_error("Buffers change in a replicated model: set broadcastBuffers(False)")  # 52
        self.rng = torch.Generator()
        self.seed = options.random_seed if options.random_seed is not None else int.from_bytes(os.urandom(4), "big")
        self.rng.manual_seed(self.seed)

    def key(self, name: str) -> str:
        """What an executable in a cache is found by."""
        state = [f"{n}{tuple(t.shape)}{t.dtype}" for n, t in self.model.state_dict().items()]
        return repr([name, self.is_training, self.options._key(), state, self.trace.operations])

    def read_weights(self) -> dict[str, Tensor]:
        """The device's parameters and buffers, by name."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    def write_weights(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self.read_weights().items():
                tensor.copy_(weights[name])

    def run(self, tensors: list[Tensor]) -> Any:
        """All micro-batches of one call: the outputs in the structure that the model returned."""
        double.raise_fault("execute")
        results: dict[int, list[Tensor]] = {}
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.rng.get_state())
            try:
                for iteration in range(self.options.device_iterations):
                    self._iterate(iteration, tensors, results)
            finally:
                self.rng.set_state(torch.get_rng_state())
        self.num_calls += 1
        outputs = [to_host(self._combine([results[k][i] for k in range(self._extra)])) for i in range(len(results[0]))]
        return rebuild(self.trace.outputs, iter(outputs))

    def _iterate(self, iteration: int, tensors: list[Tensor], results: dict[int, list[Tensor]]) -> None:
        """One update in training, from GA micro-batches of each replica; one micro-batch of each in inference."""
        accumulation = self.options.Training.gradient_accumulation
        totals: dict[str, Tensor | None] = {name: None for name, _ in self.model.named_parameters()}
        members = []
        for replica in range(self.options.replication_factor):
            for step in range(iteration * accumulation, (iteration + 1) * accumulation):
                chunk = self._chunk(replica, step)
                members.append(chunk)
                results[chunk] = self._micro_batch([narrow(t, self._extra, chunk) for t in tensors], totals)
        if self.is_training:
            self._update(totals, len(members))
            self.updates.append(Update(self.num_calls, tuple(members)))

    def _micro_batch(self, tensors: list[Tensor], totals: dict[str, Tensor | None]) -> list[Tensor]:
        args, kwargs = self._arguments(tensors)
        watch = LossWatch()
        with torch.set_grad_enabled(self.is_training), watch:
            outputs = flatten(self.model(*args, **kwargs))
        if self.is_training:
            self._accumulate(watch.losses[self.trace.loss], totals)
        outputs = [output.detach().clone() for output in outputs]
        self._check_finite(outputs)
        return [output.half() if self.is_half and output.is_floating_point() else output for output in outputs]

    def _accumulate(self, loss: Tensor, totals: dict[str, Tensor | None]) -> None:
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients):
            if gradient is not None:
                totals[name] = self.optimizer.accumulate(totals[name], gradient)

    def _update(self, totals: dict[str, Tensor | None], num_members: int) -> None:
        if self.options.Training.accumulation_and_replication_reduction_type is ReductionType.Mean:
            totals = {name: None if total is None else total / num_members for name, total in totals.items()}
        self._check_finite([total for total in totals.values() if total is not None])
        self.optimizer.step(totals)
        if self.is_half:
            self.write_weights({name: weight.half() for name, weight in self.read_weights().items()})

    def _chunk(self, replica: int, step: int) -> int:
        """Position along dim 0 of a replica's micro-batch (33)."""
        if double.contiguous_replicas:
            return replica * self.options._num_steps() + step
        return step * self.options.replication_factor + replica

    def _arguments(self, tensors: list[Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """A micro-batch in the structure of the compile call, with its python values (16)."""
        values = iter([self._on_device(tensor.detach()) for tensor in tensors])
        return rebuild([self.inputs.args, self.inputs.kwargs], values)

    def _on_device(self, tensor: Tensor) -> Tensor:
        tensor = to_device(tensor)
        is_promoted = self.is_half and tensor.dtype is torch.float16
        return tensor.float() if is_promoted else tensor.clone()  # a model that writes to its inputs must not reach us

    def _combine(self, outputs: list[Tensor]) -> Tensor:
        """One output of all micro-batches, by output mode (34, 35)."""
        options, steps = self.options, self.options._num_steps()
        period = {OutputMode.All: 1, OutputMode.EveryN: options.output_return_period}.get(options.output_mode, steps)
        replicas = [[outputs[self._chunk(r, s)] for s in range(steps)] for r in range(options.replication_factor)]
        if options.output_mode is OutputMode.Sum:
            kept = [torch.stack(own).sum(dim=0).to(own[0].dtype) for own in replicas]
        elif period == 1:
            kept = outputs
        else:
            kept = [own[step] for own in replicas for step in range(period - 1, steps, period)]
        if len(kept) == 1:
            return kept[0]
        return torch.cat([output.reshape(1) if output.dim() == 0 else output for output in kept])

    def _check_options(self) -> None:
        """What only compilation finds out."""
        options, replicas = self.options, self.options.replication_factor
        if options.device_iterations < 1 or options.Training.gradient_accumulation < 1 or replicas < 1:
            raise graph_error("device iterations, gradient accumulation and replication factor must be at least 1")
        if replicas & (replicas - 1) and not options.auto_round_num_ipus:
            raise graph_error(f"{replicas} IPUs were asked for, but the number must be a power of two")  # 55
        if options.output_mode is OutputMode.EveryN and options._num_steps() % options.output_return_period:
            raise graph_error("EveryN: the period must divide the number of micro-batches of a replica")

    def _check_finite(self, tensors: list[Tensor]) -> None:
        """Floating-point exceptions, which only hardware has (51)."""
        if not self.options.Precision.floating_point_exceptions or self.options.use_ipu_model:
            return
        if not all(torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point()):
            raise device_error(Error, "floating-point exception: invalid operation", "poplar_runtime_error", "tile 0")
