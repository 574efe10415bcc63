"""Models over padded batches, built from a store's schema alone. `contract` says what each of them is."""

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
    `schemas.inputs.EXTRA_INPUTS`, to be called with `n_id_dict`, `age_dict`, `edge_attr_dict`,
    `node_mask_dict` or `edge_mask_dict` too, and what else `contract.Declared` has. Lazy layers (`in_channels=-1`) are
    welcome.

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
