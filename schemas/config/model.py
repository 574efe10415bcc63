"""`[model]`: which model is trained."""

from typing import Any, Dict, Literal

from pydantic import Field, model_validator

from heteroshards.schemas.base import Frozen


class ModelConfig(Frozen):
    """Which model is trained.

    Attributes:
        name: `to_hetero`, `hetero_conv`, `hgt`, or `package.module:factory` (see docs/own-model.md).
        hidden_channels: width.
        num_layers: message-passing layers; should equal the number of hops.
        heads: attention heads of `hetero_conv` and `hgt`.
        dropout: between layers, while training.
        featureless: what stands for the features of a type without any: a learned `embedding` per global node
            id, of length 1 to begin with, or a `constant` 1.
        edge_features: whether messages carry the attributes of their edges, where a relation has any: `auto` does so,
            `never` does not. A factory of your own asks for them by `extra_inputs`.
        aggr: what `to_hetero` and `hetero_conv` make of the relations into a type, `sum` or `mean`; initial weights
            are such that either begins at the scale of its inputs. `hgt` sums them, weighted by one attention over all
            of them, and takes no other. A factory of your own may read it.
        allow_padding_dependence: train a model of your own although what it says of real rows was shown to change with
            the padding around them; it is told, and kept in `result.json`.
        options: handed to a factory of your own.
    """

    name: str = "to_hetero"
    hidden_channels: int = Field(default=64, ge=1)
    num_layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    featureless: Literal["embedding", "constant"] = "embedding"
    edge_features: Literal["auto", "never"] = "auto"
    aggr: Literal["sum", "mean"] = "sum"
    allow_padding_dependence: bool = False
    options: Dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_options(self) -> Any:
        if self.name == "hgt" and self.aggr != "sum":
            raise ValueError(
                "'aggr' is for to_hetero and hetero_conv: hgt sums messages, weighted by one attention over all "
                f"relations into a type; got aggr = '{self.aggr}'. Leave it out, or choose another model"
            )
        if self.allow_padding_dependence and ":" not in self.name:
            raise ValueError("'allow_padding_dependence' is for models of your own: no built-in one depends on padding")
        if self.edge_features != "auto" and ":" in self.name:
            raise ValueError(
                "'edge_features' is for built-in models: one of your own has extra_inputs = ('edge_attr',)"
            )
        if self.options and ":" not in self.name:
            raise ValueError("'options' belongs to a model of your own (name = 'package.module:factory')")
        return self

    def identity(self) -> Dict[str, Any]:
        """What makes two models the same one, as plain values."""
        return self.model_dump(mode="json", exclude={"allow_padding_dependence"})
