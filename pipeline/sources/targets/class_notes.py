"""What is odd about the classes of a graph's seeds."""

from collections.abc import Iterator, Mapping

import numpy as np

from heteroshards.pipeline.formatting import as_ranges
from heteroshards.schemas.layout import SCORED_SPLITS
from heteroshards.schemas.notes import Note


def class_notes(
    labels: np.ndarray, seeds: Mapping[str, np.ndarray], num_classes: int, is_given: bool, where: str
) -> Iterator[Note]:
    """Lines on nodes without a label, classes that no seed has, and classes that training never sees.

    `labels` are ints [nodes], negative where a node has none; `seeds` int64 ids by split. `is_given`: the config says
    how many classes there are, so that it is no wonder that some have no seed.
    """
    is_unlabelled = labels < 0
    if is_unlabelled.any():
        values = ", ".join(str(value) for value in np.unique(labels[is_unlabelled])[:3])
        message = f"{int(is_unlabelled.sum())} of {len(labels)} nodes have no label (class {values})"
        yield Note(code="unlabelled", level="note", concerns=where, message=message)
    found = {split: np.unique(labels[seeds[split]]) for split in SCORED_SPLITS if split in seeds}
    if not found:
        return
    used = np.unique(np.concatenate(list(found.values())))
    unused = np.setdiff1d(np.arange(num_classes), used)
    if len(unused) and not is_given:
        message = f"no seed has class {as_ranges(unused, 5)}, so a model of {num_classes} classes learns them in vain"
        yield Note(code="unused_classes", concerns=where, message=message + _suspect(labels, used, num_classes))
    missing = np.setdiff1d(used, found.get("train", used))
    if len(missing):
        others = " and ".join(split for split in found if np.isin(missing, found[split]).any())
        message = f"class {as_ranges(missing, 5)} is in {others}, but no train seed has it"
        yield Note(code="not_in_train", concerns=where, message=message)


def _suspect(labels: np.ndarray, used: np.ndarray, num_classes: int) -> str:
    """Words on a largest class that looks as if it stood for "none": far from the others, or of no seed."""
    largest, others = num_classes - 1, used[used < num_classes - 1]
    is_far = len(others) > 0 and largest - int(others[-1]) > 1
    is_of_no_seed = largest not in used
    if not (is_far or is_of_no_seed):
        return ""
    holders = int((labels == largest).sum())
    return f". If {largest} ({holders} nodes) stands for 'no label', make it -1"
