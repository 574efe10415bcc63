"""A CUDA graph on the CPU, for tests: it records every operator of a call, and replays them on the same memory.

As with a real graph, no Python of the call runs again, its inputs, weights and optimizer state are found by their
addresses, and what a capture forbids (looking at a value, sizes that depend on values) raises. Unlike a real capture,
recording also computes.
"""

from typing import Any, Callable, List, Tuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from heteroshards.trainer.backends.graph_device import Call, GraphDevice
from heteroshards.trainer.reading.transfer import Transfer

FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


class CpuGraph(TorchDispatchMode):
    """Records operators while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self._recorded: List[Tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        indices = args[1] if name == "index" else ()
        if name.startswith(FORBIDDEN) or any(i is not None and i.dtype == torch.bool for i in indices):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        out = func(*args, **(kwargs or {}))
        self._recorded.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self._recorded:
                aliases = [result.alias_info for result in func._schema.returns]
                if func._schema.is_mutable:
                    func(*args, **kwargs)
                elif not any(aliases):  # a view needs nothing: it shares the memory it was made from
                    again = func(*args, **kwargs)
                    for old, new in zip(tree_flatten(out)[0], tree_flatten(again)[0]):
                        if isinstance(old, Tensor):
                            old.copy_(new)


class CpuGraphDevice(GraphDevice):
    """Stands for a GPU.

    Attributes:
        transfers: bytes of each tensor that was brought to the device.
        room: bytes that are free there.
        memories: what `memory` gave, once for each recording that used it.
    """

    device = torch.device("cpu")

    def __init__(self, room: int = 0) -> None:
        self.transfers: List[int] = []
        self.room = room
        self.memories: List[object] = []

    def memory(self) -> object:
        return object()

    def transfer(self) -> Transfer:
        device = self

        class Counting(Transfer):
            def __call__(self, tensors: Any) -> List[Tensor]:
                device.transfers += [tensor.numel() * tensor.element_size() for tensor in tensors]
                return [tensor.clone() for tensor in tensors]

        return Counting()

    def record(self, call: Call, memory: Any) -> Tuple[Tuple[Tensor, Tensor], Callable[[], None]]:
        self.memories.append(memory)
        for _ in range(2):
            call()
        graph = CpuGraph()
        try:
            with self.recording(), graph:
                results = call()
        except RuntimeError:  # as on a GPU, where ending the capture fails, too, and hides what began it
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        return results, graph.replay

    def free_bytes(self) -> int:
        return self.room

    def rng_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)
