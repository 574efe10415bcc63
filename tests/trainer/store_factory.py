"""A small writer of valid stores, independent of the pipeline: random but consistent content after schemas/layout.py.

The class of a movie is where its first features are largest, so that any model of the features can learn it.
"""

import atexit
import hashlib
import inspect
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import google_crc32c
import numpy as np
import zarr

from heteroshards.schemas import FORMAT_VERSION, layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.manifest import Manifest, PartInfo, SplitInfo, dimensions_of
from heteroshards.schemas.packing import columns, is_packable, pack
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.store import integrity
from heteroshards.schemas.store.files import LocalFiles
from heteroshards.schemas.tensors import BatchOptions, TensorSpec, feature_tensors, part_tensors
from tests.layouts import IS_PACKED
from tests.trainer.factory_graph import NUM_MOVIES, Source, graph_schema, source
from tests.trainer.target_cases import PLAIN

ZARR_MAJOR = int(zarr.__version__.split(".")[0])
ZARR_FORMATS = (2, 3) if ZARR_MAJOR >= 3 else (2,)
MAX_SEEDS, NUM_HOPS = 4, 2
SEEDS = {"train": range(0, 30), "val": range(30, 41), "test": range(41, 60), "predict": range(NUM_MOVIES)}
PAD_VALUE = 0.5


def sampling(rounds: Dict[str, int], rng_seed: int) -> SamplingSpec:
    return SamplingSpec(
        mode="neighbor",
        fanouts=dict.fromkeys(graph_schema().edge_keys, (5,) * NUM_HOPS),
        replace=False,
        batch_size=MAX_SEEDS,
        grouping="random",
        max_seeds=MAX_SEEDS,
        rounds=rounds,
        rng_seed=rng_seed,
    )


def budget(shape: int = 0) -> Budget:
    """Of the shape with this index. Edges are random here, not sampled hop by hop: every hop may need every row."""
    nodes = {"movie": 12 + shape, "director": 6, "actor": 9 + 2 * shape}
    edges = {"director__to__movie": 8, "actor__to__movie": 14 + 3 * shape, "movie__to__actor": 10 + shape}
    return Budget(
        mode="exact",
        num_nodes=nodes,
        num_edges=edges,
        max_seeds=MAX_SEEDS,
        hop_nodes={name: (size, size, size) for name, size in nodes.items()},
        hop_edges={key: (size, size) for key, size in edges.items()},
    )


def part_arrays(
    specs: List[TensorSpec], part: str, sizes: Budget, seeds: np.ndarray, first_row: int, src: Source, rng: Any
) -> Dict[str, Any]:
    """Every tensor of a part, filled: `seeds` are the global ids per batch, -1 where there is none.

    `first_row`: of the split, in the table of all seeds.
    """
    arrays = {spec.path: np.full(spec.shape, spec.pad_value or 0, dtype=spec.dtype) for spec in specs}
    for batch, ids in enumerate(seeds):
        _fill_batch(arrays, part, sizes, batch, ids[ids >= 0], first_row, src, rng)
    return arrays


def _fill_batch(
    arrays: Dict[str, Any],
    part: str,
    sizes: Budget,
    batch: int,
    seeds: np.ndarray,
    first_row: int,
    src: Source,
    rng: Any,
) -> None:
    graph = src.graph
    counts = {}
    for node in graph.node_types:
        room = sizes.num_nodes[node.name] - 1
        first = seeds if node.name == graph.seed_type else np.zeros(0, dtype="int64")
        others = np.setdiff1d(np.arange(node.num_nodes), first)
        extra = rng.integers(1, room - len(first) + 1)
        ids = np.concatenate([first, rng.permutation(others)[:extra]])
        counts[node.name] = len(ids)
        arrays[layout.node_path(part, node.name, "n_id")][batch, : len(ids)] = ids
        arrays[layout.node_path(part, node.name, "mask")][batch, : len(ids)] = True
        for name in (of.name for of in node.attributes):
            if (inline := layout.node_path(part, node.name, name)) in arrays:
                arrays[inline][batch, : len(ids)] = src.tables[layout.feature_path(node.name, name)][ids]
    for edge in graph.edge_types:
        num = int(rng.integers(1, sizes.num_edges[edge.key]))
        index = arrays[layout.edge_path(part, edge.key, "edge_index")][batch]
        for row, name in enumerate((edge.src, edge.dst)):
            index[row] = sizes.num_nodes[name] - 1
            index[row, :num] = rng.integers(0, counts[name], num)
        arrays[layout.edge_path(part, edge.key, "mask")][batch, :num] = True
        e_id = rng.permutation(edge.num_edges)[:num]
        arrays[layout.edge_path(part, edge.key, "e_id")][batch, :num] = e_id
        for name in (of.name for of in edge.attributes):
            if (inline := layout.edge_path(part, edge.key, name)) in arrays:
                arrays[inline][batch, :num] = src.tables[layout.edge_feature_path(edge.key, name)][e_id]
    split = part.partition("/")[0]
    for name, values in (("n_id", seeds), ("row", first_row + seeds - SEEDS[split].start), ("mask", True)):
        arrays[layout.seed_path(part, name)][batch, : len(seeds)] = values
    for target in graph.task.targets:
        values = src.targets[target.name][seeds]
        if split == "predict":
            values[is_unknown(seeds)] = target.pad_value
        arrays[layout.target_path(part, target.name)][batch, : len(seeds)] = values
    arrays[layout.stats_path(part, "num_seeds")][batch] = len(seeds)


def is_unknown(ids: np.ndarray) -> np.ndarray:
    """Whose labels split predict does not know."""
    return ids % 5 == 0


def round_batches(ids: np.ndarray, rng: Any) -> np.ndarray:
    """One round over a split: permuted ids in rows of MAX_SEEDS, -1 after the last."""
    padded = np.full(-(-len(ids) // MAX_SEEDS) * MAX_SEEDS, -1)
    padded[: len(ids)] = rng.permutation(ids)
    return padded.reshape(-1, MAX_SEEDS)


_KEPT = Path(tempfile.mkdtemp(prefix="heteroshards-tests-"))
atexit.register(shutil.rmtree, _KEPT, ignore_errors=True)


def write_store(path: Path, **options: Any) -> Path:
    """A store of the test's own with the options of `_write_store`; others are values that its manifest has instead."""
    shutil.copytree(shared_store(**options), path)
    return path


def shared_store(**options: Any) -> Path:
    """The same, written once per process, and never written to after that."""
    kept = _KEPT / hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest() / "s"
    if kept.exists():
        return kept
    changed = {name: value for name, value in options.items() if name not in _OPTIONS}
    if not changed:
        return _write_store(kept, **options)
    write_store(kept, **{name: value for name, value in options.items() if name in _OPTIONS})
    set_manifest(kept, {**manifest_of(kept), **changed})
    return kept


def _write_store(
    path: Path,
    *,
    zarr_format: int = 2,
    features: str = "table",
    codec: str = "blosc-lz4",
    chunk_batches: int = 3,
    rounds: Optional[Dict[str, int]] = None,
    config: Optional[JobConfig] = None,
    rng_seed: int = 0,
    shapes: int = 1,
    apart: bool = False,
    zeros: float = 0.0,
    is_packed: bool = IS_PACKED,
    targets: Tuple[Any, ...] = PLAIN,
    is_rich: bool = False,
) -> Path:
    """Write a store of the splits that have `rounds`; returns `path`. Pairs of batches take the shapes in turn.

    With `apart`, splits other than train have as many shapes of their own.
    """
    rng, src = np.random.default_rng(rng_seed), source(rng_seed, zeros, targets, is_rich)
    graph = src.graph
    rounds = {"train": 2, "val": 1, "test": 1} if rounds is None else rounds
    codecs = dict.fromkeys(src.tables, codec)
    options = BatchOptions(features == "inline", True, PAD_VALUE, chunk_batches, codec, codecs)
    specs = feature_tensors(graph, codecs, chunk_bytes=200) if features == "table" else []
    arrays: Dict[str, np.ndarray] = {spec.path: src.tables[spec.path] for spec in specs}
    splits, first_row = [], 0
    for split, num_rounds in rounds.items():
        passes = [round_batches(np.array(SEEDS[split]), rng) for _ in range(num_rounds)]
        parts, of_split = [], by_shape(passes, shapes, shapes if apart and split != "train" else 0)
        for shape, of_shape in of_split:
            part = layout.part_path(split, shape, len(of_split))
            parts.append(PartInfo(shape=shape, round_starts=np.cumsum([0] + [len(p) for p in of_shape]).tolist()))
            chunk = options._replace(chunk_batches=min(chunk_batches, parts[-1].num_batches), is_packed=is_packed)
            of_part, rows = _part(part, budget(shape), np.concatenate(of_shape), first_row, chunk, src, rng)
            arrays.update(rows)
            specs += of_part
        first_row += len(SEEDS[split])
        splits.append(SplitInfo(name=split, num_seeds=len(SEEDS[split]), parts=tuple(parts)))
    values: Dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "zarr_format": zarr_format,
        "fingerprint": _fingerprint(rng_seed, features, shapes, zeros, apart, *targets, *("rich",) * is_rich),
        "complete": True,
        "graph": graph,
        "sampling": sampling(rounds, rng_seed),
        "budgets": tuple(budget(shape) for shape in range(2 * shapes if apart else shapes)),
        "splits": tuple(splits),
        "features": features,
        "layout": "packed" if is_packed else "per_type",
        "pad_value": PAD_VALUE,
        "chunk_batches": chunk_batches,
        **_listed(path, specs, arrays, zarr_format),
        "config": (config or JobConfig()).content(),
        "source": {"description": "random"},
        "provenance": {},
    }
    set_manifest(path, Manifest(**values).model_dump(mode="json"))
    return path


_OPTIONS = set(inspect.signature(_write_store).parameters)


def _fingerprint(*options: Any) -> str:
    return "factory-" + hashlib.sha256(repr(options).encode()).hexdigest()[:16]


def _listed(path: Path, specs: List[TensorSpec], arrays: Dict[str, Any], zarr_format: int) -> Dict[str, Any]:
    """Write the arrays; what the manifest says of them."""
    digest = _write_arrays(path, specs, arrays, zarr_format)
    return {"dimensions": dimensions_of(specs), "tensors": tuple(specs), "checksums_crc32c": digest}


def _part(
    part: str, sizes: Budget, seeds: np.ndarray, first_row: int, options: BatchOptions, src: Source, rng: Any
) -> Tuple[List[TensorSpec], Dict[str, Any]]:
    specs = part_tensors(src.graph, sizes, NUM_HOPS, part, len(seeds), options)
    arrays = part_arrays(specs, part, sizes, seeds, first_row, src, rng)
    return _packed(specs, arrays) if options.is_packed else (specs, arrays)


def _packed(specs: List[TensorSpec], arrays: Dict[str, Any]) -> Tuple[List[TensorSpec], Dict[str, Any]]:
    """What a part of a packed store has instead."""
    packed: Dict[str, Any] = {spec.path: arrays[spec.path] for spec in specs if not is_packable(spec)}
    for path, at in columns(specs).items():
        packed[at.path] = np.concatenate([packed[at.path], arrays[path]], -1) if at.start else arrays[path]
    return pack(specs), packed


def by_shape(passes: List[np.ndarray], shapes: int, first: int = 0) -> List[Tuple[int, List[np.ndarray]]]:
    """Each shape that has batches, counted from `first`, and its batches of each pass."""
    found = []
    for shape in range(shapes):
        of_shape = [p[np.arange(len(p)) // 2 % shapes == shape] for p in passes]
        if sum(len(p) for p in of_shape):
            found.append((first + shape, of_shape))
    return found


def _write_arrays(path: Path, specs: List[TensorSpec], arrays: Dict[str, Any], zarr_format: int) -> int:
    root, files = _empty_group(path, zarr_format)
    for spec in specs:
        array = create_array(root, spec.path, spec.shape, spec.chunks, spec.dtype, spec.codec, zarr_format, spec.dims)
        array[...] = arrays[spec.path]
    _write_files(path, files)
    checksums = []
    for spec in specs:
        for index in range(spec.num_chunks):
            data = chunk_file(path, spec, zarr_format, index).read_bytes()
            checksums.append((google_crc32c.value(data), len(data)))
    table = np.array(checksums, "<u4")
    shape, dims = table.shape, ("chunk", "value")
    create_array(root, layout.CHECKSUMS, shape, shape, "uint32", "none", zarr_format, dims)[...] = table
    _write_files(path, files)
    return google_crc32c.value(table.tobytes())


def _empty_group(path: Path, zarr_format: int) -> Tuple[Any, Dict[str, Any]]:
    """A group, and what it has for files, as zarr 3 takes a thread for each of a folder's; zarr 2 writes to `path`."""
    files: Dict[str, Any] = {}
    if ZARR_MAJOR < 3:
        return zarr.open_group(str(path), mode="w"), files
    return zarr.open_group(zarr.storage.MemoryStore(files), mode="w", zarr_format=zarr_format), files


def _write_files(path: Path, files: Dict[str, Any]) -> None:
    for folder in {(path / key).parent for key in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for key, data in files.items():
        if not (path / key).exists():
            (path / key).write_bytes(data.to_bytes())


def create_array(
    root: Any, path: str, shape: Any, chunks: Any, dtype: str, codec: str, zarr_format: int, dims: Tuple[str, ...]
) -> Any:
    """A zarr array as the pipeline lays it out, with either major version of zarr."""
    import numcodecs

    common: Dict[str, Any] = {"shape": shape, "chunks": chunks, "dtype": dtype}
    if zarr_format == 3:
        return root.create_array(
            path,
            **common,
            fill_value=0,
            compressors=_format_3_codec(codec, dtype),
            dimension_names=dims,
            config={"write_empty_chunks": True},
        )
    lz4 = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=1)
    compressor = {"none": None, "blosc-lz4": lz4, "zstd": numcodecs.Zstd(level=1)}[codec]
    if ZARR_MAJOR >= 3:
        options: Any = {"compressors": compressor, "config": {"write_empty_chunks": True}}
        array = root.create_array(path, **common, fill_value=None, **options)
    else:
        array = root.create(path, **common, fill_value=None, compressor=compressor, write_empty_chunks=True)
    array.attrs["_ARRAY_DIMENSIONS"] = list(dims)
    return array


def _format_3_codec(codec: str, dtype: str) -> Any:
    from zarr.codecs import BloscCodec, ZstdCodec

    if codec == "blosc-lz4":
        return BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=np.dtype(dtype).itemsize)
    return ZstdCodec(level=1) if codec == "zstd" else None


def chunk_file(path: Path, spec: TensorSpec, zarr_format: Any, index: int) -> Path:
    return Path(path) / spec.path / layout.chunk_name(zarr_format, index, len(spec.shape))


def manifest_of(path: Path) -> Dict[str, Any]:
    """As plain values, to change and to hand to `set_manifest`."""
    return json.loads(json.dumps(zarr.open_group(str(path), mode="r").attrs[layout.MANIFEST_ATTRIBUTE]))


def set_manifest(path: Path, manifest: Dict[str, Any]) -> None:
    """Write the root attributes, with checksums that fit all metadata as it is."""
    zarr_format = 3 if (Path(path) / "zarr.json").exists() else 2
    checksums = integrity.checksums_of(LocalFiles(path), integrity.metadata_files(LocalFiles(path), zarr_format))
    root = integrity.render_root(zarr_format, manifest, checksums)
    (Path(path) / integrity.root_file(zarr_format)).write_bytes(root)


def publish(root: Path, config: JobConfig, **options: Any) -> Path:
    """Write a store under `root` as `prepare` does, with the pointer to it."""
    path = write_store(Path(root) / f"{config.name}-factory", config=config, **options)
    latest = {"store": path.name, "content_digest": config.content_digest()}
    (Path(root) / f"{config.name}.latest").write_text(json.dumps(latest))
    return path
