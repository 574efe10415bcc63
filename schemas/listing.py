"""Which arrays a store must have: they follow from its graph, budgets and splits, and are listed all the same."""

from typing import Any, Iterator, Mapping, NamedTuple

from schemas import layout
from schemas.batch import BatchOptions, TensorSpec, feature_tensors, part_tensors
from schemas.errors import ManifestError
from schemas.manifest import Manifest

LAYOUT_FIELDS = ("dims", "shape", "dtype", "pad_value")


class Problem(NamedTuple):
    """What is wrong with a listing."""

    what: str
    actual: Any = None
    limit: Any = None


def listing_problems(manifest: Manifest) -> Iterator[Problem]:
    """Where the manifest's tensors do not follow from its graph, budgets and splits."""
    listed = {spec.path: spec for spec in manifest.tensors}
    expected = {spec.path: spec for spec in _derived(manifest)}
    for path in sorted(set(expected) - set(listed)):
        yield Problem("a tensor is not listed", None, path)
    for path in sorted(set(listed) - set(expected)):
        if path not in _original_ids(manifest):
            yield Problem("a tensor is listed that follows from nothing", path)
        elif (listed[path].shape, listed[path].dtype) != ((_original_ids(manifest)[path],), "int32"):
            yield Problem(f"tensor '{path}' does not have an id per node", listed[path].shape)
    for path in sorted(set(listed) & set(expected)):
        for name in LAYOUT_FIELDS:
            actual, limit = getattr(listed[path], name), getattr(expected[path], name)
            if actual != limit:
                yield Problem(f"{name} of tensor '{path}' does not follow from graph and budget", actual, limit)
    for path, spec in listed.items():
        if layout.section_of(path) in ("nodes", "edges", "seeds"):
            most = min(manifest.chunk_batches, spec.shape[0])
            if spec.chunk_rows != most:
                yield Problem(f"chunks of tensor '{path}' are no shards", spec.chunk_rows, most)


def require_listing(manifest: Manifest, where: str) -> None:
    """Raises ManifestError, with the first of `listing_problems`."""
    for what, actual, limit in listing_problems(manifest):
        raise ManifestError(what, actual=actual, limit=limit, where=where)


def _original_ids(manifest: Manifest) -> Mapping[str, int]:
    return {layout.original_id_path(node.name): node.num_nodes for node in manifest.graph.node_types}


def _derived(manifest: Manifest) -> Iterator[TensorSpec]:
    """Every tensor that there must be; codecs and chunks are the writer's choice."""
    is_inline, graph = manifest.features == "inline", manifest.graph
    tables = [layout.feature_path(name) for name in graph.node_names]
    tables += [layout.edge_feature_path(key) for key in graph.edge_keys]
    codecs = dict.fromkeys(tables, "none")
    if not is_inline:
        yield from feature_tensors(graph, codecs, 1)
    store = manifest.config.get("store")
    has_e_id = bool(store.get("e_id", True)) if isinstance(store, Mapping) else True
    options = BatchOptions(is_inline, has_e_id, manifest.pad_value, manifest.chunk_batches, "none", codecs)
    for split in manifest.splits:
        for part in manifest.parts(split):
            num_hops = manifest.sampling.num_hops
            yield from part_tensors(graph, part.budget, num_hops, part.path, part.num_batches, options)
