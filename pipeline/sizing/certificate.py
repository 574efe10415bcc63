"""Budgets that hold a stated share of batches, with a guarantee that assumes nothing about how sizes are distributed.

A *new* batch is one drawn as the counted ones were: at random from all batches of all splits that share the budget,
which are train or all the others unless [budget] scope is "all". It says more
only where batches are independent. With grouping `random` they nearly are, so batches of further rounds, or of another
rng_seed, are like those counted. With `balanced` and `packed`, batches of a round share their draws and are leveled
together: a round of which nothing was counted may lie above all that were, and nothing is certain about it.

Of n counted random batches one half, the *fitted* ones, says what sizes go together: a level t stands for the t-th
smallest size of every type at once (and for more than the largest, past the last). The other half, the *tested* ones,
decides how high the level must be. A tested batch has the level at which all of it just fits; the budget is the
(N - m)-th smallest of their N levels. The probability that a new batch lies above it has the distribution
Beta(m + 1, N - m) or a smaller one (Wilks: Determination of sample sizes for setting tolerance limits, 1941), whose
quantile at the wanted confidence is the bound; m is the largest number for which the bound is what was asked for.

Of a type, m_d <= m tested batches lie above its part of the budget. As m_d is itself seen in the data, its bound is
taken at a confidence that covers all m + 1 possible values together (Bonferroni).
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from heteroshards.pipeline.sampling.batches import Sizes
from heteroshards.schemas.budget import Budget, Certificate, Overflow
from heteroshards.schemas.config import BudgetConfig
from heteroshards.schemas.errors import BudgetError
from heteroshards.schemas.graph import GraphSchema


def quantile_sizes(
    counted: Sizes, quantile: float, confidence: float, schema: GraphSchema
) -> tuple[np.ndarray, np.ndarray, Certificate]:
    """The most nodes (int64 [T]) and edges (int64 [E]) a batch may have, padding not included, and what is certain.

    Args:
        counted: sizes of batches in random order.

    Raises:
        BudgetError: there are too few batches for such a guarantee.
    """
    totals = np.concatenate([counted.node_totals, counted.edge_totals], axis=1)
    fitted, tested = totals[: len(totals) // 2], totals[len(totals) // 2 :]
    if not are_enough(len(totals), quantile, confidence):
        raise BudgetError(
            f"too few batches to guarantee that {quantile:.6g} of all fit, at confidence {confidence:.6g}",
            actual=f"{len(totals)} batches",
            limit=f"at least {2 * least_tested(quantile, confidence)}",
            hint="Raise [budget] num_batches or [sampling] rounds, lower quantile or confidence, or use mode 'exact', "
            "or scope = 'all' where that counts more.",
        )
    allowed = _most_over(len(tested), 1 - quantile, confidence)
    fitted = np.sort(fitted, axis=0)
    levels = np.stack([_levels(column, values) for column, values in zip(fitted.T, tested.T, strict=True)], axis=1)
    level = int(np.sort(levels.max(axis=1))[len(tested) - allowed - 1])
    most = np.array([_largest(column, level) for column in fitted.T])
    over = (tested > most).sum(axis=0)
    each = 1 - (1 - confidence) / (allowed + 1)
    bounds = [Overflow(num_over=int(m), probability=_bound(int(m), len(tested), each)) for m in over]
    num_node_types = len(schema.node_types)
    certificate = Certificate(
        quantile=quantile,
        confidence=confidence,
        num_fitted=len(fitted),
        num_tested=len(tested),
        joint=Overflow(
            num_over=int((tested > most).any(axis=1).sum()), probability=_bound(allowed, len(tested), confidence)
        ),
        nodes=dict(zip(schema.node_names, bounds[:num_node_types], strict=True)),
        edges=dict(zip(schema.edge_keys, bounds[num_node_types:], strict=True)),
    )
    return most[:num_node_types], most[num_node_types:], certificate


def are_enough(num_batches: int, quantile: float, confidence: float) -> bool:
    """Whether so many counted batches can guarantee it."""
    return num_batches >= 2 and num_batches - num_batches // 2 >= least_tested(quantile, confidence)


def least_tested(quantile: float, confidence: float) -> int:
    """Batches that must be tested, none of which may overflow: the least N with quantile ** N <= 1 - confidence.

    >>> least_tested(0.99, 0.95)
    299
    """
    return math.ceil(math.log(1 - confidence) / math.log(quantile))


def _bound(num_over: int, num_tested: int, confidence: float) -> float:
    """The overflow probability that is not exceeded, at some confidence, after `num_over` of `num_tested`."""
    from scipy import stats

    if num_over >= num_tested:
        return 1.0
    return float(stats.beta.ppf(confidence, num_over + 1, num_tested - num_over))


def _most_over(num_tested: int, probability: float, confidence: float) -> int:
    """The most tested batches that may overflow while the bound stays at most `probability`."""
    low, high = 0, num_tested  # low is good (`least_tested`), high is not
    while high - low > 1:
        middle = (low + high) // 2
        if _bound(middle, num_tested, confidence) <= probability:
            low = middle
        else:
            high = middle
    return low


def _levels(fitted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The level at which each size just fits: how many `fitted` (ascending) are smaller, and n + k past the largest,
    where k counts n-ths of their range."""
    n, largest = len(fitted), int(fitted[-1])
    spread = max(1, largest - int(fitted[0]))
    beyond = n + -(-(sizes - largest) * n // spread)
    return np.where(sizes <= largest, np.searchsorted(fitted, sizes, side="left"), beyond)


def _largest(fitted: np.ndarray, level: int) -> int:
    """The largest size that fits at a level: `_levels(fitted, s) <= level` exactly for s <= this."""
    n, largest = len(fitted), int(fitted[-1])
    if level < n:
        return int(fitted[level])
    return largest + (level - n) * max(1, largest - int(fitted[0])) // n


def certainty_lines(
    config: BudgetConfig, budgets: Sequence[Budget], shape_of: Mapping[str, np.ndarray]
) -> Iterator[str]:
    """A line for each budget that has a certificate, or that should and has none.

    Args:
        shape_of: split -> the index of each batch's budget.
    """
    for shape, budget in enumerate(budgets):
        if budget.certificate:
            yield certificate_line(budget.certificate)
        elif config.mode == "quantile":
            names = ", ".join(name for name, shapes in shape_of.items() if (shapes == shape).any())
            yield f"{names}: too few batches for a quantile, so the budget holds all of them"


def certificate_line(certificate: Certificate) -> str:
    """One line that says what is certain; each of its two bounds holds with that confidence for itself."""
    types = {**certificate.nodes, **certificate.edges}
    worst = max(types, key=lambda name: types[name].probability)
    whose = ", ".join(certificate.splits) or "the job"
    return (
        f"a random batch of {whose} overflows with probability at most {certificate.joint.probability:.3%} "
        f"(confidence {certificate.confidence:.6g}; {certificate.joint.num_over} of {certificate.num_tested} tested "
        f"batches did); of one type alone at most {types[worst].probability:.3%} ('{worst}')"
    )
