"""Show that a model answers alike however many pad rows a batch has, and whatever is in them.

A layer that looks across rows (a batch norm, a graph norm, a mean over all nodes) sees the padding, so that what a
model says would depend on the budget. No list of such layers is ever complete, so none is believed: a copy of the model
is run on one real batch, padded to the budget, and on the same batch with more and with fewer pad rows and columns that
hold other values; in eval mode, and, dropout off, as in training, where running statistics are compared, too.
"""

import copy
import random
import warnings
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import HeteroShardsError, ModelError
from heteroshards.schemas.inputs import SEED_INPUTS
from heteroshards.trainer.compat import unshare_layers
from heteroshards.trainer.models.seed_model import SeedModel
from heteroshards.trainer.models.user_errors import one_line

_DROPOUTS = {
    function
    for place in (torch, nn.functional)
    for name, function in vars(place).items()
    if name.rstrip("_123d").endswith("dropout") and callable(function)
}

Batch = Mapping[Tuple[str, str, str], Tensor]  # by `InputSpec.place`

# Of the largest value: what may be rounding. Pads' zeros are summed in another order, and a model that computes in
# float64 here may still compute a softmax, say, in float32.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
HINT = (
    "A layer that looks across rows sees pad rows. Use the form of it that takes a node_mask (trainer.models.norms, "
    "docs/own-model.md), or mask what it sums up; or say [model] allow_padding_dependence = true, and live with "
    "answers that depend on the budget."
)


class Dependence(NamedTuple):
    """Where a model's answers, or its running statistics, first change with the padding.

    Attributes:
        module: its class and name.
        moved, scale: by how much at most, in outputs (or statistics) of real rows up to `scale`.
        limit: what rounding may be, at that scale.
        mode: "in eval mode" or "in training".
    """

    module: str
    moved: float
    scale: float
    limit: float
    mode: str

    @property
    def line(self) -> str:
        return f"{self.module} moves by {self.moved:.2g} {self.mode}, in values up to {self.scale:.2g}"

    def error(self, model: str) -> ModelError:
        what = "what the model makes of real rows changes with the padding around them"
        return ModelError(what, actual=self.line, limit=f"at most {self.limit:.1g}", where=model, hint=HINT)


@contextmanager
def _without_traces() -> Iterator[None]:
    """Random states stay as they were, and what a model warns of is left to its real runs."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class _NoDropout(TorchFunctionMode):
    """Functions of torch that drop entries hand on their input."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return func(*args, **(kwargs or {}))


class UnprovenError(Exception):
    """It cannot be shown, for the reason given."""


class _Padded(NamedTuple):
    """A batch of some budget, and the probe that takes it."""

    probe: SeedModel
    tensors: List[Tensor]


class _Result(NamedTuple):
    """What is compared of a run: outputs of real seeds, and by how much buffers have changed."""

    out: Tensor
    changes: Dict[str, Tensor]


class _Call(NamedTuple):
    """One call of a module: floats that went in, and that came out."""

    name: str
    module: nn.Module
    inputs: List[Tensor]
    outputs: List[Tensor]


def find_dependence(model: SeedModel, batch: Batch) -> Optional[Dependence]:
    """Run a copy of a model, initialised or not, on a batch padded in three ways. The model, its random numbers and
    those of torch stay as they are.

    Args:
        batch: `node_mask`, `edge_mask` and all that the model takes, dense; for its own budget.

    Returns:
        Where its answers depend on padding first; None where they do not.

    Raises:
        UnprovenError: the copy does not run, or draws at random in spite of all.
        ModelError: the model itself fails, as `SeedModel.initialise` says.
    """
    with _without_traces(), torch.no_grad():
        paddings = _paddings(model, batch)
        for is_training in (False, True):
            found = _compare(paddings, batch, is_training)
            if found is not None:
                return found
    return None


def _paddings(model: SeedModel, batch: Batch) -> List[_Padded]:
    """As stored; with more pads; with as few as there may be; and with pads of other values alone."""
    for dtype in (torch.float64, torch.float32):
        try:
            probe = _probe(model, batch, dtype)
            stored = _padded(probe, batch, probe.budget, False)
            _fresh(stored).probe(*stored.tensors)
            break
        except HeteroShardsError:
            raise
        except Exception as error:  # a constant in float32, an operator of another device
            reason = error
    else:
        raise UnprovenError(f"a copy of the model fails on the CPU: {one_line(reason)}")
    budgets = (_larger(probe.budget), _smallest(probe.budget, batch), probe.budget)
    return [stored, *(_padded(probe, batch, budget, True) for budget in budgets)]


def _probe(model: SeedModel, batch: Batch, dtype: torch.dtype) -> SeedModel:
    """The model with a copy of its layers, without dropout, for dense features. Learned vectors of featureless types,
    which may be large, are shared."""
    probe = copy.copy(model)
    unshare_layers(probe)
    try:
        probe.model = copy.deepcopy(model.model).cpu()
    except Exception as error:
        raise UnprovenError(f"the model cannot be copied: {one_line(error)}") from error
    probe.resident = None
    probe._take(model.budget, None)
    probe.initialise([batch[spec.place] for spec in probe.inputs])
    probe.model.to(dtype).eval()
    for parameter in probe.model.parameters():
        if parameter.is_floating_point() and not parameter.any():
            parameter.add_(0.1 * torch.randn_like(parameter))  # a gate that is still shut would hide what is behind it
    for module in probe.model.modules():
        if isinstance(module.__dict__.get("dropout"), float):  # some hand it to functions that do more than drop
            module.__dict__["dropout"] = 0.0
    return probe


def _larger(budget: Budget) -> Budget:
    """Of each type some more, and of no two types equally many more, so that sizes tell types apart."""
    names = [*budget.num_nodes, *budget.num_edges]
    more = {name: 7 + place for place, name in enumerate(names)}
    hops = {name: tuple(n + more[name] for n in sizes) for name, sizes in budget.hop_nodes.items()}
    hop_edges = {name: tuple(n + more[name] for n in sizes) for name, sizes in budget.hop_edges.items()}
    nodes = {name: size + more[name] for name, size in budget.num_nodes.items()}
    edges = {name: size + more[name] for name, size in budget.num_edges.items()}
    return _resized(budget, nodes, edges, hops, hop_edges)


def _smallest(budget: Budget, batch: Batch) -> Budget:
    """One pad row or column of each type, if there are two in all (a norm may refuse one), and rows for all seeds."""
    least = dict.fromkeys(budget.num_nodes, 2)
    least.update({name: budget.max_seeds + 1 for kind, name, _ in batch if kind == "seed_mask"})
    nodes = {
        name: min(size, max(least[name], _count(batch, "node_mask", name) + 1))
        for name, size in budget.num_nodes.items()
    }
    edges = {name: _count(batch, "edge_mask", name) + 1 for name in budget.num_edges}
    hops = {name: tuple(min(n, nodes[name]) for n in sizes) for name, sizes in budget.hop_nodes.items()}
    hop_edges = {name: tuple(min(n, edges[name]) for n in sizes) for name, sizes in budget.hop_edges.items()}
    return _resized(budget, nodes, edges, hops, hop_edges)


def _resized(budget: Budget, nodes: Any, edges: Any, hop_nodes: Any, hop_edges: Any) -> Budget:
    sizes = {"num_nodes": nodes, "num_edges": edges, "hop_nodes": hop_nodes, "hop_edges": hop_edges}
    return Budget(**{**budget.model_dump(), **sizes})


def _count(batch: Batch, kind: str, name: str) -> int:
    """Real rows come first."""
    mask = batch.get((kind, name, ""))
    return 0 if mask is None else int(mask.sum())


def _padded(probe: SeedModel, batch: Batch, budget: Budget, has_other_values: bool) -> _Padded:
    probe = probe.for_budget(budget)
    tensors = []
    for spec in probe.inputs:
        tensor = batch[spec.place]
        if spec.kind in SEED_INPUTS:
            tensors.append(tensor)
            continue
        count = _count(batch, "edge_mask" if spec.kind.startswith("e") else "node_mask", spec.key)
        if spec.kind == "edge_index":
            src, _, dst = probe._edge_types[spec.key]
            pad = torch.tensor([[budget.num_nodes[src] - 1], [budget.num_nodes[dst] - 1]], dtype=tensor.dtype)
            ends = pad.expand(2, budget.num_edges[spec.key] - count)
            tensors.append(torch.cat([tensor[:, :count], ends], dim=1))
            continue
        pads = tensor[-1:].expand(spec.shape[0] - count, *tensor.shape[1:])
        if has_other_values and spec.kind in ("x", "edge_attr") and count:
            pads = tensor[torch.arange(len(pads)) % count]  # values that there are, so that codes stay codes
        tensors.append(torch.cat([tensor[:count], pads]))
    return _Padded(probe, tensors)


def _compare(paddings: Sequence[_Padded], batch: Batch, is_training: bool) -> Optional[Dependence]:
    stored, *others = paddings
    num_seeds = _count(batch, "seed_mask", stored.probe.graph.seed_type)
    mode = "in training" if is_training else "in eval mode"
    stored.probe.model.train(is_training)
    tolerance = TOLERANCE[stored.probe._dtype()]
    try:
        expected = _run(stored, num_seeds)
    except Exception as error:
        raise UnprovenError(f"it fails {mode}: {one_line(error)}") from error
    failed: List[Exception] = []
    for other in others:
        try:
            name = _first_moved(expected, _run(other, num_seeds), tolerance)
        except Exception as error:  # a model that knows its sizes by heart takes no others
            failed.append(error)
            continue
        if name is None:
            continue
        if _first_moved(expected, _run(stored, num_seeds), tolerance) is not None:
            raise UnprovenError(f"the model draws at random {mode}")
        return _located(stored, other, batch, name, tolerance, mode)
    if len(failed) == len(others):
        raise UnprovenError(f"it fails with other padding {mode}: {one_line(failed[0])}")
    return None


def _fresh(padded: _Padded) -> _Padded:
    """The same with a model that has never run: runs may leave anything in it, but in parameters, which are shared."""
    probe = copy.copy(padded.probe)
    unshare_layers(probe)
    probe.model = copy.deepcopy(padded.probe.model, {id(p): p for p in padded.probe.model.parameters()})
    return _Padded(probe, padded.tensors)


def _run(padded: _Padded, num_seeds: int) -> _Result:
    padded = _fresh(padded)
    before = {name: buffer.clone() for name, buffer in padded.probe.model.named_buffers()}
    with _NoDropout():
        out, _ = padded.probe(*padded.tensors)
    changes = {
        name: buffer.double() - before[name].double()
        for name, buffer in padded.probe.model.named_buffers()
        if name in before and before[name].shape == buffer.shape
    }
    return _Result(out[:num_seeds], changes)


def _first_moved(one: _Result, other: _Result, tolerance: float) -> Optional[str]:
    """Empty for the output, or the name of a buffer; None where nothing has moved."""
    if _has_moved(one.out, other.out, tolerance):
        return ""
    for name, change in one.changes.items():
        if name in other.changes and _has_moved(change, other.changes[name], tolerance):
            return name
    return None


def _has_moved(one: Tensor, other: Tensor, tolerance: float) -> bool:
    moved, scale = _moved(one, other)
    return moved > tolerance * scale


def _moved(one: Tensor, other: Tensor) -> Tuple[float, float]:
    """The largest difference, infinite where only one is a number, and the largest value."""
    if one.shape != other.shape:
        return float("inf"), 1.0
    if one.numel() == 0:
        return 0.0, 1.0
    is_same = (one == other) | (one.isnan() & other.isnan())
    difference = torch.where(is_same, torch.zeros_like(one), (one - other).abs())
    scale = one.abs()[one.isfinite()]
    most = float(difference.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
    return most, max(float(scale.max()) if scale.numel() else 0.0, 1e-30)


def _located(stored: _Padded, other: _Padded, batch: Batch, buffer: str, tolerance: float, mode: str) -> Dependence:
    """The first module in whose outputs real rows differ while those that went in do not; else the one that has the
    buffer; else the model itself."""
    rows = list(_real_rows(stored.probe.budget, other.probe.budget, batch))
    for one, two in zip(_calls(stored), _calls(other)):
        if any(_has_moved(*pair, tolerance) for pair in _real_pairs(one.inputs, two.inputs, rows)):
            continue
        for first, second in _real_pairs(one.outputs, two.outputs, rows):
            moved, scale = _moved(first, second)
            if moved > tolerance * scale:
                name = f"{type(one.module).__name__} '{one.name}'" if one.name else type(one.module).__name__
                return Dependence(name, moved, scale, tolerance * scale, mode)
    num_seeds = _count(batch, "seed_mask", stored.probe.graph.seed_type)
    runs = [_run(padded, num_seeds) for padded in (stored, other)]
    moved, scale = _moved(*(run.changes[buffer] if buffer else run.out for run in runs))
    owner = buffer.rpartition(".")[0]
    name = type(dict(stored.probe.model.named_modules())[owner]).__name__
    return Dependence(f"{name} '{owner}' ({buffer})" if buffer else name, moved, scale, tolerance * scale, mode)


def _calls(padded: _Padded) -> List[_Call]:
    """What every module took and returned, in the order in which they ended."""
    found: List[_Call] = []

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, out: Any) -> None:
            found.append(_Call(name, module, *([t.clone() for t in _tensors(value)] for value in (inputs, out))))

        return note

    padded = _fresh(padded)
    for name, module in padded.probe.model.named_modules():
        module.register_forward_hook(hook(name))
    with _NoDropout():
        padded.probe(*padded.tensors)
    return found


def _real_pairs(
    one: Sequence[Tensor], other: Sequence[Tensor], rows: Sequence[Tuple[int, int, int]]
) -> Iterator[Tuple[Tensor, Tensor]]:
    """What two runs have of the same real rows."""
    for first, second in zip(one, other):
        count = _count_real(first, second, rows)
        if count is not None:
            yield first[:count].double(), second[:count].double()


def _tensors(out: Any) -> Iterator[Tensor]:
    if isinstance(out, Tensor):
        if out.is_floating_point():
            yield out
    elif isinstance(out, Mapping):
        for value in out.values():
            yield from _tensors(value)
    elif isinstance(out, (list, tuple)):
        for value in out:
            yield from _tensors(value)


def _real_rows(one: Budget, other: Budget, batch: Batch) -> Iterator[Tuple[int, int, int]]:
    """Of each type: rows of both budgets, and how many of them are real."""
    for name, size in one.num_nodes.items():
        yield size, other.num_nodes[name], _count(batch, "node_mask", name)
    for name, size in one.num_edges.items():
        yield size, other.num_edges[name], _count(batch, "edge_mask", name)


def _count_real(one: Tensor, other: Tensor, rows: Sequence[Tuple[int, int, int]]) -> Optional[int]:
    """How many rows of a module's output are certainly real; None where that is not known."""
    if one.dim() == 0 or other.dim() == 0:
        return None
    counts = [count for first, second, count in rows if (one.size(0), other.size(0)) == (first, second)]
    if counts:
        return min(counts)
    return one.size(0) if one.shape == other.shape else None
