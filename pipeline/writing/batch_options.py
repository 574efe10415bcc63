"""From a config to resolved choices of how a store is written: codecs, batches per chunk, layout."""

from collections.abc import Mapping, Sequence

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.schemas import layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import StoreConfig
from heteroshards.schemas.errors import BudgetError, ConfigError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.packing import is_worth_packing
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import BatchOptions, TensorSpec, part_tensors

SHARD_BYTES = 4 * 2**20
MAX_CHUNK_BYTES = 2**31 - 2**16  # blosc takes 2 GiB at most, with its header
SPARSE_DENSITY = 0.1


def resolve_batch_options(
    config: StoreConfig,
    graph: HeteroGraph,
    budgets: Sequence[Budget],
    spec: SamplingSpec,
    fitted: Mapping[str, Sequence[Fitted]],
) -> BatchOptions:
    """Codecs by the density of the features, batches per chunk so that a chunk group is a few MB, and the layout.

    That is the largest group of any part; a round of train (or else the first split) is taken to have as many batches
    of each of its shapes.
    """
    options = unchunked_options(config, graph)._replace(with_trees=spec.is_disjoint)
    parts = fitted.get("train") or next(iter(fitted.values()))
    batch_bytes = [bytes_per_batch(graph.schema, budget, spec.num_hops, options) for budget in budgets]
    per_round = max(1, -(-sum(fit.plan.round_starts()[1] for fit in parts) // len(parts)))
    options = options._replace(chunk_batches=config.chunk_batches or balanced_chunk(max(batch_bytes), per_round))
    if config.layout == "auto":
        largest, num_batches = budgets[int(np.argmax(batch_bytes))], max(fit.plan.num_batches for fit in parts)
        chunk = options._replace(chunk_batches=min(options.chunk_batches, num_batches))
        tensors = part_tensors(graph.schema, largest, spec.num_hops, "train", num_batches, chunk)
        return options._replace(is_packed=is_worth_packing(tensors))
    return options._replace(is_packed=config.layout == "packed")


def unchunked_options(config: StoreConfig, graph: HeteroGraph) -> BatchOptions:
    """What can be said before there is a budget: all but batches per chunk, here 1, and the layout, here per type.

    Raises:
        ConfigError: the features' dtype does not hold `pad_value`.
    """
    too_narrow = graph.schema.too_narrow_for(config.pad_value)
    if too_narrow:
        what, limit = (
            "the features' dtype does not hold pad_value",
            f"{np.finfo(too_narrow).max:.4g}, the largest {too_narrow}",
        )
        raise ConfigError(what, actual=config.pad_value, limit=limit, where="[store]")
    dense = "blosc-lz4" if config.codec == "auto" else config.codec
    tables = {layout.feature_path(of, n): x for of in graph.schema.node_names for n, x in graph.features[of].items()}
    edges = graph.schema.edge_keys
    tables |= {layout.edge_feature_path(of, n): x for of in edges for n, x in graph.features[of].items()}
    return BatchOptions(
        inline_features=config.features == "inline",
        store_e_id=config.e_id,
        pad_value=config.pad_value,
        chunk_batches=1,
        codec=dense,
        feature_codecs={path: _feature_codec(config.codec, x) for path, x in tables.items()},
    )


def require_encodable(tensors: Sequence[TensorSpec]) -> None:
    """Raise `BudgetError` for a chunk that is larger than a codec takes."""
    for spec in tensors:
        chunk_bytes = spec.num_bytes // max(1, spec.shape[0]) * spec.chunk_rows
        if chunk_bytes > MAX_CHUNK_BYTES:
            hint = "Lower the budget, or use features = 'table'."
            if spec.chunk_rows > 1:
                hint = f"Lower [store] chunk_batches (here {spec.chunk_rows}) or the budget, or use features = 'table'."
            if spec.role in layout.PACKED:
                hint += " With [store] layout = 'per_type', chunks are smaller."
            raise BudgetError(
                "a chunk is too large to be written",
                actual=f"{chunk_bytes / 2**30:.1f} GiB",
                limit=f"at most {MAX_CHUNK_BYTES / 2**30:.0f} GiB",
                where=f"tensor '{spec.path}'",
                hint=hint,
            )


def _feature_codec(codec: str, x: np.ndarray) -> str:
    if codec != "auto":
        return codec
    return "zstd" if x.size and np.count_nonzero(x) < SPARSE_DENSITY * x.size else "blosc-lz4"


def bytes_per_batch(graph: GraphSchema, budget: Budget, num_hops: int, options: BatchOptions) -> int:
    """Bytes of one padded batch, all tensors, uncompressed."""
    specs = part_tensors(graph, budget, num_hops, "train", 1, options)
    return sum(spec.num_bytes for spec in specs)


def balanced_chunk(batch_bytes: int, batches_per_round: int) -> int:
    """Batches per chunk: about SHARD_BYTES, never more than a round, and a round's chunks of nearly equal size.

    >>> balanced_chunk(SHARD_BYTES // 20, 67)   # 4 chunks of 17 rather than 20, 20, 20, 7
    17
    """
    most = max(1, min(SHARD_BYTES // max(1, batch_bytes), batches_per_round))
    num_chunks = -(-batches_per_round // most)
    return -(-batches_per_round // num_chunks)
