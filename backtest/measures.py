"""What a policy's decisions were worth, in figures. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest.history import History
    from backtest.policies import Decided

# Months over which it is told in truth whether a promotion was a good one.
AFTER = 3


def measure(history: History, decided: Sequence[Decided], onset: int | None) -> dict[str, Any]:
    """What came of a policy.

    Args:
        history: the months.
        decided: what the policy did at each of them.
        onset: the first changed month, counted from 1; None if nothing changes.

    Returns:
        ``auc`` realised, ``regret`` (the best possible AUC minus it), both averaged over the months
        with a model; counts of ``trainings``, ``promotions``, ``false_promotions`` (to a model
        that was in truth no better in the months after), ``quiet`` months (judged, and nothing
        had changed by what had arrived), ``false_triggers`` among them, ``broken`` months that
        were stopped; the month, counted from the onset, of the first ``alarm`` and of the first
        ``useful`` promotion after it (a model that is in truth better), None for never.
    """
    names = [month.name for month in history.months]
    served = [(m, d.production) for m, d in zip(names, decided, strict=True) if d.production]
    aucs = [(history.quality(window, m), history.best(m)) for m, window in served]
    known = [(ours, best) for ours, best in aucs if ours is not None]
    regrets = [best - ours for ours, best in known if best is not None]
    better = _promotions(history, decided)
    start = next(i for i, d in enumerate(decided) if d.production)
    quiet = range(start + 1, len(names) if onset is None else onset - 1)
    return {
        "auc": _mean([ours for ours, _ in known]),
        "regret": _mean(regrets),
        "trainings": sum(d.trained is not None for d in decided),
        "promotions": len(better),
        "false_promotions": sum(gain <= 0 for gain in better.values()),
        "quiet": len(quiet),
        "false_triggers": sum(decided[i].step.triggered for i in quiet),
        "broken": sum(bool(d.step.broken) for d in decided),
        "alarm": _since(onset, [i for i, d in enumerate(decided) if _alarmed(d)]),
        "useful": _since(onset, [i for i, gain in better.items() if gain > 0]),
    }


def _promotions(history: History, decided: Sequence[Decided]) -> dict[int, float]:
    """For each promotion over another model its place, and the true gain in the months after."""
    found, before = {}, None
    for place, d in enumerate(decided):
        if d.promoted and d.production and before:
            after = [month.name for month in history.months[place : place + AFTER]]
            both = [(history.quality(d.production, m), history.quality(before, m)) for m in after]
            gains = [now - then for now, then in both if now is not None and then is not None]
            if gains:
                found[place] = float(np.mean(gains))
        before = d.production
    return found


def _alarmed(decided: Decided) -> bool:
    return decided.step.triggered or bool(decided.step.broken)


def _since(onset: int | None, places: Sequence[int]) -> int | None:
    """Months from the onset to the first of the places at or after it."""
    if onset is None:
        return None
    return min((place - (onset - 1) for place in places if place >= onset - 1), default=None)


def _mean(values: Sequence[float]) -> float | None:
    return files.rounded(float(np.mean(values))) if values else None


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rows of one policy and scenario, one a seed, as one.

    Returns:
        Means of ``auc``, ``regret``, ``trainings``, ``promotions``; shares with the counts they
        come from; ``seen``: how many histories had an alarm, and in how many months at most.
    """
    found: dict[str, Any] = {"histories": len(rows)}
    for name in ("auc", "regret", "trainings", "promotions", "false_promotions", "broken"):
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = _mean(values)
        if name in {"auc", "regret"} and len(values) > 1:
            found[f"{name}_error"] = files.rounded(np.std(values, ddof=1) / np.sqrt(len(values)))
    for name in ("quiet", "false_triggers"):
        found[name] = int(sum(row[name] for row in rows))
    found["all_promotions"] = int(sum(row["promotions"] for row in rows))
    found["all_false_promotions"] = int(sum(row["false_promotions"] for row in rows))
    for name in ("alarm", "useful"):
        found[name] = [row[name] for row in rows]
    return found


def seen(rows: Sequence[int | None], visible: int) -> int:
    """How many alarms came within one month of the change being visible.

    Args:
        rows: months from the onset to the first alarm, one a history.
        visible: months after the onset from which on the change is in what has arrived.
    """
    return sum(row is not None and visible <= row <= visible + 1 for row in rows)
