"""Classification scores in numpy."""

from typing import Dict

import numpy as np

# Metrics that a line on the screen shows, in this order, and what they are called there.
SHOWN = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of equal entries; both int [n]. NaN for n = 0."""
    return float(np.mean(labels == predictions)) if len(labels) else float("nan")


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN), over the classes that occur in either; both int >= 0 [n].

    As scikit-learn's `f1_score(average="macro")`. NaN for n = 0.
    """
    if not len(labels):
        return float("nan")
    num_classes = int(max(labels.max(), predictions.max())) + 1
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    occurrences = np.bincount(labels, minlength=num_classes) + np.bincount(predictions, minlength=num_classes)
    present = occurrences > 0
    return float(np.mean(2 * hits[present] / occurrences[present]))


def scores(labels: np.ndarray, predictions: np.ndarray) -> Dict[str, float]:
    """`accuracy` and `macro_f1` over the entries whose label is a class (not negative)."""
    known = labels >= 0
    labels, predictions = labels[known], predictions[known]
    return {"accuracy": accuracy(labels, predictions), "macro_f1": macro_f1(labels, predictions)}
