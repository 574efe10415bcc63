"""The packed layout: where each type's tensor lies, and when it is chosen."""

from hypothesis import given
from hypothesis import strategies as st

from heteroshards.schemas import packing
from heteroshards.schemas.packing import columns, is_packable, is_worth_packing, pack
from heteroshards.schemas.tensors import TensorSpec


def spec(part: str, role: str, owner: str, name: str, *shape: int, chunk_rows: int = 3) -> TensorSpec:
    return TensorSpec(
        role=role,
        part=part,
        owner=owner,
        name=name,
        dims=(*("batch", "end", "x")[: len(shape) - 1], "y"),
        shape=shape,
        chunk_rows=chunk_rows,
        dtype="int32",
        codec="none",
        pad_value=-1,
    )


TENSORS = [
    spec("val", "nodes", "b", "n_id", 7, 4),
    spec("val", "nodes", "a", "n_id", 7, 5),
    spec("val", "nodes", "a", "x", 7, 5, 9),
    spec("val", "edges", "a__to__b", "edge_index", 7, 2, 11),
    spec("val", "seeds", "", "n_id", 7, 6),
    spec("val", "stats", "", "num_nodes", 7, 2, 3),
]


def test_types_are_columns_in_their_order_and_all_else_stays() -> None:
    packed = {of.path: of for of in pack(TENSORS)}
    assert list(packed) == [
        "val/all_nodes/n_id",
        "val/nodes/a/x",
        "val/all_edges/edge_index",
        "val/seeds/n_id",
        "val/stats/num_nodes",
    ]
    ids = packed["val/all_nodes/n_id"]
    assert (ids.shape, ids.dims, ids.chunk_rows, ids.pad_value) == ((7, 9), ("batch", "node"), 3, -1)
    assert "b 0:4, a 4:9" in ids.description
    edges = packed["val/all_edges/edge_index"]
    assert (edges.shape, edges.dims) == ((7, 2, 11), ("batch", "end", "edge"))
    assert columns(TENSORS)["val/nodes/a/n_id"] == ("val/all_nodes/n_id", 4, 9)


@given(st.lists(st.sampled_from(["nodes", "edges", "all_nodes", "n_id", "x", "stats", "features"]), unique=True))
def test_no_name_of_a_type_makes_two_arrays_of_one_path(names: list) -> None:
    tensors = [spec("train", "nodes", name, kind, 4, 2) for name in names for kind in ("n_id", "mask", "x")]
    paths = [of.path for of in pack(tensors)]
    assert len(set(paths)) == len(paths)
    assert not any(one != other and f"{other}/".startswith(f"{one}/") for one in paths for other in paths)


def test_auto_packs_many_small_arrays_only() -> None:
    def tensors(num: int, rows: int) -> list:
        return [spec("train", "nodes", f"t{i}", "n_id", 1, rows, chunk_rows=1) for i in range(num)]

    few, large = packing.AUTO_ARRAYS, packing.AUTO_CHUNK_BYTES // 4
    if few:  # the suite may run with all stores packed
        assert is_worth_packing(tensors(few + 1, large - 1))
        assert not is_worth_packing(tensors(few, large - 1))
        assert not is_worth_packing(tensors(few + 1, large))
    assert not is_worth_packing([])
    assert not is_packable(spec("train", "seeds", "", "mask", 1, 2))
    assert not is_packable(spec("train", "nodes", "mask", "x", 1, 2))
