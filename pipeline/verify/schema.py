"""Whether a store's arrays are those that its graph, budget and sampling call for, and zarr sees them so."""

from collections.abc import Iterator

from pipeline import zarr_compat
from pipeline.verify.content import Chunks, parts_of
from pipeline.verify.findings import Findings
from schemas import layout
from schemas.batch import BatchOptions, TensorSpec, checksum_tensor, feature_tensors, part_tensors
from schemas.manifest import Manifest

LAYOUT_FIELDS = ("dims", "shape", "dtype", "pad_value")


def check_listing(manifest: Manifest, findings: Findings) -> bool:
    """The manifest's tensors follow from its graph, budget and splits. Returns whether they do."""
    before, listed = findings.count, {spec.path: spec for spec in manifest.tensors}
    expected = {spec.path: spec for spec in _derived(manifest)}
    for path in sorted(set(expected) - set(listed)):
        findings.add("manifest", "a tensor is not listed", None, path)
    for path in sorted(set(listed) - set(expected)):
        if not path.endswith(f"/{layout.ORIGINAL_ID}"):
            findings.add("manifest", "a tensor is listed that follows from nothing", path)
    for path in sorted(set(listed) & set(expected)):
        for name in LAYOUT_FIELDS:
            actual, limit = getattr(listed[path], name), getattr(expected[path], name)
            if actual != limit:
                findings.add(
                    "manifest", f"{name} of tensor '{path}' does not follow from graph and budget", actual, limit
                )
    for path, spec in listed.items():
        if not path.startswith("features/") and "/stats/" not in path:
            most = min(manifest.chunk_batches, spec.shape[0])
            if spec.chunk_rows != most:
                findings.add("manifest", f"chunks of tensor '{path}' are no shards", spec.chunk_rows, most)
    return findings.count == before


def _derived(manifest: Manifest) -> Iterator[TensorSpec]:
    """Every tensor that there must be; codecs and chunks are the writer's choice."""
    is_inline, graph = manifest.features == "inline", manifest.graph
    tables = [layout.feature_path(name) for name in graph.node_names]
    tables += [layout.edge_feature_path(key) for key in graph.edge_keys]
    codecs = dict.fromkeys(tables, "none")
    if not is_inline:
        yield from feature_tensors(graph, codecs, 1)
    has_e_id = bool(manifest.config.get("store", {}).get("e_id", True))
    options = BatchOptions(is_inline, has_e_id, manifest.pad_value, manifest.chunk_batches, "none", codecs)
    for split in manifest.splits:
        for part in parts_of(manifest, split):
            num_hops = manifest.sampling.num_hops
            yield from part_tensors(graph, part.budget, num_hops, part.path, part.num_batches, options)


def check_arrays(chunks: Chunks, findings: Findings) -> None:
    """What zarr says of every array is what the manifest says."""
    manifest = chunks.manifest
    for spec in [*manifest.tensors, checksum_tensor(manifest.num_chunks)]:
        try:
            actual = zarr_compat.array_layout(chunks.store, spec.path)
        except Exception as error:  # over damaged metadata zarr raises whatever it runs into
            findings.add(spec.path, "zarr cannot open the array", f"{type(error).__name__}: {error}")
            continue
        limit = (spec.shape, spec.chunks, spec.dtype)
        if actual != limit:
            findings.add(spec.path, "shape, chunks or dtype are not the manifest's", actual, limit)
