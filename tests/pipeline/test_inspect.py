"""`inspect`: its numbers against plain loops over the arrays, its tables, JSON and comparison."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from heteroshards import pipeline
from heteroshards.pipeline.cli import main
from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.forecast.job import forecast
from heteroshards.pipeline.forecast.report import forecast_report
from heteroshards.pipeline.formatting import WIDTH, draws_line, size, table
from heteroshards.pipeline.inspect.compare import compare
from heteroshards.pipeline.inspect.html import store_page
from heteroshards.pipeline.inspect.report import comparison_report, store_report
from heteroshards.pipeline.inspect.statistics import MAX_BINS, MAX_POINTS, store_use
from heteroshards.pipeline.sizing.counting import count_all
from heteroshards.pipeline.sources import from_data
from heteroshards.schemas.graph import edge_key
from heteroshards.schemas.inputs import SEED_INPUTS, usual_inputs
from heteroshards.schemas.manifest import EdgeDraws, Manifest, parse_manifest
from tests.pipeline.build import hetero_graph, job, sampler
from tests.pipeline.ledgers import movie_graph, write_ledgers
from tests.pipeline.stores import manifest_of, read
from tests.raw_manifest import shape_of
from tests.strategies import random_graph

TYPES = {("a", "to", "b"): 90, ("b", "to", "a"): 90, ("stats", "of", "a"): 30}
TRIMMED = {"mode": "uniform", "nodes": 14, "edges": 18, "oversize": "trim_nodes_and_edges"}


def make(root, budget=None, features="table", **sampling):
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30, "stats": 9}, TYPES, "a", {"a": 6, "b": 3})
    data["a", "to", "b"].edge_attr = data["a"].x[:1].expand(90, 6).contiguous()
    sampling = {"batch_size": 4, "fanout": [3, 2], "rounds": 2, **sampling}
    sections = {"sampling": sampling, "store": {"features": features}, **({"budget": budget} if budget else {})}
    return data, pipeline.prepare(data, job(data, root, **sections))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store with an exact budget, and one of larger, trimmed batches."""
    root = tmp_path_factory.mktemp("stores")
    return make(root)[1], make(root, TRIMMED, batch_size=6)[1]


@pytest.mark.parametrize("grouping", ["random", "balanced"])
def test_draws_are_those_of_the_first_round(tmp_path, grouping):
    """Sampled and distinct edges, against a loop over batches; `inspect` and `plan` say the same."""
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30, "stats": 9}, TYPES, "a", {"a": 6, "b": 3})
    config = job(data, tmp_path, sampling={"batch_size": 4, "fanout": [3, 2], "rounds": 2, "grouping": grouping})
    manifest = parse_manifest(manifest_of(store := pipeline.prepare(data, config)), "")
    counted = count_all(
        make_executor(graph := hetero_graph(data), manifest.sampling, "error", 1),
        graph, manifest.sampling, config.budget, lambda *_: None,
    )  # fmt: skip
    for split in manifest.splits:
        plan, fresh = counted.plans[split.name], sampler(data, [3, 2])
        block, found = plan.block(0, plan.num_batches), {}
        for row in range(plan.round_starts()[1]):
            seeds, key = block.seeds[row], block.keys[row]
            for name, e_id in fresh.sample(graph.seeds.nodes(seeds[seeds >= 0]), key).e_id.items():
                found.setdefault(name, []).extend(e_id.tolist())
        assert split.edge_draws == {n: EdgeDraws(sampled=len(e), distinct=len(set(e))) for n, e in found.items()}
    use = store_use(store)
    shown = store_report(use).splitlines()
    planned = forecast_report(forecast(from_data(data, config.dataset, {}), config)).splitlines()
    for split in use.splits:
        assert f"  edges: {draws_line(split.edge_draws)}" in shown
        assert f"edges     {split.name}: {draws_line(split.edge_draws)}" in planned


def test_whole_graphs_have_no_draws(tmp_path):
    data = random_graph(np.random.default_rng(0), {"a": 60, "b": 30, "stats": 9}, TYPES, "a", {"a": 6, "b": 3})
    store = pipeline.prepare(data, job(data, tmp_path, sampling={"mode": "full"}))
    assert all(not split.edge_draws for split in parse_manifest(manifest_of(store), "").splits)
    assert "differ" not in store_report(store_use(store))


def types_of(use):
    return [(split.name, part, of) for split in use.splits for part in split.parts for of in part.types]


@pytest.mark.parametrize("index", [0, 1])
def test_statistics_follow_from_the_masks(stores, index):
    store = stores[index]
    use = store_use(store)
    for split, part, of in types_of(use):
        mask = read(store, f"{split}/{of.kind}/{of.name}/mask")
        counts = [int(row.sum()) for row in mask]
        assert part.totals.num_batches == len(counts) and of.budget == mask.shape[1]
        assert of.num_real == sum(counts) and of.max == max(counts)
        assert of.num_padded == mask.size - sum(counts) == (~mask).sum()
        assert of.mean == pytest.approx(np.mean(counts)) and of.padded_mean == pytest.approx((~mask).sum(axis=1).mean())
        assert of.p50 == pytest.approx(np.median(counts)) and of.p95 == pytest.approx(np.percentile(counts, 95))
        assert of.fill == pytest.approx(mask.mean())
        assert sum(of.mean_by_hop) == pytest.approx(of.mean)
        trimmed = read(store, f"{split}/stats/num_{of.kind}_trimmed")
        names = [o.name for o in part.types if o.kind == of.kind]
        own = trimmed[:, names.index(of.name)]
        assert of.num_trimmed == own.sum() == sum(of.num_trimmed_by_hop)
        assert of.share_trimmed == np.mean([row.sum() > 0 for row in own])
        limiter = read(store, f"{split}/stats/limiter")
        assert of.share_limiter == np.mean(limiter == [o.name for o in part.types].index(of.name))
        width = of.histogram.width
        assert of.histogram.num_batches == [
            sum(i * width <= count < (i + 1) * width for count in counts) for i in range(-(-of.budget // width))
        ]
    assert any(of.num_trimmed for _, _, of in types_of(use)) == bool(index)


@pytest.mark.parametrize("features", ["table", "inline"])
def test_bytes_are_those_of_the_tensors(tmp_path, features):
    _, store = make(tmp_path, features=features)
    use = store_use(store)
    manifest = parse_manifest(manifest_of(store), "")
    for split, info in zip(use.splits, manifest.splits, strict=True):
        (part,) = manifest.parts(info)
        check_bytes(split, manifest, part.budget)
    assert use.totals.bytes == sum(split.totals.bytes for split in use.splits)


def check_bytes(split, manifest, budget):
    sizes: dict[str, int] = {}
    for spec in usual_inputs(manifest.graph, budget):
        name = "seeds" if spec.kind in SEED_INPUTS else spec.key
        sizes[name] = sizes.get(name, 0) + int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
    for of in (of for part in split.parts for of in part.types):
        assert of.bytes_per_batch == sizes[of.name] == of.row_bytes * of.budget
        assert of.wasted_bytes_per_batch == pytest.approx(of.row_bytes * of.padded_mean)
    total = split.totals
    assert total.bytes == sum(sizes.values()) * total.num_batches
    padded_seeds = budget.max_seeds * total.num_batches - total.num_seed_rows
    padded = sum(o.row_bytes * o.num_padded for p in split.parts for o in p.types)
    assert total.wasted_bytes == padded + 5 * padded_seeds


def test_disk_use_is_that_of_the_chunk_files(stores):
    use = store_use(stores[0])
    found: dict[str, list[int]] = {}
    for file in stores[0].rglob("*"):
        if file.is_file() and not file.name.startswith(".z"):
            parts = file.relative_to(stores[0]).parts
            name = "stats" if parts[1] == "stats" else parts[0]
            found.setdefault(name, []).append(file.stat().st_size)
    assert {disk.name: (disk.num_files, disk.stored_bytes) for disk in use.disk} == {
        name: (len(sizes), sum(sizes)) for name, sizes in found.items()
    }
    manifest = manifest_of(stores[0])
    arrays = [[*shape_of(manifest, of), np.dtype(of["dtype"]).itemsize] for of in manifest["tensors"]]
    checksums = read(stores[0], "checksums").nbytes
    assert use.disk_total.uncompressed_bytes == sum(int(np.prod(shape)) for shape in arrays) + checksums
    assert use.disk_total.compression_ratio == use.disk_total.uncompressed_bytes / use.disk_total.stored_bytes


def test_a_hundred_thousand_batches_leave_a_bounded_summary(tmp_path):
    """And only ledgers are read: the batches' own files are not even there."""
    count = 100_001  # the last run of batches is shorter
    sizes = write_ledgers(tmp_path / "store", movie_graph(), {"train": count})["train"]
    use = store_use(tmp_path / "store")
    (part,) = use.splits[0].parts
    assert part.totals.num_batches == count
    curves = (("nodes", part.node_fill, sizes.node_totals), ("edges", part.edge_fill, sizes.edge_totals))
    for kind, curve, totals in curves:
        assert len(curve.mean) == len(curve.least) == len(curve.greatest) <= MAX_POINTS
        rows = sum(of.budget for of in part.types if of.kind == kind)
        fill = totals.sum(axis=1) / rows
        assert min(curve.least) == fill.min() and max(curve.greatest) == fill.max()
        run = fill[-(count % curve.batches_per_point or curve.batches_per_point) :]
        assert (curve.least[-1], curve.greatest[-1]) == (run.min(), run.max())
        assert curve.mean[-1] == pytest.approx(run.mean())
    for of in part.types:
        assert len(of.histogram.num_batches) <= MAX_BINS and sum(of.histogram.num_batches) == count
    assert num_objects(use) < 5000, "nothing is kept per batch"
    assert len(store_report(use).splitlines()) < 60


def num_objects(value):
    if dataclasses.is_dataclass(value):
        return 1 + sum(num_objects(field) for field in vars(value).values())
    return 1 + sum(num_objects(item) for item in value) if isinstance(value, list) else 1


def test_tables_stay_within_the_terminal_whatever_types_are_called(tmp_path):
    long = tuple(f"{letter * 40}" for letter in "xyz")
    write_ledgers(tmp_path / "a", movie_graph(long, "r" * 100), {"train": 5, "test": 3})
    write_ledgers(tmp_path / "b", movie_graph(), {"train": 5, "val": 3})
    use, other = store_use(tmp_path / "a"), store_use(tmp_path / "b")
    for text in (store_report(use), store_report(other), comparison_report(compare(use, other))):
        lines = [line for line in text.splitlines() if not line.startswith(("store", "A ", "B "))]
        assert max(len(line) for line in lines) <= WIDTH
    key = edge_key((long[0], "r" * 100, long[1]))
    assert key in store_report(use).replace("\n    ", ""), "no name is cut short"


def test_a_table_aligns_its_numbers():
    lines = table(("one", "two"), [("x", ["1", "22"]), ("y" * 150, ["333", "4"])])
    assert [line[-9:] for line in (lines[0], lines[1], lines[-1])] == ["  one two", "    1  22", "  333   4"]
    assert len(lines) == 5 and lines[2].strip() + lines[3].strip() == "y" * 150


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (12.5, "12 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1023.7 * 1024, "1.00 MiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_sizes_have_three_digits(num_bytes, text):
    assert size(num_bytes) == text


def test_a_store_against_itself_does_not_change(stores):
    use = store_use(stores[0])
    comparison = compare(use, use)
    for change in [*comparison.splits, *(of for split in comparison.splits for of in split.types)]:
        assert change.only_in is None
        for value in change.values.values():
            assert value.difference == 0 and value.ratio in (1, None) and value.a == value.b


def test_a_comparison_gives_both_values_and_their_difference(stores):
    a, b = (store_use(store) for store in stores)
    comparison = compare(a, b)
    assert [split.name for split in comparison.splits] == ["train", "val", "test"]
    ours = {(split, of.kind, of.name): of for split, _, of in types_of(a)}
    theirs = {(split, of.kind, of.name): of for split, _, of in types_of(b)}
    for split in comparison.splits:
        for of in split.types:
            old, new = ours[split.name, of.kind, of.name], theirs[split.name, of.kind, of.name]
            for name, change in of.values.items():
                assert (change.a, change.b) == pytest.approx((getattr(old, name), getattr(new, name)))
                assert change.difference == pytest.approx(change.b - change.a)
                assert change.ratio is None or change.ratio == pytest.approx(change.b / change.a)


def test_a_comparison_says_what_is_in_one_store_only(tmp_path):
    write_ledgers(tmp_path / "a", movie_graph(("movie", "director", "actor")), {"train": 5, "test": 3})
    write_ledgers(tmp_path / "b", movie_graph(("movie", "director", "critic")), {"train": 5, "val": 3})
    comparison = compare(store_use(tmp_path / "a"), store_use(tmp_path / "b"))
    only = {split.name: split.only_in for split in comparison.splits}
    assert only == {"train": None, "test": "a", "val": "b"}
    types = {of.name: of.only_in for of in comparison.splits[0].types}
    assert types["movie"] is None and types["actor"] == types["movie__to__actor"] == "a" and types["critic"] == "b"
    assert [of.kind for of in comparison.splits[0].types] == ["nodes"] * 4 + ["edges"] * 6
    text = comparison_report(comparison)
    assert "test (only in A)" in text and "val (only in B)" in text and "nodes critic (only in B)" in text


def run(*args):
    return CliRunner().invoke(main, ["inspect", *(str(arg) for arg in args)])


def test_the_command_takes_a_store_by_place_or_by_option(stores, tmp_path):
    text = run(stores[0]).output
    assert text == run("--store", stores[0]).output and "limiter" in text
    both = run(stores[0], "--store", stores[1])
    assert both.exit_code == 2 and "named twice" in both.output
    missing = run(tmp_path / "none")
    assert missing.exit_code == 5 and "this is no zarr store" in missing.output
    missing = run(stores[0], "--against", tmp_path / "none")
    assert missing.exit_code == 5 and str(tmp_path / "none") in missing.output


def test_json_is_the_statistics(stores):
    values = json.loads(run(stores[0], "--json").output)
    use = store_use(stores[0])
    assert values == json.loads(json.dumps(dataclasses.asdict(use)))
    assert set(values) == {
        *(
            "path",
            "fingerprint",
            "features",
            "grouping",
            "budget_mode",
            "sharing",
            "certificates",
            "notes",
            "totals",
            "splits",
            "disk",
            "disk_total",
        )
    }
    compared = json.loads(run(stores[0], "--against", stores[1], "--json").output)
    assert compared["a"] == values and set(compared) == {"a", "b", "values", "splits"}
    budget = compared["splits"][0]["types"][0]["values"]["budget"]
    assert set(budget) == {"a", "b", "difference", "ratio"} and budget["b"] == TRIMMED["nodes"]


def test_inspect_needs_neither_zarr_nor_what_is_heavier(stores, tmp_path):
    code = (
        "import sys; from heteroshards.pipeline.inspect.command import look_at; from pathlib import Path;"
        "look_at(Path(sys.argv[1]), Path(sys.argv[2]), html=Path(sys.argv[3]));"
        "print([m for m in ('zarr', 'torch', 'numba', 'scipy') if m in sys.modules])"
    )
    args = [sys.executable, "-c", code, *(str(store) for store in stores), str(tmp_path / "page.html")]
    assert subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_nothing_but_ledgers_and_the_manifest_is_read(stores, tmp_path):
    import shutil

    store = tmp_path / "copy"
    shutil.copytree(stores[0], store)
    before = store_report(store_use(store))
    for folder in [store / "features", *store.glob("*/nodes"), *store.glob("*/edges"), *store.glob("*/seeds")]:
        shutil.rmtree(folder)
    assert store_report(store_use(store)) == before


def test_a_split_of_several_parts_is_their_sum(stores, monkeypatch):
    """Each batch twice, as two parts: totals double, everything per batch stays as it is."""
    once = store_use(stores[1])
    own = Manifest.parts
    monkeypatch.setattr(Manifest, "parts", lambda self, split: 2 * own(self, split))
    twice = store_use(stores[1])
    comparison = compare(once, twice)
    for values in (comparison.values, *(split.values for split in comparison.splits)):
        for name in ("num_batches", "num_seed_rows", "bytes", "wasted_bytes"):
            assert values[name].ratio == 2
        for name in ("node_fill", "edge_fill", "seed_fill", "bytes_per_seed"):
            assert values[name].ratio == pytest.approx(1)
    for split in comparison.splits:
        for of in split.types:
            assert all(change.b == pytest.approx(change.a) for change in of.values.values())
    assert store_report(twice).count("  train: ") == 2 and "  train: " not in store_report(once)
    assert store_page(twice).count("<h3>train: ") == 2 and "<h3>train: " not in store_page(once)
