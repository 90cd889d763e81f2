"""What happened along the months: drift, decisions, quality and training windows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import placing, words
from stages.shared import months as calendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from page.facts import Facts
    from stages.registry import ledger

_MOVED = {"rollback": "rolled back", "put back": "put back"}
_DECIDED = {"reject": "rejected", "undecided": "undecided"}
MOST_VERSIONS = 12  # that the training windows are shown of; the newest ones


def world(facts: Facts, state: ledger.State, left: Sequence[str] | None) -> dict[str, Any]:
    """Whether the world still is the one that production was trained on, in a sentence or two.

    Args:
        facts: see `page.facts`.
        state: of the ledger.
        left: the months that drifted since production was trained; None if nobody knows.
    """
    steps = facts.drift.get("months", [])
    judged = [s for s in steps if s.get("share") is not None or s.get("triggered")]
    if not judged:
        said = "No month has been held against a training window yet."
        return {"sentence": said, "empty": True, "rows": _month_rows(facts, state)}
    newest = judged[-1]
    moved = words.drift(newest, share_decides=words.by_share(facts.drift)) + "."
    if newest.get("share") is not None:
        moved = f"{newest['share']:.0%} of its columns moved, {moved}"
    month, held = newest["month"], words.span(newest["window"])
    if newest.get("triggered"):
        said = f"No: {month} has left the window of {held}: {moved}"
    elif left:
        said = f"{_moved_on(facts, state, left)} {month} is like {held}: {moved}"
    elif left is None:
        said = "Nobody can say: what production was trained on is not among these months."
        said += f" {month} is like {held}: {moved}"
    else:
        said = f"Yes: {month} looks like {held}: {moved}"
    said += _of_labels(newest)
    for column, why in (steps[-1].get("broken") or {}).items():
        said += f" {steps[-1]['month']} cannot be judged: the feed of {column} is broken: {why}."
    pending = facts.drift.get("pending")
    if pending:
        said += f" The drift of {pending} waits for that month's labels before a model is trained."
    triggered = [step["month"] for step in judged if step.get("triggered")]
    said += f" {len(triggered)} of {words.count(len(judged), 'judged month')} drifted."
    return {"sentence": said, "empty": False, "rows": _month_rows(facts, state)}


def _moved_on(facts: Facts, state: ledger.State, since: Sequence[str]) -> str:
    """That production was trained in another world than today's, and what was tried since."""
    drifted = f"{since[0]} drifted" if len(since) == 1 else f"{len(since)} months drifted"
    said = f"No: since version {state.production} was trained, {drifted}"
    said += f", {since[0]} first" if len(since) > 1 else ""
    kept = set(state.digests.values())
    tried = [r for r in facts.runs if (r["month"] or "") >= since[0] and r["digest"] not in kept]
    if tried:
        which = "the candidate" if len(tried) == 1 else f"none of the {len(tried)} candidates"
        said += f"; {which} trained since has {'not ' * (len(tried) == 1)}taken its place"
    return said + "."


def _month_rows(facts: Facts, state: ledger.State) -> list[dict[str, str]]:
    """The table behind the time line; the newest month first."""
    measured, limited = {one["month"]: one for one in facts.quality}, words.by_share(facts.drift)
    steps = facts.drift.get("months", [])
    names = [step["month"] for step in steps]
    served = placing.in_production(facts.events, names)
    decided: dict[str, list[str]] = {}
    for mark in marks(facts, state, set(names)):
        said = f"{mark['kind']} {mark['label']}".strip()
        decided.setdefault(mark["month"], []).append(said)
    rows = []
    for step in reversed(steps):
        found = measured.get(step["month"])
        quality = ""
        if found and found["auc"] is not None:
            quality = f"{found['auc']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        share = step.get("share")
        rows.append(
            {
                "month": step["month"],
                "rows": f"{step['rows']:,}" if "rows" in step else "",
                "labels": step.get("labels", ""),
                "share": _share(share, step.get("threshold") if limited else None),
                "drifted": "drifted" if step.get("triggered") else "",
                "reason": step.get("reason", ""),
                "decided": "; ".join(decided.get(step["month"], ())),
                "served": _version(served.get(step["month"])),
                "quality": quality,
            }
        )
    return rows


def _version(event: Mapping[str, Any] | None) -> str:
    return f"version {event['to_version']}" if event else ""


def _share(share: float | None, limit: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.0%}" if limit is None else f"{share:.0%}, limit {limit:.0%}"


def _of_labels(step: Mapping[str, Any]) -> str:
    """What the labels that came with a month say of their own month."""
    said = ""
    for month, test in (step.get("label_tests") or {}).items():
        if test.get("rate_month") is not None:
            said += f" In {month}, whose labels came with it, {test['rate_month']:.0%} churned"
            said += f" ({test['rate_window']:.0%} in the window)."
    return said


def time_line(facts: Facts, state: ledger.State) -> dict[str, Any]:
    """What the charts along the months are drawn from."""
    steps = {step["month"]: step for step in facts.drift.get("months", [])}
    if not steps:
        return {"empty": True}
    names = between(min(steps), max(steps))
    return {
        "empty": False,
        "months": [
            _of_month(name, steps.get(name, {}), limited=words.by_share(facts.drift))
            for name in names
        ],
        "marks": marks(facts, state, set(names)),
        "quality": _of_quality(facts.quality),
        "windows": list(_of_windows(facts, names)),
    }


def between(first: str, last: str) -> list[str]:
    """Every calendar month from one to the other."""
    numbers = range(calendar.number(first), calendar.number(last) + 1)
    return [f"{n // 12:04d}-{n % 12 + 1:02d}" for n in numbers]


def _of_month(name: str, step: Mapping[str, Any], *, limited: bool) -> dict[str, Any]:
    share = step.get("share")
    return {
        "month": name,
        "share": share,
        "threshold": step["threshold"] if limited and share is not None else None,
        "drifted": bool(step.get("triggered")),
    }


def marks(facts: Facts, state: ledger.State, names: set[str]) -> list[dict[str, Any]]:
    """Trainings, promotions, rejections and rollbacks, each in its month."""
    found: list[dict[str, Any]] = [
        {"month": run["month"], "kind": "trained", "label": ""} for run in facts.runs
    ]
    found += [
        {"month": step["month"], "kind": "feed broken", "label": ""}
        for step in facts.drift.get("months", [])
        if step.get("broken")
    ]
    promoted = set(state.digests.values())
    for event in facts.events:
        kind = _MOVED.get(event["kind"], "promoted")
        label = f"v{event['to_version']}"
        found.append({"month": event["month"], "kind": kind, "label": label})
    for run in facts.runs:
        decided = _DECIDED.get(run.get("verdict") or "")
        if decided and run["digest"] not in promoted:
            found.append({"month": run["month"], "kind": decided, "label": ""})
    return _joined([mark for mark in found if mark["month"] in names])


def _joined(marks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One mark for each month and kind: two would be drawn over each other."""
    found: dict[tuple[str, str], list[str]] = {}
    for mark in marks:
        found.setdefault((mark["month"], mark["kind"]), []).append(mark["label"])
    return [
        {"month": month, "kind": kind, "label": _label(labels)}
        for (month, kind), labels in found.items()
    ]


def _label(labels: Sequence[str]) -> str:
    named = ", ".join(filter(None, labels))
    return named or (f"{len(labels)} times" if len(labels) > 1 else "")


def _of_quality(quality: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found, before = [], None
    for one in quality:
        if one["auc"] is None:
            continue
        label = f"v{one['version']}" if one["version"] != before else ""
        found.append({**one, "label": label})
        before = one["version"]
    return found


def _of_windows(facts: Facts, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """For each version that was in production: its months, as trained on and as served."""
    there = set(names)
    served = placing.in_production(facts.events, names)
    trained: dict[int, list[str]] = {}
    for event in facts.events:
        window = event.get("evidence", {}).get("window")
        if window or event["to_version"] not in trained:
            trained[event["to_version"]] = list(window or ())
    newest = sorted(trained)[-MOST_VERSIONS:]
    for version in newest:
        name = f"version {version}"
        for month in trained[version]:
            if month in there:
                yield {"month": month, "version": name, "what": "trained on"}
        for month, by in served.items():
            if by["to_version"] == version:
                yield {"month": month, "version": name, "what": "in production"}
