"""Bad input, a row each: the error's class, the decisive words, and a folder that is left as it was.

Every row goes through the Python API and through the command, from a saved file or a function.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner
from torch_geometric.data import Data, HeteroData

from heteroshards import pipeline
from heteroshards.pipeline.cli import main
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import BudgetError, ConfigError, GraphError, HeteroShardsError
from tests.pipeline import bad_graphs
from tests.pipeline.bad_graphs import (
    ambiguous,
    both,
    cell,
    drop,
    edges,
    mask,
    nothing,
    put,
    small_graph,
    with_adj_t,
    without_edges,
)
from tests.pipeline.build import as_toml

pytestmark = [
    pytest.mark.filterwarnings("ignore:There exist type names"),  # PyG's, of names with "__"
    pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR)"),
]
LONG = torch.long
SMALL = {"fanout": [2, 2], "batch_size": 4, "rounds": 2}


class Row(NamedTuple):
    """A way to spoil the graph, sections of the config, and what is said about it, as a regular expression."""

    spoil: bad_graphs.Spoil
    error: type[HeteroShardsError]
    words: str
    sections: dict[str, Any] = {}


def graph_error(spoil: bad_graphs.Spoil, words: str, **sections: Any) -> Row:
    return Row(spoil, GraphError, words, sections)


def config_error(words: str, spoil: bad_graphs.Spoil = nothing, **sections: Any) -> Row:
    return Row(spoil, ConfigError, words, sections)


def budget_error(words: str, **budget: Any) -> Row:
    return Row(nothing, BudgetError, words, {"budget": budget})


def wide_coo() -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.tensor([[0, 5], [3, 10**9]]), torch.ones(2), (12, 10**10))


def wide_csr() -> torch.Tensor:
    starts, columns = torch.zeros(13, dtype=LONG), torch.zeros(0, dtype=LONG)
    return torch.sparse_csr_tensor(starts, columns, torch.zeros(0), (12, 10**10))


GRAPHS = {
    "homogeneous": graph_error(lambda data: Data(x=torch.ones(3, 2)), "no edge_index; got a Data with x. Set"),
    "homogeneous, of no size": graph_error(
        lambda data: Data(edge_index=torch.zeros(2, 0, dtype=LONG)),
        "a Data: the number of nodes is unknown. Set",
    ),
    "nothing": graph_error(lambda data: HeteroData(), "the graph is empty: it has no node types"),
    "no edge types": graph_error(without_edges, "no edge types.*needs at least one"),
    "unknown size": graph_error(drop("num_nodes", "venue"), r"number of nodes is unknown.*data\['venue'\].num_nodes"),
    "size as text": graph_error(put("num_nodes", "2", "venue"), "no number of nodes; got '2'; expected an integer"),
    "negative size": graph_error(put("num_nodes", -3, "venue"), "no number of nodes; got -3"),
    "size of a fraction": graph_error(put("num_nodes", 2.5, "venue"), "no number of nodes; got 2.5"),
    "ids past 32 bits": graph_error(
        put("num_nodes", 2**31, "venue"), "venue'.*do not fit 32 bits; got 2147483648; expected at most 2147483647"
    ),
}

EDGES = {
    "id too large": graph_error(
        edges(torch.tensor([[5], [0]])), r"writes.*node of type 'author' that does not exist; got 5; expected 0 to 4"
    ),
    "negative id": graph_error(edges(torch.tensor([[0], [-1]])), "type 'paper' that does not exist; got -1"),
    "edges of no nodes": graph_error(put("num_nodes", 0, "venue"), "got 1; expected no edges, as there are no nodes"),
    "float ids": graph_error(edges(torch.zeros(2, 3)), r"malformed; got torch.float32 \(2, 3\).*Use long\(\)"),
    "bool ids": graph_error(edges(torch.zeros(2, 3, dtype=torch.bool)), "malformed; got torch.bool"),
    "complex ids": graph_error(edges(torch.zeros(2, 3, dtype=torch.complex64)), "malformed; got torch.complex64"),
    "uint64 ids": graph_error(edges(torch.zeros(2, 3, dtype=torch.uint64)), "malformed; got torch.uint64"),
    "three rows": graph_error(edges(torch.zeros(3, 4, dtype=LONG)), r"got torch.int64 \(3, 4\); expected integers \[2"),
    "transposed": graph_error(edges(torch.zeros(4, 2, dtype=LONG)), r"\(4, 2\).*Transpose it: edge_index.t\(\)"),
    "one row": graph_error(edges(torch.zeros(4, dtype=LONG)), r"malformed; got torch.int64 \(4,\)"),
    "numpy": graph_error(edges(np.zeros((2, 3), np.int64)), "no tensor; got ndarray. Use torch.from_numpy"),
    "a list": graph_error(edges([[0], [1]]), "edge_index is no tensor; got list"),
    "none": graph_error(lambda data: data[bad_graphs.WRITES].pop("edge_index"), "'writes'.*has no edge_index"),
    "adj_t": graph_error(with_adj_t, "has no edge_index. adj_t is not read; convert it: .*torch.stack"),
    "meta": graph_error(edges(torch.zeros(2, 3, dtype=LONG, device="meta")), "holds no data; got a tensor on the meta"),
    "unknown end": graph_error(
        edges(torch.zeros(2, 1, dtype=LONG), ("author", "likes", "film")),
        r"names the node type 'film', which the graph does not have. Set data\['film'\]",
    ),
    "two types of one key": graph_error(
        ambiguous, r"the key 'author__x__y__paper'; got \('author__x', 'y', 'paper'\) and \('author', 'x__y', 'paper'\)"
    ),
}

FEATURES = {
    "nan": graph_error(cell(np.nan), r"'author': 1 of 15 values.* got nan in x\[2, 1\].*feature_values = 'default'"),
    "infinite": graph_error(cell(-np.inf), r"got -inf in x\[2, 1\]"),
    "past float32": graph_error(
        put("x", torch.full((12, 2), 1e300, dtype=torch.float64)), r"not finite numbers as float32; got 1e\+300"
    ),
    "default past float16": config_error(
        r"the default does not fit x of node type 'author', which is torch.float16; got 1000000.0; expected at most 65",
        lambda data: put("x", torch.full((5, 1), float("nan")).half(), "author")(data),
        dataset={"feature_values": "default", "feature_default": 1e6},
    ),
    "flat": graph_error(put("x", torch.zeros(12)), r"x must be a matrix; got shape \[12\]. Reshape x"),
    "deep": graph_error(put("x", torch.zeros(12, 2, 2)), r"must be a matrix; got shape \[12, 2, 2\]"),
    "no columns": graph_error(put("x", torch.zeros(12, 0)), r"must be a matrix; got shape \[12, 0\]"),
    "a number": graph_error(put("x", torch.tensor(1.0)), r"must be a matrix; got shape \[\]"),
    "objects": graph_error(put("x", np.array([object()] * 12)), "x is no tensor; got ndarray. Make it a tensor"),
    "a list": graph_error(put("x", [[1.0]] * 12), "x is no tensor; got list"),
    "complex": graph_error(put("x", torch.zeros(12, 2, dtype=torch.complex64)), "real numbers; got torch.complex64"),
    "too many rows": graph_error(put("num_nodes", 3, "author"), "x has another number of rows.*got 5; expected 3"),
    "too few rows": graph_error(put("num_nodes", 9, "author"), "x has another number of rows.*got 5; expected 9"),
    "meta": graph_error(
        put("x", torch.zeros(12, 2, device="meta")), "x holds no data; got a tensor on the meta device"
    ),
    "nested": graph_error(
        lambda data: put("x", torch.nested.nested_tensor([torch.zeros(2)] * 12, layout=torch.jagged))(data),
        "x is a nested tensor; expected a plain one",
    ),
    "too few edge features": graph_error(
        lambda data: data[bad_graphs.WRITES].update({"edge_attr": torch.zeros(23, 1)}), "edge_attr.*got 23; expected 24"
    ),
    "flat edge features of another length": graph_error(
        lambda data: data[bad_graphs.WRITES].update({"edge_attr": torch.zeros(23)}), "edge_attr.*got 23; expected 24"
    ),
    "sparse and too wide": graph_error(
        lambda data: put("x", wide_coo())(data),
        r"x of shape \[12, 10000000000\], sparse with 2 entries.*not fit into memory; got 447 GiB.*expected at most",
    ),
    "sparse rows, too wide": graph_error(
        lambda data: put("x", wide_csr())(data),
        "sparse with 0 entries.*not fit into memory",
    ),
    "sparse long doubles": graph_error(
        put("x", scipy.sparse.csr_matrix(np.eye(12, dtype=np.longdouble))), "sparse matrix that torch cannot hold"
    ),
    "past float32's resolution": graph_error(
        put("x", 1.7e9 + torch.arange(12, dtype=torch.float64).view(12, 1)),
        "11 of 12 values of x .float64. are not told apart.*got 1700000000.0 and 1700000001.0 both become 1700000000.0",
        dataset={"float64": "error"},
    ),
    "edge times past float32's resolution": graph_error(
        lambda data: data[bad_graphs.WRITES].update({"edge_attr": 10**18 + torch.arange(24)}),
        "'author__writes__paper': 23 of 24 values of edge_attr .int64.",
        dataset={"float64": "error"},
    ),
    "nan of an edge": graph_error(
        lambda data: data[bad_graphs.WRITES].update({"edge_attr": torch.full((24, 1), torch.nan)}),
        r"'author__writes__paper': 24 of 24 values of edge_attr.*edge_attr\[0, 0\]",
    ),
}

LABELS = {
    "none at all": graph_error(put("y", torch.full((12,), -1)), "no node has a label; got largest class -1"),
    "of a seed": graph_error(
        put("y", torch.tensor([-5] + [1] * 11)), "1 of 6 seed nodes of split 'train' have no label; got node 0"
    ),
    "ids for classes": graph_error(
        put("y", torch.full((12,), 2**40)), "largest class is out of range; got 1099511627776; expected 0 to 1048575"
    ),
    "float": graph_error(put("y", torch.zeros(12)), "labels must be integers; got torch.float32. Convert classes"),
    "bool": graph_error(put("y", torch.zeros(12, dtype=torch.bool)), "labels must be integers; got torch.bool"),
    "one-hot": graph_error(put("y", torch.eye(12, dtype=LONG)), r"\(12, 12\).*y.argmax\(1\) makes classes"),
    "several": graph_error(put("y", torch.zeros(12, 3, dtype=LONG)), r"shape \(12, 3\).*several labels of a node are"),
    "too few": graph_error(
        put("y", torch.zeros(11, dtype=LONG)), r"one class per node; got shape \(11,\); expected \(12"
    ),
    "numpy": graph_error(put("y", np.zeros(12, np.int64)), "'y' is no tensor; got ndarray. Use torch.from_numpy"),
    "meta": graph_error(put("y", torch.zeros(12, dtype=LONG, device="meta")), "'y' holds no data"),
    "absent": config_error("no label 'y'. Known: x, train_mask", drop("y")),
}

MASKS = {
    "too short": graph_error(
        put("train_mask", mask([0], size=11)), r"one bool per node; got torch.bool \(11,\); expected .*12"
    ),
    "ids": graph_error(put("train_mask", torch.tensor([0, 1])), r"got torch.int64 \(2,\).*mask\[ids\] = True"),
    "numbers": graph_error(put("train_mask", mask([0]).to(torch.uint8)), r"got torch.uint8.*Convert it: mask.bool\(\)"),
    "ten splits": graph_error(put("val_mask", mask([6]).view(12, 1).repeat(1, 10)), r"\(12, 10\).*Choose one column"),
    "numpy": graph_error(put("val_mask", mask([6]).numpy()), "'val_mask' is no tensor; got ndarray"),
    "overlapping": graph_error(put("val_mask", mask([1, 2, 7])), "splits 'train' and 'val' share 2 nodes"),
    "no train seeds": graph_error(put("train_mask", mask([])), "split 'train' has no seed nodes. Leave the split out"),
    "no val seeds": graph_error(put("val_mask", mask([])), "split 'val' has no seed nodes"),
    "no test seeds": graph_error(put("test_mask", mask([])), "split 'test' has no seed nodes"),
    "absent": config_error("no mask 'train_mask'. Name the masks.*random_split", drop("train_mask")),
    "too few to split": graph_error(
        put("y", torch.tensor([1] + [-1] * 11)), "split 'val' has no seed.*draw another", dataset={"random_split": {}}
    ),
}

NAMES = {
    name: graph_error(put("num_nodes", 2, name), "cannot name a folder|cannot be encoded|surrogates not allowed")
    for name in ("a/b", "a\\b", "..", ".", "", ".zattrs", "zarr.json", "a\nb", "a\0b", "x" * 201, "a\ud800")
} | {
    "label a/b": graph_error(
        put("a/b", torch.tensor([0, 1, 2] * 4)),
        r"\[dataset\] label: target name 'a/b' cannot name a folder.*Keep the labels under another name",
        dataset={"label": "a/b"},
    ),
    "relation a/b": graph_error(
        edges(torch.zeros(2, 1, dtype=LONG), ("author", "a/b", "paper")), "cannot name a folder"
    ),
    "long together": graph_error(
        edges(torch.zeros(2, 1, dtype=LONG), ("author", "x" * 195, "paper")), "is longer than 200 bytes"
    ),
    "case of a type": graph_error(put("num_nodes", 2, "Paper"), "would share a folder.*got 'paper' and 'Paper'"),
    "accents of a type": graph_error(
        both(put("num_nodes", 2, "caf\u00e9"), put("num_nodes", 2, "cafe\u0301")), "would share a folder"
    ),
    "case of a relation": graph_error(
        edges(torch.zeros(2, 1, dtype=LONG), ("author", "Writes", "paper")),
        "would share a folder.*author__Writes__paper",
    ),
}

CONFIGS = {
    "unknown seed type": config_error("no node type 'papre'. Did you mean 'paper'", dataset={"seed_type": "papre"}),
    "unknown subset": config_error("no node type 'pape'. Did you mean 'paper'", dataset={"subset": {"pape": 3}}),
    "unknown key": config_error("unknown key 'fanuot'. Did you mean 'fanout'", sampling={"fanuot": [2]}),
    "unknown section": config_error("unknown key 'smapling'. Did you mean 'sampling'", smapling={}),
    "unknown edge type": config_error(
        "unknown edge type; got author__wrote__paper. Did you mean 'author__writes__paper'",
        sampling={"fanout": {"author__wrote__paper": [2], "default": [2]}},
    ),
    "a pad value too large": config_error(
        r"dtype does not hold pad_value; got 1e\+39; expected 3.403e\+38, the largest float32",
        store={"pad_value": 1e39},
    ),
    "an edge type too few": config_error(
        "leaves an edge type out; got paper__in__venue. Add it, or a 'default'",
        sampling={"fanout": {"author__writes__paper": [2]}},
    ),
    "unequal fanouts": config_error(
        r"every fanout must list the same number of hops; got \{'author",
        sampling={"fanout": {"author__x__y": [2], "default": [2, 3]}},
    ),
    "no fanout": config_error("at least one hop", sampling={"fanout": []}),
    "a default without use": config_error("'feature_default' has no meaning with", dataset={"feature_default": 1.0}),
    "unknown type of a budget": config_error(
        "unknown type; got papre. Did you mean 'paper'",
        budget={"mode": "explicit", "nodes": {"papre": 3}, "edges": {"a": 3}},
    ),
}

BUDGETS = {
    "of one seed": budget_error(
        r"seed \d of type 'paper' alone does not fit the budget: 'author__writes__paper' has 2 edges, its budget of 2 "
        r"holds 1.*Raise the budget",
        mode="uniform",
        nodes=60,
        edges=2,
    ),
    "of the seeds": budget_error("seeds alone do not fit.*a budget of at least 4", mode="uniform", nodes=3, edges=90),
    "of chunks": budget_error(
        r"tensor 'train/(nodes/paper|all_nodes)/n_id': a chunk is too large.*got .* GiB.*2 GiB.*Lower the budget",
        mode="uniform",
        nodes=2**31 - 1,
        edges=90,
    ),
}

TABLE = {
    f"{title}: {name}": row
    for title, rows in {
        "graph": GRAPHS,
        "edges": EDGES,
        "features": FEATURES,
        "labels": LABELS,
        "masks": MASKS,
        "type name": NAMES,
        "config": CONFIGS,
        "budget": BUDGETS,
    }.items()
    for name, row in rows.items()
}
NOT_SAVED = ("sparse long doubles", "numpy", "objects", "a list", "meta", "nested", "a\ud800", "text")


def sections_of(row: Row, root: Path) -> dict[str, Any]:
    given = {"sampling": SMALL, **row.sections}
    dataset = {"seed_type": "paper", **given.pop("dataset", {})}
    store = {"root": str(root), **given.pop("store", {})}
    return {"name": "job", "dataset": dataset, "store": store, **given}


def spoilt(row: Row) -> Any:
    data = small_graph()
    made = row.spoil(data)
    return made if isinstance(made, (HeteroData, Data)) else data


@pytest.mark.parametrize("name", TABLE)
def test_the_api_refuses_it(tmp_path: Path, name: str) -> None:
    row = TABLE[name]
    with pytest.raises(row.error, match=row.words) as caught:
        pipeline.prepare(spoilt(row), JobConfig(**sections_of(row, tmp_path / "stores")))
    assert type(caught.value) is row.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TABLE)
def test_the_command_refuses_it_in_one_line(tmp_path: Path, name: str) -> None:
    row, data = TABLE[name], spoilt(TABLE[name])
    sections = sections_of(row, tmp_path / "stores")
    if name.endswith(NOT_SAVED):
        bad_graphs.handed.append(data)
        source = {"source": "function", "function": "tests.pipeline.bad_graphs:hand_over"}
    else:
        torch.save(data, tmp_path / "graph.pt")
        source = {"source": "file", "path": str(tmp_path / "graph.pt")}
    config = tmp_path / "job.toml"
    config.write_text(as_toml({**sections, "dataset": {**sections["dataset"], **source}}))
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main, ["prepare", "--config", str(config)])
    assert result.exit_code == row.error.exit_code, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert line == result.output.splitlines()[-1], "the message is one line, the last one"
    assert re.search(row.words, line), line
    assert sorted(tmp_path.rglob("*")) == before
