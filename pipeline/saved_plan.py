"""What will be written of every split, as one file that any numpy reads without running code."""

from pathlib import Path

import numpy as np

from pipeline.estimate import Fitted
from pipeline.plan import SplitPlan
from pipeline.shapes import Sizes

PLAN_FIELDS = ("seeds", "starts", "keys", "planned_rounds", "max_seeds", "kept")
FITTED_NUMBERS = ("num_batches_skipped", "num_seeds_skipped")


def save(path: Path, fitted: dict[str, Fitted], most_edges: np.ndarray) -> None:
    """Write the file; it appears whole or not at all."""
    arrays: dict[str, np.ndarray] = {"splits": np.array(list(fitted)), "most_edges": most_edges}
    for split, fit in fitted.items():
        values = {name: getattr(fit.plan, name) for name in PLAN_FIELDS}
        values.update({name: getattr(fit, name) for name in FITTED_NUMBERS})
        for kind, sizes in (("sizes", fit.sizes), ("trimmed", fit.trimmed)):
            values.update({f"{kind}_nodes": sizes.num_nodes, f"{kind}_edges": sizes.num_edges})
        arrays.update({f"{split}/{name}": np.asarray(v) for name, v in values.items() if v is not None})
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load(path: Path) -> tuple[dict[str, Fitted], np.ndarray]:
    """What `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    fitted = {}
    for split in arrays["splits"].tolist():
        values = {name.partition("/")[2]: v for name, v in arrays.items() if name.startswith(f"{split}/")}
        plan = SplitPlan(
            name=split,
            seeds=values["seeds"],
            starts=values["starts"],
            keys=values["keys"],
            planned_rounds=values["planned_rounds"],
            max_seeds=int(values["max_seeds"]),
            kept=values.get("kept"),
        )
        sizes, trimmed = (Sizes(values[f"{kind}_nodes"], values[f"{kind}_edges"]) for kind in ("sizes", "trimmed"))
        fitted[split] = Fitted(plan, sizes, trimmed, *(int(values[name]) for name in FITTED_NUMBERS))
    return fitted, arrays["most_edges"]
