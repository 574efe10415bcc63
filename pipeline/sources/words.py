"""Names and sentences: how a source is described, and the nearest known name to a misspelt one."""

import difflib
from collections.abc import Iterable
from typing import Any

from heteroshards.schemas.config import DatasetConfig


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known name most like `name`, and what is known where that is a short list."""
    names = list(known)
    lower = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    guess = f"Did you mean '{lower[found[0]]}'?" if found else ""
    listing = f"Known: {', '.join(names)}." if len(names) <= 20 else ""
    return " ".join(part for part in (guess, listing) if part)


def describe(config: DatasetConfig) -> dict[str, Any]:
    """Where the graph comes from, as plain values for a manifest or a report."""
    names = {
        "synthetic": "synthetic graph of IMDB's shape (not real data)",
        "pyg": config.class_name,
        "file": config.path,
        "function": config.function,
    }
    words: dict[str, Any] = {"dataset": names[config.source], "source": config.source}
    if config.args:
        words["args"] = dict(config.args)
    words["splits"] = "drawn at random" if config.random_split is not None else "masks of the data"
    if config.predict is not None:
        words["predict"] = config.predict
    if config.subset:
        words["subset"] = {name: f"first {count} nodes" for name, count in config.subset.items()}
    if config.remove_isolated:
        words["remove_isolated"] = True
    return words
