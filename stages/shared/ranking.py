"""AUC and log loss with intervals, by what each customer adds to them.

The AUC is the share of pairs, one who churned and one who stayed, that the scores put in order. Of
each row it is known how large that share is among its own pairs (its placement: DeLong, DeLong and
Clarke-Pearson 1988), and from these the variance of an AUC, and of the difference of two on the
same rows, follows without drawing anything. A customer may have a row in several months: his rows
together count as one observation (Obuchowski 1997).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int8]
    Codes = NDArray[np.int64]

# Keeps the logarithm of a probability finite; scikit-learn's log_loss clips at the same place.
_TINY = float(np.finfo(np.float64).eps)


class Estimate(NamedTuple):
    """A figure, and what each row adds to its error; ``influence`` has shape (rows,), mean 0."""

    value: float
    influence: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two figures of the same rows: what they have in common cancels."""
        return Estimate(self.value - other.value, self.influence - other.influence)


def auc(churned: Labels, scores: Floats, weights: Floats | None = None) -> float:
    """The AUC, ties counted half; each row counts ``weights`` times.

    Args:
        churned: shape (n,), 0 or 1.
        scores: shape (n,).
        weights: shape (n,); None is 1 each.

    Returns:
        NaN where a class has no weight.
    """
    positive, negative = _of_classes(churned, weights)
    pairs = positive.sum() * negative.sum()
    below = _below(scores, negative)
    return float((positive * below).sum() / pairs) if pairs else float("nan")


def auc_estimate(churned: Labels, scores: Floats) -> Estimate:
    """The AUC with what each row adds to its error; both classes must be there."""
    positive, negative = _of_classes(churned, None)
    ours, theirs = positive.sum(), negative.sum()
    below, above = _below(scores, negative), _below(-scores, positive)
    placements = positive * below / theirs + negative * above / ours
    # Of whole and half pairs, whose sum is exact: a product of vectors adds in the processor's own
    # order.
    value = float((positive * below).sum() / (ours * theirs))
    off = placements - value
    return Estimate(value, positive * off / ours + negative * off / theirs)


def mean_estimate(values: Floats) -> Estimate:
    """A mean with what each row adds to its error."""
    mean = float(values.mean())
    return Estimate(mean, (values - mean) / len(values))


def log_losses(churned: Labels, scores: Floats) -> Floats:
    """The log loss of each row, in nats; shape (n,)."""
    of_truth = np.where(churned == 1, scores, 1 - scores)
    losses: Floats = -np.log(np.clip(of_truth, _TINY, 1))
    return losses


def interval(
    found: Estimate, customers: Codes, confidence: float, fewest: int
) -> tuple[float, float]:
    """The interval of a figure, by Student's t.

    Args:
        found: the figure.
        customers: shape (n,), whose row each is.
        confidence: between 0 and 1.
        fewest: customers of the rarer class, at least 2: they are the observations that count.
    """
    of_each = np.bincount(customers, found.influence)
    present = np.bincount(customers) > 0
    many = int(present.sum())
    error = float(np.sqrt(np.square(of_each).sum() * many / max(many - 1, 1)))
    arm = error * float(stats.t.ppf((1 + confidence) / 2, max(fewest - 1, 1)))
    return found.value - arm, found.value + arm


def codes(ids: NDArray[np.object_]) -> Codes:
    """A number for each customer, from 0; shape (n,)."""
    _, found = np.unique(ids, return_inverse=True)
    return found.astype(np.int64)


def fewest(churned: Labels, customers: Codes) -> int:
    """How many customers there are in the class that has fewer."""
    return min(len(np.unique(customers[churned == label])) for label in (0, 1))


def _of_classes(churned: Labels, weights: Floats | None) -> tuple[Floats, Floats]:
    positive = (churned == 1).astype(np.float64)
    each = np.ones(len(churned)) if weights is None else weights
    return positive * each, (1 - positive) * each


def _below(scores: Floats, weights: Floats) -> Floats:
    """For each row the weight of those with lower scores, and half of those with the same."""
    values, places = np.unique(scores, return_inverse=True)
    of_value = np.bincount(places, weights, minlength=len(values))
    found: Floats = (np.cumsum(of_value) - of_value / 2)[places]
    return found
