"""`[store]`: how a store is written."""

from typing import Literal

from pydantic import Field

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.layout import ZarrFormat


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
