"""`verify` finds what a faulty writer would store, although all checksums fit."""

import re
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards import pipeline
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.errors import BudgetError, FormatVersionError
from heteroshards.schemas.graph import edge_key
from tests.pipeline.build import job
from tests.pipeline.stores import chunk_path, manifest_of, read, reseal, rewrite
from tests.strategies import graphs, random_graph

TYPES = {("movie", "to", "actor"): 120, ("actor", "to", "movie"): 120}
SAMPLING = {"batch_size": 4, "rounds": 2, "fanout": [3, 2]}
KEY = "actor__to__movie"


@pytest.fixture(scope="module")
def movies():
    sizes = {"movie": 60, "actor": 50}
    data = random_graph(np.random.default_rng(0), sizes, TYPES, "movie", {"movie": 3, "actor": 2})
    for edge_type in data.edge_types:
        data[edge_type].edge_attr = torch.randn(data[edge_type].num_edges, 2)
    return data


def config_of(data, root="unused", **sections):
    store = {"chunk_batches": 2, **sections.pop("store", {})}
    return job(data, root, sampling={**SAMPLING, **sections.pop("sampling", {})}, store=store, **sections)


@pytest.fixture(scope="module")
def inline_store(movies, tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    return pipeline.prepare(movies, config_of(movies, root, store={"features": "inline"}))


@pytest.fixture
def store(inline_store, tmp_path):
    return shutil.copytree(inline_store, tmp_path / "store")


def whats(verified):
    return [finding.what for finding in verified.findings]


def against(data, path, store=None, **sections):
    config = config_of(data, store=store or {"features": "inline"}, **sections)
    return verify(path, from_data(data, config.dataset, {}), config)


@settings(max_examples=15, deadline=None)
@given(
    data=graphs(),
    batch_size=st.integers(1, 7),
    fanout=st.lists(st.integers(-1, 4), min_size=1, max_size=3),
    replace=st.booleans(),
    grouping=st.sampled_from(["random", "balanced", "packed"]),
    zarr_format=st.sampled_from([2, 3]),
    features=st.sampled_from(["table", "inline"]),
    oversize=st.sampled_from(["", "shapes", "skip", "trim_nodes_and_edges"]),
)
def test_whatever_prepare_writes_is_sound(
    tmp_path_factory, data, batch_size, fanout, replace, grouping, zarr_format, features, oversize
):
    if replace:
        fanout = [max(hop, 0) for hop in fanout]
    sampling: dict[str, Any] = {"batch_size": batch_size, "rounds": 2, "fanout": fanout, "replace": replace}
    budget = {"mode": "sampled", "num_batches": 1, "oversize": oversize} if oversize else {}
    if oversize == "shapes":
        budget = {"shapes": 2}
    store = {"zarr_format": zarr_format, "features": features, "chunk_batches": 3}
    config = job(
        data, tmp_path_factory.mktemp("s"), sampling={**sampling, "grouping": grouping}, budget=budget, store=store
    )
    try:
        path = pipeline.prepare(data, config)
    except BudgetError as error:
        assert oversize == "skip" and "skipping leaves none" in str(error)
        return
    alone, compared = verify(path), verify(path, from_data(data, config.dataset, {}), config)
    assert alone.is_sound and compared.is_sound and alone.proven == ()
    assert compared.proven[0].startswith("every seed is in every round once")
    parts = [part for split in manifest_of(path)["splits"] for part in split["parts"]]
    assert alone.num_batches == compared.num_batches == sum(part["round_starts"][-1] for part in parts)
    assert compared.num_resampled >= len(manifest_of(path)["splits"])


def test_the_whole_graph_as_one_batch_is_sound(movies, tmp_path):
    config = job(movies, tmp_path, sampling={"mode": "full"})
    path = pipeline.prepare(movies, config)
    assert verify(path, from_data(movies, config.dataset, {}), config).is_sound


def test_a_subset_is_sound(movies, tmp_path):
    config = config_of(movies, tmp_path, dataset={"subset": {"movie": 30}, "remove_isolated": True})
    path = pipeline.prepare(movies, config)
    assert verify(path, from_data(movies, config.dataset, {}), config).is_sound


def cell(*index):
    """A change of one cell of a chunk."""

    def change(value):
        def apply(rows):
            rows[index] = value

        return apply

    return change


def swap_columns(rows):
    rows[0, ..., [0, 1]] = rows[0, ..., [1, 0]]


CORRUPTIONS = {
    "seed id out of range": ("train/seeds/n_id", cell(0, 0)(60), "outside 0..59"),
    "seed id as pad": ("train/seeds/n_id", cell(0, 0)(-1), "outside 0..59"),
    "label out of range": ("train/seeds/targets/y", cell(0, 0)(3), "outside 0..2"),
    "withheld label in a real row": ("train/seeds/targets/y", cell(0, 0)(-100), "outside 0..2"),
    "mask with a hole": ("train/nodes/movie/mask", cell(0, 1)(False), "real rows do not come first"),
    "node id out of range": ("train/nodes/actor/n_id", cell(1, 0)(50), "outside 0..49"),
    "pad node id": ("train/nodes/actor/n_id", cell(1, -1)(7), "a pad row is not -1"),
    "seeds not first": ("train/nodes/movie/n_id", swap_columns, "the first rows are not the seeds"),
    "pad features": ("train/nodes/movie/x", cell(0, -1, 0)(1.0), "a pad row is not 0.0"),
    "pad edge features": (f"train/edges/{KEY}/edge_attr", cell(0, -1, 0)(1.0), "a pad row is not 0.0"),
    "local id over the budget": (f"train/edges/{KEY}/edge_index", cell(0, 0, 0)(1000), "outside its budget"),
    "negative local id": (f"train/edges/{KEY}/edge_index", cell(0, 1, 0)(-1), "outside its budget"),
    "pad edge to a real row": (f"train/edges/{KEY}/edge_index", cell(0, 0, -1)(0), "does not join the last rows"),
    "edge id out of range": (f"train/edges/{KEY}/e_id", cell(0, 0)(120), "outside 0..119"),
    "pad edge id": (f"train/edges/{KEY}/e_id", cell(0, -1)(3), "a pad row is not -1"),
    "edge into another hop": (f"train/edges/{KEY}/edge_index", cell(0, 1, 0)(5), "not grouped by hop"),
    "real edges counted wrong": ("train/stats/num_edges", cell(1, 1, 0)(0), "the statistics count another number"),
    "seeds counted wrong": ("train/stats/num_seeds", cell(0)(1), "the statistics count another number"),
    "hop 0 with more than seeds": ("train/stats/num_nodes", cell(0, 1, 0)(1), "hop 0 of 'actor' is not the seeds"),
    "batch of another round": ("train/stats/round", cell(0)(1), "a batch is not of its round"),
    "another limiter": ("train/stats/limiter", cell(0)(77), "the limiter is not the one of the counts"),
    "nodes over a hop's capacity": ("train/stats/num_nodes", cell(0, 0, 1)(500), "exceeds a hop's capacity"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_a_faulty_writer_would_store(store, name):
    path, change, message = CORRUPTIONS[name]
    rewrite(store, path, change)
    verified = verify(store)
    hits = [finding for finding in verified.findings if message in finding.what]
    assert hits, whats(verified)
    assert hits[0].split == "train" and 0 <= hits[0].batches[0] < hits[0].batches[1] <= 2


def test_a_real_edge_to_a_pad_row(store):
    last = manifest_of(store)["budgets"][0]["num_nodes"]["actor"] - 1
    rewrite(store, f"train/edges/{KEY}/edge_index", cell(0, 0, 0)(last))
    assert "a real edge joins a pad row" in whats(verify(store))


def test_a_node_twice_in_a_batch(store):
    rewrite(store, "train/nodes/actor/n_id", lambda rows: rows[0].__setitem__(1, rows[0, 0]))
    assert "a global id occurs twice in a batch" in whats(verify(store))


def test_a_seed_twice_in_a_round_and_another_missing(store):
    seeds = read(store, "train/seeds/n_id")

    def repeat(rows):
        rows[1, 0] = seeds[0, 0]

    for path in ("train/seeds/n_id", "train/nodes/movie/n_id"):
        rewrite(store, path, repeat)
    found = whats(verify(store))
    assert "1 seeds occur twice in a round" in found
    assert "1 seeds are missing from round 0" in found


def test_a_seed_of_another_split(store):
    other = int(read(store, "val/seeds/n_id")[0, 0])
    for path in ("train/seeds/n_id", "train/nodes/movie/n_id"):
        rewrite(store, path, cell(0, 0)(other))
    verified = verify(store)
    assert any("belong to another split: their labels leak" in what for what in whats(verified))


def test_a_label_that_differs_between_rounds(store):
    rewrite(store, "train/seeds/targets/y", lambda rows: rows[0].__setitem__(0, (rows[0, 0] + 1) % 3))
    assert any("have another label than elsewhere" in what for what in whats(verify(store)))


def test_a_split_that_claims_other_seeds(store):
    splits = manifest_of(store)["splits"]
    reseal(store, splits=[{**splits[0], "num_seeds": splits[0]["num_seeds"] + 1}, *splits[1:]])
    assert "the rounds together have another number of seeds than the manifest says" in whats(verify(store))


@pytest.mark.parametrize("kind", ["reordered", "renamed", "resized"])
def test_splits_that_are_not_the_sources(store, movies, kind):
    first, *others = manifest_of(store)["splits"]
    changed = {
        "reordered": [*others, first],
        "renamed": [first, *others[:-1], {**others[-1], "name": "predict"}],
        "resized": [{**first, "num_seeds": first["num_seeds"] + 1}, *others],
    }[kind]
    reseal(store, splits=changed)
    assert "the splits and their seeds are not those of the source data" in whats(against(movies, store))


def test_another_formats_store_is_not_called_damaged(store):
    reseal(store, format_version=3)
    with pytest.raises(FormatVersionError, match=r"got version 3; expected version 5.*--force"):
        verify(store)


def test_tensors_that_do_not_follow_from_graph_and_budget(store):
    manifest = manifest_of(store)
    budget = manifest["budgets"][0]
    others = manifest["budgets"][1:]
    reseal(store, budgets=[{**budget, "num_nodes": {**budget["num_nodes"], "actor": 99}}, *others])
    assert any(re.match("shape of tensor 'train/(nodes/actor|all_nodes)/n_id'", what) for what in whats(verify(store)))
    reseal(
        store,
        budgets=manifest["budgets"],
        tensors=[t for t in manifest["tensors"] if t["role"] != "targets"],
    )
    assert "a tensor is not listed" in whats(verify(store))


def test_metadata_that_zarr_reads_otherwise_than_the_manifest(store):
    file = store / "train/seeds/targets/y/.zarray"
    file.write_text(file.read_text().replace("<i4", "<u4"))
    reseal(store)
    assert whats(verify(store)) == ["shape, chunks or dtype are not the manifest's"]


def test_a_damaged_chunk_is_not_judged_by_its_content(store):
    chunk_path(store, "train/seeds/targets/y").write_bytes(b"rubbish")
    assert whats(verify(store)) == ["the file has the wrong size"]


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_a_chunk_that_cannot_be_decoded(movies, tmp_path, codec):
    store = pipeline.prepare(movies, config_of(movies, tmp_path, store={"codec": codec}))
    rewrite(store, "train/seeds/targets/y", lambda rows: None, encode=lambda data: data[: len(data) // 2])
    assert "a chunk cannot be decoded" in whats(verify(store))


def test_findings_name_split_and_batches(store):
    rewrite(store, "train/seeds/targets/y", cell(1, 0)(3), index=1)
    assert str(verify(store).findings[0]) == (
        "train/seeds/targets/y (split 'train', batch 3): a label lies outside 0..2"
    )


def test_sound_against_its_source(store, movies):
    verified = against(movies, store)
    assert verified.is_sound and verified.num_resampled == 4 * 3


def test_edges_that_the_source_does_not_have(store, movies):
    rewrite(store, f"train/edges/{KEY}/e_id", lambda rows: rows[0].__setitem__(slice(0, 2), rows[0, [1, 0]]))
    verified = against(movies, store)
    assert "an edge joins other nodes than in the source graph" in whats(verified)
    assert not whats(verify(store)), "without the source nobody can know"


def test_features_labels_and_tables_that_the_source_does_not_have(store, movies, tmp_path):
    rewrite(store, "train/nodes/movie/x", cell(0, 0, 0)(9.0))
    rewrite(store, "val/seeds/targets/y", lambda rows: rows[0].__setitem__(0, (rows[0, 0] + 1) % 3))
    found = whats(against(movies, store))
    assert "features are not those of their id" in found
    assert "1 seeds have another label than the source data" in found
    table = pipeline.prepare(movies, config_of(movies, tmp_path))
    rewrite(table, "features/actor/x", cell(7, 0)(9.0))
    assert whats(against(movies, table, store={"features": "table"})) == ["rows 0 to 49 differ from the source data"]


def test_batches_that_only_sampling_anew_can_tell(store, movies):
    """Two edges of one hop in the other order: everything holds, but it is not what prepare writes."""
    for name in ("edge_index", "e_id", "edge_attr"):
        axis = {"edge_index": 2, "e_id": 1, "edge_attr": 1}[name]

        def exchange(rows, axis=axis):
            order = np.arange(rows.shape[axis])
            order[[0, 1]] = 1, 0
            rows[0] = np.take(rows[0], order, axis=axis - 1)

        rewrite(store, f"train/edges/{KEY}/{name}", exchange)
    assert verify(store).is_sound
    found = against(movies, store).findings
    assert {finding.what for finding in found} == {"the batch is not the one that is sampled from the source data"}
    assert {finding.batches for finding in found} == {(0, 1)}


def test_statistics_of_trimming_are_counted_anew(store, movies):
    rewrite(store, "train/stats/num_nodes_trimmed", cell(1, 0, 1)(5))
    found = against(movies, store).findings
    assert [(f.what, f.batches) for f in found] == [
        ("the statistics are not those of the batches sampled anew", (1, 2))
    ]


def test_other_data_or_another_config(store, movies):
    other = movies.clone()
    other["actor"].x[3, 1] += 1
    found = whats(against(other, store))
    assert found == ["the source data is not what the store was made from"]
    found = whats(against(movies, store, sampling={"rounds": 3}))
    assert found == ["[sampling] rounds is not what the store was made with"]


def test_an_unfinished_store_is_not_sound(store):
    reseal(store, complete=False)
    assert whats(verify(store)) == ["the store was not finished"]


def test_edge_keys_of_the_graph_are_those_of_the_tests(movies):
    assert KEY in {edge_key(t) for t in movies.edge_types}


def test_a_shard_whose_seeds_do_not_exist_is_only_damaged(store):
    """Nothing is left to compare with elsewhere, which is no error of its own."""
    rewrite(store, "test/seeds/n_id", lambda rows: np.copyto(rows, 2**30, where=rows >= 0))
    findings = " ".join(verify(store).lines())
    assert "a global id lies outside" in findings
