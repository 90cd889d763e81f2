"""Columns that alone predict the label too well: they know what came later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.adoption.survey import FOLDS
from stages.shared import ranking, values

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

    from data.adoption.survey import Survey
    from stages.shared.ranking import Floats, Labels

LEAK = 0.97  # an AUC
# With fewer labelled rows, or fewer of a class, a column gets there by chance.
ROWS, ROWS_OF_A_CLASS = 50, 10
# A number is cut into so many ranges at most, and each is to have this many rows.
RANGES, ROWS_OF_A_RANGE = 100, 20


def likely(
    found: Survey,
    positive: str | None,
    kinds: dict[str, Literal["number", "category", "boolean"]],
) -> dict[str, float]:
    """The AUC of each column that is above `LEAK`, measured on the sample.

    Args:
        found: the facts, and the sample.
        positive: ``data.positive``.
        kinds: the columns to look at, and their types.
    """
    written = pa.chunked_array([found.sampled_labels()], pa.string())
    read = values.label(written, positive).column
    known = read.is_valid().to_numpy()
    churned = read.drop_null().to_numpy().astype(np.int8)
    of_each = (int((churned == 0).sum()), int((churned == 1).sum()))
    if sum(of_each) < ROWS or min(of_each) < ROWS_OF_A_CLASS:
        return {}
    rows = found.sample.filter(pa.array(known))
    folds = found.sampled_folds()[known]
    aucs = {}
    for name, kind in kinds.items():
        column = values.feature(rows[name], kind).column
        aucs[name] = alone(column, churned, folds)
    return {name: auc for name, auc in aucs.items() if auc > LEAK}


def alone(column: pa.ChunkedArray, churned: Labels, folds: NDArray[np.int64]) -> float:
    """The AUC that one typed column reaches alone.

    Each value, or range of numbers, is given the churn rate that it has among the customers of
    the other folds, so that a name, a rare value or a repeated id foretells nothing about itself.
    A number may also rank the customers by its size.

    Args:
        column: shape (n,).
        churned: shape (n,), both classes.
        folds: shape (n,), the fold of each row's customer.
    """
    if not pa.types.is_floating(column.type):
        codes = column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
        return _auc(_rates_elsewhere(codes.astype(np.int64) + 1, churned, folds), churned)
    numbers = column.to_numpy()  # NaN where missing
    by_range = _auc(_rates_elsewhere(_ranges(numbers), churned, folds), churned)
    by_size = np.unique(numbers, return_inverse=True)[1].astype(np.float64)  # NaN is the largest
    sizes = [_auc(order, churned) for order in (by_size, np.where(np.isnan(numbers), -1, by_size))]
    return max(by_range, *sizes, *(1 - auc for auc in sizes))


def _auc(scores: Floats, churned: Labels) -> float:
    return ranking.auc(churned, scores)


def _rates_elsewhere(codes: NDArray[np.int64], churned: Labels, folds: NDArray[np.int64]) -> Floats:
    """For each row the churn rate of its code in the other folds, drawn to the overall rate."""
    shape = (FOLDS, int(codes.max()) + 1)
    places = np.ravel_multi_index((folds, codes), shape)
    rows = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    left = np.bincount(places, churned, minlength=shape[0] * shape[1]).reshape(shape)
    rows, left = rows.sum(axis=0) - rows, left.sum(axis=0) - left
    rates: Floats = ((left + churned.mean()) / (rows + 1))[folds, codes]
    return rates


def _ranges(numbers: Floats) -> NDArray[np.int64]:
    """The range of each number, 0 where it is missing."""
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return np.zeros(len(numbers), np.int64)
    count = max(2, min(RANGES, len(known) // ROWS_OF_A_RANGE))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)[1:]))
    found = np.searchsorted(edges, numbers) + 1
    return np.where(np.isnan(numbers), 0, found).astype(np.int64)
