"""The newest candidate against production, and the verdict in words. Pure."""

from __future__ import annotations

from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any

from page import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from page.facts import Facts

FALSE_POSITIVE_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)  # of the table behind the chart


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
        "least_bound": facts.settings.get("min_lower_bound", 0.0),
        "curves": (curves := _named_curves(facts)),
        "tables": [_roc_table(curves), _calibration_table(curves)] if curves else [],
    }


def _named_curves(facts: Facts) -> dict[str, Any]:
    version = facts.compare.get("production_version")
    found: dict[str, Any] = {}
    for key, name in (("candidate", "candidate"), ("production", f"version {version}")):
        if facts.curves.get(key, {}).get("roc"):
            found[name] = facts.curves[key]
    return found


def _roc_table(curves: Mapping[str, Any]) -> dict[str, Any]:
    """True positive rates at a few false positive rates, for those who do not see the chart."""
    return {
        "caption": "ROC: true positive rate of each model",
        "head": ["False positive rate", *curves],
        "rows": [
            [f"{x:.0%}", *(f"{_height(one['roc'], x):.1%}" for one in curves.values())]
            for x in FALSE_POSITIVE_RATES
        ],
    }


def _height(points: Sequence[Sequence[float]], x: float) -> float:
    """The curve's height at x, between its points; the upper end where it rises straight up."""
    found = points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if left <= x <= right:
            found = high if left == right else low + (high - low) * (x - left) / (right - left)
    return found


def _calibration_table(curves: Mapping[str, Any]) -> dict[str, Any]:
    """What was said and what came, tenth by tenth."""
    parts = zip_longest(*(one["calibration"] for one in curves.values()))
    return {
        "caption": "Calibration: predicted churn probability → share that churned",
        "head": ["Tenth", *curves],
        "rows": [
            [str(n), *("" if p is None else f"{p[0]:.1%} → {p[1]:.1%}" for p in tenth)]
            for n, tenth in enumerate(parts, start=1)
        ],
    }


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
