"""A scorer fitted inside the fold, to ask what the window's world would have said of a month.

Late labels show whether the relation between features and churn still holds. No test of that has
power without assumptions (Shah and Peters 2020). The ones made here: customers are independent of
one another, and as long as features and labels together are distributed as in the window, a
scorer's mistakes, ``churned - probability``, average the same along every column.
Mistakes are asked of nobody whom the scorer was fitted on: customers are in one of two halves, and
each half is scored by the other's scorer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from stages.shared import files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int8]
    Halves = NDArray[np.bool_]

# Fewer customers of either class in a half, and nothing can be learned from it.
LEAST_OF_A_CLASS = 50
# A shuffle of fewer rows tells an importance of 0.001 badly: fewer are shuffled more often.
ROWS_SHUFFLED = 20_000
# Fixed, so that another estimator in params.yaml does not change what counts as drift.
SETTINGS = {"max_iter": 40, "max_leaf_nodes": 15, "min_samples_leaf": 40, "early_stopping": False}


@dataclass(frozen=True)
class Scorer:
    """Two scorers, each fitted on one half of the customers."""

    columns: tuple[str, ...]
    of_first: HistGradientBoostingClassifier
    of_second: HistGradientBoostingClassifier

    def score(self, coded: dict[str, Floats], first: Halves) -> Floats:
        """Churn probabilities of rows, each by the scorer that never saw its customer.

        Args:
            coded: columns from `coding.code`, each of shape (n,).
            first: shape (n,), whether the customer is in the first half.
        """
        return self._score(_matrix(coded, self.columns), first)

    def importances(
        self, coded: dict[str, Floats], first: Halves, churned: Labels, seed: int
    ) -> dict[str, float]:
        """What each column is worth: the AUC that is lost when its values are shuffled.

        Permutation importance (Breiman 2001), on customers whom the scorer never saw.
        """
        rows, rng = _matrix(coded, self.columns), np.random.default_rng(seed)
        whole, found = roc_auc_score(churned, self._score(rows, first)), {}
        times = max(1, ROWS_SHUFFLED // len(rows))
        for place, name in enumerate(self.columns):
            kept, aucs = rows[:, place].copy(), []
            for _ in range(times):
                rows[:, place] = rng.permutation(kept)
                aucs.append(roc_auc_score(churned, self._score(rows, first)))
            found[name] = float(whole - np.mean(aucs))
            rows[:, place] = kept
        return found

    def _score(self, rows: Floats, first: Halves) -> Floats:
        found = np.empty(len(rows))
        with threadpool_limits(1):  # sums over threads differ in their last bits
            for half, scorer in ((first, self.of_second), (~first, self.of_first)):
                if half.any():
                    found[half] = scorer.predict_proba(rows[half])[:, 1]
        return files.rounded_scores(found)


def fit(coded: dict[str, Floats], churned: Labels, first: Halves, seed: int) -> Scorer | None:
    """Fit both scorers on a window's rows.

    Args:
        coded: columns from `coding.code`, each of shape (n,).
        churned: shape (n,), 0 or 1.
        first: shape (n,), whether the customer is in the first half.
        seed: of the scorers.

    Returns:
        None where a half has too few rows of a class.
    """
    columns = tuple(coded)
    rows, fitted = _matrix(coded, columns), []
    for half in (first, ~first):
        labels = churned[half]
        if min(int(labels.sum()), len(labels) - int(labels.sum())) < LEAST_OF_A_CLASS:
            return None
        with threadpool_limits(1):
            scorer = HistGradientBoostingClassifier(random_state=seed, **SETTINGS)
            fitted.append(scorer.fit(rows[half], labels))
    return Scorer(columns, *fitted)


def _matrix(coded: dict[str, Floats], columns: tuple[str, ...]) -> Floats:
    """Missing as a value below all others: a column may have no other."""
    return np.nan_to_num(np.column_stack([coded[name] for name in columns]), nan=-2.0)
