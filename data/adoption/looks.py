"""What one month's values of one column look like, whatever they may mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.shared import values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.shared.values import Parsed

SHOWN = 20  # values that are kept to be shown
_HEAD = 1_000  # values that tell, most often, whether a text is a number
_MOST_TRUTHS = 20  # spellings of true, false and missing

_DAY, _YEAR, _NAME = r"\d{1,2}", r"(\d{4}|\d{2})", r"[A-Za-z]{3,9}\.?"
_DATE = (
    rf"^(\d{{4}}[-/.]{_DAY}[-/.]{_DAY}|{_DAY}[-/.]{_DAY}[-/.]{_YEAR}"
    rf"|{_DAY}[- ]{_NAME}[- ]{_YEAR}|{_NAME} {_DAY},? \d{{4}})([T ,]+\d{{1,2}}:\d{{2}}.*)?$"
)
# What people write around numbers; spaces inside them may be of any kind.
_AROUND_NUMBERS = r"[$€£¥%,'\s\x{a0}\x{202f}]"


@dataclass(frozen=True)
class Look:
    """One column in one month. Where nothing can be said (no value), a claim holds."""

    rows: int
    empty: int  # rows where nothing is written
    missing: int  # the same, or NA and the like: missing in a number, but texts in a category
    odd: int  # rows with a value that is no number; where there are many, about that many
    odd_values: tuple[str, ...] = ()
    lowest: float = np.inf
    highest: float = -np.inf
    only: str | None = None  # what all rows hold, if they all hold the same
    dates: int = 0  # rows with a text that is a date
    compact_dates: bool = True  # all values are dates like 20240131
    counts_rows: bool = True  # n, n + 1, n + 2 … down the file
    codes: bool = False  # all values have the same many digits, and a first one is 0
    truths: bool = True  # all values are true, false, yes, no, 1, 0 or missing
    truth_words: bool = False  # at least one of them is written as a word, or typed
    different: int | None = None  # texts, if they were counted
    frequent: tuple[tuple[str, int], ...] = ()  # texts with the rows that hold them
    disguised: bool = False  # most are numbers but for signs like $ % ,


def look(written: pa.ChunkedArray, tolerance: float) -> tuple[Look, pa.Array]:
    """Look at one column of one month.

    Args:
        written: the column as `snapshots` gives it.
        tolerance: with a greater share of other values a column is no number.

    Returns:
        The look, and the different texts if they were counted.
    """
    if pa.types.is_boolean(written.type):
        return _at_texts(values.as_text(written), tolerance, typed=True)
    if not pa.types.is_string(written.type):
        return _at_numbers(written, values.number(written)), _no_texts()
    text = _without_empty(written)
    if _begins_with_numbers(text):
        parsed = values.number(text)
        if not parsed.bad and not _are_codes(text):
            return _at_numbers(text, parsed), _no_texts()
    return _at_texts(text, tolerance, typed=False)


def _no_texts() -> pa.Array:
    return pa.array([], pa.string())


def _without_empty(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.not_equal(text, ""), text, pa.scalar(None, pa.string()))


def _begins_with_numbers(text: pa.ChunkedArray) -> bool:
    """Whether it is worth the time to read all of ``text`` as numbers."""
    parsed = values.number(text.drop_null().slice(0, _HEAD))
    return bool(len(parsed.column) - parsed.column.null_count > len(parsed.column) / 2)


def _at_numbers(written: pa.ChunkedArray, parsed: Parsed) -> Look:
    """Look at a column of numbers; from Parquet there may be infinities among them."""
    numbers = parsed.column.drop_null().to_numpy()
    odd = sum(len(rows) for rows in parsed.bad.values())
    whole = bool((numbers == np.trunc(numbers)).all())
    is_text = pa.types.is_string(written.type)
    complete = len(numbers) == len(written)
    same = complete and bool((numbers == numbers[0]).all())
    return Look(
        rows=len(written),
        empty=written.null_count if is_text else len(written) - len(numbers) - odd,
        missing=len(written) - len(numbers) - odd,
        odd=odd,
        odd_values=("infinite",) if odd else (),
        lowest=float(numbers.min(initial=np.inf)),
        highest=float(numbers.max(initial=-np.inf)),
        only=f"{numbers[0]:.15g}" if same else None,
        compact_dates=not odd and whole and _are_dates(numbers),
        counts_rows=complete and bool((np.diff(numbers) == 1).all()),
        truths=not odd and bool(np.isin(numbers, (0, 1)).all()),
    )


def _are_codes(text: pa.ChunkedArray) -> bool:
    """Whether all have the same many digits and some begin with 0, as no number does."""
    lengths = pc.min_max(pc.utf8_length(text)).as_py()
    if lengths["min"] != lengths["max"] or lengths["min"] in (None, 1):
        return False
    all_digits = pc.all(pc.match_substring_regex(text, r"^\d+$")).as_py()
    return bool(all_digits and pc.any(pc.starts_with(text, "0")).as_py())


def _are_dates(numbers: NDArray[np.float64]) -> bool:
    """Whether all are written like 20240131, in the years 1900 to 2100."""
    year, rest = np.divmod(numbers, 10_000)
    month, day = np.divmod(rest, 100)
    return bool(
        ((year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31))
        .all()
    )  # fmt: skip


def _at_texts(text: pa.ChunkedArray, tolerance: float, *, typed: bool) -> tuple[Look, pa.Array]:
    """Look at a column through its different texts, each of them once."""
    counted = text.drop_null().value_counts()
    texts, counts = counted.field(0), counted.field(1).to_numpy()
    numbers, bad, seen = _read_as_numbers(texts, counts, tolerance * len(text))
    scale = counts.sum() / max(1, counts[:seen].sum())
    odd, found = int(counts[bad].sum() * scale), numbers.drop_null().to_numpy()
    missing_words = int(counts[:seen][numbers.is_null().to_numpy()].sum() * scale) - odd
    trimmed = pc.utf8_trim_whitespace(texts)
    is_date = pc.match_substring_regex(trimmed, _DATE).to_numpy(zero_copy_only=False)
    most = np.argsort(-counts, kind="stable")[:SHOWN]
    same = len(texts) == 1 and not text.null_count
    look = Look(
        rows=len(text),
        empty=text.null_count,
        missing=text.null_count + max(0, missing_words),
        odd=odd,
        odd_values=tuple(texts.take(pa.array(bad[:3])).to_pylist()),
        lowest=float(found.min(initial=np.inf)),
        highest=float(found.max(initial=-np.inf)),
        only=texts[0].as_py() if same else None,
        dates=int(counts[is_date].sum()),
        compact_dates=not odd and _are_dates(found),
        counts_rows=not len(texts),
        codes=not odd and _are_codes(texts),
        truths=_are_truths(texts),
        truth_words=typed or _has_truth_word(trimmed),
        different=len(texts),
        frequent=tuple(
            zip(texts.take(pa.array(most)).to_pylist(), counts[most].tolist(), strict=True)
        ),
        disguised=_are_disguised(texts),
    )
    return look, texts


def _read_as_numbers(
    texts: pa.Array, counts: NDArray[np.int64], tolerated: float
) -> tuple[pa.ChunkedArray, NDArray[np.int64], int]:
    """Read ``texts`` as numbers, or so many that it is certain that they are none.

    Returns:
        The numbers, which of them are bad, how many texts were read.
    """
    first = max(5 * _HEAD, int(2 * tolerated))
    for seen in (min(first, len(texts)), len(texts)):
        parsed = values.number(pa.chunked_array([texts.slice(0, seen)], pa.string()))
        bad = np.sort(np.concatenate([*parsed.bad.values(), np.empty(0, np.int64)]))
        if counts[bad].sum() > tolerated:
            break
    return parsed.column, bad, seen


def _are_truths(texts: pa.Array) -> bool:
    return len(texts) <= _MOST_TRUTHS and not values.boolean(pa.chunked_array([texts])).bad


def _has_truth_word(trimmed: pa.Array) -> bool:
    words = [word for word in (*values.TRUE, *values.FALSE) if word.isalpha()]
    return bool(pc.any(pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(words))).as_py())


def _are_disguised(texts: pa.Array) -> bool:
    """Whether most of the first texts are numbers once what people write around them is gone."""
    plain = pc.replace_substring_regex(texts.slice(0, _HEAD), _AROUND_NUMBERS, "")
    parsed = values.number(pa.chunked_array([plain]))
    return len(plain) > 0 and len(plain) - parsed.column.null_count > 0.9 * len(plain)
