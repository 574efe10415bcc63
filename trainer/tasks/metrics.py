"""Scores in numpy, of all seeds of a split at once; definitions are scikit-learn's.

Letters: N seeds, L labels. What cannot be said of some seeds raises `UndefinedError`, which says why.
"""

from typing import Any, Callable, Dict, Iterable, List, Tuple

import numpy as np

# What a line on the screen shows, in this order, and what it is called there.
SHOWN = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "average_precision": "AP",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
}
LOWER_IS_BETTER = ("loss", "mae", "rmse")
UNDEFINED = "undefined"  # a record's key: metric -> why it is null


class UndefinedError(Exception):
    """A metric has no value for these seeds; the text says why."""


Metric = Tuple[str, Callable[[], float]]  # its name, and what computes it or raises `UndefinedError`


def score(metrics: Iterable[Metric]) -> Dict[str, Any]:
    """name -> value of each metric; None where it has none, with the reason under `undefined`."""
    found: Dict[str, Any] = {}
    reasons = {}
    for name, metric in metrics:
        try:
            found[name] = metric()
        except UndefinedError as reason:
            found[name], reasons[name] = None, str(reason)
    return {**found, **({UNDEFINED: reasons} if reasons else {})}


def of_answers(labels: np.ndarray, predictions: np.ndarray) -> List[Metric]:
    """`accuracy` and `macro_f1`, for `score`; both int >= 0 [N]."""
    return [("accuracy", lambda: accuracy(labels, predictions)), ("macro_f1", lambda: macro_f1(labels, predictions))]


def of_shares(labels: np.ndarray, shares: np.ndarray) -> List[Metric]:
    """`auroc` and `average_precision`, for `score`; labels 0 or 1 [N], shares float [N]."""
    return [("auroc", lambda: auroc(labels, shares)), ("average_precision", lambda: average_precision(labels, shares))]


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of equal entries; both int [N]."""
    _require_any(labels)
    return float(np.mean(labels == predictions))


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN), over the classes that occur in either; both int >= 0 [N].

    As `f1_score(average="macro")`.
    """
    _require_any(labels)
    num_classes = int(max(labels.max(), predictions.max())) + 1
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    occurrences = np.bincount(labels, minlength=num_classes) + np.bincount(predictions, minlength=num_classes)
    present = occurrences > 0
    return float(np.mean(2 * hits[present] / occurrences[present]))


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of the ones; both 0 or 1 [N]. 0 where neither has any, as scikit-learn has it."""
    _require_any(labels)
    hits, ones = int((labels & predictions).sum()), int(labels.sum() + predictions.sum())
    return 2 * hits / ones if ones else 0.0


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Chance that a 1 has a higher score than a 0, ties counting half; labels 0 or 1 [N], scores float [N].

    As `roc_auc_score`; Mann and Whitney's U over the number of pairs.
    """
    ones = int(labels.sum())
    zeros = len(labels) - ones
    _require_sides(zeros, ones)
    _require_numbers(scores)
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of equal scores the mean
    rank_sum = float(ranks[inverse.reshape(-1)][labels > 0].sum())
    return (rank_sum - ones * (ones + 1) / 2) / (ones * zeros)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Sum over score thresholds of precision times the gain in recall; labels 0 or 1 [N], scores float [N].

    As `average_precision_score`: no interpolation; equal scores are one threshold.
    """
    ones = int(labels.sum())
    _require_any(labels)
    if not ones:
        raise UndefinedError(f"none of {len(labels)} seeds has 1")
    _require_numbers(scores)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order] > 0)[ends]
    gains = np.diff(hits, prepend=0) / ones
    return float((gains * hits / (ends + 1)).sum())


def mean_over_labels(
    metric: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray, scores: np.ndarray, known: np.ndarray
) -> float:
    """Mean over labels for which the metric has a value, each over the seeds that know it; all [N, L]."""
    values: List[float] = []
    reasons = []
    for label in range(labels.shape[1]):
        rows = known[:, label]
        try:
            values.append(metric(labels[rows, label], scores[rows, label]))
        except UndefinedError as reason:
            reasons.append(str(reason))
    if not values:
        raise UndefinedError(f"none of {len(reasons)} labels has one: {reasons[0]}" if len(reasons) > 1 else reasons[0])
    return float(np.mean(values))


def mae(values: np.ndarray, answers: np.ndarray) -> float:
    """Mean absolute error; both float [N]."""
    _require_any(values)
    return float(np.abs(values - answers).mean())


def rmse(values: np.ndarray, answers: np.ndarray) -> float:
    """Root of the mean squared error; both float [N]."""
    _require_any(values)
    return float(np.sqrt(((values - answers) ** 2).mean()))


def r2(values: np.ndarray, answers: np.ndarray) -> float:
    """1 - squared error / squared distance from the mean; both float [N].

    As `r2_score`, but for values that are all the same, where that says 0 or 1 and this says nothing.
    """
    if len(values) < 2:
        raise UndefinedError(f"there must be two seeds, not {len(values)}")
    spread = float(((values - values.mean()) ** 2).sum())
    if not spread:
        raise UndefinedError(f"all {len(values)} seeds have {values[0]:g}")
    return 1 - float(((values - answers) ** 2).sum()) / spread


def _require_any(labels: np.ndarray) -> None:
    if not len(labels):
        raise UndefinedError("no seed is known")


def _require_sides(zeros: int, ones: int) -> None:
    if not (zeros and ones):
        raise UndefinedError(f"none of {zeros + ones} seeds has {1 if zeros else 0}")


def _require_numbers(scores: np.ndarray) -> None:
    if np.isnan(scores).any():
        raise UndefinedError("the model answers NaN")
