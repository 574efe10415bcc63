"""The metadata of arrays, in zarr's formats 2 and 3 and with its versions 2 and 3: the only place that knows them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numcodecs
import numpy as np
import zarr

from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.layout import ZarrFormat
from heteroshards.schemas.store.files import Files
from heteroshards.schemas.tensors import TensorSpec

IS_ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3


def compressor(codec: str) -> Any:
    """The numcodecs codec of a `TensorSpec.codec`, or None."""
    if codec == "blosc-lz4":
        return numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
    return numcodecs.Zstd(level=1) if codec == "zstd" else None


def create_arrays(files: Files, zarr_format: ZarrFormat, specs: Iterable[TensorSpec]) -> None:
    """Create the metadata of a new store's groups and arrays. Its chunks are written by `StoreWriter`.

    There is no fill value (with 0, xarray would turn zeros into NaN) and every chunk will exist.

    Format 2's few lines of JSON are written here, as zarr writes them: its own way takes 5 ms an array, which is
    half of preparing a small store. Format 3's, with its codec pipelines, are left to zarr.
    """
    if zarr_format == 2:
        _put_format_2(files, list(specs))
        return
    if not IS_ZARR_3:
        raise StoreError(
            "this zarr cannot write format 3",
            actual=f"zarr {zarr.__version__}",
            limit="zarr 3 or newer",
            hint="Set [store] zarr_format = 2 or upgrade zarr (Python 3.11 or newer).",
        )
    documents: dict[str, Any] = {}
    root: Any = zarr.open_group(zarr.storage.MemoryStore(documents), mode="w-", zarr_format=3)
    for spec in specs:
        _create_format_3_array(root, spec)
    for key, document in documents.items():
        files.put(key, document.to_bytes())


def _attributes(spec: TensorSpec) -> dict[str, Any]:
    pad = {} if spec.pad_value is None else {"pad_value": spec.pad_value}
    return {"description": spec.description, **pad}


def _put_format_2(files: Files, specs: Sequence[TensorSpec]) -> None:
    groups = {parent.as_posix() for spec in specs for parent in PurePosixPath(spec.path).parents}
    for group in sorted(groups):
        folder = "" if group == "." else f"{group}/"
        _put(files, f"{folder}.zgroup", {"zarr_format": 2})
        _put(files, f"{folder}.zattrs", {})
    for spec in specs:
        _put(files, f"{spec.path}/.zarray", _array_2(spec))
        _put(files, f"{spec.path}/.zattrs", {"_ARRAY_DIMENSIONS": spec.dims, **_attributes(spec)})


def _array_2(spec: TensorSpec) -> dict[str, Any]:
    return {
        "shape": spec.shape,
        "chunks": spec.chunks,
        "dtype": np.dtype(spec.dtype).newbyteorder("<").str,
        "fill_value": None,
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
        "compressor": _compressor_config(spec.codec),
        "zarr_format": 2,
    }


def _compressor_config(codec: str) -> dict[str, Any] | None:
    found = compressor(codec)
    config: dict[str, Any] = found.get_config() if found else {}
    if not config.get("checksum", True):  # old numcodecs, as on an IPU host, do not know the key
        del config["checksum"]
    return config or None


def _put(files: Files, key: str, values: dict[str, Any]) -> None:
    files.put(key, json.dumps(values, indent=2).encode())


def _create_format_3_array(root: Any, spec: TensorSpec) -> None:
    parent, _, name = spec.path.rpartition("/")
    group = root.require_group(parent) if parent else root
    group.create_array(
        name,
        shape=spec.shape,
        chunks=spec.chunks,
        dtype=spec.dtype,
        compressors=_format_3_codec(spec, compressor(spec.codec)),
        filters=None,
        fill_value=None,
        dimension_names=spec.dims,
        attributes=_attributes(spec),
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
