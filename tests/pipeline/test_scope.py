"""Who shares a budget: training and inference have one each, or all splits have one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards import pipeline
from heteroshards.pipeline.inspect.report import store_report
from heteroshards.pipeline.inspect.statistics import store_use
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sizing.fitting import exceeding
from heteroshards.pipeline.sizing.sharing import resolve_budgets, sharing
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.errors import ConfigError
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.manifest import parse_manifest
from heteroshards.schemas.task import Task
from tests.pipeline.build import job
from tests.pipeline.stores import files_of, manifest_of, read
from tests.strategies import random_graph

TYPES = {("a", "to", "b"): 200, ("b", "to", "a"): 300}
SAMPLING = {"batch_size": 4, "rounds": 3, "fanout": [3, 2]}
SCHEMA = GraphSchema(
    node_types=(NodeTypeSchema(name="a", num_nodes=99), NodeTypeSchema(name="b", num_nodes=99)),
    edge_types=(EdgeTypeSchema(src="b", relation="to", dst="a", num_edges=99),),
    task=Task.classification("a", 2),
)
MAX_SEEDS = 3


@pytest.fixture(scope="module")
def data():
    return random_graph(np.random.default_rng(0), {"a": 90, "b": 40}, TYPES, "a", {"a": 3})


def made(data, tmp_path, **budget):
    store = pipeline.prepare(data, job(data, tmp_path, sampling=SAMPLING, budget=budget))
    return store, parse_manifest(manifest_of(store), "")


@st.composite
def counts(draw):
    """Sizes of the batches of some splits."""
    names = draw(st.lists(st.sampled_from(["train", "val", "test", "predict"]), min_size=1, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    found = {}
    for name in names:
        totals = rng.integers(0, draw(st.sampled_from([3, 30])), (draw(st.integers(1, 9)), 3)).astype(np.int32)
        found[name] = Sizes(totals[:, :2, None], totals[:, 2:, None])
    return found


@settings(max_examples=200, deadline=None)
@given(counts(), st.sampled_from(["purpose", "all"]), st.integers(1, 3))
def test_every_batch_fits_its_budget_and_no_other_purpose_makes_it_larger(sizes, scope, shapes):
    config = BudgetConfig(scope=scope, shapes=shapes)
    budgets, shape_of = resolve_budgets(config, SCHEMA, sizes, MAX_SEEDS, 0)
    used = {name: sorted(set(of_split.tolist())) for name, of_split in shape_of.items()}
    assert sorted({shape for of_split in used.values() for shape in of_split}) == list(range(len(budgets)))
    assert used.get("train", []) == list(range(len(used.get("train", [])))), "those of train come first"
    keys = [(*b.num_nodes.values(), *b.num_edges.values()) for b in budgets]
    assert len(set(keys)) == len(keys), "readers tell shapes apart by their sizes"
    for name, of_split in sizes.items():
        for shape in used[name]:
            assert not exceeding(of_split[shape_of[name] == shape], budgets[shape], SCHEMA).any()
    for names in sharing(config, list(sizes)):
        own = Sizes.concatenate([sizes[name] for name in names])
        most = [*own.node_totals.max(axis=0) + 1, *own.edge_totals.max(axis=0) + 1]
        most[0] = max(most[0], MAX_SEEDS + 1)
        of_group = {shape for name in names for shape in used[name]}
        assert np.max([keys[shape] for shape in of_group], axis=0).tolist() == most


def test_train_has_a_budget_of_its_own_and_the_others_share_one(data, tmp_path):
    store, manifest = made(data, tmp_path)
    assert (manifest.shapes_for("train"), manifest.shapes_for("inference")) == ([0], [1])
    for names, budget in ((["train"], manifest.budgets[0]), (["val", "test"], manifest.budgets[1])):
        for kind, sizes in (("nodes", budget.num_nodes), ("edges", budget.num_edges)):
            totals = [read(store, f"{name}/stats/num_{kind}").sum(axis=2).max(axis=0) for name in names]
            assert (np.max(totals, axis=0) + 1).tolist() == list(sizes.values())
    assert "budget       exact, train apart from val, test" in store_report(store_use(store))


def test_with_scope_all_there_is_one_which_holds_both(data, tmp_path):
    _, apart = made(data, tmp_path)
    store, shared = made(data, tmp_path, scope="all")
    most = {name: max(b.num_nodes[name] for b in apart.budgets) for name in apart.budgets[0].num_nodes}
    assert [budget.num_nodes for budget in shared.budgets] == [most]
    assert "budget       exact, shared by all splits" in store_report(store_use(store))


def test_a_given_budget_is_one_for_all(data, tmp_path):
    store, manifest = made(data, tmp_path, mode="uniform", nodes=90, edges=90)
    assert len(manifest.budgets) == 1 and {split.parts[0].shape for split in manifest.splits} == {0}
    hops = [read(store, f"{s.name}/stats/num_nodes").cumsum(axis=2).max(axis=0) for s in manifest.splits]
    assert [list(h) for h in manifest.budgets[0].hop_nodes.values()] == (np.max(hops, axis=0) + 1).tolist()
    with pytest.raises(ConfigError, match="'scope' has no meaning with mode = 'uniform'"):
        made(data, tmp_path, mode="uniform", nodes=90, edges=90, scope="all")


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_a_store_with_nothing_to_train_on_has_the_budget_of_its_split(data, tmp_path, mode):
    data = data.clone()
    for split in ("train", "val", "test"):
        del data["a"][f"{split}_mask"]
    sampling = {"batch_size": 4, "fanout": [3, 2]}
    config = job(data, tmp_path, dataset={"predict": "all"}, sampling=sampling, budget={"mode": mode})
    store = pipeline.prepare(data, config)
    manifest = parse_manifest(manifest_of(store), "")
    assert [split.name for split in manifest.splits] == ["predict"] and len(manifest.budgets) == 1
    nodes = read(store, "predict/stats/num_nodes").sum(axis=2).max(axis=0) + 1
    assert list(manifest.budgets[0].num_nodes.values()) == nodes.tolist()


def test_workers_change_no_byte(data, tmp_path):
    config = job(data, tmp_path, sampling=SAMPLING, budget={"shapes": 2})
    stores = [pipeline.prepare(data, config, store=tmp_path / str(n), workers=n) for n in (1, 3)]
    assert files_of(stores[0]) == files_of(stores[1])
