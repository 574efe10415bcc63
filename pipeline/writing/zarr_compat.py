"""The metadata of arrays, in zarr's formats 2 and 3 and with its versions 2 and 3: the only place that knows them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr

from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.layout import ZarrFormat
from heteroshards.schemas.tensors import TensorSpec

IS_ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3


def compressor(codec: str) -> Any:
    """The numcodecs codec of a `TensorSpec.codec`, or None."""
    if codec == "blosc-lz4":
        return numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
    return numcodecs.Zstd(level=1) if codec == "zstd" else None


def create_arrays(store: Path, zarr_format: ZarrFormat, specs: Iterable[TensorSpec]) -> None:
    """Create the metadata of a new store's groups and arrays. Its chunks are written by `StoreWriter`.

    There is no fill value (with 0, xarray would turn zeros into NaN) and every chunk will exist.

    Format 2's few lines of JSON are written here, as zarr writes them: its own way takes 5 ms an array, which is
    half of preparing a small store. Format 3's, with its codec pipelines, are left to zarr.
    """
    if zarr_format == 2:
        _create_group(store)
        for spec in specs:
            _create_array(store, spec)
        return
    if not IS_ZARR_3:
        raise StoreError(
            "this zarr cannot write format 3",
            actual=f"zarr {zarr.__version__}",
            limit="zarr 3 or newer",
            hint="Set [store] zarr_format = 2 or upgrade zarr (Python 3.11 or newer).",
        )
    root: Any = zarr.open_group(str(store), mode="w-", zarr_format=3)
    for spec in specs:
        _create_format_3_array(root, spec)


def _attributes(spec: TensorSpec) -> dict[str, Any]:
    pad = {} if spec.pad_value is None else {"pad_value": spec.pad_value}
    return {"description": spec.description, **pad}


def _create_group(folder: Path) -> None:
    folder.mkdir(parents=True)
    _write(folder / ".zgroup", {"zarr_format": 2})
    _write(folder / ".zattrs", {})


def _create_array(store: Path, spec: TensorSpec) -> None:
    *groups, name = spec.path.split("/")
    folder = store
    for group in groups:
        folder = folder / group
        if not folder.exists():
            _create_group(folder)
    (folder / name).mkdir()
    metadata = {
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
    _write(folder / name / ".zarray", metadata)
    _write(folder / name / ".zattrs", {"_ARRAY_DIMENSIONS": spec.dims, **_attributes(spec)})


def _compressor_config(codec: str) -> dict[str, Any] | None:
    found = compressor(codec)
    config: dict[str, Any] = found.get_config() if found else {}
    if not config.get("checksum", True):  # old numcodecs, as on an IPU host, do not know the key
        del config["checksum"]
    return config or None


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2), encoding="utf-8")


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
