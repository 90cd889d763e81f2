"""What the label says: who left, in which months that is known, and how many it was."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from stages.shared import months as calendar
from stages.shared import values
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from data.adoption.survey import Month

PLAIN = (*values.LABEL_TRUE, *values.LABEL_FALSE)  # what needs no data.positive

MOST_DELAY = 120  # months, as `stages.shared.params` has it

# How people call those who left and those who stayed: the whole label or its first word, and from
# four letters on its beginning.
_LEFT = (
    "yes", "y", "true", "t", "1", "churn", "left", "leav", "lost", "cancel", "inactive", "closed",
    "gone", "exit", "attrit", "terminat", "unsubscrib", "quit", "ja", "oui", "si", "sí", "sim",
)  # fmt: skip
_STAYED = (
    "no", "n", "false", "f", "0", "-1", "not", "non", "stay", "active", "retain", "current",
    "exist", "kept", "keep", "remain", "loyal", "subscrib", "open", "nein", "não",
)  # fmt: skip
_LONG = 4


class Labels(NamedTuple):
    """What the label says."""

    positive: str | None  # data.positive
    guessed: bool  # and not named by a person
    months: list[str]  # that count as labelled, oldest first
    delay: int  # calendar months from the newest of them to the newest month
    rows: int  # with a label, in these months
    churned: int
    rarest: float  # the base rate of the month where churn is rarest, chance allowed for
    one_class: list[str]  # months whose labels are all the same

    @property
    def rate(self) -> float:
        """The base rate."""
        return self.churned / self.rows


def read(found: Sequence[Month], name: str, named: str | None, tolerance: float) -> Labels:
    """Make sense of the label.

    Args:
        found: the months, oldest first.
        name: the label's column.
        named: the value of those who left, if a person named it.
        tolerance: share of a month's rows whose label may be of no use.

    Raises:
        UserError: no labels, one class only, or it cannot be told who left.
    """
    every: Counter[str] = sum((month.labels for month in found), Counter())
    positive, guessed = _positive(every, found, name, named, tolerance)
    known = {month.name: _known(month.labels, positive) for month in found}
    # More than half, as in `stages.drift`.
    labelled = [m.name for m in found if sum(known[m.name]) * 2 > m.rows - m.ragged]
    if not labelled:
        raise UserError(
            f"no month has a label for more than half of its rows: fill column {name!r} in the "
            "months whose outcome is known"
        )
    rows = sum(sum(known[month]) for month in labelled)
    churned = sum(known[month][1] for month in labelled)
    if churned in (0, rows):
        only = quoted(every)
        raise UserError(f"label {name!r} has one class only ({only}): there is nothing to learn")
    rarest = min(churned / rows, *(_rate(known[month], churned / rows) for month in labelled))
    delay = _delay(labelled[-1], found[-1].name)
    one_class = [month for month in labelled if 0 in known[month]]
    return Labels(positive, guessed, labelled, delay, rows, churned, rarest, one_class)


def _delay(labelled: str, newest: str) -> int:
    delay = calendar.apart(labelled, newest)
    if delay > MOST_DELAY:
        raise UserError(
            f"the newest month with labels is {labelled}, {delay} months before the newest: put "
            "newer labels there, or leave the months since then away"
        )
    return delay


def odd(month: Month, positive: str | None) -> int:
    """Rows of a month whose label ingest rejects."""
    if positive is not None:
        return 0
    return sum(count for text, count in month.labels.items() if text.lower() not in PLAIN)


def _known(written: Counter[str], positive: str | None) -> tuple[int, int]:
    """How many stayed, and how many left."""
    read_as = values.label(pa.chunked_array([list(written)], pa.string()), positive).column
    pairs = list(zip(read_as.to_pylist(), written.values(), strict=True))
    return sum(n for value, n in pairs if value == 0), sum(n for value, n in pairs if value == 1)


def _rate(known: tuple[int, int], overall: float) -> float:
    """A month's base rate and two standard errors: a small month proves little."""
    rows = sum(known)
    return known[1] / rows + 2 * math.sqrt(overall * (1 - overall) / rows)


def _positive(
    every: Counter[str], found: Sequence[Month], name: str, named: str | None, tolerance: float
) -> tuple[str | None, bool]:
    """What data.positive is to be, and whether it is a guess."""
    _check_spelling(every, name)
    if named is not None:
        return _as_named(every, name, named.strip()), False
    if all(odd(month, None) <= tolerance * month.rows for month in found):
        return None, False
    if len(every) != 2:
        remedy = f"make them two, or name the value of those who left: LABEL={name}=value"
        raise UserError(f"label {name!r} has {len(every):,} values ({quoted(every)}): {remedy}")
    guess = guess_positive(*every)
    if guess is None:
        remedy = f"name it: LABEL={name}={next(iter(every))}, for example"
        what = f"label {name!r} is {quoted(every)}: which of them are those who left"
        raise UserError(f"{what} cannot be guessed; {remedy}")
    return guess, True


def _check_spelling(every: Iterable[str], name: str) -> None:
    """Texts that differ in case alone are one label to a person, and two to the pipeline."""
    spelled: dict[str, str] = {}
    for text in every:
        other = spelled.setdefault(text.casefold(), text)
        if other != text and text.lower() not in PLAIN:
            raise UserError(f"label {name!r} is written {other!r} and {text!r}: make them one")


def _as_named(every: Counter[str], name: str, named: str) -> str | None:
    """What data.positive is to be, given what a person said."""
    same = [text for text in every if _same(text, named)]
    if not same:
        raise UserError(f"label {name!r} is never {named!r}: it is {quoted(every)}")
    if all(text.lower() in PLAIN for text in every) and named.lower() in values.LABEL_TRUE:
        return None
    if len(same) > 1 and named.lower() not in ("true", "false"):
        raise UserError(f"label {name!r} is written {quoted(same)}: make them one")
    return same[0]


def _same(text: str, named: str) -> bool:
    """Whether two texts are one label: 0 is 0.0, and True is true."""
    sides = (values.LABEL_TRUE[1:], values.LABEL_FALSE[1:], ("true",), ("false",))
    return text == named or any(text.lower() in s and named.lower() in s for s in sides)


def guess_positive(one: str, other: str) -> str | None:
    """Which of two labels is that of those who left; None if it cannot be told."""
    stayed = [text for text in (one, other) if _begins(text, _STAYED)]
    left = [text for text in (one, other) if text not in stayed and _begins(text, _LEFT)]
    if len(left) == 1 and (left != ["1"] or stayed):  # of 1 and 2, who knows
        return left[0]
    if not left and len(stayed) == 1:
        return other if stayed == [one] else one
    return None


def _begins(text: str, beginnings: Sequence[str]) -> bool:
    lower = text.casefold()
    words = "".join(c if c.isalnum() or c == "-" else " " for c in lower).split()
    first = words[0] if words else ""
    return any(first == b or (len(b) >= _LONG and first.startswith(b)) for b in beginnings)


def quoted(texts: Iterable[str]) -> str:
    """Some of the texts, the most frequent first, as an error shows them."""
    most = [text for text, _ in Counter(texts).most_common()]
    more = f" and {len(most) - 5:,} more" if len(most) > 5 else ""
    return ", ".join(repr(text[:40]) for text in most[:5]) + more
