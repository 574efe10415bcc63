"""`plan`: what it says is what `prepare` then writes."""

import json

import numpy as np
import pytest

from heteroshards.pipeline.forecast.disk import spread
from heteroshards.pipeline.forecast.job import as_json, forecast
from heteroshards.pipeline.forecast.report import forecast_report
from heteroshards.pipeline.forecast.trial import GROUPINGS, SCALES, smaller_budget
from heteroshards.pipeline.preparation.run import prepare_source
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import BudgetError, ConfigError
from heteroshards.schemas.inputs import SEED_INPUTS, bytes_to_device, usual_inputs
from tests.pipeline.build import job
from tests.pipeline.stores import read
from tests.strategies import random_graph

MOVIE_TYPES = {
    ("movie", "to", "director"): 90,
    ("movie", "to", "actor"): 200,
    ("director", "to", "movie"): 90,
    ("actor", "to", "movie"): 200,
}
NODES = {"movie": 23, "director": 6, "actor": 9}
EDGES = {"movie__to__director": 9, "movie__to__actor": 14, "director__to__movie": 7, "actor__to__movie": 9}
SAMPLING = {"batch_size": 4, "rounds": 3, "fanout": [3, 2]}
EXPLICIT = {"mode": "explicit", "nodes": NODES, "edges": EDGES}


@pytest.fixture(scope="module")
def movies():
    rng = np.random.default_rng(0)
    sizes = {"movie": 90, "director": 20, "actor": 50}
    return random_graph(rng, sizes, MOVIE_TYPES, "movie", {"movie": 6, "director": 5, "actor": 4})


def source_of(data, config):
    return from_data(data, config.dataset, {"dataset": "test"})


def plan(data, config, **options):
    return forecast(source_of(data, config), config, **options)


def written(data, config):
    return prepare_source(source_of(data, config), config)


def totals(outcome, kind, what="", splits=None):
    """int64 [batches of all splits, or of those named, types]."""
    names = splits or [split.name for split in outcome.manifest.splits]
    return np.concatenate([read(outcome.path, f"{name}/stats/num_{kind}{what}").sum(axis=2) for name in names])


def budget_of(outcome, split):
    """The only one of a split."""
    (part,) = outcome.manifest.parts(outcome.manifest.split(split))
    return part.budget


def chunk_bytes(folder):
    """Of all chunk files below a folder, metadata aside."""
    files = [f for f in folder.rglob("*") if f.is_file() and not f.name.startswith(".") and f.name != "zarr.json"]
    return sum(file.stat().st_size for file in files), len(files)


CASES = {
    "balanced": {"sampling": SAMPLING},
    "packed": {"sampling": {**SAMPLING, "grouping": "packed"}},
    "random, inline": {"sampling": {**SAMPLING, "grouping": "random"}, "store": {"features": "inline"}},
    "format 3": {"sampling": SAMPLING, "store": {"zarr_format": 3, "codec": "none", "e_id": False}},
    "full": {"sampling": {"mode": "full"}},
    "explicit, trimmed": {"sampling": SAMPLING, "budget": {**EXPLICIT, "oversize": "trim_nodes_and_edges"}},
    "explicit, skipped": {"sampling": SAMPLING, "budget": {**EXPLICIT, "oversize": "skip"}},
    "packed into a budget": {
        "sampling": {**SAMPLING, "grouping": "packed"},
        "budget": {**EXPLICIT, "oversize": "trim_nodes_and_edges"},
    },
    "sampled": {
        "sampling": SAMPLING,
        "budget": {"mode": "sampled", "num_batches": 3, "oversize": "trim_nodes_and_edges"},
    },
    "quantile": {
        "sampling": SAMPLING,
        "budget": {"mode": "quantile", "quantile": 0.5, "confidence": 0.5, "oversize": "trim_nodes_and_edges"},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_planned_is_what_is_written(movies, tmp_path, case):
    config = job(movies, tmp_path / "stores", **case)
    found = plan(movies, config)
    assert list(tmp_path.iterdir()) == [] and not found.is_there and found.refusal is None
    outcome = written(movies, config)
    manifest = outcome.manifest
    assert (found.path, found.chunk_batches) == (str(outcome.path), manifest.chunk_batches)
    check_types(found, outcome)
    check_splits(found, outcome)
    for part in found.disk.parts:
        if part.name != "stats":
            bytes_and_files = np.array(chunk_bytes(outcome.path / part.name))
            if part.name in ("train", "val", "test"):
                bytes_and_files -= chunk_bytes(outcome.path / part.name / "stats")
            assert (part.stored_bytes, part.num_files) == tuple(bytes_and_files), part.name
        assert part.is_exact
    assert (found.disk.stored_bytes, found.disk.num_files) == chunk_bytes(outcome.path)
    uncompressed = sum(spec.num_bytes for spec in manifest.tensors) + 8 * manifest.num_chunks
    assert found.disk.uncompressed_bytes == uncompressed
    assert plan(movies, config).is_there


def test_the_cases_above_do_trim_and_skip(movies, tmp_path):
    trimmed, skipped = (
        plan(movies, job(movies, tmp_path, **CASES[f"explicit, {what}"])) for what in ("trimmed", "skipped")
    )
    assert sum(split.share_trimmed for split in trimmed.splits) > 0
    assert sum(split.num_batches_skipped for split in skipped.splits) > 0


def check_types(found, outcome):
    for shape, budget in zip(found.shapes, outcome.manifest.budgets, strict=True):
        assert all(budget_of(outcome, split) == budget for split in shape.splits)
        for kind, sizes in (("nodes", budget.num_nodes), ("edges", budget.num_edges)):
            uses = [use for use in shape.types if use.kind == kind]
            assert {use.name: use.budget for use in uses} == sizes
            counts = totals(outcome, kind, splits=shape.splits)
            assert [use.max for use in uses] == counts.max(axis=0).tolist()
            assert [use.mean for use in uses] == pytest.approx(counts.mean(axis=0))
            assert [use.fill for use in uses] == pytest.approx(counts.mean(axis=0) / list(sizes.values()))


def check_splits(found, outcome):
    for split, info in zip(found.splits, outcome.manifest.splits, strict=True):
        assert (split.name, split.num_seeds, split.num_batches) == (info.name, info.num_seeds, info.num_batches)
        assert split.num_batches_skipped == info.num_batches_skipped
        budget = budget_of(outcome, info.name)
        seeds = read(outcome.path, f"{info.name}/stats/num_seeds")
        assert split.seeds_per_batch == pytest.approx((seeds.min(), seeds.mean(), seeds.max()))
        assert split.seed_fill == pytest.approx(seeds.mean() / budget.max_seeds)
        nodes, edges = (read(outcome.path, f"{info.name}/stats/num_{kind}") for kind in ("nodes", "edges"))
        assert split.node_fill == pytest.approx(nodes.sum() / len(nodes) / sum(budget.num_nodes.values()))
        assert split.edge_fill == pytest.approx(edges.sum() / len(edges) / sum(budget.num_edges.values()))
        lost = [read(outcome.path, f"{info.name}/stats/num_{kind}_trimmed") for kind in ("nodes", "edges")]
        assert split.share_trimmed == np.any([part.any(axis=(1, 2)) for part in lost], axis=0).mean()
        assert split.coverage.is_whole


def test_bytes_of_features_are_those_of_the_tensors(movies, tmp_path):
    inline = job(movies, tmp_path, sampling=SAMPLING, store={"features": "inline"}, budget={"scope": "all"})
    outcome, found = written(movies, inline), plan(movies, inline)
    paths = [spec.path for spec in outcome.manifest.tensors if spec.path.endswith("/x")]
    features = sum(read(outcome.path, path).nbytes for path in paths)
    assert found.inline_bytes == features
    assert found.table_bytes == sum(movies[name].x.numpy().nbytes for name in movies.node_types)
    table = plan(movies, job(movies, tmp_path, sampling=SAMPLING, budget={"scope": "all"}))
    assert (table.bytes_per_batch, table.inline_bytes, table.table_bytes) == (
        found.bytes_per_batch,
        found.inline_bytes,
        found.table_bytes,
    )


def test_bytes_on_disk_are_extrapolated_from_some_shards_within_five_percent(tmp_path):
    rng = np.random.default_rng(1)
    sizes = {"paper": 3000, "author": 1500}
    types = {("author", "writes", "paper"): 9000, ("paper", "by", "author"): 9000}
    data = random_graph(rng, sizes, types, "paper", {"paper": 50})
    sampling = {"batch_size": 20, "rounds": 4, "fanout": [4, 3]}
    config = job(data, tmp_path, sampling=sampling, store={"chunk_batches": 3})
    found = plan(data, config)
    parts = {part.name: part for part in found.disk.parts}
    assert not parts["train"].is_exact and parts["features"].is_exact and parts["stats"].is_exact
    assert "~train" in forecast_report(found)
    stored, num_files = chunk_bytes(written(data, config).path)
    assert found.disk.num_files == num_files
    assert found.disk.stored_bytes == pytest.approx(stored, rel=0.05) and found.disk.stored_bytes != stored


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_alternatives_are_what_their_configs_would_write(movies, tmp_path, grouping):
    own = {"mode": "sampled", "num_batches": 3, "oversize": "trim_nodes_and_edges"}
    config = job(movies, tmp_path, sampling=SAMPLING, budget=own)
    found = plan(movies, config)
    others = {(other.grouping, other.mode): other for other in found.alternatives}
    assert set(others) == {(g, mode) for g in GROUPINGS for mode in ("exact", "sampled")}
    assert [line.split(":")[0] for line in found.left_out] == [f"{g}, quantile" for g in GROUPINGS]
    for budget_config in ({}, own):
        sampling = {**SAMPLING, "grouping": grouping}
        outcome = written(movies, job(movies, tmp_path, sampling=sampling, budget=budget_config))
        other, budget = others[grouping, budget_config.get("mode", "exact")], outcome.manifest.budgets[0]
        is_over, fills = False, []
        for kind in ("nodes", "edges"):
            over, real, rows = [], 0, 0
            for split in ("train", "val", "test"):
                limits = list(getattr(budget_of(outcome, split), f"num_{kind}").values())
                most = np.array(limits) - 1
                demand = totals(outcome, kind, splits=[split]) + totals(outcome, kind, "_trimmed", splits=[split])
                over.append((demand > most).any(axis=1))
                real, rows = real + np.minimum(demand, most).sum(), rows + len(demand) * sum(limits)
            is_over = is_over | np.concatenate(over)
            fills.append(real / rows)
        assert (other.node_budget, other.edge_budget) == (
            sum(budget.num_nodes.values()),
            sum(budget.num_edges.values()),
        )
        assert (other.node_fill, other.edge_fill) == pytest.approx(tuple(fills))
        assert other.share_over == is_over.mean()
        assert other.batches_per_epoch == outcome.manifest.splits[0].num_batches / 3
        assert other.bytes_per_epoch == pytest.approx(other.bytes_per_batch * other.batches_per_epoch, abs=1)
    assert (others["random", "sampled"].share_over > 0) and others["random", "exact"].share_over == 0


def test_a_given_budget_is_among_the_alternatives_and_packed_fills_it(movies, tmp_path):
    budget = {**EXPLICIT, "oversize": "trim_nodes_and_edges"}
    found = plan(movies, job(movies, tmp_path, sampling=SAMPLING, budget=budget))
    given = {other.grouping: other for other in found.alternatives if other.mode == "explicit"}
    assert set(given) == set(GROUPINGS)
    assert {other.node_budget for other in given.values()} == {sum(NODES.values())}
    assert given["packed"].share_over < given["random"].share_over
    packed = job(movies, tmp_path, sampling={**SAMPLING, "grouping": "packed"}, budget=budget)
    assert given["packed"].batches_per_epoch == written(movies, packed).manifest.splits[0].num_batches / 3


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_trims_are_those_of_a_store_with_the_smaller_budget(movies, tmp_path, grouping):
    sampling = {**SAMPLING, "grouping": grouping}
    found = plan(movies, job(movies, tmp_path, sampling=sampling))
    shared = job(movies, tmp_path, sampling=sampling, budget={"scope": "all"})
    exact = written(movies, shared).manifest.budgets[0]
    assert [trim.scale for trim in found.trims] == list(SCALES)
    for trim in found.trims:
        budget = smaller_budget(exact, trim.scale, "movie")
        section = budget.model_dump(include={"mode", "nodes", "edges", "oversize"})
        outcome = written(movies, job(movies, tmp_path, sampling=sampling, budget=section))
        lost = [totals(outcome, kind, "_trimmed") for kind in ("nodes", "edges")]
        kept = [totals(outcome, kind) for kind in ("nodes", "edges")]
        assert trim.share_over == np.any([part.any(axis=1) for part in lost], axis=0).mean()
        shares = [part.sum() / (part.sum() + rest.sum()) for part, rest in zip(lost, kept, strict=True)]
        assert (trim.share_nodes, trim.share_edges) == pytest.approx(tuple(shares))
        assert trim.num_recounted == len(lost[0])
        assert trim.batches_per_epoch == outcome.manifest.splits[0].num_batches / 3
        assert (trim.node_budget, trim.edge_budget) == (sum(budget.nodes.values()), sum(budget.edges.values()))
    if grouping != "packed":
        assert found.trims[-1].share_edges > found.trims[0].share_edges > 0


def test_a_smaller_budget_still_holds_seeds_and_pads():
    sizes = {"a": 6, "b": 1}
    exact = Budget(
        mode="exact",
        num_nodes=sizes,
        num_edges={"e": 1},
        max_seeds=5,
        hop_nodes={"a": (6,), "b": (1,)},
        hop_edges={"e": (1,)},
    )
    smaller = smaller_budget(exact, 0.5, "a")
    assert (smaller.nodes, smaller.edges) == ({"a": 6, "b": 1}, {"e": 1})


def test_a_long_job_is_counted_on_its_first_rounds(movies, tmp_path):
    sampling = {**SAMPLING, "rounds": 30, "grouping": "random"}
    config = job(movies, tmp_path, sampling=sampling)
    whole, part = plan(movies, config), plan(movies, config, max_batches=100)
    assert all(split.coverage.is_whole for split in whole.splits)
    train = part.splits[0].coverage
    assert train.num_seeds_counted == train.num_seeds and 1 < train.num_rounds_counted < 30
    assert [split.num_batches for split in part.splits] == [split.num_batches for split in whole.splits]
    assert part.path == whole.path and "of 30 rounds" in forecast_report(part)
    assert "of 30 rounds" not in forecast_report(whole).split("Alternatives")[0]
    for less, most in zip(part.shapes[0].types, whole.shapes[0].types, strict=True):
        assert less.budget <= most.budget and less.mean == pytest.approx(most.mean, rel=0.05)
    assert part.disk.stored_bytes == pytest.approx(whole.disk.stored_bytes, rel=0.25)
    assert not {p.name: p for p in part.disk.parts}["train"].is_exact


def test_a_round_that_is_too_long_is_counted_on_random_seeds(movies, tmp_path):
    config = job(movies, tmp_path, sampling={**SAMPLING, "grouping": "random", "batch_size": 3})
    whole, part = plan(movies, config), plan(movies, config, max_batches=15)
    for few, all_of in zip(part.splits, whole.splits, strict=True):
        assert few.coverage.num_rounds_counted == 1 and few.coverage.num_seeds_counted == 15 < few.num_seeds == 30
        assert few.num_batches == all_of.num_batches
    assert "random seeds" in forecast_report(part)


def test_batches_over_the_budget_are_a_refusal_and_the_rest_is_still_said(movies, tmp_path):
    config = job(movies, tmp_path, sampling=SAMPLING, budget=EXPLICIT)
    found = plan(movies, config)
    with pytest.raises(BudgetError) as raised:
        written(movies, config)
    assert found.refusal == str(raised.value) and found.disk is None
    assert len(found.trims) == len(SCALES) and any(other.share_over == 0 for other in found.alternatives)
    assert "prepare would refuse" in forecast_report(found)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_seed_that_alone_does_not_fit_is_a_refusal_too(movies, tmp_path, grouping):
    budget = {"mode": "uniform", "nodes": 60, "edges": 5}
    config = job(movies, tmp_path, sampling={**SAMPLING, "grouping": grouping}, budget=budget)
    found = plan(movies, config)
    assert found.refusal is not None and "alone does not fit the budget" in found.refusal
    assert found.alternatives and "prepare would refuse" in forecast_report(found)


@pytest.mark.parametrize(
    ("sections", "error"),
    [
        ({"sampling": {"mode": "full"}, "budget": {**EXPLICIT, "oversize": "skip"}}, ConfigError),
        ({"sampling": SAMPLING, "budget": {"mode": "explicit", "nodes": {"movie": 20}, "edges": EDGES}}, ConfigError),
        ({"sampling": SAMPLING, "budget": {"mode": "uniform", "nodes": 3, "edges": 90}}, BudgetError),
    ],
)
def test_what_prepare_refuses_before_it_counts_is_refused(movies, tmp_path, sections, error):
    config = job(movies, tmp_path, **sections)
    messages = []
    for run in (plan, written):
        with pytest.raises(error) as raised:
            run(movies, config)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def model_bytes(manifest):
    """Of all padded rows of a store's batches, as a model receives them."""
    total = 0
    for part in (part for split in manifest.splits for part in manifest.parts(split)):
        inputs = [spec for spec in usual_inputs(manifest.graph, part.budget) if spec.kind not in SEED_INPUTS]
        total += part.num_batches * bytes_to_device(inputs)
    return total


@pytest.mark.parametrize(("scope", "num_shapes"), [("all", 3), ("purpose", 6)])
def test_several_shapes_are_planned_as_they_are_written_and_the_curve_says_what_one_more_is_worth(
    movies, tmp_path, scope, num_shapes
):
    budgets = {k: {"shapes": k, "scope": scope} for k in (1, 2, 3)}
    stores = {k: job(movies, tmp_path, sampling=SAMPLING, budget=budget) for k, budget in budgets.items()}
    outcomes = {k: written(movies, config) for k, config in stores.items()}
    found, outcome = plan(movies, stores[3]), outcomes[3]
    assert found.path == str(outcome.path) and len(found.shapes) == len(outcome.manifest.budgets) == num_shapes
    for shape, budget in zip(found.shapes, outcome.manifest.budgets, strict=True):
        assert {use.name: use.budget for use in shape.types} == {**budget.num_nodes, **budget.num_edges}
        assert all(use.max < use.budget for use in shape.types)
    assert sum(shape.share_of_batches for shape in found.shapes) == pytest.approx(1)
    assert (found.disk.stored_bytes, found.disk.num_files) == chunk_bytes(outcome.path)
    assert [split.num_batches for split in found.splits] == [split.num_batches for split in outcome.manifest.splits]
    waste = found.waste_by_shapes
    assert len(waste) == 8 and list(waste) == sorted(waste, reverse=True) and waste[-1] >= 1
    padded = [model_bytes(outcomes[k].manifest) for k in (1, 2, 3)]
    assert [waste[k] / waste[0] for k in range(3)] == pytest.approx([num / padded[0] for num in padded])
    assert "shape 2" in forecast_report(found)


def test_the_whole_graph_has_neither_alternatives_nor_trims(movies, tmp_path):
    found = plan(movies, job(movies, tmp_path, sampling={"mode": "full"}))
    assert found.alternatives == () and found.trims == () and "Alternatives" not in forecast_report(found)


def test_json_has_every_number(movies, tmp_path):
    values = json.loads(json.dumps(as_json(plan(movies, job(movies, tmp_path, sampling=SAMPLING)))))
    assert {
        "path",
        "shapes",
        "splits",
        "waste_by_shapes",
        "bytes_per_batch",
        "disk",
        "alternatives",
        "trims",
        "refusal",
    } <= set(values)
    assert set(values["shapes"][0]["types"][0]) == {"kind", "name", "budget", "mean", "max", "fill", "bytes_per_batch"}
    assert values["splits"][0]["coverage"]["num_rounds"] == 3


def test_spread_takes_all_or_evenly_with_the_last():
    assert spread(3, 8) == [0, 1, 2] and spread(10, 4) == [0, 3, 6, 9] and spread(5, 1) == [4]
