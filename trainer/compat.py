"""Private parts of torch: each with the reason, and the versions of torch that it was tried with.

Nothing else in this room names one (`tests/test_architecture.py`), so a new torch is looked through here.
"""

from typing import Any, Callable, List

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Sees every operation of a model as it runs, which tells what it would cost; no public
# module has it. Tried: 2.0.1, 2.13.
DispatchMode = TorchDispatchMode


def inductor() -> Callable[[torch.fx.GraphModule, List[Tensor]], Any]:
    """Inductor as a function of a graph, so that a second compilation can be counted and refused; `torch.compile` has
    no hook for that. Takes a second to import. Tried: 2.13."""
    from torch._inductor.compile_fx import compile_fx

    return compile_fx


def is_of_the_compiler(error: BaseException) -> bool:
    """Whether torch's tracer raised it; it has no public class of its own. Tried: 2.13."""
    return isinstance(error, torch._dynamo.exc.TorchDynamoException)


def unshare_layers(model: torch.nn.Module) -> None:
    """After `copy.copy(model)`: a table of layers of its own, so that one can be replaced; a module has no public copy
    that is not deep. Tried: 2.0.1, 2.13."""
    model._modules = dict(model._modules)


def copy_all(targets: List[Tensor], sources: List[Tensor]) -> None:
    """Copy tensors of one dtype by one kernel instead of one each, which a captured graph waits for. Tried: 2.13, on
    a CPU."""
    torch._foreach_copy_(targets, sources)
