"""Every tensor of a batch, what a model takes of them, and their bytes."""

import math

import pytest
from pydantic import ValidationError

from heteroshards.schemas.inputs import EXTRA_INPUTS, bytes_to_device, device_bytes, model_inputs, shape_signature
from heteroshards.schemas.tensors import (
    BatchOptions,
    TensorSpec,
    feature_tensors,
    inline_bytes,
    part_tensors,
    table_bytes,
)
from tests.trainer.factory_graph import graph_schema
from tests.trainer.store_factory import NUM_HOPS, budget

GRAPH, BUDGET = graph_schema(), budget()
CODECS = {f"features/{name}/x": "none" for name in GRAPH.node_names}
CODECS.update({f"features/{key}/edge_attr": "none" for key in GRAPH.edge_keys})


def tensors(inline=False, e_id=True):
    options = BatchOptions(inline, e_id, 0.0, 4, "zstd", CODECS)
    return {of.path: of for of in part_tensors(GRAPH, BUDGET, NUM_HOPS, "val", 10, options)}


def test_every_type_has_its_tensors_and_budget():
    found = tensors()
    for name in GRAPH.node_names:
        assert found[f"val/nodes/{name}/n_id"].shape == found[f"val/nodes/{name}/mask"].shape
        assert found[f"val/nodes/{name}/n_id"].shape == (10, BUDGET.num_nodes[name])
    for key in GRAPH.edge_keys:
        assert found[f"val/edges/{key}/edge_index"].shape == (10, 2, BUDGET.num_edges[key])
        assert found[f"val/edges/{key}/e_id"].shape == (10, BUDGET.num_edges[key])
    assert found["val/seeds/targets/y"].pad_value == -100 and found["val/seeds/n_id"].pad_value == -1
    assert found["val/stats/num_nodes"].shape == (10, len(GRAPH.node_types), NUM_HOPS + 1)
    assert all(of.chunk_rows == 4 for path, of in found.items() if "/stats/" not in path)
    assert not any(path.endswith(("/x", "/edge_attr")) for path in found)


def test_inline_features_are_in_batches_and_tables_are_not():
    found, tables = tensors(inline=True), feature_tensors(GRAPH, CODECS, 1000)
    assert {path.split("/")[2] for path in found if path.endswith("/x")} == {
        node.name for node in GRAPH.node_types if node.attributes
    }
    stored = sum(of.num_bytes for path, of in found.items() if path.endswith(("/x", "/edge_attr")))
    assert stored == 10 * inline_bytes(GRAPH, BUDGET)
    assert sum(table.num_bytes for table in tables) == table_bytes(GRAPH)
    assert all(table.chunk_bytes <= 1000 for table in tables)


def test_edge_ids_may_be_left_out_where_nothing_needs_them():
    left = tensors(e_id=False)
    has_attributes = {edge.key for edge in GRAPH.edge_types if edge.attributes}
    assert has_attributes and {path.split("/")[2] for path in left if path.endswith("/e_id")} == has_attributes
    assert not any(path.endswith("/e_id") for path in tensors(inline=True, e_id=False))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "int16"}, "dtype 'int16'"),
        ({"codec": "gzip"}, "codec 'gzip'"),
        ({"dims": ("a",)}, "has dims"),
        ({"shape": (3, -1)}, "has dims"),
        ({"name": ".."}, "cannot name a folder"),
        ({"owner": "a/b"}, "cannot name a folder"),
        ({"part": "train/../.."}, "cannot name a folder"),
        ({"role": "shapes"}, "role"),
        ({"chunk_rows": 0}, "chunk_rows"),
    ],
)
def test_what_cannot_be_an_array_is_refused(changes, words):
    values = {"role": "nodes", "part": "train", "owner": "a", "name": "x", "dims": ("x", "y"), "shape": (3, 2)}
    values = {**values, "chunk_rows": 2, "dtype": "int32", "codec": "none"}
    spec = TensorSpec(**values)
    assert (spec.num_chunks, spec.chunks, spec.num_bytes, spec.chunk_bytes) == (2, (2, 2), 24, 16)
    with pytest.raises(ValidationError, match=words):
        TensorSpec(**{**values, **changes})


def test_inputs_come_in_the_order_of_the_graph_with_what_is_asked_for():
    plain = model_inputs(GRAPH, BUDGET)
    assert [spec.kind for spec in plain][-2:] == ["target", "seed_mask"]
    more = model_inputs(GRAPH, BUDGET, EXTRA_INPUTS)
    assert [spec for spec in more if spec in plain] == plain
    assert {"node_mask", "edge_mask", "edge_attr", "n_id"} <= {spec.kind for spec in more}
    by_id = {spec.kind for spec in model_inputs(GRAPH, BUDGET, ("edge_attr",), features_by_id=True)}
    assert {"n_id", "e_id"} <= by_id and not {"x", "edge_attr"} & by_id
    with pytest.raises(ValueError, match="unknown extra inputs \\['mask'\\]"):
        model_inputs(GRAPH, BUDGET, ("mask",))


def test_bytes_on_a_device_are_those_of_the_inputs():
    sizes = {"float32": 4, "int32": 4, "bool": 1}
    inputs = model_inputs(GRAPH, BUDGET, EXTRA_INPUTS)
    assert bytes_to_device(inputs) == sum(sizes[spec.dtype] * math.prod(spec.shape) for spec in inputs)
    assert sum(device_bytes(inputs).values()) == bytes_to_device(inputs)
    assert {place for place, _ in device_bytes(inputs)} == {"nodes", "edges", "seeds"}


def test_a_signature_tells_shapes_and_order_apart():
    inputs = model_inputs(GRAPH, BUDGET)
    known = {shape_signature(inputs), shape_signature(inputs[::-1]), shape_signature(model_inputs(GRAPH, budget(1)))}
    assert len(known) == 3 and shape_signature(list(inputs)) in known
