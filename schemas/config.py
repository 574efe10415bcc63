"""One TOML file per job. `[dataset]`, `[sampling]`, `[budget]` and `[store]` decide the content of a store;
`[model]`, `[train]` and `[ipu]` say what is trained on it. Every key has its meaning and default here, and an unknown
key is an error that names the nearest known one.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional, Tuple, Union

from pydantic import Field, ValidationError, field_validator, model_validator

from heteroshards.schemas.base import Frozen, explain
from heteroshards.schemas.budget import BudgetMode, OverSizePolicy
from heteroshards.schemas.config_training import IpuConfig, ModelConfig, TrainConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.layout import PREDICT, SCORED_SPLITS, ZarrFormat
from heteroshards.schemas.paths import as_path
from heteroshards.schemas.sampling import Grouping

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser, under the name it had before it joined the standard library
    import tomli as tomllib


def _only_for(
    section: Frozen, choice: str, legal: Mapping[str, Tuple[str, ...]], needed: Mapping[str, Tuple[str, ...]]
) -> None:
    """Reject keys that the chosen variant would ignore, and ask for those it needs."""
    chosen = getattr(section, choice)
    for key in {key for keys in legal.values() for key in keys} - set(legal[chosen]):
        if getattr(section, key) != type(section).model_fields[key].default:
            users = [f"'{name}'" for name, keys in legal.items() if key in keys]
            raise ValueError(f"'{key}' has no meaning with {choice} = '{chosen}'; it belongs to {' or '.join(users)}")
    for key in needed.get(chosen, ()):
        if getattr(section, key) is None:
            raise ValueError(f"{choice} = '{chosen}' needs '{key}'")


MAX_CLASSES = 2**20


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


class DatasetConfig(Frozen):
    """Where the graph comes from and what is predicted.

    Attributes:
        source: `synthetic` (a seeded graph of IMDB's shape, made offline), `pyg` (a dataset class of PyG), `file` (a
            saved `HeteroData`) or `function` (`package.module:function` returning a `HeteroData`).
        class_name: with `pyg`: the class in `torch_geometric.datasets`, e.g. "IMDB".
        root: with `pyg`: its folder; default `<DATASETS_DIR or "data">/<class_name>`.
        path: with `file`: what `torch.save(data, path)` wrote, or a `.pt` of `data.to_dict()`.
        function: with `function`: `package.module:function`.
        args: keyword arguments of the synthetic generator, the dataset class or the function.
        seed_type: the node type that is predicted.
        label: the attribute that holds its classes, integers.
        masks: split -> name of the boolean mask attribute on the seed type.
        random_split: draw the splits among the labelled nodes instead of reading masks, by shares:
            `{train = 0.6, val = 0.2, test = 0.2, rng_seed = 0}`.
        predict: make a split of this name, too, which is never trained on: of `all` nodes of the seed type, or of
            those in a boolean mask attribute of that name. Its nodes need no label and may belong to other splits.
            Then neither masks nor labels are needed, so that a graph of which nothing is known yet can be prepared.
        num_classes: how many classes there are, where the labels at hand do not tell; default is the largest label + 1.
        subset: node type -> keep its first n nodes (and the edges among what is kept), `{movie = 1000}`.
        remove_isolated: afterwards drop nodes without any edge.
        feature_values: what to do about NaN or infinite features: `error`, `default` (put `feature_default` in their
            place; how many is said and recorded) or `allow` (store them).
        feature_default: with `default`: a number.
        float64: what to do about float64 values, and integers, that float32 cannot tell apart: `narrow` (say how many,
            with an example, and go on) or `error`.
    """

    source: Literal["synthetic", "pyg", "file", "function"] = "synthetic"
    class_name: Optional[str] = None
    root: Optional[str] = None
    path: Optional[str] = None
    function: Optional[str] = None
    args: Dict[str, Any] = {}
    seed_type: str = "movie"
    label: str = "y"
    masks: Dict[str, str] = {split: f"{split}_mask" for split in SCORED_SPLITS}
    random_split: Optional[RandomSplit] = None
    predict: Optional[str] = Field(default=None, min_length=1)
    num_classes: Optional[int] = Field(default=None, ge=1, le=MAX_CLASSES)
    subset: Dict[str, int] = {}
    remove_isolated: bool = False
    feature_values: Literal["error", "default", "allow"] = "error"
    feature_default: float = Field(default=0.0, allow_inf_nan=False)
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

    @field_validator("subset")
    @classmethod
    def _check_subset(cls, subset: Dict[str, int]) -> Dict[str, int]:
        if any(count < 1 for count in subset.values()):
            raise ValueError(f"subset keeps the first n nodes of a type, n >= 1; got {subset}")
        return subset

    @model_validator(mode="after")
    def _check_source(self) -> Any:
        legal = {
            "synthetic": ("args",),
            "pyg": ("class_name", "root", "args"),
            "file": ("path",),
            "function": ("function", "args"),
        }
        needed = {"pyg": ("class_name",), "file": ("path",), "function": ("function",)}
        _only_for(self, "source", legal, needed)
        _only_for(self, "feature_values", {"default": ("feature_default",), "error": (), "allow": ()}, {})
        if self.random_split is not None and self.masks != type(self).model_fields["masks"].default:
            raise ValueError("'masks' and 'random_split' exclude each other")
        if self.function is not None and self.function.count(":") != 1:
            raise ValueError(f"'function' reads package.module:function, got {self.function!r}")
        return self


MAX_FANOUT = 1_000_000
Fanout = Union[List[int], Dict[str, List[int]]]


class SamplingConfig(Frozen):
    """How batches are sampled.

    Attributes:
        mode: `neighbor`, or `full`: the whole graph as one batch per split.
        fanout: most in-neighbors per node at each hop (hop 1, next to the seeds, first), -1 for all; a list for
            every edge type, or a table of lists by edge type key ("src__rel__dst"), "default" for the others.
        replace: draw with replacement.
        batch_size: seeds per batch; a short last one is padded with masked seeds.
        grouping: which seeds share a batch: `random`; `balanced` (batches that need nearly equally much of every
            type); `packed` (likewise, and the number of seeds varies: with a given budget as many as fit).
        max_seeds: with `packed`, the most seeds in a batch; 0 is twice the batch size.
        rounds: resampling passes over the train split; epoch e, counted from 1, reads round e - 1 modulo `rounds`.
        eval_rounds: resampling passes over val, test and predict; probabilities are averaged over them.
        rng_seed: root of all draws.
    """

    mode: Literal["neighbor", "full"] = "neighbor"
    fanout: Fanout = [5, 5]
    replace: bool = False
    batch_size: int = Field(default=64, ge=1, lt=2**24)
    grouping: Grouping = "balanced"
    max_seeds: int = Field(default=0, ge=0, lt=2**24)
    rounds: int = Field(default=8, ge=1, le=1_000_000)
    eval_rounds: int = Field(default=1, ge=1, le=1_000_000)
    rng_seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_mode(self) -> Any:
        neighbor_only = ("fanout", "replace", "batch_size", "grouping", "max_seeds", "rounds", "eval_rounds")
        _only_for(self, "mode", {"neighbor": neighbor_only, "full": ()}, {})
        _only_for(self, "grouping", {"packed": ("max_seeds",), "balanced": (), "random": ()}, {})
        if 0 < self.max_seeds < self.batch_size:
            raise ValueError(f"max_seeds ({self.max_seeds}) must be at least batch_size ({self.batch_size})")
        lists = list(self.fanout.values()) if isinstance(self.fanout, dict) else [self.fanout]
        if not lists:
            raise ValueError("the fanout table is empty; give it a 'default'")
        for fanout in lists:
            if not fanout or any(not -1 <= k <= MAX_FANOUT for k in fanout):
                raise ValueError(
                    f"a fanout lists at least one hop, each a number of neighbors up to {MAX_FANOUT}, or -1 for all; "
                    f"got {fanout}"
                )
        if len({len(fanout) for fanout in lists}) != 1:
            raise ValueError(f"every fanout must list the same number of hops; got {self.fanout}")
        return self


Sizes = Union[int, Dict[str, int]]
BudgetScope = Literal["purpose", "all"]


class BudgetConfig(Frozen):
    """How large the padded batch is.

    Attributes:
        mode: `exact` (the most over all batches, + 1 pad slot), `sampled` (over `num_batches` random batches, + 1),
            `quantile` (so that a share of all batches fits, as `num_batches` random ones prove), `uniform` (one
            number for all node types, one for all edge types) or `explicit` (one per type).
        num_batches: with `sampled` and `quantile`.
        quantile: with `quantile`: the share of batches that shall fit.
        confidence: with `quantile`: the probability that it is so.
        nodes: rows, the pad slot included: a number with `uniform`, a table by node type with `explicit`.
        edges: columns, likewise, by edge type key.
        scope: which splits share a budget that follows from the data: with `purpose` train has one of its own, and
            all others, which are only inferred, share another (training and inference are compiled apart anyway);
            with `all` there is one for all. A budget that is given is one for all.
        shapes: with `exact`: at most so many budgets in each scope, chosen from the counted sizes so that its padded
            batches together are as small as they can be. Each is compiled once. Not on an IPU.
        oversize: what happens to a batch that does not fit: `error`, `skip` the batch, or trim it, farthest hop
            first and never a seed: `trim_nodes`, `trim_edges`, `trim_nodes_and_edges`.
    """

    mode: BudgetMode = "exact"
    num_batches: int = Field(default=1000, ge=1)
    quantile: float = Field(default=0.99, gt=0, lt=1)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    nodes: Optional[Sizes] = None
    edges: Optional[Sizes] = None
    scope: BudgetScope = "purpose"
    shapes: int = Field(default=1, ge=1, le=16)
    oversize: OverSizePolicy = "error"

    @model_validator(mode="after")
    def _check_mode(self) -> Any:
        sizes = ("nodes", "edges", "oversize")
        legal = {
            "exact": ("scope", "shapes"),
            "sampled": ("scope", "num_batches", "oversize"),
            "quantile": ("scope", "num_batches", "quantile", "confidence", "oversize"),
            "uniform": sizes,
            "explicit": sizes,
        }
        _only_for(self, "mode", legal, {"uniform": ("nodes", "edges"), "explicit": ("nodes", "edges")})
        for name, value in (("nodes", self.nodes), ("edges", self.edges)):
            kind = int if self.mode == "uniform" else dict
            if value is not None and not isinstance(value, kind):
                raise ValueError(
                    f"'{name}' is {'one number' if kind is int else 'a table by type'} with mode = '{self.mode}'"
                )
            counts = value.values() if isinstance(value, dict) else [] if value is None else [value]
            if any(not 1 <= count < 2**31 for count in counts):
                raise ValueError(f"'{name}' must be 1 to {2**31 - 1}, got {value}")
        return self


class StoreConfig(Frozen):
    """How a store is written.

    Attributes:
        root: folder of stores; each is `<root>/<name>-<fingerprint>`.
        zarr_format: 2 (readable by every zarr) or 3 (needs zarr 3, Python 3.11 or newer, to write and to read).
        codec: `auto` (zstd for sparse features, blosc-lz4 for all else), `none`, `blosc-lz4` or `zstd`.
        features: `table` (once) or `inline` (copied into every batch; how much larger that is, is said beforehand).
        layout: `per_type` (arrays for every node and edge type), `packed` (one array per kind for all of them) or
            `auto` (packed where files would outnumber megabytes by far).
        e_id: store global edge ids (always stored for edge types whose features lie in a table).
        pad_value: what stands in the feature rows of pad nodes.
        chunk_batches: batches per chunk; 0 picks as many as make a chunk group of about 4 MB.
    """

    root: str = "stores"
    zarr_format: ZarrFormat = 2
    codec: Literal["auto", "none", "blosc-lz4", "zstd"] = "auto"
    features: Literal["table", "inline"] = "table"
    layout: Literal["auto", "per_type", "packed"] = "auto"
    e_id: bool = True
    pad_value: float = Field(default=0.0, allow_inf_nan=False)
    chunk_batches: int = Field(default=0, ge=0, le=1_000_000)


class JobConfig(Frozen):
    """A whole file. `name` names stores and runs.

    Raises:
        ConfigError: an unknown or contradictory key; it names the nearest known one.
    """

    name: str = Field(default="job", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dataset: DatasetConfig = DatasetConfig()
    sampling: SamplingConfig = SamplingConfig()
    budget: BudgetConfig = BudgetConfig()
    store: StoreConfig = StoreConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    ipu: IpuConfig = IpuConfig()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as problem:
            raise explain(problem, type(self), ConfigError) from None

    @model_validator(mode="after")
    def _check_shapes(self) -> Any:
        if self.budget.shapes > 1 and self.sampling.mode == "full":
            raise ValueError("[budget] 'shapes' has no meaning with [sampling] mode = 'full': there is one size")
        return self

    def content(self) -> Dict[str, Any]:
        """The part that decides the content of a store, as plain values (what the manifest records)."""
        values = self.model_dump(mode="json", include={"dataset", "sampling", "budget", "store"})
        values["store"].pop("root")
        return values

    def content_digest(self) -> str:
        """Digest of `content()`: equal configs over equal data make equal stores."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()[:16]


def parse_value(text: str) -> Any:
    """A value as TOML writes it; what is none is a string, so that quotes may be left out.

    >>> parse_value("[5, 5]"), parse_value("true"), parse_value("hgt"), parse_value('"7"')
    ([5, 5], True, 'hgt', '7')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def load_config(path: Union[str, Path], overrides: Optional[Mapping[str, Any]] = None) -> JobConfig:
    """Read a TOML job file. `overrides` maps dotted keys ("model.name") to values that win; None is no override.

    Raises:
        ConfigError: the file is unreadable, not TOML, or has an unknown or contradictory key.
    """
    path = as_path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        hint = f"Configs there: {', '.join(known)}." if known else None
        raise ConfigError("the config file does not exist", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the config file cannot be read", actual=error, where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the config file is not TOML", actual=error, where=str(path)) from None
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "job")
    for dotted, value in (overrides or {}).items():
        if value is not None:
            *sections, key = dotted.split(".")
            table = values
            for depth, section in enumerate(sections):
                table = table.setdefault(section, {})
                if not isinstance(table, dict):
                    name = ".".join(sections[: depth + 1])
                    raise ConfigError(f"[{name}] must be a table", actual=repr(table), where=str(path))
            table[key] = value
    try:
        return JobConfig(**values)
    except ConfigError as error:
        raise error.at(str(path)) from None
