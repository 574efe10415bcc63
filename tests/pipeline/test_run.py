"""`prepare` as a whole: what is in a store, and that nothing else can be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards import pipeline
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import from_data
from heteroshards.pipeline.writing import partitions
from heteroshards.pipeline.writing.writer import StoreWriter
from heteroshards.schemas.errors import BudgetError, ConfigError, StoreError
from heteroshards.schemas.graph import edge_key
from tests.pipeline.build import job
from tests.pipeline.promises import check_store
from tests.pipeline.stores import files_of, manifest_of, read
from tests.strategies import graphs, random_graph

MOVIE_TYPES = {
    ("movie", "to", "director"): 60,
    ("movie", "to", "actor"): 120,
    ("director", "to", "movie"): 60,
    ("actor", "to", "movie"): 120,
}


@pytest.fixture(scope="module")
def movies():
    rng = np.random.default_rng(0)
    sizes = {"movie": 60, "director": 20, "actor": 50}
    return random_graph(rng, sizes, MOVIE_TYPES, "movie", {"movie": 6, "director": 5, "actor": 4})


SMALL = {"sampling": {"batch_size": 4, "rounds": 3, "fanout": [3, 2]}}


@settings(max_examples=15, deadline=None)
@given(
    graphs(),
    st.integers(1, 7),
    st.integers(1, 3),
    st.lists(st.integers(-1, 4), min_size=1, max_size=2),
    st.sampled_from([{"mode": "exact"}, {"shapes": 3}, {"mode": "sampled", "num_batches": 3, "oversize": "skip"}]),
    st.sampled_from([2, 3]),
)
def test_any_graph_makes_a_store_that_keeps_its_promises(
    tmp_path_factory, data, batch_size, rounds, fanout, budget, zarr_format
):
    sampling = {"batch_size": batch_size, "rounds": rounds, "fanout": fanout}
    config = job(
        data,
        tmp_path_factory.mktemp("stores"),
        sampling=sampling,
        budget=budget,
        store={"zarr_format": zarr_format, "chunk_batches": 2},
    )
    try:
        store = pipeline.prepare(data, config)
    except BudgetError as error:
        assert budget.get("mode") == "sampled" and "skipping leaves none" in str(error)
        return
    check_store(store, data)


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize(
    "budget", [{}, {"shapes": 3}, {"mode": "uniform", "nodes": 18, "edges": 20, "oversize": "trim_nodes_and_edges"}]
)
def test_workers_never_change_a_byte(movies, tmp_path, features, budget):
    config = job(movies, tmp_path, **SMALL, budget=budget, store={"features": features, "chunk_batches": 2})
    one = pipeline.prepare(movies, config, store=tmp_path / "one", workers=1)
    three = pipeline.prepare(movies, config, store=tmp_path / "three", workers=3)
    assert files_of(one) == files_of(three)
    check_store(one, movies)


def test_what_takes_longest_is_written_first(movies, tmp_path, monkeypatch):
    """Tables by their bytes, batches by four times theirs; and everything once."""
    monkeypatch.setattr(partitions, "SHARDS_PER_PARTITION", 2)
    began, finish = [], StoreWriter.finish_partition
    monkeypatch.setattr(
        StoreWriter, "finish_partition", lambda self, name, sums: began.append(name) or finish(self, name, sums)
    )
    data = movies.clone()
    data["actor"].x = torch.ones(50, 2000)
    store = pipeline.prepare(data, job(data, tmp_path, **SMALL, store={"chunk_batches": 2}))
    assert began[0] == "features-actor-x" and set(began[-3:]) == {"stats-train", "stats-val", "stats-test"}
    assert began.index("train-000000") < began.index("features-movie-x")
    assert len(began) == len(set(began))
    check_store(store, data)


def test_inline_features_equal_the_table(movies, tmp_path):
    table = pipeline.prepare(movies, job(movies, tmp_path, **SMALL))
    inline = pipeline.prepare(movies, job(movies, tmp_path, **SMALL, store={"features": "inline", "pad_value": 7.5}))
    assert "features" not in {file.split("/")[0] for file in files_of(inline)}
    for t in movies.node_types:
        n_id, x = read(inline, f"train/nodes/{t}/n_id"), read(inline, f"train/nodes/{t}/x")
        assert np.array_equal(n_id, read(table, f"train/nodes/{t}/n_id"))
        assert np.array_equal(x[n_id >= 0], movies[t].x.numpy()[n_id[n_id >= 0]])
        assert (x[n_id < 0] == 7.5).all()
        assert np.array_equal(read(table, f"features/{t}/x"), movies[t].x.numpy())


def test_inline_says_how_much_larger_it_is_before_writing(movies, tmp_path):
    said = []
    pipeline.prepare(movies, job(movies, tmp_path, **SMALL, store={"features": "inline"}), report=said.append)
    assert any("inline features take" in line and "times" in line for line in said)


def test_edge_features_travel_with_their_edges(movies, tmp_path):
    data = movies.clone()
    for edge_type in data.edge_types:
        data[edge_type].edge_attr = torch.arange(data[edge_type].num_edges, dtype=torch.float).view(-1, 1) + 0.5
    store = pipeline.prepare(data, job(data, tmp_path, **SMALL, store={"features": "inline"}))
    table = pipeline.prepare(data, job(data, tmp_path, **SMALL, store={"e_id": False}))
    for edge_type in data.edge_types:
        folder = f"train/edges/{edge_key(edge_type)}"
        attr, e_id = read(store, f"{folder}/edge_attr"), read(store, f"{folder}/e_id")
        assert np.array_equal(attr[e_id >= 0][:, 0], e_id[e_id >= 0] + 0.5)
        assert np.array_equal(read(table, f"{folder}/e_id"), e_id), "the table needs ids even where e_id = false"
        assert len(read(table, f"features/{edge_key(edge_type)}/edge_attr")) == data[edge_type].num_edges


def test_no_label_of_a_node_outside_the_splits_seeds(movies, tmp_path):
    """Labels of other splits are withheld even where their nodes are sampled as neighbors."""
    data = movies.clone()
    data["movie"].y = torch.arange(60)
    store = pipeline.prepare(data, job(data, tmp_path, **SMALL))
    for split in ("train", "val", "test"):
        own = set(np.flatnonzero(data["movie"][f"{split}_mask"].numpy()).tolist())
        assert set(read(store, f"{split}/seeds/targets/y").ravel().tolist()) <= own | {-100}
    assert not [file for file in files_of(store) if "/y/" in file and "/seeds/targets/y/" not in file]


def test_full_mode_holds_the_whole_graph_once_per_split(movies, tmp_path):
    store = pipeline.prepare(movies, job(movies, tmp_path, sampling={"mode": "full"}))
    for split in ("train", "val", "test"):
        assert read(store, f"{split}/seeds/n_id").shape[0] == 1
        for t in movies.node_types:
            n_id = read(store, f"{split}/nodes/{t}/n_id")[0]
            assert np.array_equal(np.sort(n_id[n_id >= 0]), np.arange(movies[t].num_nodes))
    check_store(store, movies)


def test_full_mode_is_never_trimmed(movies, tmp_path):
    budget = {"mode": "uniform", "nodes": 100, "edges": 200, "oversize": "trim_nodes"}
    with pytest.raises(ConfigError, match="no meaning with"):
        pipeline.prepare(movies, job(movies, tmp_path, sampling={"mode": "full"}, budget=budget))


def test_skipping_says_what_is_lost_and_keeps_the_rest(movies, tmp_path):
    said = []
    budget = {"mode": "uniform", "nodes": 19, "edges": 24, "oversize": "skip"}
    store = pipeline.prepare(movies, job(movies, tmp_path, **SMALL, budget=budget), report=said.append)
    check_store(store, movies)
    skipped = {s["name"]: s["num_batches_skipped"] for s in manifest_of(store)["splits"]}
    assert sum(skipped.values()) > 0
    assert any("are skipped" in line for line in said)


def test_skipping_leaves_a_batch_of_every_round(tmp_path):
    """Else an epoch would have nothing to read."""
    data = random_graph(np.random.default_rng(0), {"a": 30, "b": 9}, {("b", "to", "a"): 60}, "a")
    sampling = {"batch_size": 5, "rounds": 6, "fanout": [-1], "grouping": "random"}

    def prepare(edges):
        budget = {"mode": "uniform", "nodes": 30, "edges": edges, "oversize": "skip"}
        return pipeline.prepare(data, job(data, tmp_path, sampling=sampling, budget=budget))

    with pytest.raises(BudgetError, match=r"'train', round 4: no batch fits the budget in 1 of 6 rounds, so skipping"):
        prepare(12)
    with pytest.raises(BudgetError, match=r"split 'train': no batch fits the budget, so skipping leaves none"):
        prepare(8)
    assert list(tmp_path.iterdir()) == []
    (train, *_) = manifest_of(prepare(14))["splits"]
    assert train["num_batches_skipped"] > 0 and (np.diff(train["parts"][0]["round_starts"]) > 0).all()


def test_over_budget_is_an_error_that_names_batch_and_types_and_leaves_nothing(movies, tmp_path):
    budget = {"mode": "uniform", "nodes": 12, "edges": 12}
    with pytest.raises(
        BudgetError, match=r"split 'train', round 0, batch \d.*its budget of 12 holds 11.*mode = 'exact'"
    ):
        pipeline.prepare(movies, job(movies, tmp_path, **SMALL, budget=budget))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_a_seed_that_alone_is_too_much_is_named(movies, tmp_path, grouping):
    budget = {"mode": "uniform", "nodes": 60, "edges": 5}
    sampling = {**SMALL["sampling"], "grouping": grouping}
    with pytest.raises(BudgetError, match=r"split 'train', round 0.*: seed \d+.* alone does not fit the budget"):
        pipeline.prepare(movies, job(movies, tmp_path, sampling=sampling, budget=budget))
    assert list(tmp_path.iterdir()) == []


def test_no_seed_is_blamed_that_would_fit_when_trimmed(tmp_path):
    """Each seed's nodes are over the budget, too, but those may be trimmed; the edges of four seeds may not."""
    edges = {("b", "to", "a"): 300, ("a", "to", "b"): 90}
    data = random_graph(np.random.default_rng(0), {"a": 30, "b": 3}, edges, "a")
    sampling = {"fanout": [5, 5], "batch_size": 4, "grouping": "random"}
    budget = {"mode": "uniform", "nodes": 6, "edges": 20, "oversize": "trim_nodes"}
    with pytest.raises(BudgetError, match=r"the batch does not fit the budget: 'b__to__a' has 20 edges"):
        pipeline.prepare(data, job(data, tmp_path, sampling=sampling, budget=budget))


def test_explicit_budgets_are_taken_as_given(movies, tmp_path):
    nodes = {"movie": 50, "director": 30, "actor": 40}
    edges = {edge_key(t): 60 + i for i, t in enumerate(movies.edge_types)}
    store = pipeline.prepare(
        movies, job(movies, tmp_path, **SMALL, budget={"mode": "explicit", "nodes": nodes, "edges": edges})
    )
    assert manifest_of(store)["budgets"][0]["num_nodes"] == nodes
    assert manifest_of(store)["budgets"][0]["num_edges"] == edges
    check_store(store, movies)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"movie": 50, "director": 30}, "leaves a type out; got actor"),
        ({"movie": 50, "director": 30, "actor": 9, "acter": 9}, "unknown type; got acter.*Did you mean 'actor'"),
    ],
)
def test_explicit_budgets_name_every_type(movies, tmp_path, nodes, message):
    edges = {edge_key(t): 60 for t in movies.edge_types}
    with pytest.raises(ConfigError, match=message):
        pipeline.prepare(
            movies, job(movies, tmp_path, **SMALL, budget={"mode": "explicit", "nodes": nodes, "edges": edges})
        )


def test_a_trim_policy_that_does_not_suffice_is_an_error(movies, tmp_path):
    budget = {"mode": "uniform", "nodes": 100, "edges": 8, "oversize": "trim_nodes"}
    with pytest.raises(BudgetError, match="edges, its budget of 8 holds 7"):
        pipeline.prepare(movies, job(movies, tmp_path, **SMALL, budget=budget))


def test_hop_capacities_hold_every_batch_and_one_more(movies, tmp_path):
    store = pipeline.prepare(movies, job(movies, tmp_path, **SMALL))
    manifest = manifest_of(store)
    edge_keys = [edge_key(t) for t in movies.edge_types]
    for shape, splits in enumerate((["train"], ["val", "test"])):
        budget = manifest["budgets"][shape]
        for kind, names in (("nodes", movies.node_types), ("edges", edge_keys)):
            counts = np.concatenate([read(store, f"{split}/stats/num_{kind}") for split in splits])
            for i, name in enumerate(names):
                expected = counts[:, i].cumsum(axis=1).max(axis=0) + 1
                assert budget[f"hop_{kind}"][name] == expected.tolist()
                assert budget[f"num_{kind}"][name] == expected[-1], "exact means the most, plus one"


def test_the_second_time_it_is_found_and_another_number_makes_another_store(movies, tmp_path):
    def run(**sections):
        source = from_data(movies, job(movies, tmp_path).dataset, {})
        return prepare_source(source, job(movies, tmp_path, **sections))

    first, second = run(**SMALL), run(**SMALL)
    assert not first.was_found and second.was_found and first.path == second.path
    other = run(sampling={"batch_size": 5, "rounds": 3, "fanout": [3, 2]})
    assert not other.was_found and other.path != first.path and first.path.exists()


def test_other_data_makes_another_store(movies, tmp_path):
    data = movies.clone()
    data["actor"].x[3, 1] += 1
    one, other = (pipeline.prepare(d, job(movies, tmp_path, **SMALL)) for d in (movies, data))
    assert one != other


def test_another_store_in_the_way_is_an_error_unless_forced(movies, tmp_path):
    path = tmp_path / "here"
    pipeline.prepare(movies, job(movies, tmp_path, **SMALL), store=path)
    before = files_of(path)
    other = job(movies, tmp_path, sampling={"batch_size": 5})
    with pytest.raises(StoreError, match=r"other data or another config.*--force"):
        pipeline.prepare(movies, other, store=path)
    assert files_of(path) == before
    pipeline.prepare(movies, other, store=path, force=True)
    assert manifest_of(path)["sampling"]["batch_size"] == 5
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["here"]


def test_a_subset_keeps_the_original_ids(movies, tmp_path):
    config = job(movies, tmp_path, **SMALL, dataset={"subset": {"movie": 30}, "remove_isolated": True})
    store = pipeline.prepare(movies, config)
    original = read(store, "features/director/original_id")
    assert len(original) < 20
    assert np.array_equal(read(store, "features/director/x"), movies["director"].x.numpy()[original])
