"""A model of the user's own, named `package.module:factory`."""

import difflib
import importlib
from typing import Any, Callable, Sequence

from torch import nn

from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import HeteroShardsError, ModelError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.models.contract import Declared
from heteroshards.trainer.models.user_errors import model_failed

_SIGNATURE = "factory(graph: GraphSchema, config: ModelConfig) -> torch.nn.Module"


def load_factory(name: str) -> Callable[..., Any]:
    """Import what `package.module:factory` names.

    Raises:
        ModelError: the module cannot be imported, has no such attribute, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        hint = "Write it as package.module:factory and run where Python can import the package."
        raise model_failed("the module of the model cannot be imported", error, name, hint) from error
    except Exception as error:
        raise model_failed("the module of the model cannot be imported", error, name) from error
    factory = getattr(module, attribute, None)
    if factory is None:
        raise ModelError("the module has no such factory", where=name)
    if not callable(factory):
        raise ModelError("the factory cannot be called", actual=type(factory).__name__, limit=_SIGNATURE, where=name)
    return factory


def user_model(factory: Callable[..., Any], graph: GraphSchema, config: ModelConfig) -> nn.Module:
    """Call the factory and check what it returns.

    Raises:
        ModelError: it takes other arguments, raises anything, returns no module, asks for unknown `extra_inputs`, or
            has `trimmed_layers` that is no count, or `sparse_features` that is no truth value.
    """
    try:
        model = factory(graph, config)
    except HeteroShardsError:
        raise
    except Exception as error:
        trace = error.__traceback__
        was_called = trace is not None and trace.tb_next is not None
        hint = "" if was_called else f"Its signature must be {_SIGNATURE}."
        raise model_failed("the factory failed", error, config.name, hint) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            "the factory returned no module", actual=type(model).__name__, limit=_SIGNATURE, where=config.name
        )
    Declared.by(model, config.name)
    return model


def unknown_model(name: str, known: Sequence[str]) -> ModelError:
    """The error for a name that is neither built in nor a factory; it names the nearest known model."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{nearest[0]}'?" if nearest else "Or name a factory of your own as package.module:factory."
    return ModelError("there is no such model", actual=repr(name), limit=f"one of {', '.join(known)}", hint=hint)
