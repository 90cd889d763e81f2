"""The ledger and the candidates as tables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import words
from stages.registry import ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from page.facts import Facts


def events_table(facts: Facts, events: Sequence[ledger.Event]) -> dict[str, Any]:
    """Every event, the newest first, and whether the chain holds."""
    broken = ledger.broken_at(events)
    count = words.count(len(events), "event")
    chain = f"{count}, chain verified"
    if broken:
        chain = f"the chain is broken at event {broken}"
    elif facts.trouble:
        where = "in the clone's copy" if facts.from_copy else "in the registry"
        chain = f"{count} {where}, not verified against the other: {facts.trouble}"
    elif not events:
        chain = "no event yet"
    urls = {run["digest"]: run["url"] for run in facts.runs}
    rows = []
    for event in reversed(events):
        known = event.evidence
        figures = [f"AUC {known['auc']:.3f}"] if known.get("auc") is not None else []
        if known.get("gain") is not None and known.get("interval"):
            low, high = known["interval"]
            figures.append(f"gain {known['gain']:+.4f} [{low:+.4f}, {high:+.4f}]")
        if known.get("window"):
            figures.append(f"window {words.span(known['window'])}")
        rows.append(
            {
                "n": event.n,
                "when": words.moment(event.when),
                "iso": event.when,
                "what": ledger.what(event),
                "versions": f"{event.from_version or 'none'} → {event.to_version}",
                "who": event.who,
                "why": event.why,
                "evidence": "; ".join(figures),
                "candidate": event.candidate[:12],
                "hash": event.hash[:12],
                "url": urls.get(event.candidate),
            }
        )
    return {"rows": rows, "chain": chain, "sound": not broken and not facts.trouble}


def runs_table(facts: Facts, state: ledger.State) -> list[dict[str, Any]]:
    """Every candidate that was trained, the newest first, with MLflow's page of its run."""
    versions = {digest: version for version, digest in state.digests.items()}
    found = []
    for run in reversed(facts.runs):
        gain = ""
        if run.get("gain") is not None and run.get("low") is not None:
            gain = f"{run['gain']:+.4f} [{run['low']:+.4f}, {run['high']:+.4f}]"
        version = versions.get(run["digest"])
        found.append(
            {
                "digest": run["digest"][:12],
                "window": words.span(run["window"]),
                "month": run["month"] or "",
                "verdict": "promoted" if version else run.get("verdict") or "",
                "version": "" if version is None else f"version {version}",
                "auc": "" if run.get("auc") is None else f"{run['auc']:.3f}",
                "gain": gain,
                "url": run["url"],
            }
        )
    return found
