"""The ledger of a finished store: what each batch holds, read and checked without zarr and without its tensors."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import google_crc32c
import numpy as np

from heteroshards.pipeline.writing.files import read_attributes
from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptChunkError, StoreError, StoreIncompleteError
from heteroshards.schemas.manifest import Manifest, Part, parse_manifest
from heteroshards.schemas.store.chunks import REBUILD, check_chunk, decode_chunk
from heteroshards.schemas.tensors import TensorSpec


@dataclass(frozen=True)
class Ledger:
    """What B batches under one budget hold.

    Attributes:
        num_seeds: int32 [B], real seeds.
        limiter: int32 [B], the type that closed the batch: its position among first the node types, then the edge
            types.
        num_nodes, num_nodes_trimmed: int32 [B, node types, H + 1], real and dropped nodes of each hop (0 = seeds).
        num_edges, num_edges_trimmed: int32 [B, edge types, max(H, 1)], likewise edges (1 = into the seeds).
    """

    num_seeds: np.ndarray
    limiter: np.ndarray
    num_nodes: np.ndarray
    num_nodes_trimmed: np.ndarray
    num_edges: np.ndarray
    num_edges_trimmed: np.ndarray


class LedgerReader:
    """Reads ledgers and sizes of a finished local store.

    Raises:
        StoreError: there is no store.
        StoreIncompleteError: it was never finished.
        CorruptChunkError: what it says of its own chunks is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = open_manifest(path)
        self._first_chunks = self.manifest.first_chunks()
        self._specs = {spec.path: spec for spec in self.manifest.tensors}

    def read(self, part: Part) -> Ledger:
        """The ledger of a part.

        Raises:
            StoreError: the store was written before there was such a ledger.
            CorruptChunkError: some of it is missing, altered or does not decode.
        """
        return Ledger(**{name: self._read(layout.stats_path(part.path, name)) for name in Ledger.__annotations__})

    def stored_bytes(self, tensor: TensorSpec) -> int:
        """Bytes of all chunk files of a tensor."""
        return int(self._chunks(tensor)[:, 1].sum(dtype=np.int64))

    def _chunks(self, tensor: TensorSpec) -> np.ndarray:
        """uint32 [chunks, 2]: crc32c and size of each chunk file of a tensor."""
        first = self._first_chunks[tensor.path]
        return self._checksums[first : first + tensor.num_chunks]

    @cached_property
    def _checksums(self) -> np.ndarray:
        file = self.path / layout.CHECKSUMS / layout.chunk_name(self.manifest.zarr_format, 0, 2)
        data = _read_file(file)
        if google_crc32c.value(data) != self.manifest.checksums_crc32c or len(data) != 8 * self.manifest.num_chunks:
            raise CorruptChunkError("the checksums are damaged", where=str(file), hint=REBUILD)
        return np.frombuffer(data, "<u4").reshape(-1, 2)

    def _read(self, path: str) -> np.ndarray:
        if path not in self._specs:
            raise StoreError(f"the store has no '{path}'", where=str(self.path), hint=REBUILD)
        spec = self._specs[path]
        chunks = [self._read_chunk(spec, index) for index in range(spec.num_chunks)]
        return np.concatenate(chunks)[: spec.shape[0]]

    def _read_chunk(self, spec: TensorSpec, index: int) -> np.ndarray:
        file = self.path / spec.path / layout.chunk_name(self.manifest.zarr_format, index, len(spec.shape))
        crc, size = (int(value) for value in self._chunks(spec)[index])
        data = _read_file(file)
        try:
            check_chunk(data, crc, size)
            content = decode_chunk(spec, data, lambda num_bytes: np.empty(num_bytes, np.uint8))
        except CorruptChunkError as error:
            raise error.at(str(file)) from None
        return content.view(spec.dtype).reshape(spec.chunks)


def open_manifest(path: Path) -> Manifest:
    """The manifest of a finished store.

    Raises:
        StoreError: there is no store, or an unfinished one.
    """
    attributes = read_attributes(path)
    if layout.MANIFEST_ATTRIBUTE not in attributes:
        hint = "Run `make prepare` first, or name a store with --store."
        raise StoreError("there is no store", where=str(path), hint=hint)
    manifest = parse_manifest(attributes[layout.MANIFEST_ATTRIBUTE], str(path))
    if not manifest.complete:
        raise StoreIncompleteError("the store was not finished", where=str(path), hint="Run `make prepare` again.")
    return manifest


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptChunkError("a chunk is missing", where=str(path), hint=REBUILD) from None
    except OSError as error:
        raise StoreError("a chunk cannot be read", actual=error.strerror, where=str(path)) from None
