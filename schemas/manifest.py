"""The manifest: what a store says of itself, kept as one attribute of its root group."""

from typing import Any, Dict, Iterable, List, Literal, Mapping, NamedTuple, Optional, Tuple

from pydantic import Field, field_serializer, model_validator

from heteroshards.schemas import FORMAT_VERSION
from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.base import Frozen, validate
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import FormatVersionError, ManifestError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.layout import SPLITS, Layout, Purpose, ZarrFormat, part_path, purpose_of
from heteroshards.schemas.notes import Note
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import TensorSpec

NUMBERING = "numbering_sha256"  # in `Manifest.source`: node type -> digest; equal ones number the same nodes alike


class PartInfo(Frozen):
    """The batches of one split that have one shape: `Manifest.budgets[shape]`.

    They are ordered by round: round r is `round_starts[r] : round_starts[r + 1]` of the part, and may be empty.
    """

    shape: int = Field(ge=0)
    round_starts: Tuple[int, ...] = Field(min_length=2)

    @property
    def num_batches(self) -> int:
        return self.round_starts[-1]


class EdgeDraws(Frozen):
    """Edges of one type in all batches of a split's first round, before trimming: how many, and how many different."""

    sampled: int = Field(ge=0)
    distinct: int = Field(ge=0)


class SplitInfo(Frozen):
    """One split. Its batches are numbered through its parts, those of the first part first.

    A shape that no batch of the split has, has no part here. A split of one shape has one part. `edge_draws` are by
    edge type; empty where nothing is drawn because the whole graph is in every batch.
    """

    name: str
    num_seeds: int = Field(ge=1)
    parts: Tuple[PartInfo, ...] = Field(min_length=1)
    num_batches_skipped: int = 0
    num_seeds_skipped: int = 0
    edge_draws: Dict[str, EdgeDraws] = {}

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.name not in SPLITS:
            raise ValueError(f"unknown split {self.name!r}; known are {SPLITS}")
        for part in self.parts:
            starts = part.round_starts
            if starts[0] != 0 or list(starts) != sorted(starts) or len(starts) != self.num_rounds + 1:
                rounds = f"one number per round and the end ({self.num_rounds + 1})"
                raise ValueError(f"round_starts of split {self.name!r} must ascend from 0, {rounds}, got {starts}")
        shapes = [part.shape for part in self.parts]
        if shapes != sorted(set(shapes)):
            raise ValueError(f"the parts of split {self.name!r} must ascend by shape, got {shapes}")
        return self

    @property
    def num_rounds(self) -> int:
        return len(self.parts[0].round_starts) - 1

    @property
    def num_batches(self) -> int:
        return sum(part.num_batches for part in self.parts)

    @property
    def first_batches(self) -> Tuple[int, ...]:
        """Number of the first batch of each part, in the split's numbering, and the end."""
        firsts = [0]
        for part in self.parts:
            firsts.append(firsts[-1] + part.num_batches)
        return tuple(firsts)

    @property
    def round_sizes(self) -> Tuple[int, ...]:
        """Batches of each round, of all parts together."""
        starts = [part.round_starts for part in self.parts]
        return tuple(sum(s[r + 1] - s[r] for s in starts) for r in range(self.num_rounds))


class Part(NamedTuple):
    """A part of a split with what a reader needs of it.

    Attributes:
        path: where it lies in the store. split: whose it is.
        first_batch: number of its first batch in the split.
        round_starts: see `PartInfo`.
    """

    path: str
    split: str
    shape: int
    budget: Budget
    first_batch: int
    round_starts: Tuple[int, ...]

    @property
    def num_batches(self) -> int:
        return self.round_starts[-1]


class Unreached(Frozen):
    """Types that no batch of any split has anything of: they are no inputs of a model.

    Attributes:
        nodes: node types. edges: edge type keys.
    """

    nodes: Tuple[str, ...] = ()
    edges: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes or self.edges)

    @property
    def line(self) -> str:
        """For a person, where there are any."""
        kinds = (("node types", self.nodes), ("edge types", self.edges))
        names = "; ".join(f"{kind} {', '.join(of)}" for kind, of in kinds if of)
        return f"no input of a model, because no batch has any: {names}"


class Manifest(Frozen):
    """Everything a reader needs, without the source graph.

    Attributes:
        fingerprint: digest of data content, sampling, budget, splits, seed and format. Equal fingerprints mean the
            same tensors; equal versions of what `provenance` names make the files equal, too.
        complete: set last; a store without it must not be read.
        budgets: one per shape, all of one number of seeds: first those of split train, then those that only other
            splits have, each in ascending order of bytes. `PartInfo.shape` says who has which.
        layout: whether node and edge types have arrays of their own, or are columns of one array per kind.
        chunk_batches: batches per chunk: one shard, which never spans two parts.
        dimensions: part -> name of a dimension -> its size, in all tensors of that part; tables are part "features".
        tensors: every array of the store, in order.
        checksums_crc32c: crc32c of the array `checksums` as little-endian uint32 bytes. That array has a row (crc32c,
            size in bytes) per chunk, tensor after tensor in the order of `tensors`.
        config: the parts of the config file that decided the content, as plain values.
        source: where the graph came from, in words, with the digest of its content and of each type's numbering.
        provenance: versions and time; never part of the fingerprint.
        unreached: types of `graph` that no batch has; their arrays hold pads only.
        notes: what was said about the graph: what was read, what was not, what is odd. No part of the fingerprint.
    """

    format_version: int
    zarr_format: ZarrFormat
    fingerprint: str
    complete: bool
    graph: GraphSchema
    sampling: SamplingSpec
    budgets: Tuple[Budget, ...] = Field(min_length=1)
    splits: Tuple[SplitInfo, ...] = Field(min_length=1)
    features: Literal["table", "inline"]
    layout: Layout
    pad_value: float = Field(allow_inf_nan=False)
    chunk_batches: int = Field(ge=1)
    dimensions: Dict[str, Dict[str, int]]
    tensors: Tuple[TensorSpec, ...]
    checksums_crc32c: int = Field(ge=0, lt=2**32)
    config: Dict[str, Any]
    source: Dict[str, Any]
    provenance: Dict[str, Any]
    unreached: Unreached = Unreached()
    notes: Tuple[Note, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _add_shapes(cls, values: Any) -> Any:
        """What is read says the sizes of dimensions once."""
        dimensions, tensors = (values.get(key) for key in ("dimensions", "tensors"))
        if not isinstance(dimensions, Mapping) or not isinstance(tensors, (list, tuple)):
            return values
        return {**values, "tensors": [_with_shape(tensor, dimensions) for tensor in tensors]}

    @field_serializer("tensors")
    def _without_shapes(self, tensors: Tuple[TensorSpec, ...]) -> List[Dict[str, Any]]:
        return [tensor.model_dump(mode="json", exclude={"shape"}) for tensor in tensors]

    @model_validator(mode="after")
    def _check(self) -> Any:
        names = [split.name for split in self.splits]
        if len(set(names)) != len(names):
            raise ValueError(f"a split is listed twice: {names}")
        num_rows = sum(split.num_seeds for split in self.splits)
        if num_rows >= 2**31:
            raise ValueError(f"the splits have {num_rows} seeds together, more rows than int32 can number")
        paths = [tensor.path for tensor in self.tensors]
        if len(set(paths)) != len(paths):
            raise ValueError("a tensor is listed twice")
        if dimensions_of(self.tensors) != self.dimensions:
            raise ValueError("the dimensions are not those of the tensors")
        for budget in self.budgets:
            if set(budget.num_nodes) != set(self.graph.node_names):
                raise ValueError("the budget and the graph name different node types")
            if set(budget.num_edges) != set(self.graph.edge_keys):
                raise ValueError("the budget and the graph name different edge types")
        too_narrow = self.graph.too_narrow_for(self.pad_value)
        if too_narrow:
            raise ValueError(f"pad_value {self.pad_value} does not fit {too_narrow}")
        self._check_shapes()
        self._check_unreached()
        return self

    def _check_unreached(self) -> None:
        nodes, edges = set(self.unreached.nodes), set(self.unreached.edges)
        unknown = sorted(nodes - set(self.graph.node_names)) + sorted(edges - set(self.graph.edge_keys))
        if unknown or self.graph.seed_type in nodes:
            raise ValueError(f"types that no batch has must be types of the graph, not of seeds; got {self.unreached}")
        left = [edge.key for edge in self.graph.edge_types if nodes & {edge.src, edge.dst} and edge.key not in edges]
        if left:
            raise ValueError(f"edge types {left} join node types that no batch has, {sorted(nodes)}")

    def _check_shapes(self) -> None:
        """Readers tell shapes apart by their sizes, so no two are alike."""
        sizes = {
            (tuple(sorted(budget.num_nodes.items())), tuple(sorted(budget.num_edges.items())))
            for budget in self.budgets
        }
        if len(sizes) != len(self.budgets):
            raise ValueError("two shapes have the same budget")
        if len({budget.max_seeds for budget in self.budgets}) != 1:
            raise ValueError("the budgets differ in the number of seeds")
        used = {part.shape for split in self.splits for part in split.parts}
        if used != set(range(len(self.budgets))):
            raise ValueError(f"there are {len(self.budgets)} budgets, but parts of shapes {sorted(used)}")
        train = self.shapes_for("train")
        if train != list(range(len(train))):
            raise ValueError(f"the shapes of split 'train' must come first, got {train}")

    @property
    def reached(self) -> GraphSchema:
        """The types that batches have: what models are built for."""
        return self.graph.without(self.unreached.nodes, self.unreached.edges)

    def first_chunks(self) -> Dict[str, int]:
        """tensor path -> row of `checksums` that holds its first chunk."""
        rows, total = {}, 0
        for tensor in self.tensors:
            rows[tensor.path] = total
            total += tensor.num_chunks
        return rows

    @property
    def num_chunks(self) -> int:
        """Chunk files of the store: rows of `checksums`."""
        return sum(tensor.num_chunks for tensor in self.tensors)

    @property
    def num_shapes(self) -> int:
        return len(self.budgets)

    @property
    def max_seeds(self) -> int:
        """Seed rows of every batch, whatever its shape."""
        return self.budgets[0].max_seeds

    def shapes_for(self, purpose: Purpose) -> List[int]:
        """The shapes of all batches that are for training, or for inference, ascending."""
        splits = [split for split in self.splits if purpose_of(split.name) == purpose]
        return sorted({part.shape for split in splits for part in split.parts})

    def parts(self, split: SplitInfo) -> List[Part]:
        """The parts of a split, in the order in which its batches are numbered."""
        found = []
        for info, first in zip(split.parts, split.first_batches):
            path = part_path(split.name, info.shape, len(split.parts))
            found.append(Part(path, split.name, info.shape, self.budgets[info.shape], first, info.round_starts))
        return found

    def all_parts(self) -> List[Part]:
        """Those of every split."""
        return [part for split in self.splits for part in self.parts(split)]

    def splits_by_part(self) -> Dict[str, str]:
        """Where a part lies -> the split that it is of."""
        return {part.path: part.split for part in self.all_parts()}

    def split(self, name: str) -> Optional[SplitInfo]:
        return next((split for split in self.splits if split.name == name), None)

    def attribute_of(self, tensor: TensorSpec) -> Optional[AttributeSchema]:
        """What attribute a tensor holds, as a table or in batches; None where it holds something else."""
        found: Tuple[AttributeSchema, ...] = ()
        if tensor.role in ("node_table", "nodes"):
            found = self.graph.node(tensor.owner).attributes
        elif tensor.role in ("edge_table", "edges"):
            found = self.graph.edge(tensor.owner).attributes
        return next((attribute for attribute in found if attribute.name == tensor.name), None)

    def tensor(self, path: str) -> Optional[TensorSpec]:
        return next((tensor for tensor in self.tensors if tensor.path == path), None)


def dimensions_of(tensors: Iterable[TensorSpec]) -> Dict[str, Dict[str, int]]:
    """See `Manifest.dimensions`.

    Raises:
        ValueError: a dimension has two sizes.
    """
    found: Dict[str, Dict[str, int]] = {}
    for tensor in tensors:
        sizes = found.setdefault(tensor.part, {})
        for name, size in zip(tensor.dims, tensor.shape):
            if sizes.setdefault(name, size) != size:
                raise ValueError(f"dimension '{name}' of '{tensor.part}' has sizes {sizes[name]} and {size}")
    return found


def _with_shape(tensor: Any, dimensions: Mapping[str, Any]) -> Any:
    """A tensor as a manifest lists it, with its shape. What is malformed is left to the checks that follow."""
    if not isinstance(tensor, Mapping) or "shape" in tensor:
        return tensor
    part, dims = tensor.get("part"), tensor.get("dims")
    sizes = dimensions.get(part) if isinstance(part, str) else None
    if not isinstance(sizes, Mapping) or not isinstance(dims, (list, tuple)):
        return tensor
    unknown = [name for name in dims if not isinstance(name, str) or name not in sizes]
    if unknown:
        raise ValueError(f"dimension {unknown[0]!r} of '{part}' has no size")
    return {**tensor, "shape": [sizes[name] for name in dims]}


def parse_manifest(values: Any, where: str) -> Manifest:
    """Validate a manifest read from a store.

    Raises:
        FormatVersionError: the store has another format version than this program.
        ManifestError: the manifest is malformed.
    """
    if not isinstance(values, Mapping):
        raise ManifestError("the manifest is missing or not a table", where=where)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            "the store has a format version this program cannot read",
            actual=f"version {version}",
            limit=f"version {FORMAT_VERSION}",
            where=where,
            hint="Prepare the store again (`--force` replaces it), or use the program that wrote it.",
        )
    return validate(Manifest, dict(values), ManifestError, where)
