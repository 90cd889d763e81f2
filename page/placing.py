"""In which month of the data something happened: the ledger knows the clock, the data its months.

An event bears the newest month that was there when it happened. An older event does not: it is
placed where the window that its model was trained on was chosen, or else with the event before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.shared import months

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def renewals(drift: Mapping[str, Any]) -> list[str]:
    """The months whose arrival led to another window, the first one too."""
    steps = drift.get("months", [])
    with_window = [step["month"] for step in steps if step.get("window")]
    renewed = {step["month"] for step in steps if step.get("renewed")}
    first = {min(with_window)} if with_window and not renewed & set(_until(steps)) else set()
    return sorted(renewed | first)


def _until(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The months before anything was held against a window."""
    names = []
    for step in steps:
        if step.get("window"):
            break
        names.append(step["month"])
    return names


def of_window(window: Sequence[str], renewed: Sequence[str], label_delay: int) -> str | None:
    """The month in which a window was chosen: the first renewal that could know its labels."""
    for month in renewed:
        if window and months.apart(window[-1], month) >= label_delay:
            return month
    return None


def of_events(
    events: Sequence[Mapping[str, Any]], renewed: Sequence[str], label_delay: int
) -> list[str | None]:
    """The month of each event, None where nothing tells it."""
    found: list[str | None] = []
    for event in events:
        evidence = event.get("evidence", {})
        placed = evidence.get("month")
        placed = placed or of_window(evidence.get("window", ()), renewed, label_delay)
        if placed is None and found:
            placed = found[-1]
        found.append(placed)
    return found


def left(
    drift: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    digest: str,
) -> list[str] | None:
    """The months that drifted after a model's training window had been chosen.

    A later window may be like the newest month again; the model's own is not.

    Args:
        drift: reports/drift.json.
        runs: MLflow's, each with the ``month`` that its window was chosen in.
        events: the ledger's, each with its ``month``; they know it where the runs do not.
        digest: of the model.

    Returns:
        The months; None where nothing tells, as for a model of other data.
    """
    steps = drift.get("months", [])
    ours = [event for event in events if event["candidate"] == digest]
    window = next((e["evidence"]["window"] for e in ours if e["evidence"].get("window")), ())
    there = {step["month"] for step in steps}
    # A run is placed by today's windows, which other parameters make others: the earlier counts.
    placed = [run["month"] for run in runs if run["digest"] == digest]
    placed += [event["month"] for event in ours[:1]]
    chosen = min((month for month in placed if month), default=None)
    if chosen is None or not there.issuperset(window):
        return None
    return [s["month"] for s in steps if s.get("triggered") and s["month"] > chosen]


def in_production(
    events: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """For each month, the event that put in place what was in production when its run had ended.

    Args:
        events: the ledger's, each with its ``month``.
        names: of the months, oldest first.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for month in names:
        before = [e for e in events if e.get("month") is not None and e["month"] <= month]
        if before:
            found[month] = before[-1]
    return found
