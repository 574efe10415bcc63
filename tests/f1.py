"""The relational database f1 as a graph, and its questions as tables of seeds: real data, where they are.

Every row of a table is a node, every foreign key an edge there and back; `date` is when a row came to be.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch_geometric.data import HeteroData

KEYS = {
    "races": {"circuitId": "circuits"},
    "results": {"raceId": "races", "driverId": "drivers", "constructorId": "constructors"},
    "qualifying": {"raceId": "races", "driverId": "drivers", "constructorId": "constructors"},
    "standings": {"raceId": "races", "driverId": "drivers"},
    "constructor_results": {"raceId": "races", "constructorId": "constructors"},
    "constructor_standings": {"raceId": "races", "constructorId": "constructors"},
}
NUMBERS = {
    "circuits": ["lat", "lng", "alt"],
    "races": ["round"],
    "results": ["grid", "position", "positionOrder", "points", "laps", "milliseconds", "fastestLap", "rank"],
    "qualifying": ["position"],
    "standings": ["points", "position", "wins"],
    "constructor_results": ["points"],
    "constructor_standings": ["points", "position", "wins"],
}
CODES = {
    "drivers": ["nationality"],
    "constructors": ["nationality"],
    "circuits": ["country"],
    "results": ["statusId"],
}
TASKS = {  # the file's column, and what kind of question it is
    "driver-dnf": ("did_not_finish", "binary"),
    "driver-top3": ("qualifying", "binary"),
    "driver-position": ("position", "regression"),
}
VALIDATION = np.datetime64("2005-01-01")


def folder() -> Path | None:
    """Where the data are; None where they are not."""
    found = Path(os.environ.get("HETEROSHARDS_DATA", "../shared/data")) / "f1"
    return found if found.is_dir() else None


def f1_graph(task: str = "driver-dnf", data_dir: str | None = None) -> HeteroData:
    """The graph, with the questions of a task as rows of type `ask`."""
    root = Path(data_dir) if data_dir else folder()
    assert root is not None, "there is no f1 data"
    data = HeteroData()
    tables = {path.stem: pq.read_table(path) for path in sorted((root / "tables").glob("*.parquet"))}
    for name, table in tables.items():
        data[name].num_nodes = table.num_rows
        if "date" in table.column_names:
            data[name].date = seconds(table["date"])
        if name in NUMBERS:
            data[name].x = numbers(table, NUMBERS[name])
        for column in CODES.get(name, ()):
            _, codes = np.unique(table[column].to_pandas().astype(str), return_inverse=True)
            data[name][column] = torch.from_numpy(codes.reshape(-1))
    for name, keys in KEYS.items():
        for key, other in keys.items():
            edges = torch.from_numpy(np.stack([np.arange(tables[name].num_rows), tables[name][key].to_numpy()]))
            data[name, key, other].edge_index = edges
            data[other, f"rev_{key}", name].edge_index = edges.flip(0)
    _ask(data, root / "tasks" / task, TASKS[task][0])
    return data


def _ask(data: HeteroData, tables: Path, column: str) -> None:
    parts = {split: pq.read_table(tables / f"{split}.parquet") for split in ("train", "val", "test")}
    asks, of_split = data["ask"], np.repeat(list(parts), [part.num_rows for part in parts.values()])
    asks.node = torch.from_numpy(np.concatenate([part["driverId"].to_numpy() for part in parts.values()]))
    asks.when = torch.cat([seconds(part["date"]) for part in parts.values()])
    answers = np.concatenate([part[column].to_numpy() for part in parts.values()])
    asks.y = torch.from_numpy(answers.astype(np.float32))
    for split in parts:
        asks[f"{split}_mask"] = torch.from_numpy(of_split == split)


def seconds(column: Any) -> torch.Tensor:
    """int64: whole seconds since 1970."""
    return torch.from_numpy(column.to_numpy().astype("datetime64[s]").astype(np.int64))


def numbers(table: Any, columns: list[str]) -> torch.Tensor:
    """float32 [rows, 2 * columns]: standardised by what was there before validation, 0 where missing; and whether."""
    found = []
    before = np.ones(table.num_rows, bool)
    if "date" in table.column_names:
        before = table["date"].to_numpy() < VALIDATION
    for column in columns:
        values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
        known, early = ~np.isnan(values), values[before & ~np.isnan(values)]
        spread = early.std() or 1.0
        found += [np.where(known, (values - early.mean()) / spread, 0.0), known.astype(np.float64)]
    return torch.from_numpy(np.stack(found, axis=1).astype(np.float32))


def f1_job(task: str, root: Path, rng_seed: int = 0, **sections: Any) -> dict[str, Any]:
    """A job's sections: the latest rows of each driver, two hops."""
    train = {"epochs": 8, "lr": 0.003, "backend": "eager", "rng_seed": rng_seed, "root": str(root), "patience": 3}
    kind = TASKS[task][1]
    question = {"kind": kind, "seeds": "ask", "time": "when", **({"loss": "l1"} if kind == "regression" else {})}
    attributes = {name: (["x"] if name in NUMBERS else []) + list(codes) for name, codes in CODES.items()}
    return {
        "name": f"f1-{task}",
        "dataset": {
            "source": "function",
            "function": "tests.f1:f1_graph",
            "args": {"task": task},
            "seed_type": "drivers",
            "attributes": attributes,
        },
        "task": question,
        "sampling": {
            "fanout": [24, 8],
            "batch_size": 128,
            "rounds": 2,
            "time": {"nodes": "date", "unit": "s"},
            "strategy": "last",
        },
        "model": {"hidden_channels": 64, "dropout": 0.3, "featureless": "constant"},
        "store": {"root": str(root)},
        "train": {**train, **sections.pop("train", {})},
        **sections,
    }
