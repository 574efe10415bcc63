"""A store's arrays, shard by shard, as a store with an array per type has them; and the way to say what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.pipeline.grouping.split_plan import shards_of
from heteroshards.pipeline.verify.files import chunk_file
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.schemas.listing import PackedTensor, packed_tensors
from heteroshards.schemas.manifest import Manifest, Part, SplitInfo
from heteroshards.schemas.store.chunks import decode_chunk
from heteroshards.schemas.tensors import TensorSpec


@dataclass(frozen=True)
class Chunks:
    """Decoded chunks of a store, without the damaged ones."""

    store: Path
    manifest: Manifest
    damaged: set[str]

    @cached_property
    def packed(self) -> dict[str, PackedTensor]:
        """Tensors that are no arrays of their own."""
        return packed_tensors(self.manifest)

    def is_sound(self, spec: TensorSpec, index: int) -> bool:
        return chunk_file(self.manifest, spec, index) not in self.damaged

    def rows(self, spec: TensorSpec, index: int) -> np.ndarray:
        """The real rows of one chunk: [at most chunk_rows, ...]."""
        data = (self.store / chunk_file(self.manifest, spec, index)).read_bytes()
        values = decode_chunk(spec, data, lambda num_bytes: np.empty(num_bytes, np.uint8)).view(spec.dtype)
        return values.reshape(spec.chunks)[: spec.shape[0] - index * spec.chunk_rows]

    def slice(self, spec: TensorSpec, start: int, stop: int) -> np.ndarray | None:
        """Rows start..stop, over as many chunks as it takes; None where one of them is damaged."""
        first, last = start // spec.chunk_rows, (stop - 1) // spec.chunk_rows
        if not all(self.is_sound(spec, index) for index in range(first, last + 1)):
            return None
        rows = np.concatenate([self.rows(spec, index) for index in range(first, last + 1)])
        return rows[start - first * spec.chunk_rows : stop - first * spec.chunk_rows]


@dataclass(frozen=True)
class ShardView:
    """The arrays of one shard and the way to report what is wrong with them.

    Attributes:
        start: the shard's first batch, in its part.
        arrays: tensor path -> [K, ...].
    """

    manifest: Manifest
    split: SplitInfo
    part: Part
    start: int
    arrays: dict[str, np.ndarray]
    findings: Findings

    @property
    def num_batches(self) -> int:
        return len(self.stats("num_seeds"))

    @property
    def is_full(self) -> bool:
        return self.manifest.sampling.mode == "full"

    def node(self, name: str, tensor: str) -> np.ndarray:
        return self.arrays[layout.node_path(self.part.path, name, tensor)]

    def edge(self, key: str, tensor: str) -> np.ndarray:
        return self.arrays[layout.edge_path(self.part.path, key, tensor)]

    def seeds(self, tensor: str) -> np.ndarray:
        return self.arrays[layout.seed_path(self.part.path, tensor)]

    def target(self, name: str) -> np.ndarray:
        return self.arrays[layout.target_path(self.part.path, name)]

    def stats(self, name: str) -> np.ndarray:
        return self.arrays[layout.stats_path(self.part.path, name)]

    def node_ends(self, name: str) -> np.ndarray:
        """int64 [K, H + 1]: nodes of hops 0..h, as the statistics have it."""
        return self.stats("num_nodes")[:, self.manifest.graph.node_index[name]].cumsum(axis=1, dtype=np.int64)

    def edge_ends(self, key: str) -> np.ndarray:
        """int64 [K, H]: edges of hops 1..h."""
        return self.stats("num_edges")[:, self.manifest.graph.edge_keys.index(key)].cumsum(axis=1, dtype=np.int64)

    def at(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """[K, M] of values [K, N]: those at the local ids, or seeds, `places` [K, M]; what lies outside is a finding of
        others."""
        found: np.ndarray = np.take_along_axis(values, np.clip(places, 0, values.shape[1] - 1), axis=1)
        return found

    def require(self, path: str, holds: np.ndarray, what: str, actual: Any = None, limit: Any = None) -> None:
        """One finding for all batches (bool [K, ...]) in which something does not hold.

        `actual` and `limit` are values, or arrays [K] of which the first bad batch's is shown.
        """
        bad = np.flatnonzero(~holds.reshape(len(holds), -1).all(axis=1))
        if len(bad) == 0:
            return
        actual, limit = (v[bad[0]] if isinstance(v, np.ndarray) else v for v in (actual, limit))
        where = (self.start + int(bad[0]), self.start + int(bad[-1]) + 1)
        self.findings.add(path, what, _plain(actual), _plain(limit), self.split.name, where)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def shards(chunks: Chunks, split: SplitInfo, part: Part, findings: Findings) -> Iterator[ShardView | None]:
    """A part's shards, one at a time; None for one with a damaged chunk, which cannot be looked into."""
    manifest = chunks.manifest
    specs = [spec for spec in manifest.tensors if spec.part == part.path]
    size = min(manifest.chunk_batches, part.num_batches)
    for shard in shards_of(part.path, part.num_batches, size):
        arrays = {}
        for spec in specs:
            try:
                rows = chunks.slice(spec, shard.start, shard.stop)
            except CorruptChunkError as error:
                batches = (shard.start, shard.stop)
                findings.add(spec.path, "a chunk cannot be decoded", error, None, split.name, batches)
                rows = None
            if rows is None:
                break
            arrays[spec.path] = rows
        is_whole = len(arrays) == len(specs)
        by_type = _by_type(arrays, chunks.packed) if is_whole else {}
        yield ShardView(manifest, split, part, shard.start, by_type, findings) if is_whole else None


def _by_type(arrays: dict[str, np.ndarray], packed: dict[str, PackedTensor]) -> dict[str, np.ndarray]:
    """Stored arrays as a store with an array per type has them."""
    places = {path: tensor.columns for path, tensor in packed.items() if tensor.columns.path in arrays}
    found = {path: arrays[at.path][..., at.start : at.stop] for path, at in places.items()}
    joined = {at.path for at in places.values()}
    return found | {path: rows for path, rows in arrays.items() if path not in joined}
