"""AUC and log loss with intervals, by a paired bootstrap over customers.

The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13):
customers are drawn with replacement, each draw scores both models on the same customers, and the
interval is cut from the differences, so that what the two have in common cancels. A holdout has
one row for each customer, so drawing rows is drawing customers. A draw is a weight for each row;
the AUC is the weighted Mann-Whitney statistic (Hanley and McNeil 1982), ties counted half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

# Keeps the logarithm of a probability finite; scikit-learn's log_loss clips at the same place.
_TINY = float(np.finfo(np.float64).eps)


def weighted_auc(churned: Labels, scores: Floats) -> Callable[[Floats], float]:
    """Prepare the AUC of ``scores`` for many weightings of the rows.

    Args:
        churned: shape (n,), 0 or 1, both present.
        scores: shape (n,).

    Returns:
        A function from weights, shape (n,), to the AUC; NaN where a class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    positive = churned[order].astype(np.float64)
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last row of each tie

    def auc(weights: Floats) -> float:
        of_rows = weights[order]
        positives = np.diff(np.cumsum(of_rows * positive)[ends], prepend=0.0)
        total = np.diff(np.cumsum(of_rows)[ends], prepend=0.0)
        negatives = total - positives
        below = np.cumsum(negatives) - negatives
        pairs = positives.sum() * negatives.sum()
        return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")

    return auc


def log_losses(churned: Labels, scores: Floats) -> Floats:
    """The log loss of each row, in nats; shape (n,)."""
    of_truth = np.where(churned == 1, scores, 1 - scores)
    losses: Floats = -np.log(np.clip(of_truth, _TINY, 1))
    return losses


def draws(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Weights, shape (rows,), that say how often each row was drawn."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(np.float64)


def interval(values: Floats, confidence: float) -> tuple[float, float]:
    """The percentile interval; draws that had no value (one class only) are left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
