"""How often trigger and gate are wrong where nothing changed, and what they see where it did.

The panel is the hard case for both: the same customers month after month, so that rows of two
months are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy import stats

from backtest.policies import by_evidence
from data import simulate
from stages import compare
from stages.shared import distances, files, judging, window
from stages.shared.contract import Feature, Names, from_dict

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from stages.shared.params import Compare, Drift

    Floats = NDArray[np.float64]

WINDOW = 6  # months
STAYS = 0.95  # of the customers, from month to month
PERSISTENCE = 0.9  # correlation of a column's moving part with the month before
LEVELS = ("low", "middle", "high")


@dataclass(frozen=True)
class Question:
    """One cell of the table: how often does the trigger alarm?"""

    rows: int
    columns: int
    shift: float  # of the first three columns in the last month, in standard deviations
    repetitions: int


# Where nothing changed; then what is seen of a change.
STILL = [
    Question(rows, columns, 0.0, repetitions)
    for columns in (5, 50)
    for rows, repetitions in ((300, 4_000), (1_000, 2_000), (10_000, 200), (100_000, 200))
]
MOVED = [
    Question(rows, 14, shift, 100)
    for rows in (300, 1_000, 5_000)
    for shift in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
]


def ask(question: Question, seed: int, p: Drift) -> dict[str, bool]:
    """One panel: do the p-values alone alarm, and does the trigger?"""
    names, before, now = panel(question, np.random.default_rng([seed, question.rows]), p)
    world = judging.learn(before, names, p)
    moved = judging.columns(world, now, None, names, p)
    far = distances.measure(window.draw(before, p.sample_rows, p.seed), now, names.features, p)
    least = min(column["p_value"] for column in moved.values())
    alarmed = any(column["alarm"] for column in judging.alarms(far, moved, p).values())
    return {"p_value": least <= p.false_alarm_rate, "trigger": alarmed}


def panel(question: Question, rng: Generator, p: Drift) -> tuple[Names, pa.Table, pa.Table]:
    """A window of months and one more month of the same customers, some of whom are replaced.

    A third of the columns are categories, a third numbers with a long tail, a third plain numbers.
    Of more rows than the pipeline looks at only those customers are made whom it would draw.
    """
    rows = min(question.rows, p.sample_rows)
    shape = (rows, question.columns)
    trait, moving = rng.standard_normal((rows, 1)), rng.standard_normal(shape)
    loads = rng.uniform(0, 0.8, question.columns)
    ids, newcomers, tables = np.arange(rows), rows, []
    for month in range(WINDOW + 1):
        values = (moving + loads * trait) / np.sqrt(1 + loads**2)
        if month == WINDOW:
            values[:, :3] += question.shift
        tables.append(_table(ids, values))
        noise = np.sqrt(1 - PERSISTENCE**2) * rng.standard_normal(shape)
        moving = PERSISTENCE * moving + noise
        gone = np.flatnonzero(rng.random(rows) > STAYS)
        trait[gone], moving[gone] = (
            rng.standard_normal((len(gone), 1)),
            rng.standard_normal((len(gone), question.columns)),
        )
        ids = ids.copy()
        ids[gone] = np.arange(newcomers, newcomers + len(gone))
        newcomers += len(gone)
    kinds = [tables[0].schema.field(f"c{i}").type for i in range(question.columns)]
    features = {
        f"c{i}": Feature(type="category" if kind == pa.string() else "number")
        for i, kind in enumerate(kinds)
    }
    return Names("id", "label", features), pa.concat_tables(tables[:-1]), tables[-1]


def _table(ids: NDArray[np.int64], values: Floats) -> pa.Table:
    columns: dict[str, Any] = {"id": pa.array(ids).cast(pa.string())}
    for i in range(values.shape[1]):
        column = values[:, i]
        if i % 3 == 2:
            column = np.array(LEVELS)[np.digitize(column, (-0.5, 1.0))]
        elif i % 3 == 1:
            column = np.exp(column)
        columns[f"c{i}"] = pa.array(column)
    columns["label"] = pa.nulls(len(ids), pa.int8())
    return pa.table(columns)


def rates(answers: list[dict[str, bool]], rate: float) -> dict[str, Any]:
    """How often each alarmed, with the interval that a true rate would stay in 95 of 100 times."""
    many = len(answers)
    low, high = stats.binom.interval(0.95, many, rate)
    return {
        "repetitions": many,
        "p_value": files.rounded(sum(a["p_value"] for a in answers) / many),
        "trigger": files.rounded(sum(a["trigger"] for a in answers) / many),
        "interval": [files.rounded(low / many), files.rounded(high / many)],
    }


# --- the labels' trigger, on the simulator's worlds ----------------------------------------------


def ask_labels(rows: int, seed: int, p: Drift) -> dict[str, bool]:
    """A world in which nothing changes: do the labels of the month after the window alarm?"""
    names = Names(simulate.ID, simulate.LABEL, from_dict(simulate.FEATURES))
    months = list(simulate.months(simulate.World("none", rows, WINDOW + 1, 10_000 + seed, 1)))
    tables = [month.table for month in months]
    world = judging.learn(pa.concat_tables(tables[:-1]), names, p)
    any_effect = p.model_copy(update={"label_effect": 0.0})
    found = {
        name: judging.labels(world, tables[-1], names, section)
        for name, section in (("p_value", any_effect), ("trigger", p))
    }
    return {name: bool(answer and answer["alarm"]) for name, answer in found.items()}


# --- the gate -------------------------------------------------------------------------------------

GATE_ROWS = (300, 1_000, 1_500, 5_000, 10_000)
GATE_GAINS = (0.0, 0.002, 0.005, 0.01, 0.02)
GATE_REPETITIONS = 1_000
_ALIKE = 0.9  # of what two models know they share so much, as two trained on one window do


def ask_gate(rows: int, gain: float, p: Compare) -> float:
    """How often a model that is truly better by ``gain`` in AUC is promoted; 0 is no better.

    Both models know the truth with an error of their own and one that they share.
    """
    rng = np.random.default_rng([rows, round(gain * 1e6)])
    promoted = 0
    for _ in range(GATE_REPETITIONS):
        truth, shared, *own = rng.standard_normal((4, rows))
        churned = (rng.random(rows) < 1 / (1 + np.exp(1.6 - 1.5 * truth))).astype(np.int8)
        ours, theirs = (
            _know(truth, shared, mine, sharp) for mine, sharp in zip(own, _sharp(gain), strict=True)
        )
        found = compare.measure(churned, np.arange(rows), ours, theirs, p)
        promoted += by_evidence(found, p)
    return promoted / GATE_REPETITIONS


def _know(truth: Floats, shared: Floats, own: Floats, sharp: float) -> Floats:
    noise = np.sqrt(_ALIKE) * shared + np.sqrt(1 - _ALIKE) * own
    score = sharp * truth + np.sqrt(1 - sharp**2) * noise
    found: Floats = 1 / (1 + np.exp(1.6 - 1.5 * score))
    return found


def _sharp(gain: float) -> tuple[float, float]:
    """How sharply either model sees the truth, so that their AUCs are ``gain`` apart."""
    theirs = 0.9
    return theirs + gain / _SLOPE, theirs


# Of the AUC by the sharpness, at 0.9: measured on 2,000,000 rows.
_SLOPE = 0.326
