"""The ledger of a finished store: what each batch holds, read and checked without zarr and without its tensors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heteroshards.schemas import layout
from heteroshards.schemas.manifest import Part
from heteroshards.schemas.store.arrays import StoredArrays
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.schemas.store.root import read_root
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
        files = LocalFiles(path)
        self.path = path
        self._arrays = StoredArrays(str(path), read_root(files, check=False), files)
        self.manifest = self._arrays.manifest

    def read(self, part: Part) -> Ledger:
        """The ledger of a part.

        Raises:
            CorruptChunkError: some of it is missing, altered or does not decode.
        """
        names = Ledger.__annotations__
        return Ledger(**{name: self._arrays.read(layout.stats_path(part.path, name)) for name in names})

    def stored_bytes(self, tensor: TensorSpec) -> int:
        """Bytes of all chunk files of a tensor."""
        return int(self._arrays.checksums(tensor.path)[:, 1].sum(dtype=np.int64))
