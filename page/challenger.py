"""The newest candidate against production, and the verdict in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import words

if TYPE_CHECKING:
    from page.facts import Facts


def candidate(facts: Facts) -> dict[str, Any]:
    """The newest candidate against production, and the verdict in words."""
    compare, one = facts.compare, facts.candidate
    if one is None or not compare:
        return {"empty": True}
    version = compare.get("production_version")
    against = "nothing in production" if version is None else f"version {version}"
    verdict = {
        "promote": "It is better, and surely so",
        "reject": "It is not better",
        "undecided": "Nobody can say yet whether it is better",
    }.get(compare["verdict"], compare["verdict"])
    if version is None and compare["verdict"] == "promote":
        verdict = "It passes the gates, and nothing was in production"
    least = compare.get("least_gain_shown")
    return {
        "empty": False,
        "title": f"Candidate {one['digest'][:12]} ({one['estimator']}, trained on "
        f"{words.span(one['window'])}) against {against}",
        "verdict": f"{verdict}: the verdict is {compare['verdict']}.",
        "kind": compare["verdict"],
        "reasons": compare.get("reasons", []),
        "least": None
        if least is None
        else f"The least gain that this holdout could have shown is {least:+.4f} in AUC.",
        "figures": _figures(facts),
        "compare": compare,
        "delta": facts.settings.get("delta", 0.0),
        "curves": _named_curves(facts),
    }


def _named_curves(facts: Facts) -> dict[str, Any]:
    version = facts.compare.get("production_version")
    found: dict[str, Any] = {}
    for key, name in (("candidate", "candidate"), ("production", f"version {version}")):
        if facts.curves.get(key, {}).get("roc"):
            found[name] = facts.curves[key]
    return found


def _figures(facts: Facts) -> list[tuple[str, str, str]]:
    """What, of the candidate, of production."""
    found, measured = facts.evaluate, facts.compare.get("measured") or {}
    rows = []
    if found.get("auc") is not None:
        low, high = found["auc_interval"] if found.get("auc_interval") else (None, None)
        said = f"{found['auc']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")
        rows.append(("AUC", said, _figure(measured.get("production_auc"))))
    loss = found.get("log_loss")
    if loss is not None:
        gain = measured.get("log_loss_gain")
        rows.append(("Log loss", f"{loss:.3f}", _figure(None if gain is None else loss + gain)))
    for key, name in (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall")):
        if found.get(key) is not None:
            rows.append((name, f"{found[key]:.3f}", ""))
    if found.get("n"):
        rows.append(
            ("Holdout rows", f"{found['n']:,}", f"{measured['rows']:,}" if measured else "")
        )
    return rows


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
