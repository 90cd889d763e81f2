"""What a written value means: one column as written in, one typed column and its bad rows out.

The rules are the same for CSV and Parquet, and for every row alone: its neighbours never matter.

- An empty field is missing, whatever the type. In numbers, booleans and labels NA, N/A, NaN, null
  and None are missing too, in any case; in a category or an id they are texts like any other
  ("NA" is a region).
- Numbers, booleans and labels are read without the spaces around them. Categories and ids stay as
  they are written, spaces and leading zeros included; an id of nothing but spaces is missing.
- What Parquet holds typed becomes a text first where a text is wanted: a whole number has no
  decimals (a column of whole numbers with gaps arrives as floats), a boolean is true or false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = ("", "na", "n/a", "nan", "null", "none")
TRUE = ("true", "t", "yes", "1", "1.0")
FALSE = ("false", "f", "no", "0", "0.0")
LABEL_TRUE = ("true", "1", "1.0")
LABEL_FALSE = ("false", "0", "0.0")

NOT_A_NUMBER = "not a number"
NOT_FINITE = "not a finite number"
NOT_A_BOOLEAN = "not a boolean (true, false, yes, no, 1, 0)"
# Squares of larger ones overflow what estimators reckon in.
LARGEST = 1e30
TOO_LARGE = "beyond 1e+30"
NOT_A_LABEL = "not a label (0, 1, true, false): name the positive value in data.positive"

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"


class Parsed(NamedTuple):
    """A typed column of the same length, null where missing or bad, and the bad rows by reason."""

    column: pa.ChunkedArray
    bad: dict[str, NDArray[np.int64]]  # rows from 0, ascending


def feature(column: pa.ChunkedArray, kind: Literal["number", "category", "boolean"]) -> Parsed:
    """Read a feature of the contract's type ``kind``."""
    return {"number": number, "category": category, "boolean": boolean}[kind](column)


def number(column: pa.ChunkedArray) -> Parsed:
    """Read as float64; infinities, also by overflow (1e400), and numbers beyond 1e30 are bad."""
    numbers, not_a_number = _as_float64(column)
    beyond = pc.greater(pc.abs(numbers), LARGEST)
    if not pc.any(beyond).as_py():
        return Parsed(numbers, _only_found({NOT_A_NUMBER: not_a_number}))
    infinite = pc.is_inf(numbers)
    bad = {
        NOT_A_NUMBER: not_a_number,
        NOT_FINITE: _rows(infinite),
        TOO_LARGE: _rows(pc.and_not(beyond, infinite)),
    }
    return Parsed(_null_where(beyond, numbers), _only_found(bad))


def boolean(column: pa.ChunkedArray) -> Parsed:
    """Read as bool."""
    text = _without_missing(column)
    return _one_of(text, TRUE, FALSE, pa.bool_(), NOT_A_BOOLEAN)


def category(column: pa.ChunkedArray) -> Parsed:
    """Read as text; nothing is bad."""
    text = as_text(column)
    return Parsed(_null_where(pc.equal(text, ""), text), {})


def identifier(column: pa.ChunkedArray) -> Parsed:
    """Read as text, as it is written; nothing is bad here, an id may be missing."""
    text = as_text(column)
    return Parsed(_null_where(pc.equal(pc.utf8_trim_whitespace(text), ""), text), {})


def label(column: pa.ChunkedArray, positive: str | None) -> Parsed:
    """Read as int8, 1 for a customer who left; null is not known (yet).

    Without ``positive`` the label is 0, 1, true or false in any case. With it, that text is 1
    and all others are 0; what reads as missing stays unknown, unless it is ``positive`` itself.
    """
    text = as_text(column)
    if positive is None:
        return _one_of(_without_missing(text), LABEL_TRUE, LABEL_FALSE, pa.int8(), NOT_A_LABEL)
    text, wanted = pc.utf8_trim_whitespace(text), positive.strip()
    if wanted.lower() in ("true", "false"):  # pandas writes True, Parquet's booleans become true
        text, wanted = pc.utf8_lower(text), wanted.lower()
    hit = pc.equal(text, wanted)
    known = pc.or_(hit, pc.is_valid(_without_missing(text)))
    # Read as "stayed", a month written in another way would teach that nobody leaves.
    alike = pc.and_not(pc.equal(pc.utf8_lower(text), wanted.lower()), hit)
    bad = {f"written otherwise than data.positive, {wanted!r}": _rows(alike)}
    return Parsed(_null_where(pc.invert(known), hit).cast(pa.int8()), _only_found(bad))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text for any column that `snapshots` gives: CSV's as it is, Parquet's by the rules above."""
    if pa.types.is_floating(column.type):
        return _float_as_text(column.cast(pa.float64()))
    return column.cast(pa.string())


def _float_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    numbers = _null_where(pc.is_nan(column), column)
    # Up to 2**53 a float64 counts in ones: above, the digits would be made up.
    whole = pc.and_(pc.equal(numbers, pc.trunc(numbers)), pc.less(pc.abs(numbers), 2.0**53))
    digits = pc.if_else(whole, numbers, None).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(digits, numbers.cast(pa.string()))


def _as_float64(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    """Float64, null for missing, and the rows that are no number.

    Most columns are read by the first cast alone. Only one that has something else in it pays for
    a closer look, and that gives the same values: a NaN, say, always is looked at twice.
    """
    if not pa.types.is_string(column.type):
        numbers = column.cast(pa.float64(), safe=False)  # not safe: 2**63 may lose its last digits
        return _null_where(pc.is_nan(numbers), numbers), _rows(None)
    for reading in (as_text, _without_missing):
        try:
            numbers = reading(column).cast(pa.float64())
        except pa.ArrowInvalid:
            continue
        if not pc.any(pc.is_nan(numbers)).as_py():
            return numbers, _rows(None)
    return _numbers_among(_without_missing(column))


def _numbers_among(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    is_number = pc.match_substring_regex(text, _NUMBER)
    return _null_where(pc.invert(is_number), text).cast(pa.float64()), _rows(pc.invert(is_number))


def _without_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed text, null for what reads as missing."""
    trimmed = pc.utf8_trim_whitespace(as_text(column))
    return _null_where(pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING)), trimmed)


def _one_of(
    text: pa.ChunkedArray,
    true: tuple[str, ...],
    false: tuple[str, ...],
    kind: pa.DataType,
    reason: str,
) -> Parsed:
    lower = pc.utf8_lower(text)
    is_true = pc.is_in(lower, value_set=pa.array(true))
    known = pc.or_(is_true, pc.is_in(lower, value_set=pa.array(false)))
    bad = {reason: _rows(pc.and_(pc.is_valid(text), pc.invert(known)))}
    return Parsed(_null_where(pc.invert(known), is_true).cast(kind), _only_found(bad))


def _null_where(mask: pa.ChunkedArray, column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.fill_null(mask, True), pa.scalar(None, column.type), column)


def _rows(mask: pa.ChunkedArray | None) -> NDArray[np.int64]:
    if mask is None:
        return np.empty(0, np.int64)
    found: NDArray[np.int64] = np.flatnonzero(pc.fill_null(mask, False).to_numpy())
    return found


def _only_found(bad: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
    return {reason: rows for reason, rows in bad.items() if len(rows)}
