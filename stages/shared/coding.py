"""Columns of every type as numbers between which means can be compared, learned from a window.

A number becomes its rank among the window's (0 to 1, ties in their middle), a category one of the
window's values. Ranks make one unit of all columns, and no single value counts for much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stages.shared.contract import Feature

    Floats = NDArray[np.float64]

# So many rows of a month must have a value, and must not have it: the share of a rarer one is
# told from another by a test whose false alarms nobody has counted.
LEAST_ROWS = 30
MOST_VALUES = 30  # of a category; the rest counts as one
RARE, UNKNOWN = -1.0, np.nan


@dataclass(frozen=True)
class Numbers:
    """The window's values of a number, sorted; shape (n,)."""

    ordered: Floats

    def code(self, column: pa.ChunkedArray) -> Floats:
        """Each value's rank, from 0 to 1; NaN where it is missing."""
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        if not len(self.ordered):
            return np.full(len(values), UNKNOWN)
        low = np.searchsorted(self.ordered, values, side="left")
        high = np.searchsorted(self.ordered, values, side="right")
        return np.where(np.isnan(values), UNKNOWN, (low + high) / (2 * len(self.ordered)))

    def moments(self, codes: Floats) -> Iterator[tuple[str, Floats]]:
        """Where the values lie, how far apart they lie, and how many are missing."""
        known = ~np.isnan(codes)
        centred = np.where(known, codes - 0.5, 0.0)
        yield "level", centred
        yield "spread", np.where(known, np.square(centred) - 1 / 12, 0.0)
        yield "missing", (~known).astype(np.float64)


@dataclass(frozen=True)
class Values:
    """The window's values of a category or boolean, the most frequent first."""

    values: tuple[str, ...]

    def code(self, column: pa.ChunkedArray) -> Floats:
        """Each value's place; -1 for one that is rare or new, NaN where it is missing."""
        text = column.cast(pa.string())
        found = pc.index_in(text, value_set=pa.array(self.values, pa.string()))
        places = found.to_numpy(zero_copy_only=False).astype(np.float64)
        rare = np.isnan(places) & pc.is_valid(text).to_numpy(zero_copy_only=False)
        return np.where(rare, RARE, places)

    def moments(self, codes: Floats) -> Iterator[tuple[str, Floats]]:
        """The share of each value, of the rare ones, and of the missing ones."""
        for place, value in enumerate(self.values):
            yield f"share of {value!r}", (codes == place).astype(np.float64)
        yield "share of other values", (codes == RARE).astype(np.float64)
        yield "missing", np.isnan(codes).astype(np.float64)


Code = Numbers | Values


def learn(window: pa.Table, features: dict[str, Feature]) -> dict[str, Code]:
    """How each column is coded, from a window's rows."""
    found: dict[str, Code] = {}
    for name, feature in features.items():
        column = window[name]
        if feature.type == "number":
            known = column.drop_null().cast(pa.float64()).to_numpy()
            found[name] = Numbers(np.sort(known))
        else:
            found[name] = Values(_frequent(column.drop_null().cast(pa.string())))
    return found


def _frequent(column: pa.ChunkedArray) -> tuple[str, ...]:
    counts = {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    return tuple(ranked[:MOST_VALUES])


def code(table: pa.Table, codes: dict[str, Code]) -> dict[str, Floats]:
    """A table's columns, coded; each of shape (n,)."""
    return {name: how.code(table[name]) for name, how in codes.items()}


def moments(
    codes: dict[str, Code], before: dict[str, Floats], now: dict[str, Floats]
) -> tuple[list[tuple[str, str]], Floats, Floats]:
    """What the means of which are to be compared, for all columns.

    Args:
        codes: how they were coded.
        before: the window's columns, coded.
        now: the month's.

    Returns:
        Column and name of each moment, and its values before, shape (n, k), and now, shape (m, k).
        Left out are those of which the month has too few rows to tell.
    """
    names, of_before, of_now = [], [], []
    for column, how in codes.items():
        both = zip(how.moments(before[column]), how.moments(now[column]), strict=True)
        for (moment, old), (_, new) in both:
            if _told(old, new):
                names.append((column, moment))
                of_before.append(old)
                of_now.append(new)
    if not names:
        return [], np.zeros((0, 0)), np.zeros((0, 0))
    return names, np.column_stack(of_before), np.column_stack(of_now)


def _told(before: Floats, now: Floats) -> bool:
    """Whether a mean is one that a month's rows can tell from another."""
    if not np.isin(before, (0.0, 1.0)).all():
        return bool(np.ptp(before) > 1e-9)  # what rounding leaves of a constant is no spread
    expected = before.mean() * len(now)
    fewer, more = sorted((expected, len(now) - expected))
    of_rarer = now.sum() if expected == fewer else len(now) - now.sum()
    # What was rare and is frequent is told too, once it is so frequent that chance is no answer.
    return bool(fewer >= LEAST_ROWS or (more > fewer and of_rarer >= 3 * LEAST_ROWS))
