"""Paths of a store."""

import pytest

from heteroshards.schemas import layout

NAMES = ["stats", "nodes", "edges", "seeds", "features", "train", "shape_1", "x", "paper"]


@pytest.mark.parametrize("part", ["train", "val", "train/shape_0", "predict/shape_12"])
@pytest.mark.parametrize("name", NAMES)
def test_a_section_is_told_whatever_a_type_is_called(part, name):
    assert layout.section_of(layout.node_path(part, name, "mask")) == "nodes"
    assert layout.section_of(layout.edge_path(part, f"{name}__{name}__{name}", "e_id")) == "edges"
    assert layout.section_of(layout.seed_path(part, "y")) == "seeds"
    assert layout.section_of(layout.stats_path(part, "round")) == "stats"
    for path in (layout.feature_path(name), layout.edge_feature_path(name), layout.original_id_path(name)):
        assert layout.section_of(path) == "features"


@pytest.mark.parametrize("path", ["", "x", "checksums", "a/b", "/", "train/shape_0"])
def test_no_path_is_too_short(path):
    assert layout.section_of(path) not in ("features",)
