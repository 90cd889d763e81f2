"""Which of many means moved, when most customers are the same on both sides.

The same customers come back month after month, so rows of two months are not independent, and a
test that takes them to be (or a null made by shuffling rows) is wrong by a factor that nobody
knows. What is independent is one customer of another. Each customer's rows, of both sides
together, therefore count as one observation of the difference (the clustered variance: Liang and
Zeger 1986; for shares Rao and Scott 1992), and all means are judged together by the largest: its
distribution under "nothing moved" is drawn from the correlations that the customers themselves
show (Chernozhukov, Chetverikov and Kato 2013; single-step max-T, Westfall and Young 1993).
Correlated columns then cost no power, and the rate of false alarms is that of the whole family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

# Of the largest of all statistics under "nothing moved": a p-value of 0.01 is known to 0.001.
DRAWS = 10_000
EFFECT_DIGITS = 6  # rounded before anything is decided by them, as reports give them
# What is left of an eigenvalue that is zero: columns that say the same give many of them.
NOTHING = 1e-9


@dataclass(frozen=True)
class Rows:
    """One side of a comparison: ``values``, shape (n, k), and whose row each is, shape (n,)."""

    values: Floats
    customers: Codes


@dataclass(frozen=True)
class Movement:
    """How far each of k means moved; arrays of shape (k,)."""

    effects: Floats  # differences of the means, in standard deviations of the rows before
    p_values: Floats  # adjusted for all k: the least rate of false alarms that would alarm


def measure(before: Rows, now: Rows, seed: int) -> Movement:
    """Hold the means of ``now`` against those of ``before``.

    Args:
        before: at least two rows.
        now: at least two rows; a customer's code is the same on both sides.
        seed: of the draws.

    Returns:
        Effects and p-values. A value that is constant on both sides did not move: (0, 1).
    """
    # From the first value on: a constant is then exactly 0, on both sides, whatever it was.
    before, now = (Rows(side.values - before.values[0], side.customers) for side in (before, now))
    difference = now.values.mean(axis=0) - before.values.mean(axis=0)
    spread = before.values.std(axis=0)
    influence = _influence(before, now)
    scores = _scores(difference, influence, before.values, now.values)
    moved = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
    return Movement(moved.round(EFFECT_DIGITS), _adjusted(scores, influence, seed))


def _influence(before: Rows, now: Rows) -> Floats:
    """What each customer adds to the difference of the means; shape (customers, k)."""
    size = int(max(before.customers.max(), now.customers.max())) + 1
    found = np.zeros((size, before.values.shape[1]))
    for side, sign in ((now, 1.0), (before, -1.0)):
        parts = (side.values - side.values.mean(axis=0)) * (sign / len(side.values))
        for column in range(parts.shape[1]):  # bincount is many times faster than add.at
            found[:, column] += np.bincount(side.customers, parts[:, column], minlength=size)
    return found


def _scores(difference: Floats, influence: Floats, before: Floats, now: Floats) -> Floats:
    """Each difference in standard errors, as a normal score; 0 where nothing varies.

    The rows of one month tell the spread of a rare value badly, and it is least where the
    difference is largest. Theirs is therefore replaced by that of the rows before, which is the
    same if nothing moved; what remains of the clustered variance is how much the customers'
    coming back changes it.
    """
    rows_before, rows_now = len(before), len(now)
    of_before = before.var(axis=0)
    apart = now.var(axis=0) / rows_now + of_before / rows_before
    if_still = of_before / rows_now + of_before / rows_before
    clustered = np.square(influence).sum(axis=0)
    both = (apart > 0) & (if_still > 0)
    ratio = np.divide(if_still, apart, out=np.ones_like(apart), where=both)
    error = np.sqrt(np.where(both, clustered * ratio, clustered))
    t = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    tail = np.maximum(stats.t.sf(np.abs(t), rows_now - 1), np.finfo(float).tiny)
    found: Floats = np.sign(t) * stats.norm.isf(tail)
    return found


def _root(correlations: Floats) -> Floats:
    """The symmetric square root: of all roots the one that no choice of eigenvectors changes.

    Eigenvectors of equal eigenvalues, and the signs of all, are whatever the processor's LAPACK
    makes them; draws by another root would be other draws, and give other p-values.
    """
    values, vectors = np.linalg.eigh(correlations)
    lengths = np.sqrt(np.where(values > NOTHING, values, 0.0))
    found: Floats = (vectors * lengths) @ vectors.T
    return found


def _adjusted(scores: Floats, influence: Floats, seed: int) -> Floats:
    """For each score, how often the largest of all would be as large if nothing moved."""
    length = np.sqrt(np.square(influence).sum(axis=0))
    alive = length > 0
    if not alive.any():
        return np.ones_like(scores)
    unit = influence[:, alive] / length[alive]
    drawn = np.random.default_rng(seed).standard_normal((DRAWS, int(alive.sum())))
    drawn = drawn @ _root(unit.T @ unit)  # as correlated as they are
    largest = np.sort(np.abs(drawn).max(axis=1))
    reached = DRAWS - np.searchsorted(largest, np.abs(scores), side="left")
    found: Floats = np.where(scores == 0, 1.0, (reached + 1) / (DRAWS + 1))
    return found
