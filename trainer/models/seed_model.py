"""The module that a backend compiles: one flat batch in, `(out, loss)` on its seed nodes out."""

import copy
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import ModelError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.inputs import EDGE_INPUTS, SEED_INPUTS, SPARSE_X, InputSpec, model_inputs
from heteroshards.trainer.models.contract import Declared
from heteroshards.trainer.models.encoders import AttributeEncoders
from heteroshards.trainer.models.featureless import Featureless
from heteroshards.trainer.models.resident import ResidentFeatures
from heteroshards.trainer.models.sparse import SparseRows
from heteroshards.trainer.models.stack import HeteroStack
from heteroshards.trainer.models.trimming import LayerTrimmer
from heteroshards.trainer.models.user_errors import telling
from heteroshards.trainer.tasks.task import TaskObjective, objective_of

Batch = Dict[str, Dict[str, Any]]


class SeedModel(nn.Module):
    """A model with its inputs flattened and its loss inside.

    Every shape is a constant of the budget, and nothing depends on data: seeds are a static slice (they are the
    first rows of their type), and masked seeds get a label that the loss ignores.

    Args:
        model: see `trainer.models`.
        resident: feature tables, which make ids of the features among the inputs.
        sparse_entries: node types that come as sparse rows, and room for how many entries a batch has.
        objective: what it is asked; by default what the graph's task says, without any weights.

    Attributes:
        graph: the types that it knows.
        inputs: the tensors `forward` takes, in order: their kind, type, shape and dtype.
        budget, sparse_entries: of its batches.
        mark_loss: how a device is told that a number is the loss, where that is not one of torch's own losses.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: GraphSchema,
        budget: Budget,
        config: ModelConfig,
        resident: Optional[ResidentFeatures] = None,
        sparse_entries: Optional[Mapping[str, int]] = None,
        objective: Optional[TaskObjective] = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.resident = resident
        self.featureless = Featureless(graph, config)
        self.encoders = AttributeEncoders([(node.name, node) for node in graph.node_types], config)
        of_edges = [(edge.key, edge) for edge in graph.edge_types]
        self.edge_encoders = AttributeEncoders(
            of_edges if "edge_attr" in Declared.by(model).extra_inputs else (), config
        )
        self.extra_inputs, self._trimmed_layers, _ = Declared.by(model)
        self.graph = graph
        self._node_names = graph.node_names
        self._edge_types = {edge.key: edge.type for edge in graph.edge_types}
        self._encoded = {node.name for node in graph.node_types if node.is_encoded}
        self._encoded |= {edge.key for edge in graph.edge_types if edge.is_encoded}
        self._seed_type = graph.seed_type
        self.objective = objective or objective_of(graph.task)
        self.mark_loss: Callable[[Tensor], Tensor] = _unmarked
        self._take(budget, sparse_entries)

    def _take(self, budget: Budget, sparse_entries: Optional[Mapping[str, int]]) -> None:
        """Everything that depends on the shape of a batch."""
        graph, entries = self.graph, dict(sparse_entries or {})
        by_id = self.resident is not None
        self.budget, self.sparse_entries = budget, entries
        self.inputs: List[InputSpec] = model_inputs(graph, budget, self.extra_inputs, by_id, entries)
        plain = {name: graph.node(name).plain for name in entries}
        self._widths = {name: of.width for name, of in plain.items() if of}
        self._num_seed_rows = budget.num_nodes[graph.seed_type]
        self._trimmer = LayerTrimmer(graph, budget)
        self._max_seeds = budget.max_seeds

    @property
    def name(self) -> str:
        """The class of the model, for errors."""
        return type(self.model).__name__

    def for_budget(self, budget: Budget, sparse_entries: Optional[Mapping[str, int]] = None) -> "SeedModel":
        """The same model for batches of another shape: all modules, parameters and buffers are shared.

        A shallow copy, of the class that this one has: PopTorch, which changes that, then knows both as one model.
        """
        other = copy.copy(self)
        other._take(budget, sparse_entries)
        return other

    def forward(self, *tensors: Tensor) -> Tuple[Tensor, Tensor]:
        """The tensors of `inputs`, in that order.

        Returns:
            What the model says of the seeds, `[max_seeds, objective.width]`, and the scalar loss, the mean over real
            seeds (NaN when a batch has none, which no store holds).
        """
        batch = self._unflatten(tensors)
        out = self._seed_rows(self._run(batch))[: self._max_seeds]
        loss = self.objective.loss(out, batch["target"], batch["seed_mask"][self._seed_type])
        return out, loss if self.objective.is_torch_loss else self.mark_loss(loss)

    def initialise(self, example: Sequence[Tensor]) -> None:
        """Run once without gradients, which materialises lazy parameters, and check the output.

        In eval mode, so that no running statistics change. The built-in models, which are lazy, then get their initial
        weights scaled (`HeteroStack.scale_initial_weights`). Call it before an optimizer is made.

        Raises:
            ModelError: the model raises anything, its output has another shape than
                `[rows of the seed type, objective.width]` (a model that trims layers may leave out rows, but no seeds),
                it has a lazy parameter that it did not use, or none to train, or a `state_dict` with more than tensors.
        """
        is_new = any(is_lazy(parameter) for parameter in self.parameters())
        modes = [(module, module.training) for module in self.modules()]
        try:
            with telling("forward pass", self.name), torch.no_grad():
                self.eval()
                out = self._seed_rows(self._run(self._unflatten(example)))
        finally:
            for module, was_training in modes:
                module.training = was_training
        self.require_logits(out)
        unused = [name for name, parameter in self.named_parameters() if is_lazy(parameter)]
        if unused:
            hint = "Leave out layers that the forward pass does not use."
            raise ModelError(f"lazy parameters were never used: {', '.join(unused)}", hint=hint)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            hint = "Register layers as attributes of the module, or in a torch.nn.ModuleDict."
            raise ModelError("the model has no parameters to train", where=self.name, hint=hint)
        self._require_tensors()
        if is_new and isinstance(self.model, HeteroStack):
            self.model.scale_initial_weights()

    def _require_tensors(self) -> None:
        with telling("state_dict", self.name):
            state = self.state_dict()
        odd = [f"{name} ({type(value).__name__})" for name, value in state.items() if not isinstance(value, Tensor)]
        if odd:
            what, hint = "the model's state_dict holds what is no tensor", "A checkpoint keeps tensors only."
            raise ModelError(what, actual=", ".join(odd), where=self.name, hint=hint)

    def require_logits(self, out: Any) -> None:
        """Raises ModelError unless `out` is `[rows of the seed type, objective.width]`; less, from one that trims."""
        most = self._num_seed_rows
        least = self._max_seeds if self._trimmed_layers else most
        is_tensor = isinstance(out, Tensor) and out.is_floating_point() and out.dim() == 2
        if is_tensor and least <= out.size(0) <= most and out.size(1) == self.objective.width:
            return
        rows = f"{least} to {most}" if self._trimmed_layers else most
        raise ModelError(
            "the model's output has the wrong shape",
            actual=f"{tuple(out.shape)} ({out.dtype})" if isinstance(out, Tensor) else type(out).__name__,
            limit=f"floats ({rows}, {self.objective.width}): rows of '{self._seed_type}', {self.objective.row_holds}",
            where=self.name,
        )

    def _run(self, batch: Batch) -> Any:
        dtype = self._dtype()
        trimming: Dict[str, Any] = {}
        if self._trimmed_layers:
            batch = self._trimmed(batch)
            trimming["trimmer"] = self._trimmer
        if self.resident is not None:
            batch["x"] = self.resident("x", batch["n_id"])
            batch["edge_attr"] = self.resident("edge_attr", batch.get("e_id", {}))
        x_dict = self.encoders(batch.get("x", {}), dtype)
        x_dict.update(self.featureless(batch.get("n_id", {}), dtype))
        x_dict = {name: x_dict[name] for name in self._node_names}
        edge_index_dict = {self._edge_types[key]: index.long() for key, index in batch["edge_index"].items()}
        return self.model(x_dict, edge_index_dict, **self._extras(batch, dtype), **trimming)

    def _trimmed(self, batch: Batch) -> Batch:
        """What the layers of a model that trims can reach of a batch."""
        hops, trimmer = self._trimmed_layers, self._trimmer
        kept: Batch = {}
        for kind, values in batch.items():
            if kind in SEED_INPUTS:
                kept[kind] = values
            elif kind == "edge_index":
                cut = trimmer.edge_index(hops, {self._edge_types[key]: index for key, index in values.items()})
                kept[kind] = {key: cut[self._edge_types[key]] for key in values}
            elif kind in EDGE_INPUTS:
                columns = {key: trimmer.columns(self._edge_types[key], hops) for key in values}
                kept[kind] = {key: _first(value, columns[key]) for key, value in values.items()}
            else:
                kept[kind] = {key: _first(value, trimmer.rows(key, hops)) for key, value in values.items()}
        return kept

    def _extras(self, batch: Batch, dtype: torch.dtype) -> Dict[str, Dict[Any, Tensor]]:
        extras: Dict[str, Dict[Any, Tensor]] = {}
        for kind in self.extra_inputs:
            values = batch.get(kind, {})
            if kind == "edge_attr":
                values = self.edge_encoders(values, dtype)
            if kind == "age":
                values = {key: age.to(dtype) for key, age in values.items()}
            is_edges = kind in EDGE_INPUTS
            extras[f"{kind}_dict"] = {self._edge_types[key] if is_edges else key: v for key, v in values.items()}
        return extras

    def _unflatten(self, tensors: Sequence[Tensor]) -> Batch:
        """kind -> node type or edge type key -> tensor, SparseRows, or of an encoded type attribute -> tensor."""
        if len(tensors) != len(self.inputs):
            raise ModelError("a batch has the wrong number of tensors", actual=len(tensors), limit=len(self.inputs))
        batch: Batch = {"edge_index": {}}
        for spec, tensor in zip(self.inputs, tensors):
            of_kind = batch.setdefault(spec.kind, {})
            if spec.key in self._encoded and spec.kind in ("x", "edge_attr"):
                of_kind.setdefault(spec.key, {})[spec.name] = tensor
            else:
                of_kind[spec.key] = tensor
        starts, columns, values = (batch.pop(kind, {}) for kind in SPARSE_X)
        for name, width in self._widths.items():
            batch.setdefault("x", {})[name] = SparseRows(starts[name], columns[name], values[name], width)
        return batch

    def _seed_rows(self, out: Any) -> Any:
        if not isinstance(out, dict):
            return out
        if self._seed_type not in out:
            raise ModelError(
                "the model returned a dict without the seed type",
                actual=sorted(map(str, out)),
                limit=repr(self._seed_type),
                where=self.name,
            )
        return out[self._seed_type]

    def _dtype(self) -> torch.dtype:
        """What the model computes in: features may be stored in half precision."""
        for parameter in self.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return torch.get_default_dtype()


def _first(value: Any, num: int) -> Any:
    """The first rows of a tensor or of SparseRows, or of each attribute."""
    return {name: tensor[:num] for name, tensor in value.items()} if isinstance(value, dict) else value[:num]


def _unmarked(loss: Tensor) -> Tensor:
    return loss
