"""Stores that consist of ledgers alone: the tensors of their batches are listed, but their files are not there."""

from pathlib import Path

import numpy as np

from heteroshards.pipeline.sampling.batches import Sizes, limiters
from heteroshards.pipeline.writing.writer import StoreWriter
from heteroshards.schemas import FORMAT_VERSION, layout
from heteroshards.schemas.attributes import AttributeSchema
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.manifest import Manifest, PartInfo, SplitInfo, dimensions_of
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.task import Task
from heteroshards.schemas.tensors import BatchOptions, feature_tensors, part_tensors

NUM_HOPS, MAX_SEEDS, FAKE_BYTES = 2, 64, 1000
RNG_SEED = 5


def numbers(name: str, width: int, dtype: str) -> tuple[AttributeSchema, ...]:
    """The only attribute of a type."""
    return (AttributeSchema(name=name, width=width, dtype=dtype),)


def movie_graph(names: tuple[str, str, str] = ("movie", "director", "actor"), relation: str = "to") -> GraphSchema:
    """Three node types, the last one without features, and four edge types, the first one with features."""
    movie, director, actor = names
    widths = (64, 16, None)
    return GraphSchema(
        node_types=tuple(
            NodeTypeSchema(name=name, num_nodes=9000, attributes=numbers("x", width, "float32") if width else ())
            for name, width in zip(names, widths, strict=True)
        ),
        edge_types=tuple(
            EdgeTypeSchema(
                src=src,
                relation=relation,
                dst=dst,
                num_edges=30000,
                attributes=numbers("edge_attr", 3, "float16") if i == 0 else (),
            )
            for i, (src, dst) in enumerate([(movie, director), (movie, actor), (director, movie), (actor, movie)])
        ),
        task=Task.classification(movie, 3),
    )


def write_ledgers(path: Path, graph: GraphSchema, batches: dict[str, int], zarr_format: int = 2) -> dict[str, Sizes]:
    """Write a store with this many batches per split; returns their real counts. A tenth of them was trimmed."""
    rng = np.random.default_rng(RNG_SEED)
    sizes = {split: _sizes(graph, count, rng) for split, count in batches.items()}
    every = Sizes.concatenate(list(sizes.values()))
    budget = _budget(graph, every)
    manifest = _manifest(graph, budget, batches, zarr_format)
    writer = StoreWriter(path, manifest)
    writer.init()
    written = {spec.path: dict.fromkeys(range(spec.num_chunks), (0, FAKE_BYTES)) for spec in manifest.tensors}
    for split, real in sizes.items():
        for name, rows in _arrays(graph, budget, real, rng).items():
            spec = writer.specs[layout.stats_path(split, name)]
            step = spec.chunk_rows
            written[spec.path] = {
                i: writer.write_chunk(spec.path, i, rows[i * step : (i + 1) * step]) for i in range(spec.num_chunks)
            }
    writer.finish_partition("all", written)
    writer.finalise(["all"])
    return sizes


def _sizes(graph: GraphSchema, count: int, rng: np.random.Generator) -> Sizes:
    nodes = rng.poisson(60, (count, len(graph.node_types), NUM_HOPS + 1)).astype(np.int32)
    nodes[:, 1:, 0] = 0
    edges = rng.poisson(90, (count, len(graph.edge_types), NUM_HOPS)).astype(np.int32)
    return Sizes(nodes, edges)


def _budget(graph: GraphSchema, sizes: Sizes) -> Budget:
    nodes = dict(zip(graph.node_names, (int(n) + 40 for n in sizes.node_totals.max(axis=0)), strict=True))
    edges = dict(zip(graph.edge_keys, (int(n) + 1 for n in sizes.edge_totals.max(axis=0)), strict=True))
    hops = {name: (rows,) for name, rows in nodes.items()}, {key: (columns,) for key, columns in edges.items()}
    return Budget(
        mode="exact", num_nodes=nodes, num_edges=edges, max_seeds=MAX_SEEDS, hop_nodes=hops[0], hop_edges=hops[1]
    )


def _manifest(graph: GraphSchema, budget: Budget, batches: dict[str, int], zarr_format: int) -> Manifest:
    codecs = {f"features/{name}/x": "none" for name in graph.node_names}
    codecs.update({f"features/{key}/edge_attr": "none" for key in graph.edge_keys})
    options = BatchOptions(False, True, 0.0, 16, "blosc-lz4", codecs)
    tensors = feature_tensors(graph, codecs, 2**20)
    for split, count in batches.items():
        chunk = options._replace(chunk_batches=min(16, count))
        tensors += part_tensors(graph, budget, NUM_HOPS, split, count, chunk)
    rounds = dict.fromkeys(batches, 1)
    return Manifest(
        dimensions=dimensions_of(tensors),
        format_version=FORMAT_VERSION,
        zarr_format=zarr_format,
        fingerprint="a" * 64,
        complete=False,
        graph=graph,
        sampling=SamplingSpec(
            mode="neighbor",
            fanouts=dict.fromkeys(graph.edge_keys, (5,) * NUM_HOPS),
            replace=False,
            batch_size=MAX_SEEDS,
            grouping="random",
            max_seeds=MAX_SEEDS,
            rounds=rounds,
            rng_seed=0,
        ),
        budgets=(budget,),
        splits=tuple(
            SplitInfo(name=split, num_seeds=count * MAX_SEEDS, parts=(PartInfo(shape=0, round_starts=(0, count)),))
            for split, count in batches.items()
        ),
        features="table",
        layout="per_type",
        pad_value=0.0,
        chunk_batches=16,
        tensors=tuple(tensors),
        checksums_crc32c=0,
        config=JobConfig().content(),
        source={},
        provenance={},
    )


def _arrays(graph: GraphSchema, budget: Budget, real: Sizes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    count = len(real)
    is_trimmed = (rng.random(count) < 0.1)[:, None, None]
    return {
        "num_seeds": np.full(count, MAX_SEEDS, np.int32),
        "round": np.zeros(count, np.int32),
        "limiter": limiters(real, budget, graph),
        "num_nodes": real.num_nodes,
        "num_nodes_trimmed": np.where(is_trimmed, real.num_nodes // 2, 0).astype(np.int32),
        "num_edges": real.num_edges,
        "num_edges_trimmed": np.where(is_trimmed, real.num_edges // 2, 0).astype(np.int32),
    }
