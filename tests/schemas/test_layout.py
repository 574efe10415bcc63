"""Where tensors lie: no two in one place, whatever types and targets are called."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from heteroshards.schemas import layout

NAMES = ["stats", "nodes", "edges", "seeds", "features", "targets", "train", "shape_1", "x", "n_id", "row"]
PARTS = ["train", "val", "train/shape_0", "predict/shape_12"]


@given(st.sampled_from(PARTS), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_tensors_of_all_roles_have_paths_of_their_own(part, names):
    found = [layout.node_path(part, name, kind) for name in names for kind in ("n_id", "mask", "x")]
    found += [layout.edge_path(part, f"{name}__to__{name}", kind) for name in names for kind in ("e_id", "mask")]
    found += [layout.seed_path(part, kind) for kind in ("n_id", "row", "mask")]
    found += [layout.target_path(part, name) for name in names]
    found += [layout.stats_path(part, kind) for kind in ("round", "num_nodes")]
    found += [layout.tensor_path(role, part, "", kind) for role in layout.PACKED for kind in ("mask",)]
    found += [path(name) for name in names for path in (layout.feature_path, layout.original_id_path)]
    assert len(set(found)) == len(found)
    assert not any(f"{one}/".startswith(f"{other}/") for one, other in itertools.permutations(found, 2))
