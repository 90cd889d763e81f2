"""In which month of the data something happened: the ledger knows the clock, the data its months.

An event bears the newest month that was there when it happened. An older event does not: it is
placed where the window that its model was trained on was chosen, or else with the event before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def renewals(drift: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """For each window that the replay chose, the month whose arrival led to it.

    Args:
        drift: reports/drift.json; may be empty.
    """
    steps = drift.get("months", [])
    # The window after a month is the one that the next month is held against.
    after = [*(step.get("window") for step in steps[1:]), drift.get("window")]
    found: dict[tuple[str, ...], str] = {}
    for step, window in zip(steps, after, strict=False):
        if step.get("window") and not found:  # the first one came with this month's labels
            found[tuple(step["window"])] = step["month"]
        if window and step.get("renewed"):
            found[tuple(window)] = step["month"]
    return found


def of_events(
    events: Sequence[Mapping[str, Any]], chosen: Mapping[tuple[str, ...], str]
) -> list[str | None]:
    """The month of each event, None where nothing tells it."""
    found: list[str | None] = []
    for event in events:
        evidence = event.get("evidence", {})
        placed = evidence.get("month") or chosen.get(tuple(evidence.get("window", ())))
        if placed is None and found:
            placed = found[-1]
        found.append(placed)
    return found


def in_production(
    events: Sequence[Mapping[str, Any]], months: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """For each month, the event that put in place what was in production when its run had ended.

    Args:
        events: the ledger's, each with its ``month``.
        months: oldest first.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for month in months:
        before = [e for e in events if e.get("month") is not None and e["month"] <= month]
        if before:
            found[month] = before[-1]
    return found
