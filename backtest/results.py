"""From the pieces to docs/decisions.json, and what is concluded from it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest import calibration, cases, measures
from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest.work import Piece

LABELS = ((1_000, 600), (5_000, 200))  # rows a month, and worlds
# Months until a change is in what has arrived: columns at once, labels when they are known.
VISIBLE = {"covariate": 0, "gradual": 0, "broken": 0, "concept": 3, "label": 3}
# A gradual change is as large as the others only after months: these are there at once.
AT_ONCE = ("covariate", "concept", "label", "broken")


def histories(seeds: int, rows: int, months: int, onset: int) -> list[Piece]:
    """The pieces of the comparison of policies."""
    return [("history", (case,)) for case in cases.every(seeds, rows, months, onset)]


def rates() -> list[Piece]:
    """The pieces of the calibration."""
    from backtest import work

    asked: list[Piece] = []
    for question in (*calibration.STILL, *calibration.MOVED):
        firsts = range(0, question.repetitions, work.AT_ONCE)
        asked += [("panels", (question, first)) for first in firsts]
    for rows, worlds in LABELS:
        asked += [("labels", (rows, first)) for first in range(0, worlds, work.AT_ONCE)]
    asked += [
        ("gate", (rows, gain)) for rows in calibration.GATE_ROWS for gain in calibration.GATE_GAINS
    ]
    return asked


def collect(found: dict[Piece, Any]) -> dict[str, Any]:
    """Everything that was worked out, as docs/decisions.json holds it."""
    settings = cases.settings()
    return {
        "policies": _policies(found),
        "trigger": _panels(found, settings.drift.false_alarm_rate),
        "labels": _labels(found, settings.drift.label_false_alarm_rate),
        "gate": [
            {"rows": arguments[0], "gain": arguments[1], "promoted": files.rounded(value)}
            for (what, arguments), value in found.items()
            if what == "gate"
        ],
        "rates": {
            "drift.false_alarm_rate": settings.drift.false_alarm_rate,
            "drift.label_false_alarm_rate": settings.drift.label_false_alarm_rate,
            "false promotions": files.rounded((1 - settings.compare.confidence) / 2),
        },
    }


def _policies(found: dict[Piece, Any]) -> dict[str, dict[str, Any]]:
    """By scenario and policy, over the seeds."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for (what, arguments), of_policies in found.items():
        if what == "history":
            of_scenario = rows.setdefault(arguments[0].name, {})
            for policy, figures in of_policies.items():
                of_scenario.setdefault(policy, []).append(figures)
    return {
        scenario: {policy: measures.summary(of_it) for policy, of_it in of_scenario.items()}
        for scenario, of_scenario in rows.items()
    }


def _panels(found: dict[Piece, Any], rate: float) -> list[dict[str, Any]]:
    of_question: dict[Any, list[dict[str, bool]]] = {}
    for (what, arguments), answers in found.items():
        if what == "panels":
            of_question.setdefault(arguments[0], []).extend(answers)
    return [
        {"rows": q.rows, "columns": q.columns, "shift": q.shift} | calibration.rates(answers, rate)
        for q, answers in of_question.items()
    ]


def _labels(found: dict[Piece, Any], rate: float) -> list[dict[str, Any]]:
    of_rows: dict[int, list[dict[str, bool]]] = {}
    for (what, arguments), answers in found.items():
        if what == "labels":
            of_rows.setdefault(arguments[0], []).extend(answers)
    return [{"rows": rows} | calibration.rates(a, rate) for rows, a in of_rows.items()]


def compared(policies: Sequence[str]) -> list[str]:
    """The scenarios of which all policies are compared: no broken feed, no season for years."""
    return [name for name in policies if name != cases.REAL and "(" not in name]


def at_the_same_trainings(of_scenario: dict[str, Any]) -> list[float]:
    """The regret of retraining every k months at the number of trainings of ours.

    A history at a time; the figures of k = 1, 2, 3, ... are joined by straight lines.
    """
    fixed = [of_it for name, of_it in of_scenario.items() if name.startswith("every ")]
    found = []
    for place, trainings in enumerate(of_scenario["ours"]["all_trainings"]):
        line = sorted((f["all_trainings"][place], f["regrets"][place]) for f in fixed)
        at, regrets = np.asarray(line).T
        found.append(float(np.interp(trainings, at, regrets)))
    return found


def overall(
    policies: dict[str, dict[str, Any]], policy: str, scenarios: Sequence[str]
) -> dict[str, float]:
    """Means over scenarios of a policy's figures."""
    names = ("regret", "trainings", "promotions", "false_promotions")
    return {
        name: float(np.mean([policies[scenario][policy][name] for scenario in scenarios]))
        for name in names
    }
