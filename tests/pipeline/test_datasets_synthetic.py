"""The synthetic graph: IMDB's shape, the same bytes everywhere, classes that show in neighbors."""

import hashlib

import numpy as np
import pytest

from heteroshards.pipeline.sources import load_dataset
from heteroshards.pipeline.sources.synthetic import SyntheticArgs, SyntheticArrays, synthetic_arrays, synthetic_graph
from heteroshards.schemas.config import DatasetConfig
from heteroshards.schemas.errors import ConfigError


@pytest.fixture(scope="module")
def arrays() -> SyntheticArrays:
    return synthetic_arrays(SyntheticArgs())


def test_it_has_the_shape_of_imdb(arrays: SyntheticArrays) -> None:
    assert {name: x.shape for name, x in arrays.features.items()} == {
        "movie": (4278, 3066),
        "director": (2081, 3066),
        "actor": (5257, 3066),
    }
    assert {name: edges.shape for name, edges in arrays.person_edges.items()} == {
        "director": (2, 4278),
        "actor": (2, 12828),
    }
    assert {split: int(mask.sum()) for split, mask in arrays.masks.items()} == {"train": 400, "val": 400, "test": 3478}
    assert sum(mask.astype(int) for mask in arrays.masks.values()).max() == 1
    assert np.bincount(arrays.y).min() > 1000 and arrays.y.max() == 2


def test_features_are_sparse_bags_of_words(arrays: SyntheticArrays) -> None:
    for x, mean_words in zip(arrays.features.values(), (6, 12, 14), strict=True):
        assert set(np.unique(x)) == {0.0, 1.0}
        assert abs(x.sum(axis=1).mean() - mean_words) < 0.5
        assert x.sum(axis=1).min() >= 1


def test_everyone_has_a_movie_and_no_cast_lists_anyone_twice(arrays: SyntheticArrays) -> None:
    for person, (movie, name) in arrays.person_edges.items():
        assert (np.bincount(name) > 0).all() and len(np.bincount(name)) == len(arrays.features[person])
        assert len(set(zip(movie.tolist(), name.tolist(), strict=True))) == len(movie)
        assert (np.diff(movie) >= 0).all()


def test_types_attributes_and_order_are_those_of_pyg() -> None:
    data = synthetic_graph({"scale": 0.02})
    assert data.node_types == ["movie", "director", "actor"]
    assert data.edge_types == [
        ("movie", "to", "director"),
        ("movie", "to", "actor"),
        ("director", "to", "movie"),
        ("actor", "to", "movie"),
    ]
    assert list(data["movie"].keys()) == ["x", "y", "train_mask", "val_mask", "test_mask"]
    for person in ("director", "actor"):
        forth, back = data["movie", "to", person].edge_index.numpy(), data[person, "to", "movie"].edge_index.numpy()
        assert sorted(map(tuple, forth.T)) == sorted(map(tuple, back[::-1].T))
    assert data.validate()


def test_the_same_arguments_give_the_same_bytes() -> None:
    """A changed digest makes other stores of everyone's quickstart: change it only with intent."""
    arrays = synthetic_arrays(SyntheticArgs(scale=0.05, num_features=64))
    digest = hashlib.sha256()
    for part in (arrays.features, {"y": arrays.y}, arrays.masks, arrays.person_edges):
        for array in part.values():
            digest.update(np.ascontiguousarray(array).tobytes())
    assert digest.hexdigest()[:16] == "2ae250c47b8e7db4"
    other = synthetic_arrays(SyntheticArgs(scale=0.05, num_features=64, rng_seed=1))
    assert not np.array_equal(other.features["movie"], arrays.features["movie"])


def test_classes_show_in_neighbors_and_hardly_in_own_words(arrays: SyntheticArrays) -> None:
    own = arrays.features["movie"]
    nearby = np.zeros_like(own)
    for person, (movie, name) in arrays.person_edges.items():
        np.add.at(nearby, movie, arrays.features[person][name])
    assert naive_bayes(own, arrays) < 0.5
    assert naive_bayes(own + nearby, arrays) > 0.8


def naive_bayes(x: np.ndarray, arrays: SyntheticArrays) -> float:
    """Test accuracy of multinomial naive Bayes on word counts."""
    train, test = arrays.masks["train"], arrays.masks["test"]
    counts = np.stack([x[train & (arrays.y == c)].sum(axis=0) + 1 for c in range(3)])
    log_odds = x[test] @ np.log(counts / counts.sum(axis=1, keepdims=True)).T
    prior = np.log(np.bincount(arrays.y[train]))
    return float((np.argmax(log_odds + prior, axis=1) == arrays.y[test]).mean())


@pytest.mark.parametrize("homophily", [0.0, 1.0])
def test_tiny_and_extreme_graphs_are_made(homophily: float) -> None:
    args = {"num_movies": 10, "num_directors": 1, "num_actors": 3, "num_features": 8, "homophily": homophily}
    source = load_dataset(DatasetConfig(args=args))
    assert {split: len(ids) for split, ids in source.seeds.items()} == {"train": 1, "val": 1, "test": 8}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"num_movie": 5}, "Did you mean 'num_movies'"),
        ({"scale": 0}, "scale"),
        ({"homophily": 2}, "homophily"),
        ({"num_directors": 9999}, "cannot share 9999 directors"),
        ({"num_actors": 2}, "cannot share 2 actors"),
    ],
)
def test_impossible_arguments_are_explained(args: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_dataset(DatasetConfig(args=args))


def test_it_is_called_synthetic() -> None:
    assert "synthetic" in load_dataset(DatasetConfig(args={"scale": 0.01})).description["dataset"]


def test_answers_to_questions_are_counted_movies() -> None:
    data = synthetic_graph({"scale": 0.05, "num_features": 8, "num_asked": 40})
    movies, directors = data["movie", "to", "director"].edge_index.tolist()
    for node, when, y in zip(*(data["ask"][key].tolist() for key in ("node", "when", "y")), strict=True):
        made = [m for m, d in zip(movies, directors, strict=True) if d == node and data["movie"].date[m] <= when]
        assert y == len(made)
