"""Which arrays a store must have: they follow from its graph, budgets and splits, and are listed all the same."""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

from heteroshards.schemas import layout
from heteroshards.schemas.errors import ManifestError
from heteroshards.schemas.manifest import Manifest, Part
from heteroshards.schemas.packing import Columns, columns, pack
from heteroshards.schemas.tensors import BatchOptions, TensorSpec, feature_tensors, part_tensors

LAYOUT_FIELDS = ("role", "part", "owner", "dims", "shape", "dtype", "pad_value")


class PackedTensor(NamedTuple):
    """A tensor that is columns of another one."""

    spec: TensorSpec
    columns: Columns


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
        if spec.role not in (*layout.TABLES, "stats"):
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
    if manifest.features == "table":
        yield from feature_tensors(manifest.graph, _no_codecs(manifest), 1)
    for part in manifest.all_parts():
        tensors = _by_type(manifest, part)
        yield from pack(tensors) if manifest.layout == "packed" else tensors


def packed_tensors(manifest: Manifest) -> Dict[str, PackedTensor]:
    """path -> tensor of a node or edge type, where it is no array of its own: in packed stores."""
    found: Dict[str, PackedTensor] = {}
    for part in manifest.all_parts() if manifest.layout == "packed" else ():
        tensors = _by_type(manifest, part)
        place = columns(tensors)
        found.update({spec.path: PackedTensor(spec, place[spec.path]) for spec in tensors if spec.path in place})
    return found


def _no_codecs(manifest: Manifest) -> Dict[str, str]:
    nodes, edges = manifest.graph.node_types, manifest.graph.edge_types
    tables = [layout.feature_path(node.name, of.name) for node in nodes for of in node.attributes]
    tables += [layout.edge_feature_path(edge.key, of.name) for edge in edges for of in edge.attributes]
    return dict.fromkeys(tables, "none")


def _by_type(manifest: Manifest, part: Part) -> List[TensorSpec]:
    """Every tensor of a part, as a store with an array per type has them."""
    store = manifest.config.get("store")
    has_e_id = bool(store.get("e_id", True)) if isinstance(store, Mapping) else True
    options = BatchOptions(
        inline_features=manifest.features == "inline",
        store_e_id=has_e_id,
        pad_value=manifest.pad_value,
        chunk_batches=min(manifest.chunk_batches, max(1, part.num_batches)),
        codec="none",
        feature_codecs=_no_codecs(manifest),
        with_trees=manifest.sampling.is_disjoint,
    )
    num_hops = manifest.sampling.num_hops
    return part_tensors(manifest.graph, part.budget, num_hops, part.path, part.num_batches, options)
