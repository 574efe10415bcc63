"""What a model is.

Every model is a module with `forward(x_dict, edge_index_dict, **extras)`: features per node type
`[rows, features]` (types without features come as their embedding or constant), `edge_index` per edge type
`[2, columns]` int64; it returns floats `[rows of the seed type, graph.task.columns]`, or a dict that holds them
under the seed type. Pad rows come last and pad edges join pad rows only, so a message-passing model needs no masks.

A model may leave out rows that never reach the seeds, as the built-in ones do. It says so with an attribute
`trimmed_layers`, its number of message-passing layers L, and is called with `trimmer`, a
`trainer.models.trimming.LayerTrimmer`, too. Everything it is handed is cut to what L layers need; before each later
layer it asks the trimmer for less, and it returns logits for the seed rows at least:

    def forward(self, x_dict, edge_index_dict, trimmer):
        for i, layer in enumerate(self.layers):
            x_dict, edge_index_dict = trimmer.trim(self.trimmed_layers - i, x_dict, edge_index_dict)
            x_dict = layer(x_dict, edge_index_dict)
        return self.head(x_dict["movie"])

A model with an attribute `sparse_features = True` may find `trainer.models.sparse.SparseRows` in `x_dict`, instead of
tensors, for types whose features are mostly zeros (`[train] sparse_features`). All that they do is to be cut to the
first rows, `x[:n]`, and multiplied, `x.linear(weight, bias)`; `apply_linear(layer, x)` takes either, and lazy layers.
Features of pad rows are zeros then, whatever the store's pad value.
"""

from typing import Any, Dict, List, NamedTuple, Protocol, Tuple, Union

from torch import Tensor, nn

from heteroshards.schemas.errors import ModelError
from heteroshards.schemas.inputs import EXTRA_INPUTS
from heteroshards.trainer.models.sparse import SparseRows


class HeteroModel(Protocol):
    """What is called on each batch; the attributes are optional, see `Declared`.

    `extras` are, as far as `extra_inputs` asks for them: `n_id_dict` and `node_mask_dict` per node type [rows], int64
    and bool; `age_dict` [rows], floats, of the types that have times; `edge_attr_dict` [columns, attributes] and
    `edge_mask_dict` [columns], bool, per edge type; and `trimmer` with `trimmed_layers`.
    """

    def forward(
        self,
        x_dict: Dict[str, Union[Tensor, SparseRows]],
        edge_index_dict: Dict[Tuple[str, str, str], Tensor],
        **extras: Any,
    ) -> Union[Tensor, Dict[str, Tensor]]:
        """Logits [rows of the seed type, classes], or a dict with them under the seed type."""


class Declared(NamedTuple):
    """What a model says of itself, by attributes of these names.

    Attributes:
        extra_inputs: any of `schemas.inputs.EXTRA_INPUTS`, to be handed these, too.
        trimmed_layers: its message-passing layers, to be handed a `trimmer` and rows that they need alone; 0 for all.
        sparse_features: whether `x_dict` may hold `SparseRows`.
    """

    extra_inputs: Tuple[str, ...] = ()
    trimmed_layers: int = 0
    sparse_features: bool = False

    @classmethod
    def by(cls, model: nn.Module, name: str = "") -> "Declared":
        """What `model` declares.

        Args:
            name: the model's, for the error.

        Raises:
            ModelError: an attribute is none that it can be.
        """
        found: List[Any] = [getattr(model, key, default) for key, default in zip(cls._fields, cls())]
        extras, layers, is_sparse = found
        if isinstance(extras, str) or not set(extras) <= set(EXTRA_INPUTS):
            what, limit = "extra_inputs of the model are unknown", f"any of {EXTRA_INPUTS}"
            raise ModelError(what, actual=extras, limit=limit, where=name)
        if not isinstance(layers, int) or isinstance(layers, bool) or layers < 0:
            what, limit = "trimmed_layers of the model is no count", "the number of message-passing layers"
            raise ModelError(what, actual=repr(layers), limit=limit, where=name)
        if not isinstance(is_sparse, bool):
            what = "sparse_features of the model is neither True nor False"
            raise ModelError(what, actual=repr(is_sparse), where=name)
        return cls(tuple(extras), layers, is_sparse)
