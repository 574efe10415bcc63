"""Models over padded batches, built from a store's schema alone.

Every model is a module with `forward(x_dict, edge_index_dict, **extras)`: features per node type
`[rows, features]` (types without features come as their embedding or constant), `edge_index` per edge type
`[2, columns]` int64; it returns logits `[rows of the seed type, num_classes]`, or a dict that holds them under the
seed type. Pad rows come last and pad edges join pad rows only, so a message-passing model needs no masks.

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

from typing import Callable, Dict

from torch import nn

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.models.hetero_conv import hetero_conv
from heteroshards.trainer.models.hgt import StaticHGTConv, hgt
from heteroshards.trainer.models.to_hetero import to_hetero
from heteroshards.trainer.models.trimming import LayerTrimmer
from heteroshards.trainer.models.user import load_factory, unknown_model, user_model

__all__ = ["MODELS", "LayerTrimmer", "StaticHGTConv", "build_model", "find_model"]

Factory = Callable[[GraphSchema, ModelConfig], nn.Module]

MODELS: Dict[str, Factory] = {"to_hetero": to_hetero, "hetero_conv": hetero_conv, "hgt": hgt}


def build_model(config: ModelConfig, graph: GraphSchema) -> nn.Module:
    """The model `config.name` for this graph: one of `MODELS`, or a factory of the user's.

    A factory is called as `factory(graph: GraphSchema, config: ModelConfig) -> nn.Module`; `config.options` holds
    what the user wrote for it. Its module may have `extra_inputs: Tuple[str, ...]`, any of
    `schemas.batch.EXTRA_INPUTS`, to be called with `n_id_dict`, `edge_attr_dict`, `node_mask_dict` or
    `edge_mask_dict` too, and `trimmed_layers` (above). Lazy layers (`in_channels=-1`) are welcome.

    Raises:
        ModelError: the name is unknown, the factory cannot be imported or called, or breaks this contract.
    """
    factory = find_model(config.name)
    return user_model(factory, graph, config) if ":" in config.name else factory(graph, config)


def find_model(name: str) -> Factory:
    """What builds the model of that name.

    Raises:
        ModelError: the name is unknown, or the factory cannot be imported.
    """
    if ":" in name:
        return load_factory(name)
    if name not in MODELS:
        raise unknown_model(name, sorted(MODELS))
    return MODELS[name]
