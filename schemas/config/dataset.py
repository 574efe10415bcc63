"""`[dataset]`: where the graph comes from, and what is predicted."""

from typing import Any, Dict, List, Literal, Optional

from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.attributes import check_attribute_name, require_distinct
from heteroshards.schemas.base import Frozen
from heteroshards.schemas.config.task import MAX_CLASSES
from heteroshards.schemas.config.variants import NeededBy, Section, With, only
from heteroshards.schemas.layout import PREDICT, SCORED_SPLITS


class RandomSplit(Frozen):
    """Shares of the labelled seed nodes per split, drawn with `rng_seed`. A share of 0 leaves a split out."""

    train: float = Field(default=0.6, ge=0, le=1)
    val: float = Field(default=0.2, ge=0, le=1)
    test: float = Field(default=0.2, ge=0, le=1)
    rng_seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_sum(self) -> Any:
        if not 0 < self.train + self.val + self.test <= 1 + 1e-9:
            raise ValueError("the shares of train, val and test must add up to more than 0 and at most 1")
        return self


class DatasetConfig(Section):
    """Where the graph comes from and what is predicted.

    Attributes:
        source: `synthetic` (a seeded graph of IMDB's shape, made offline), `pyg` (a dataset class of PyG), `file` (a
            saved graph) or `function` (`package.module:function` returning a graph). A graph is a `HeteroData`, or a
            `Data`, which has node type `node` and edge type `node__to__node`.
        class_name: with `pyg`: the class in `torch_geometric.datasets`, e.g. "IMDB".
        root: with `pyg`: its folder; default `<DATASETS_DIR or "data">/<class_name>`.
        path: with `file`: what `torch.save(data, path)` wrote, or a `.pt` of `data.to_dict()`.
        function: with `function`: `package.module:function`.
        args: keyword arguments of the synthetic generator, the dataset class or the function.
        seed_type: the node type that is predicted. Of a graph of one node type it is that one, and need not be named.
        label: the attribute that holds what is predicted, `[task]` says what kind of thing that is.
        masks: split -> name of the boolean mask attribute on the seed type.
        random_split: draw the splits among the labelled nodes instead of reading masks, by shares:
            `{train = 0.6, val = 0.2, test = 0.2, rng_seed = 0}`.
        predict: make a split of this name, too, which is never trained on: of `all` nodes of the seed type, or of
            those in a boolean mask attribute of that name. Its nodes need no label and may belong to other splits.
            Then neither masks nor labels are needed, so that a graph of which nothing is known yet can be prepared.
        num_classes: how many classes there are, where the labels at hand do not tell; default is the largest label + 1.
            Of a `multilabel` or `regression` target, how many columns; default is as many as it has.
        attributes: node type or edge type key -> its attributes that models see, in this order,
            `{movie = ["x", "year"]}`; `[]` for none. By default `x`, and of edge types `edge_attr`. Floats and bools
            are numbers. Integers of a type that is listed are codes, each with a learned vector: from 0 up, and -1
            where it is not known; of a type that is not listed they are numbers.
        subset: node type -> keep its first n nodes (and the edges among what is kept), `{movie = 1000}`.
        remove_isolated: afterwards drop nodes without any edge.
        feature_values: what to do about NaN or infinite features: `error`, `default` (put `feature_default` in their
            place; how many is said and recorded) or `allow` (store them).
        feature_default: with `default`: a number.
        float64: what to do about float64 values, and integers, that float32 cannot tell apart: `narrow` (say how many,
            with an example, and go on) or `error`.
    """

    source: Literal["synthetic", "pyg", "file", "function"] = "synthetic"
    class_name: Optional[str] = only(None, NeededBy("source", "pyg"))
    root: Optional[str] = only(None, With("source", "pyg"))
    path: Optional[str] = only(None, NeededBy("source", "file"))
    function: Optional[str] = only(None, NeededBy("source", "function"))
    args: Dict[str, Any] = only({}, With("source", "synthetic", "pyg", "function"))
    seed_type: str = "movie"
    label: str = "y"
    masks: Dict[str, str] = {split: f"{split}_mask" for split in SCORED_SPLITS}
    random_split: Optional[RandomSplit] = None
    predict: Optional[str] = Field(default=None, min_length=1)
    num_classes: Optional[int] = Field(default=None, ge=1, le=MAX_CLASSES)
    attributes: Dict[str, List[str]] = {}
    subset: Dict[str, int] = {}
    remove_isolated: bool = False
    feature_values: Literal["error", "default", "allow"] = "error"
    feature_default: float = only(0.0, With("feature_values", "default"), allow_inf_nan=False)
    float64: Literal["narrow", "error"] = "narrow"

    @field_validator("masks")
    @classmethod
    def _check_splits(cls, masks: Dict[str, str]) -> Dict[str, str]:
        unknown = sorted(set(masks) - set(SCORED_SPLITS))
        if PREDICT in unknown:
            raise ValueError(f"the mask of split '{PREDICT}' is a key of its own: predict = {masks[PREDICT]!r}")
        if unknown or not masks:
            raise ValueError(f"masks must name some of the splits {SCORED_SPLITS}, got {sorted(masks)}")
        return masks

    @field_validator("attributes")
    @classmethod
    def _check_attributes(cls, attributes: Dict[str, List[str]]) -> Dict[str, List[str]]:
        for names in attributes.values():
            for name in names:
                check_attribute_name(name)
            require_distinct(names)
        return attributes

    @field_validator("subset")
    @classmethod
    def _check_subset(cls, subset: Dict[str, int]) -> Dict[str, int]:
        if any(count < 1 for count in subset.values()):
            raise ValueError(f"subset keeps the first n nodes of a type, n >= 1; got {subset}")
        return subset

    @model_validator(mode="after")
    def _check_source(self) -> Any:
        if self.random_split is not None and self.masks != type(self).model_fields["masks"].default:
            raise ValueError("'masks' and 'random_split' exclude each other")
        if self.function is not None and self.function.count(":") != 1:
            raise ValueError(f"'function' reads package.module:function, got {self.function!r}")
        return self
