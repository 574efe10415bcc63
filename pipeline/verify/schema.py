"""Whether a store's arrays are those that its graph, budget and sampling call for, and zarr sees them so."""

from heteroshards.pipeline.verify.findings import Findings
from heteroshards.pipeline.verify.view import Chunks
from heteroshards.pipeline.writing import zarr_compat
from heteroshards.schemas.listing import listing_problems
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.tensors import checksum_tensor


def check_listing(manifest: Manifest, findings: Findings) -> bool:
    """The manifest's tensors follow from its graph, budget and splits. Returns whether they do."""
    before = findings.count
    for problem in listing_problems(manifest):
        findings.add("manifest", *problem)
    return findings.count == before


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
