"""What a policy's decisions were worth, in figures. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest.history import History
    from backtest.policies import Decided

# Months over which it is told in truth whether a promotion was a good one.
AFTER = 3
YEAR = 12


def measure(history: History, decided: Sequence[Decided], onset: int | None) -> dict[str, Any]:
    """What came of a policy.

    Args:
        history: the months.
        decided: what the policy did at each of them.
        onset: the first changed month, counted from 1; None if nothing changes.

    Returns:
        ``auc`` realised, ``regret`` (the best possible AUC minus it), both averaged over the months
        with a model; ``yearly``, the trainings in each twelve months; counts of ``trainings``,
        ``promotions``, ``worthless`` candidates (in truth no better than production in the months
        after), ``false_promotions`` of such, ``quiet`` months (judged, and nothing had changed by
        what had arrived), ``false_triggers`` among them, ``broken`` months that were stopped; the
        month, counted from the onset, of the first ``alarm`` and of the first ``useful`` promotion
        after it (a model that is in truth better), None for never.
    """
    names = [month.name for month in history.months]
    served = [(m, d.production) for m, d in zip(names, decided, strict=True) if d.production]
    aucs = [(history.quality(window, m), history.best(m)) for m, window in served]
    known = [(ours, best) for ours, best in aucs if ours is not None]
    regrets = [best - ours for ours, best in known if best is not None]
    held = _candidates(history, decided)
    promoted = [candidate for candidate in held if candidate.promoted]
    worthless = [candidate for candidate in held if candidate.gain <= 0]
    start = next(i for i, d in enumerate(decided) if d.production)
    quiet = range(start + 1, len(names) if onset is None else onset - 1)
    return {
        "auc": _mean([ours for ours, _ in known]),
        "regret": _mean(regrets),
        "trainings": sum(d.trained is not None for d in decided),
        "yearly": [
            sum(d.trained is not None for d in decided[first : first + YEAR])
            for first in range(0, len(decided), YEAR)
        ],
        "promotions": len(promoted),
        "worthless": len(worthless),
        "false_promotions": sum(candidate.promoted for candidate in worthless),
        "quiet": len(quiet),
        "false_triggers": sum(decided[i].step.triggered for i in quiet),
        "broken": sum(bool(d.step.broken) for d in decided),
        "alarm": _since(onset, [i for i, d in enumerate(decided) if _alarmed(d)]),
        "useful": _since(onset, [c.place for c in promoted if c.gain > 0]),
    }


@dataclass(frozen=True)
class Candidate:
    """A model that was held against production."""

    place: int  # of its month
    gain: float  # over production, in truth, in the months after
    promoted: bool


def _candidates(history: History, decided: Sequence[Decided]) -> list[Candidate]:
    found, before = [], None
    for place, d in enumerate(decided):
        if d.trained and before:
            after = [month.name for month in history.months[place : place + AFTER]]
            both = [(history.quality(d.trained, m), history.quality(before, m)) for m in after]
            gains = [now - then for now, then in both if now is not None and then is not None]
            if gains:
                found.append(Candidate(place, float(np.mean(gains)), d.promoted))
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
        Means of ``auc``, ``regret``, ``trainings``, ``promotions``, ``yearly``; the counts that
        shares come from; and, history by history, ``regrets``, ``all_trainings`` and the months
        to the first ``alarm`` and to the first ``useful`` promotion.
    """
    found: dict[str, Any] = {"histories": len(rows)}
    for name in ("auc", "regret", "trainings", "promotions", "false_promotions", "broken"):
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = _mean(values)
        if name in {"auc", "regret"} and len(values) > 1:
            found[f"{name}_error"] = files.rounded(np.std(values, ddof=1) / np.sqrt(len(values)))
    for name in ("quiet", "false_triggers"):
        found[name] = int(sum(row[name] for row in rows))
    for name in ("promotions", "worthless", "false_promotions"):
        found[f"all_{name}"] = int(sum(row[name] for row in rows))
    found["yearly"] = [files.rounded(mean) for mean in np.mean([r["yearly"] for r in rows], axis=0)]
    found["regrets"] = [row["regret"] for row in rows]
    found["all_trainings"] = [row["trainings"] for row in rows]
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
