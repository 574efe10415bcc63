"""A seeded graph of IMDB's shape, made offline: not real data, and called synthetic wherever it shows.

A movie's own words say little about its class. Its director and actors mostly work in movies of one class, and
*their* words tell: a model has to look at neighbors. Only `Generator.random` of PCG64 and exact float arithmetic
are used, so that the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from heteroshards.pipeline.memory import require_memory
from heteroshards.schemas.base import Frozen, validate
from heteroshards.schemas.errors import ConfigError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

CLASS_SHARES = (1135, 1584, 1559)  # IMDB's action, comedy and drama
ACTORS_PER_MOVIE = 3
MOVIES_PER_SHORT_CAST = 713  # IMDB: 12828 = 3 * 4278 - 6, and 6 = 4278 // 713
MEAN_WORDS = {"movie": 6, "director": 12, "actor": 14}
SPAN = 10_000  # days within which movies come out and questions are asked
TOPIC_SHARE = {"movie": 0.08, "director": 0.25, "actor": 0.25}  # how many of a node's words are about its class


class SyntheticArgs(Frozen):
    """`[dataset] args` of the synthetic graph.

    Attributes:
        scale: multiplies the three numbers of nodes.
        homophily: probability that a person's next movie is of the class that person works in.
        targets: more attributes of the movies to predict, see `synthetic_targets`; `y` is always there.
        num_asked: so many questions about directors at some time, see `synthetic_questions`; movies then have dates.
        rng_seed: root of every draw.
    """

    num_movies: int = Field(default=4278, ge=10, lt=2**24)
    num_directors: int = Field(default=2081, ge=1, lt=2**24)
    num_actors: int = Field(default=5257, ge=1, lt=2**24)
    num_features: int = Field(default=3066, ge=8, lt=2**20)
    scale: float = Field(default=1.0, gt=0, le=1000)
    homophily: float = Field(default=0.75, ge=0, le=1)
    targets: tuple[Literal["hit", "tags", "rating"], ...] = ()
    num_asked: int = Field(default=0, ge=0, lt=2**24)
    rng_seed: int = Field(default=0, ge=0, lt=2**63)


class SyntheticArrays(NamedTuple):
    """Features `{type: float32 [nodes, words]}` of 0 and 1, classes and masks of the movies, and `person_edges`
    `{director | actor: int64 [2, edges]}` from movie to person, ascending by movie, each pair once; and more `targets`
    of the movies."""

    features: dict[str, np.ndarray]
    y: np.ndarray
    masks: dict[str, np.ndarray]
    person_edges: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]


def synthetic_graph(args: dict[str, Any]) -> HeteroData:
    """The graph as PyG's `IMDB` would give it: the same types, attributes, dtypes and order.

    Raises:
        ConfigError: an argument is unknown, or the sizes contradict each other.
    """
    import torch
    from torch_geometric.data import HeteroData

    checked = validate(SyntheticArgs, args, ConfigError, "[dataset] args of the synthetic graph")
    arrays = synthetic_arrays(checked)
    data = HeteroData()
    for name, x in arrays.features.items():
        data[name].x = torch.from_numpy(x)
    data["movie"].y = torch.from_numpy(arrays.y)
    for name, values in arrays.targets.items():
        data["movie"][name] = torch.from_numpy(values)
    for split, mask in arrays.masks.items():
        data["movie"][f"{split}_mask"] = torch.from_numpy(mask)
    for person, edges in arrays.person_edges.items():
        data["movie", "to", person].edge_index = torch.from_numpy(edges)
    for person, edges in arrays.person_edges.items():
        backward = edges[::-1, np.argsort(edges[1], kind="stable")]
        data[person, "to", "movie"].edge_index = torch.from_numpy(np.ascontiguousarray(backward))
    if checked.num_asked:
        date, asked = synthetic_questions(checked, arrays)
        data["movie"].date = torch.from_numpy(date)
        for name, values in asked.items():
            data["ask"][name] = torch.from_numpy(values)
    return data


def synthetic_questions(args: SyntheticArgs, arrays: SyntheticArrays) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """When each movie came out, and questions about directors: how many movies they have made by then.

    Returns:
        int64 [movies], seconds, within 30 years; and of each question `node` and `when`, int64, `y`, float32, and masks
        of three splits, of which each is later than the one before.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(args.rng_seed).spawn(9)[8]))
    movies, directors = arrays.person_edges["director"]
    day, num = 86_400, args.num_asked
    date = (rng.random(len(arrays.y)) * SPAN).astype(np.int64)
    node = (rng.random(num) * (int(directors.max()) + 1)).astype(np.int64)
    when = np.sort((rng.random(num) * SPAN).astype(np.int64))
    came_out = np.sort(directors * SPAN + date[movies])  # directors apart, the movies of each by date
    made = np.searchsorted(came_out, node * SPAN + when, "right") - np.searchsorted(came_out, node * SPAN)
    cuts = np.array([int(num * 0.6), int(num * 0.8)])
    of_split = np.searchsorted(cuts, np.arange(num), side="right")
    masks = {f"{split}_mask": of_split == i for i, split in enumerate(("train", "val", "test"))}
    return date * day, {"node": node, "when": when * day, "y": made.astype(np.float32), **masks}


def synthetic_arrays(args: SyntheticArgs) -> SyntheticArrays:
    """Draw classes, then casts, then words, then splits, each from its own random stream."""
    sizes = {
        "movie": max(10, round(args.num_movies * args.scale)),
        "director": max(1, round(args.num_directors * args.scale)),
        "actor": max(1, round(args.num_actors * args.scale)),
    }
    casts = {"director": np.ones(sizes["movie"], np.int64), "actor": _cast_sizes(sizes["movie"])}
    for person, cast in casts.items():
        if not cast.max() <= sizes[person] <= cast.sum():
            raise ConfigError(
                f"{sizes['movie']} synthetic movies cannot share {sizes[person]} {person}s",
                limit=f"{cast.max()} to {cast.sum()}, so that every {person} has a movie",
                where="[dataset] args of the synthetic graph",
            )
    num_bytes = 4 * args.num_features * sum(sizes.values())
    hint = "Lower [dataset] args: scale or num_features."
    require_memory(num_bytes, "the synthetic graph's features", "[dataset] args", hint)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(args.rng_seed).spawn(8)]
    bounds = np.cumsum(CLASS_SHARES) / sum(CLASS_SHARES)
    classes = {"movie": np.searchsorted(bounds, streams[0].random(sizes["movie"]), side="right").astype(np.int64)}
    edges = {}
    for stream, (person, cast) in zip(streams[1:3], casts.items(), strict=True):
        edges[person], classes[person] = _draw_cast(stream, classes["movie"], cast, sizes[person], args.homophily)
    features = {
        name: _draw_words(stream, classes[name], MEAN_WORDS[name], TOPIC_SHARE[name], args.num_features)
        for stream, name in zip(streams[3:6], sizes, strict=True)
    }
    masks = _draw_masks(streams[6], sizes["movie"])
    found = synthetic_targets(streams[7], edges, classes, sizes["movie"])
    return SyntheticArrays(features, classes["movie"], masks, edges, {name: found[name] for name in args.targets})


def synthetic_targets(
    rng: np.random.Generator, person_edges: dict[str, np.ndarray], classes: dict[str, np.ndarray], num_movies: int
) -> dict[str, np.ndarray]:
    """What else can be asked of a movie; its director and actors, by the classes they work in, say most of it.

    `rating`, float32 [movies]: 6 + 2 * mean of (class - 1) over director and actors, and up to half a point of chance.
    `hit`, int64 [movies]: whether it is among the 6% with the best ratings, about.
    `tags`, int64 [movies, 3]: whether anybody of each class is in it; one entry in ten is unknown, -1.
    """
    movies = np.concatenate([edges[0] for edges in person_edges.values()])
    works_in = np.concatenate([classes[person][edges[1]] for person, edges in person_edges.items()])
    counts = np.bincount(movies, minlength=num_movies)
    mean = np.bincount(movies, works_in - 1, minlength=num_movies) / np.maximum(counts, 1)
    rating = 6 + 2 * mean + rng.random(num_movies) - 0.5
    hit = rating >= np.sort(rating)[num_movies - max(1, num_movies * 6 // 100)]
    tags = np.zeros((num_movies, len(CLASS_SHARES)), np.int64)
    tags[movies, works_in] = 1
    tags[rng.random(tags.shape) < 0.1] = -1
    return {"rating": rating.astype(np.float32), "hit": hit.astype(np.int64), "tags": tags}


def _cast_sizes(num_movies: int) -> np.ndarray:
    cast = np.full(num_movies, ACTORS_PER_MOVIE, np.int64)
    cast[num_movies - num_movies // MOVIES_PER_SHORT_CAST :] -= 1
    return cast


def _draw_cast(
    rng: np.random.Generator, movie_class: np.ndarray, cast: np.ndarray, num_persons: int, homophily: float
) -> tuple[np.ndarray, np.ndarray]:
    """Edges movie -> person, int64 [2, cast.sum()], and the class each person works in.

    Every person has a first movie, which decides that person's class. The other places in casts are drawn from the
    persons of the movie's class (or, rarely, from all), the first of them most often: few persons have many movies.
    """
    movie = np.repeat(np.arange(len(cast)), cast)
    first = np.argsort(rng.random(len(movie)), kind="stable")[:num_persons]
    works_in = movie_class[movie[first]]
    person = np.full(len(movie), -1)
    person[first] = np.arange(num_persons)
    by_class = np.argsort(works_in, kind="stable")
    starts = np.searchsorted(works_in[by_class], np.arange(len(CLASS_SHARES) + 1))
    open_places = np.flatnonzero(person < 0)
    while len(open_places):
        own = rng.random(len(open_places)) < homophily
        wanted = movie_class[movie[open_places]]
        low = np.where(own, starts[wanted], 0)
        high = np.where(own, starts[wanted + 1], num_persons)
        draw = rng.random(len(open_places))
        picked = low + ((high - low) * (draw * draw)).astype(np.int64)
        person[open_places] = by_class[np.minimum(picked, num_persons - 1)]
        open_places = open_places[_is_repeated(movie, person)[open_places]]
        homophily /= 2  # a class of few persons cannot fill a cast: look further afield at each attempt
    order = np.lexsort((person, movie))
    return np.stack([movie[order], person[order]]), works_in


def _is_repeated(movie: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Places whose (movie, person) pair occurs more than once."""
    _, inverse, counts = np.unique(movie * (person.max() + 1) + person, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def _draw_words(
    rng: np.random.Generator, classes: np.ndarray, mean_words: int, topic_share: float, num_words: int
) -> np.ndarray:
    """0/1 float32 [nodes, num_words]: 1 to 2 * mean_words - 1 words each, a share of them from the class's topic.

    Topic c is the c-th block of `num_words // 50` words; all others are drawn from the whole vocabulary, the last
    of it most often.
    """
    shape = (len(classes), 2 * mean_words - 1)
    topic_size = max(2, num_words // 50)
    topical = classes[:, None] * topic_size + (topic_size * rng.random(shape)).astype(np.int64)
    draw = rng.random(shape)
    anywhere = num_words - 1 - (num_words * (draw * draw)).astype(np.int64)
    words = np.where(rng.random(shape) < topic_share, topical, anywhere)
    kept = np.arange(shape[1]) <= (shape[1] * rng.random((shape[0], 1))).astype(np.int64)
    x = np.zeros((len(classes), num_words), np.float32)
    x[np.nonzero(kept)[0], words[kept]] = 1
    return x


def _draw_masks(rng: np.random.Generator, num_movies: int) -> dict[str, np.ndarray]:
    """IMDB's shares: 400 train, 400 val and 3478 test of 4278."""
    part = max(1, num_movies * 400 // 4278)
    order = np.argsort(rng.random(num_movies), kind="stable")
    masks = {}
    for split, ids in zip(("train", "val", "test"), np.split(order, [part, 2 * part]), strict=True):
        masks[split] = np.zeros(num_movies, bool)
        masks[split][ids] = True
    return masks
