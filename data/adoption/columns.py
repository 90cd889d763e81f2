"""From facts to a contract: which columns are used, as what, and why the others are not.

Pure: `survey` gathers the facts, and data/adopt.py writes what is decided here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from data.adoption import labels, leaks
from stages.shared.contract import Feature
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from data.adoption.labels import Labels
    from data.adoption.survey import Column, Month, Survey

Kind = Literal["number", "category", "boolean"]

# A column with at least this share of dates is one of dates.
DATES = 0.95
# Texts are names if more than this share of a month's rows have different ones, and all told there
# are about as many as rows or customers; but never so few, and always so many.
DIFFERENT, FEW_NAMES, MANY_NAMES = 0.8, 100, 10_000
# In a month of a few rows all may be alike by chance.
ROWS_TO_BE_ALIKE = 10

LONGEST = 40  # characters of a name or value that are shown
_SHOWN = 3  # of a category's values
_PANDAS_INDEX = re.compile(r"Unnamed: \d+(_level_\d+)?")  # what pandas calls a column without name


class Finding(NamedTuple):
    """What was decided on a column, for a person to read."""

    name: str
    kind: str
    found: str
    left_out: str | None = None  # why
    feature: Feature | None = None


def decide(
    found: Survey, label: Labels, keep: frozenset[str], max_rejected: float
) -> list[Finding]:
    """Decide on each column, in the order of the files.

    Args:
        found: the facts.
        label: what the label says.
        keep: columns to keep whatever speaks against them.
        max_rejected: ``ingest.max_rejected_share``.

    Raises:
        UserError: ingest would refuse a month; no column is left; ``keep`` names one that ingest
            cannot read.
    """
    decided = {c.name: _decide(c, found, keep, max_rejected / 2) for c in found.columns.values()}
    for name, why in _no_numbers(decided, found, label, max_rejected).items():
        column = found.columns[name]
        decided[name] = Finding(
            name, "category", f"{_category(column)}; {why}", None, Feature(type="category")
        )
    kinds = {name: finding.feature.type for name, finding in decided.items() if finding.feature}
    for name, auc in leaks.likely(found, label.positive, kinds).items():
        reason = f"predicts the label alone (AUC {auc:.2f}), so it is a likely leak"
        decided[name] = _against(decided[name], reason, keep)
    if not any(finding.feature for finding in decided.values()):
        reasons = "; ".join(f"{f.name!r} {f.left_out}" for f in decided.values())
        raise UserError(f"no column is left to learn from: {reasons or 'there is no other'}")
    return list(decided.values())


def gate_f1(label: Labels) -> float:
    """``evaluate.gate_f1``: the F1 of answering "churn" to everybody where churn is rarest.

    Precision is then the base rate and recall is 1. Whatever the base rate, a model that is of
    any use gets there; what is within reach beyond, only its first evaluation tells.
    """
    return math.floor(100 * 2 * label.rarest / (1 + label.rarest)) / 100


def _decide(column: Column, found: Survey, keep: frozenset[str], tolerance: float) -> Finding:
    """Decide on a column by itself."""
    unreadable = _unreadable(column, [month.name for month in found.months])
    if unreadable:
        if column.name in keep:
            raise UserError(f"KEEP names {column.name!r}, which {unreadable}: it cannot be kept")
        return Finding(column.name, "", "", unreadable)
    are_names = _are_names(column, found.customers.count)
    kind = _kind(column, tolerance, are_names=are_names)
    in_words = {"number": _number, "category": _category, "boolean": _boolean}[kind](column)
    finding = Finding(column.name, kind, in_words, None, Feature(type=kind))
    if _are_dates(column):
        return _against(finding._replace(kind="date"), "is a date", keep)
    reason = _useless(column)
    if not reason and kind == "category" and are_names:
        reason = _disguise(column) or "names rows or customers one by one, as an id does"
    return _against(finding, reason, keep) if reason else finding


def _against(finding: Finding, reason: str, keep: frozenset[str]) -> Finding:
    """Leave a column out for a reason, unless it is to be kept."""
    if finding.name in keep:
        return finding._replace(found=f"{finding.found}; kept by KEEP, though it {reason}")
    return finding._replace(left_out=reason, feature=None)


def _unreadable(column: Column, months: list[str]) -> str | None:
    """Why ingest could not read the column, or nobody could write it in params.yaml."""
    lacking = [month for month in months if month not in column.months]
    if not column.name.strip():
        return "has no name"
    if lacking:
        more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        return f"is not in {lacking[0]}{more}"
    if column.types:
        return f"holds {column.types[0]}"
    return None


def _kind(column: Column, tolerance: float, *, are_names: bool) -> Kind:
    """The type under which most of the values have a meaning."""
    if column.every("truths") and any(look.truth_words for look in column.looks):
        return "boolean"
    if not column.numbers or any(look.odd > tolerance * look.rows for look in column.looks):
        return "category"
    # 00501 is a place, unless there are so many that it can only be an amount.
    codes = any(look.codes for look in column.looks) and not are_names
    return "category" if codes else "number"


def _are_names(column: Column, customers: int) -> bool:
    """Whether the texts are as good as different in a month, and all told as many as names are."""
    counted = [look for look in column.looks if look.different is not None]
    rows = sum(look.rows - look.empty for look in counted)
    # A month of ten rows may have ten of a hundred regions; over the months they come again.
    if sum(look.different or 0 for look in counted) <= DIFFERENT * rows:
        return False
    count = column.texts.count
    of_rows = count > DIFFERENT * rows
    of_customers = DIFFERENT * customers < count < customers / DIFFERENT
    return count > FEW_NAMES and (of_rows or of_customers or count > MANY_NAMES)


def _are_dates(column: Column) -> bool:
    written = column.total("rows") - column.total("missing")
    if column.temporal or (written and column.total("dates") >= DATES * written):
        return True
    several = column.lowest < column.highest
    return several and not column.total("odd") and column.every("compact_dates")


def _useless(column: Column) -> str | None:
    """Why the column can tell no customer from another."""
    rows, empty = column.total("rows"), column.total("empty")
    if empty == rows:
        return "is empty"
    if rows == column.total("missing"):
        return "is empty but for NA and the like"
    only = {look.only for look in column.looks}
    if None not in only and len(only) == 1:
        return "is constant: it tells nothing"
    enough = rows >= ROWS_TO_BE_ALIKE * len(column.looks)
    if enough and all(look.only is not None or look.empty == look.rows for look in column.looks):
        return "is the same in all rows of a month: it tells no customer from another"
    if _PANDAS_INDEX.fullmatch(column.name) or (enough and column.every("counts_rows")):
        return "counts the rows"
    return None


def _disguise(column: Column) -> str | None:
    if not all(look.disguised for look in column.looks if look.different):
        return None
    return f"has numbers with signs around them ({_frequent(column)[0]}): write them without"


# --- what ingest would say ---------------------------------------------------------------------


def _no_numbers(
    decided: dict[str, Finding], found: Survey, label: Labels, max_rejected: float
) -> dict[str, str]:
    """Numbers that must be categories, and why: with their other values a month would be refused.

    Raises:
        UserError: a month would be refused all the same.
    """
    given_up: dict[str, str] = {}
    for index, month in enumerate(found.months):
        others = {
            name: found.columns[name].looks[index].odd
            for name, finding in decided.items()
            if finding.feature and finding.feature.type == "number" and name not in given_up
        }
        always = month.ragged + month.bad_ids + labels.odd(month, label.positive)
        while always + sum(others.values()) > max_rejected * month.rows:
            most = max(others, key=others.__getitem__, default=None)
            if most is None or not others[most]:
                raise UserError(_refused(month, label, max_rejected))
            others.pop(most)
            given_up[most] = f"no number, or {month.name} would be refused"
    return given_up


def _refused(month: Month, label: Labels, max_rejected: float) -> str:
    reasons = {
        "an id that is missing or there before: an id is there once a month, so name the column "
        "that is (ID=column), or mend the file": month.bad_ids,
        "more or fewer fields than the header: mend the file": month.ragged,
        "a label that is none: mend the file": labels.odd(month, label.positive),
    }
    worst = max(reasons, key=reasons.__getitem__)
    return (
        f"{month.name} would be refused (ingest.max_rejected_share is {max_rejected:g}): "
        f"{reasons[worst]:,} of {month.rows:,} rows have {worst}"
    )


# --- in words ----------------------------------------------------------------------------------


def _number(column: Column) -> str:
    parts = [f"{_short(column.lowest)}..{_short(column.highest)}"] if column.numbers else []
    parts += _share(column.total("missing"), column, "missing")
    odd = column.total("odd")
    if odd:
        values = ", ".join(repr(printable(v)) for look in column.looks for v in look.odd_values[:1])
        parts.append(f"{odd:,} rows will be rejected, for they are no number (such as {values})")
    return "; ".join(parts)


def _short(number: float) -> str:
    whole = number == math.trunc(number) and abs(number) < 1e12
    return f"{number:,.0f}" if whole else f"{number:.4g}"


def _category(column: Column) -> str:
    about = "" if column.texts.exact else "about "
    count = column.texts.count
    values = ", ".join(_frequent(column)[:_SHOWN]) + (", …" if count > _SHOWN else "")
    parts = [f"{about}{count:,} {'value' if count == 1 else 'values'}: {values}"] if count else []
    if column.numbers and column.total("odd"):
        share = column.numbers / (column.total("rows") - column.total("missing"))
        parts.append(f"mixed, {_percent(share)} of them numbers")
    return "; ".join(parts + _share(column.total("empty"), column, "empty"))


def _boolean(column: Column) -> str:
    return "; ".join(
        [", ".join(_frequent(column)), *_share(column.total("missing"), column, "missing")]
    )


def _share(rows: int, column: Column, what: str) -> list[str]:
    return [f"{_percent(rows / column.total('rows'))} {what}"] if rows else []


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _frequent(column: Column) -> list[str]:
    counts: Counter[str] = sum((Counter(dict(look.frequent)) for look in column.looks), Counter())
    return [printable(text) for text, _ in counts.most_common()]


def printable(text: str) -> str:
    """As a table bears it: in one line, and not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
