"""A manifest that contradicts itself is refused, and one that does not derives what readers need."""

import copy

import pytest

from heteroshards.schemas import FORMAT_VERSION
from heteroshards.schemas.errors import FormatVersionError, ManifestError
from heteroshards.schemas.listing import listing_problems, require_listing
from heteroshards.schemas.manifest import parse_manifest
from tests.trainer.store_factory import manifest_of, write_store


@pytest.fixture(scope="module", params=[False, True], ids=["per_type", "packed"])
def values(request, tmp_path_factory):
    return manifest_of(write_store(tmp_path_factory.mktemp("m") / "s", shapes=2, is_packed=request.param))


def changed(values, *place, to):
    result = copy.deepcopy(values)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    return result


def test_a_sound_one_is_read_and_written_without_loss(values):
    manifest = parse_manifest(values, "here")
    assert manifest.model_dump(mode="json") == values
    assert list(listing_problems(manifest)) == []
    assert sum(spec.num_chunks for spec in manifest.tensors) == manifest.num_chunks
    rows = list(manifest.first_chunks().values())
    assert rows == sorted(rows) and rows[0] == 0
    assert manifest.tensor("train") is None and manifest.split("nowhere") is None


def test_parts_number_the_batches_of_a_split(values):
    manifest = parse_manifest(values, "here")
    for split in manifest.splits:
        parts = manifest.parts(split)
        assert [part.first_batch for part in parts] == list(split.first_batches[:-1])
        assert sum(part.num_batches for part in parts) == split.num_batches == sum(split.round_sizes)


@pytest.mark.parametrize(
    ("place", "to", "words"),
    [
        (("splits", 1, "name"), "train", "a split is listed twice"),
        (("pad_value",), 1e39, "pad_value"),
        (("splits", 0, "parts", 0, "round_starts"), [0, 5, 3], "must ascend from 0"),
        (("splits", 0, "parts", 0, "shape"), 7, "shape"),
        (("unreached",), {"nodes": ["movie"], "edges": []}, "not of seeds"),
        (("layout",), "sideways", "layout"),
        (("checksums_crc32c",), -1, "checksums_crc32c"),
        (("tensors", 0, "dtype"), "complex64", "complex64"),
        (("tensors", 0, "dims"), ["nothing"], "dimension 'nothing' of 'features' has no size"),
        (("tensors", 0, "shape"), [1, 2], "not those of the tensors"),
        (("dimensions", "train/shape_0"), {}, "has no size"),
        (("graph", "task", "targets", 0, "train_counts"), [1], "statistics of 1 columns, not of 3"),
        (("tensors", 0, "part"), ["features"], "part"),
        (("tensors", 0, "part"), None, "part"),
        (("splits", 0, "num_seeds"), 2**31 - 1, "more rows than int32"),
        (("graph", "task", "targets", 0, "clases"), 3, r"unknown key 'clases'.*Known keys: kind, name, num_classes"),
        (("graph", "task", "seed_type"), "nobody", "is not a node type"),
    ],
)
def test_contradictions_are_refused(values, place, to, words):
    with pytest.raises(ManifestError, match=words):
        parse_manifest(changed(values, *place, to=to), "here")


def test_two_shapes_have_two_budgets(values):
    with pytest.raises(ManifestError, match="two shapes have the same budget"):
        parse_manifest(changed(values, "budgets", 1, to=values["budgets"][0]), "here")


def test_other_versions_are_named_with_ours(values):
    for version in (FORMAT_VERSION - 1, FORMAT_VERSION + 1, None, "3"):
        with pytest.raises(FormatVersionError, match=f"got version {version}; expected version {FORMAT_VERSION}"):
            parse_manifest(changed(values, "format_version", to=version), "here")
    with pytest.raises(ManifestError, match="missing or not a table"):
        parse_manifest(None, "here")


def test_arrays_follow_from_graph_and_budgets(values):
    spec = values["tensors"][-1]
    for tensors, words in (
        (values["tensors"][:-1], "a tensor is not listed"),
        (values["tensors"] + [{**spec, "name": "more"}], "follows from nothing"),
        (values["tensors"][:-1] + [{**spec, "dtype": "uint8"}], "dtype of tensor"),
        (values["tensors"][:-1] + [{**spec, "dims": spec["dims"][::-1]}], "dims of tensor"),
    ):
        manifest = parse_manifest(changed(values, "tensors", to=tensors), "here")
        with pytest.raises(ManifestError, match=words):
            require_listing(manifest, "here")
