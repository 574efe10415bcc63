"""What will be written of every split, as one file that any numpy reads without running code."""

from pathlib import Path

import numpy as np

from heteroshards.pipeline.grouping.split_plan import SplitPlan
from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.pipeline.sizing.fitting import Fitted

PLAN_FIELDS = ("seeds", "starts", "keys", "planned_rounds", "max_seeds", "kept")
FITTED_NUMBERS = ("num_batches_skipped", "num_seeds_skipped", "shape")


def save(path: Path, fitted: dict[str, list[Fitted]], most_edges: np.ndarray) -> None:
    """Write the file; it appears whole or not at all."""
    arrays: dict[str, np.ndarray] = {"splits": np.array(list(fitted)), "most_edges": most_edges}
    for split, parts in fitted.items():
        for number, fit in enumerate(parts):
            arrays.update({f"{split}/{number}/{name}": value for name, value in _arrays(fit).items()})
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def _arrays(fit: Fitted) -> dict[str, np.ndarray]:
    values = {name: getattr(fit.plan, name) for name in PLAN_FIELDS}
    values.update({name: getattr(fit, name) for name in FITTED_NUMBERS})
    for kind, sizes in (("sizes", fit.sizes), ("trimmed", fit.trimmed)):
        values.update({f"{kind}_nodes": sizes.num_nodes, f"{kind}_edges": sizes.num_edges})
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def load(path: Path) -> tuple[dict[str, list[Fitted]], np.ndarray]:
    """What `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    fitted: dict[str, list[Fitted]] = {split: [] for split in arrays["splits"].tolist()}
    for split, parts in fitted.items():
        while f"{split}/{len(parts)}/seeds" in arrays:
            start = f"{split}/{len(parts)}/"
            values = {name.removeprefix(start): v for name, v in arrays.items() if name.startswith(start)}
            parts.append(_fitted(split, values))
    return fitted, arrays["most_edges"]


def _fitted(split: str, values: dict[str, np.ndarray]) -> Fitted:
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
    return Fitted(plan, sizes, trimmed, *(int(values[name]) for name in FITTED_NUMBERS))
