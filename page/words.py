"""Months, times and numbers as the page says them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def span(window: Sequence[str]) -> str:
    """Months as the page says them."""
    if not window:
        return "no month"
    return window[0] if len(window) == 1 else f"{window[0]} to {window[-1]}"


def moment(iso: str) -> str:
    """A time in UTC as people read it."""
    at = datetime.fromisoformat(iso)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def count(number: int, what: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{number} {what}{'s' * (number != 1)}"


def by_share(report: Mapping[str, Any]) -> bool:
    """Whether a share of columns decides (drift.trigger), not alarms of single ones."""
    return report.get("trigger") == "share"


def drift(step: Mapping[str, Any], *, share_decides: bool) -> str:
    """What made a month drifted, or not: for after the share of its columns that moved."""
    columns, tests = step.get("columns", {}), step.get("label_tests") or {}
    found = []
    if columns and not share_decides:
        alarms = [name for name, column in columns.items() if column.get("alarm")]
        found.append(f"an alarm for {', '.join(alarms)}" if alarms else "none is an alarm")
    elif step.get("share") is not None:
        past = step["share"] >= step["threshold"]
        found.append(f"{'past' if past else 'below'} the limit of {step['threshold']:.0%}")
    found += [
        f"{test.get('what', 'churn')} of {month} changed"
        for month, test in tests.items()
        if test.get("alarm")
    ]
    return "; ".join(found)
