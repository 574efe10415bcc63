"""Which layout the suite's stores have: `make test-packed` runs the tests that touch stores on packed ones, too.

A test names a tensor as a store with an array per type has it; `stored_at` says where it lies.
"""

import os
from typing import NamedTuple

from heteroshards.schemas import layout, packing
from heteroshards.schemas.listing import packed_tensors
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.tensors import TensorSpec, checksum_tensor

IS_PACKED = os.environ.get("HETEROSHARDS_TEST_LAYOUT", "per_type") == "packed"


def choose_layout() -> None:
    """Where packed stores are asked for, `auto` packs however few types there are."""
    if IS_PACKED:
        packing.AUTO_ARRAYS, packing.AUTO_CHUNK_BYTES = 0, 2**62


class StoredAt(NamedTuple):
    """The array that a tensor is part of, and its columns of the last dimension."""

    spec: TensorSpec
    columns: slice


def stored_at(manifest: Manifest, path: str) -> StoredAt:
    packed = packed_tensors(manifest).get(path)
    at = packed.columns if packed else None
    spec = manifest.tensor(at.path if at else path)
    if path == layout.CHECKSUMS:
        spec = checksum_tensor(manifest.num_chunks)
    assert spec is not None, path
    return StoredAt(spec, slice(at.start, at.stop) if at else slice(None))
