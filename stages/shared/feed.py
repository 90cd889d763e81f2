"""Whether a column's feed broke: what happens to a file, and does not happen to a world.

A changed world moves columns by some of their standard deviations, and is learned from. A feed
that broke writes garbage, and is mended. These are the signs by which the two are told apart; each
is far beyond what a month of customers does, and the month is then refused, by name of the column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.shared.contract import Feature

    Floats = NDArray[np.float64]

LEAST_ROWS = 100  # of either side: fewer prove nothing
MISSING = 0.25  # more of a month's values missing than of the month's before
STUCK = 0.995  # share of one value
WAS_FREE = 0.9  # share of the most frequent value of the month before, at most
RENAMED = 0.1  # share of rows that lost their value, and that got one never seen
UNIT = 3.0  # factor between two units, at least (feet to metres 3.3, hours to minutes 60)
# How well the values fit those of before once they are divided by that factor: the largest gap
# between the two distribution functions.
FITS = 0.15
JUMP = 4.0  # standard deviations of the month before


def broken(last: pa.ChunkedArray, month: pa.ChunkedArray, feature: Feature) -> str | None:
    """What is wrong with a month's column, or None.

    Args:
        last: the column's values in the last month whose feed was whole.
        month: its values in the month.
        feature: what the contract says of it.
    """
    if min(len(last), len(month)) < LEAST_ROWS:
        return None
    lost = month.null_count / len(month) - last.null_count / len(last)
    if lost >= MISSING:
        return (
            f"{month.null_count / len(month):.0%} of its values are missing, "
            f"{last.null_count / len(last):.0%} in the month before"
        )
    before, now = last.drop_null(), month.drop_null()
    if min(len(before), len(now)) < LEAST_ROWS:
        return None
    return _stuck(before, now) or (
        _other_unit(_numbers(before), _numbers(now))
        if feature.type == "number"
        else _renamed(before, now)
    )


def _stuck(before: pa.ChunkedArray, now: pa.ChunkedArray) -> str | None:
    (value, share), (_, was_largest) = _most_frequent(now), _most_frequent(before)
    if share >= STUCK and was_largest <= WAS_FREE:
        was = pc.mean(pc.equal(before, value)).as_py()
        return f"{share:.0%} of its values are {value.as_py()!r}, {was:.0%} in the month before"
    return None


def _most_frequent(column: pa.ChunkedArray) -> tuple[pa.Scalar, float]:
    counts = column.value_counts()
    largest = int(np.argmax(counts.field("counts").to_numpy()))
    return counts[largest]["values"], counts[largest]["counts"].as_py() / len(column)


def _renamed(before: pa.ChunkedArray, now: pa.ChunkedArray) -> str | None:
    old, new = before.unique(), now.unique()
    gone = pc.invert(pc.is_in(before, value_set=new))
    unseen = pc.invert(pc.is_in(now, value_set=old))
    lost, got = pc.mean(gone).as_py(), pc.mean(unseen).as_py()
    if min(lost, got) < RENAMED:
        return None
    name, was = now.filter(unseen)[0].as_py(), before.filter(gone)[0].as_py()
    return f"values like {was!r} are gone, and {got:.0%} have one never seen, like {name!r}"


def _other_unit(before: Floats, now: Floats) -> str | None:
    """Another unit: all values times one factor. Or a jump that no month makes."""
    factor = _factor(before, now)
    if factor is not None and max(factor, 1 / factor) >= UNIT and _gap(before, now / factor) < FITS:
        return f"its values are {factor:.3g} times those of the month before: another unit"
    spread = before.std()
    jump = (now.mean() - before.mean()) / spread if spread > 0 else 0.0
    if abs(jump) >= JUMP and abs(np.median(now) - np.median(before)) >= JUMP * spread:
        return f"its mean moved by {jump:+.1f} standard deviations in a month"
    return None


def _factor(before: Floats, now: Floats) -> float | None:
    """The factor between two samples' sizes, by the medians of what is not zero."""
    old, new = np.abs(before[before != 0]), np.abs(now[now != 0])
    if min(len(old), len(new)) < LEAST_ROWS:
        return None
    return float(np.median(new) / np.median(old))


def _gap(before: Floats, now: Floats) -> float:
    """The largest distance between two distribution functions (Kolmogorov and Smirnov)."""
    before, now = np.sort(before), np.sort(now)
    places = np.concatenate([before, now])
    # A factor known from medians leaves equal numbers unequal in their last digits.
    slack = 1e-9 * np.abs(places)
    old = np.searchsorted(before, places + slack, side="right") / len(before)
    new = np.searchsorted(now, places + slack, side="right") / len(now)
    return float(np.abs(old - new).max())


def _numbers(column: pa.ChunkedArray) -> Floats:
    found: Floats = column.cast(pa.float64()).to_numpy()
    return found
