"""The manifest: what a store says of itself, kept as one attribute of its root group."""

from typing import Any, Dict, Mapping, Optional, Tuple

from pydantic import Field, model_validator

from schemas import FORMAT_VERSION
from schemas.base import Frozen, validate
from schemas.batch import TensorSpec
from schemas.budget import Budget
from schemas.errors import FormatVersionError, ManifestError
from schemas.graph import GraphSchema
from schemas.layout import SPLITS, ZarrFormat
from schemas.sampling import SamplingSpec


class SplitInfo(Frozen):
    """One split: batches are ordered by round, round r is `round_starts[r] : round_starts[r + 1]`."""

    name: str
    num_seeds: int = Field(ge=1)
    round_starts: Tuple[int, ...] = Field(min_length=2)
    num_batches_skipped: int = 0
    num_seeds_skipped: int = 0

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.name not in SPLITS:
            raise ValueError(f"unknown split {self.name!r}; known are {SPLITS}")
        if self.round_starts[0] != 0 or list(self.round_starts) != sorted(self.round_starts):
            raise ValueError(f"round_starts of split {self.name!r} must ascend from 0, got {self.round_starts}")
        return self

    @property
    def num_rounds(self) -> int:
        return len(self.round_starts) - 1

    @property
    def num_batches(self) -> int:
        return self.round_starts[-1]


class Manifest(Frozen):
    """Everything a reader needs, without the source graph.

    Attributes:
        fingerprint: digest of data content, sampling, budget, splits, seed and format. Equal fingerprints mean the
            same tensors; equal versions of what `provenance` names make the files equal, too.
        complete: set last; a store without it must not be read.
        chunk_batches: batches per chunk (K): one shard.
        tensors: every array of the store, in order.
        checksums_crc32c: crc32c of the array `checksums` as little-endian uint32 bytes. That array has a row (crc32c,
            size in bytes) per chunk, tensor after tensor in the order of `tensors`.
        config: the parts of the config file that decided the content, as plain values.
        source: where the graph came from, in words, with the digest of its content.
        provenance: versions and time; never part of the fingerprint.
    """

    format_version: int
    zarr_format: ZarrFormat
    fingerprint: str
    complete: bool
    graph: GraphSchema
    sampling: SamplingSpec
    budget: Budget
    splits: Tuple[SplitInfo, ...] = Field(min_length=1)
    features: str
    pad_value: float
    chunk_batches: int = Field(ge=1)
    tensors: Tuple[TensorSpec, ...]
    checksums_crc32c: int = Field(ge=0, lt=2**32)
    config: Dict[str, Any]
    source: Dict[str, Any]
    provenance: Dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> Any:
        names = [split.name for split in self.splits]
        if len(set(names)) != len(names):
            raise ValueError(f"a split is listed twice: {names}")
        paths = [tensor.path for tensor in self.tensors]
        if len(set(paths)) != len(paths):
            raise ValueError("a tensor is listed twice")
        if set(self.budget.num_nodes) != set(self.graph.node_names):
            raise ValueError("the budget and the graph name different node types")
        if set(self.budget.num_edges) != set(self.graph.edge_keys):
            raise ValueError("the budget and the graph name different edge types")
        return self

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

    def split(self, name: str) -> Optional[SplitInfo]:
        return next((split for split in self.splits if split.name == name), None)

    def tensor(self, path: str) -> Optional[TensorSpec]:
        return next((tensor for tensor in self.tensors if tensor.path == path), None)


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
            hint="Prepare the store again, or use the program that wrote it.",
        )
    return validate(Manifest, dict(values), ManifestError, where)
