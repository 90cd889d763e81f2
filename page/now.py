"""What the first screen says: which model, since when, on whose word and what evidence. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import words
from stages.registry import ledger
from stages.shared import months as calendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from page.facts import Facts


def now(
    facts: Facts,
    events: Sequence[ledger.Event],
    state: ledger.State,
    left: Sequence[str] | None,
) -> dict[str, Any]:
    """What the first screen says: which model, since when, on whose word and what evidence.

    Args:
        facts: see `page.facts`.
        events: the ledger's.
        state: what they add up to.
        left: the months that drifted since production was trained; None if nobody knows.
    """
    if state.since is None:
        headline = "Nothing is in production yet"
        lede = "The first model that passes the gates goes into production."
        if facts.trouble:
            headline = "Nobody can say what is in production"
            lede = "The registry cannot be relied on, and this clone has no copy of its ledger."
        return {
            "headline": headline,
            "lede": lede,
            "tiles": [*_drift_tile(facts, left), *_data_tile(facts)],
            **_to_do(facts),
        }
    since = state.since
    known = ledger.evidence(events, state.digest)
    return {
        "headline": f"Version {state.production} is in production",
        "lede": f"Since {words.moment(since.when)}; {word(since)}: {since.why.rstrip('.')}.",
        "tiles": [
            *_evidence_tile(known, facts),
            *_window_tile(known, facts, left),
            *_drift_tile(facts, left),
            *_data_tile(facts),
        ],
        **_to_do(facts),
    }


def word(event: ledger.Event) -> str:
    """On whose word an event happened."""
    what = ledger.what(event)
    return {
        "promote": f"promoted on the verdict, in a run by {event.who}",
        "promote, approved": f"approved by {event.who}",
        "promote, by hand": f"promoted by hand by {event.who}",
        "rollback": f"put back by {event.who}, who rolled back version {event.from_version}",
        "adopt": f"adopted by {event.who}",
        "put back": f"put back by {event.who}",
    }.get(what, f"{what} by {event.who}")


def _tile(label: str, value: str, note: str, state: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "note": note, "state": state}


def _evidence_tile(known: Mapping[str, Any], facts: Facts) -> Iterator[dict[str, str]]:
    auc = known.get("auc")
    if auc is None:
        yield _tile("Evidence", "none kept", "the ledger has no figures of this model")
        return
    note = "the first model: there was nothing to compare it with"
    if known.get("gain") is not None and known.get("interval"):
        low, high = known["interval"]
        share = facts.settings.get("confidence", 0.95)
        note = (
            f"{known['gain']:+.3f} [{low:+.3f}, {high:+.3f}] against version "
            f"{known['production_version']}, on the same customers, at {share:.0%} confidence"
        )
    elif known.get("production_version") is not None:
        note = f"not comparable with version {known['production_version']}"
    yield _tile("AUC when it was promoted", f"{auc:.3f}", note)


def _window_tile(
    known: Mapping[str, Any], facts: Facts, left: Sequence[str] | None
) -> Iterator[dict[str, str]]:
    window = known.get("window")
    if not window:
        return
    note = words.count(len(window), "month")
    steps = facts.drift.get("months", [])
    if steps:
        age = calendar.apart(window[-1], steps[-1]["month"])
        note += f"; the newest is {words.count(age, 'month')} old" if age > 0 else ""
    note += f"; the world has left them: {left[0]} drifted" if left else ""
    yield _tile("Trained on", words.span(window), note, "past" if left else "")


def _drift_tile(facts: Facts, left: Sequence[str] | None) -> Iterator[dict[str, str]]:
    steps = facts.drift.get("months", [])
    if not steps:
        yield _tile("Drift", "not measured", "no month has been held against a window yet")
        return
    newest = steps[-1]
    if newest.get("share") is None:
        yield _tile(f"Drift in {newest['month']}", "not measured", newest.get("reason", ""))
        return
    drifted = sum(bool(c.get("drifted")) for c in newest.get("columns", {}).values())
    note = f"{drifted} of {len(newest.get('columns', {}))} columns moved; "
    note += words.drift(newest, share_decides=words.by_share(facts.drift))
    state = "past" if newest.get("triggered") else "" if left or left is None else "fine"
    if left:
        note = f"held against {words.span(newest.get('window') or ())}: {note}"
    yield _tile(f"Drift in {newest['month']}", f"{newest['share']:.0%}", note, state)


def _data_tile(facts: Facts) -> Iterator[dict[str, str]]:
    steps = facts.drift.get("months", [])
    if not steps:
        yield _tile("Data", "none", "no month has been ingested yet")
        return
    known = [step["month"] for step in steps if step.get("labels") == "known"]
    missing = [step["month"] for step in steps if step.get("labels") == "missing, though due"]
    note = f"labels are known up to {known[-1]}" if known else "no labels are known yet"
    note += f"; missing though due: {', '.join(missing)}" if missing else ""
    measured = [one for one in facts.quality if one["auc"] is not None]
    if measured:
        newest = measured[-1]
        note += f"; AUC of version {newest['version']} {newest['auc']:.3f} in {newest['month']}"
    yield _tile("Newest month", steps[-1]["month"], note)


def _to_do(facts: Facts) -> dict[str, Any]:
    """What waits for a person, and the command for it."""
    found: dict[str, Any] = {
        "command": facts.next_step,
        "awaits": "Nothing waits for a decision.",
        "alarm": False,
    }
    digest = facts.candidate["digest"][:12] if facts.candidate else ""
    if facts.trouble:
        found |= {"awaits": f"The registry cannot be relied on: {facts.trouble}.", "alarm": True}
    elif facts.alias:
        found |= {"awaits": f"{facts.alias}.", "alarm": True}
    elif facts.awaits:
        found["awaits"] = f"Candidate {digest} has earned production, and waits for a yes."
        found["alarm"] = True
    elif facts.stale:
        found["awaits"] = "The last verdict is about a production that is gone: compare again."
        found["alarm"] = True
    elif facts.outcome == "undecided":
        found["awaits"] = (
            f"Candidate {digest} is undecided: a person may promote it all the same, and say why."
        )
    found["commands"] = commands(found["command"])
    return found


def commands(step: str) -> list[dict[str, str]]:
    """The next step, parted into words and commands to copy."""
    parts: list[dict[str, str]] = []
    for part in step.split("; "):
        words, _, command = part.rpartition(": ")
        is_command = command.startswith(("make ", "dvc "))
        parts.append({"words": words if is_command else part, "command": command * is_command})
    return parts
