"""Creating arrays with zarr 3 and zarr 2: the only place that knows how the two APIs differ."""

from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr

from schemas.batch import TensorSpec
from schemas.errors import StoreError
from schemas.layout import ZarrFormat

IS_ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3


def compressor(codec: str) -> Any:
    """The numcodecs codec of a `TensorSpec.codec`, or None."""
    if codec == "blosc-lz4":
        return numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
    return numcodecs.Zstd(level=1) if codec == "zstd" else None


def create_root(path: Path, zarr_format: ZarrFormat, attributes: dict[str, Any]) -> Any:
    """Create a store's root group, empty."""
    if not IS_ZARR_3 and zarr_format == 3:
        raise StoreError(
            "this zarr cannot write format 3",
            actual=f"zarr {zarr.__version__}",
            limit="zarr 3 or newer",
            hint="Set [store] zarr_format = 2 or upgrade zarr (Python 3.11 or newer).",
        )
    options = {"zarr_format": zarr_format} if IS_ZARR_3 else {}
    group = zarr.open_group(str(path), mode="w-", **options)
    group.attrs.update(attributes)
    return group


def create_array(root: Any, spec: TensorSpec) -> None:
    """Create the metadata of one array and of the groups above it. Its chunks are written by `ChunkWriter`.

    There is no fill value (with 0, xarray would turn zeros into NaN) and every chunk will exist.
    """
    parent, _, name = spec.path.rpartition("/")
    group = root.require_group(parent) if parent else root
    codec = compressor(spec.codec)
    attributes: dict[str, Any] = {"description": spec.description}
    if spec.pad_value is not None:
        attributes["pad_value"] = spec.pad_value
    if not IS_ZARR_3:
        array = group.create_dataset(
            name, shape=spec.shape, chunks=spec.chunks, dtype=spec.dtype, compressor=codec, fill_value=None
        )
        array.attrs.update({"_ARRAY_DIMENSIONS": list(spec.dims), **attributes})
    elif root.metadata.zarr_format == 2:
        group.create_array(
            name,
            shape=spec.shape,
            chunks=spec.chunks,
            dtype=spec.dtype,
            compressors=codec,
            filters=None,
            fill_value=None,
            attributes={"_ARRAY_DIMENSIONS": list(spec.dims), **attributes},
        )
    else:
        group.create_array(
            name,
            shape=spec.shape,
            chunks=spec.chunks,
            dtype=spec.dtype,
            compressors=_format_3_codec(spec, codec),
            filters=None,
            fill_value=None,
            dimension_names=spec.dims,
            attributes=attributes,
        )


def _format_3_codec(spec: TensorSpec, codec: Any) -> Any:
    from zarr.codecs import BloscCodec, ZstdCodec

    if spec.codec == "blosc-lz4":
        return BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=np.dtype(spec.dtype).itemsize)
    return ZstdCodec(level=1) if spec.codec == "zstd" else None


def array_layout(store: Path, path: str) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Shape, chunks and dtype of an array, as its own metadata has them."""
    array: Any = zarr.open_array(str(store / path), mode="r")
    return tuple(array.shape), tuple(array.chunks), str(array.dtype)
