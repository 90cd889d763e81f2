"""Whether a month still is of the window's world: evidence from rows, and what it proves. Pure.

Two questions, each with a rate of false alarms of its own. Of the columns, when a month arrives:
did one that matters move? Of the labels, when they are known: are churn and its relation to the
columns what they were? An alarm needs both a p-value that holds for all that was asked together
(`movement`), and an effect that is worth a training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from stages.shared import coding, files, movement, scorer, split

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from stages.shared.contract import Names
    from stages.shared.params import Drift
    from stages.shared.scorer import Scorer

    Floats = NDArray[np.float64]

HALVES = "halves"  # the salt that tells the scorers' halves
IMPORTANCE_ROWS = 20_000  # more tell no better what a column is worth


@dataclass(frozen=True)
class World:
    """A window's rows, how its columns are coded, and a scorer that knows how it was there."""

    window: pa.Table
    codes: dict[str, coding.Code]
    coded: dict[str, Floats]
    scorer: Scorer | None  # None: too few labels to learn from
    labelled: NDArray[np.int64]  # the window's rows that the scorer may look at


def learn(window: pa.Table, names: Names, p: Drift) -> World:
    """Learn a window's world from its rows.

    The scorer sees no customer of the holdout: the trigger would otherwise choose the moment at
    which a candidate is held against production by the very labels that decide it.
    """
    codes = coding.learn(window, names.features)
    coded = coding.code(window, codes)
    labelled = _learnable(window, names, p)
    chosen = {name: values[labelled] for name, values in coded.items()}
    churned, first = _labels(window, names)[labelled], _first(window, names)[labelled]
    return World(window, codes, coded, scorer.fit(chosen, churned, first, p.seed), labelled)


def importances(world: World, names: Names, p: Drift) -> dict[str, float] | None:
    """What each column is worth to the scorer, in AUC; None where there is no scorer."""
    if world.scorer is None:
        return None
    rows = world.labelled[:: len(world.labelled) // IMPORTANCE_ROWS + 1]
    coded = {name: values[rows] for name, values in world.coded.items()}
    first, churned = _first(world.window, names)[rows], _labels(world.window, names)[rows]
    found = world.scorer.importances(coded, first, churned, p.seed)
    return {name: files.rounded(value) for name, value in found.items()}


def columns(
    world: World, month: pa.Table, worth: dict[str, float] | None, names: Names, p: Drift
) -> dict[str, dict[str, Any]]:
    """Which columns moved, by p-values that hold for all columns that matter together.

    Args:
        world: the window's.
        month: the month's rows.
        worth: from `importances`.
        names: of the columns.
        p: section ``drift`` of params.yaml.

    Returns:
        For each feature ``importance``, whether it ``matters``, and, if so, ``p_value``.
    """
    # Of nothing all columns are worth at least that much, whatever a shuffle says.
    all_matter = worth is None or p.min_importance == 0
    matters = {n: all_matter or (worth or {})[n] >= p.min_importance for n in names.features}
    codes = {name: world.codes[name] for name in names.features if matters[name]}
    now = coding.code(month, codes)
    moments, of_before, of_now = coding.moments(codes, world.coded, now)
    p_values = dict.fromkeys(codes, 1.0)
    if moments:
        found = _movement(world.window, month, of_before, of_now, names, p)
        for (name, _), value in zip(moments, found.p_values, strict=True):
            p_values[name] = min(p_values[name], files.rounded(value))
    return {
        name: {
            "importance": worth[name] if worth else None,
            "matters": matters[name],
            "p_value": p_values.get(name),
        }
        for name in names.features
    }


def alarms(
    far: dict[str, dict[str, Any]], moved: dict[str, dict[str, Any]], p: Drift
) -> dict[str, dict[str, Any]]:
    """Evidently's distances and the p-values together: both must speak for an alarm."""
    return {
        name: far[name] | moved[name] | {"alarm": far[name]["drifted"] and _proven(moved[name], p)}
        for name in far
    }


def _proven(moved: dict[str, Any], p: Drift) -> bool:
    return moved["p_value"] is not None and moved["p_value"] <= p.false_alarm_rate


def labels(world: World, month: pa.Table, names: Names, p: Drift) -> dict[str, Any] | None:
    """Whether churn, or its relation to the columns, is another one than in the window.

    Asked are the label rate, and the mean mistake of the window's scorer: over all rows, along
    its own score, and along each column.

    Returns:
        ``p_value`` and ``effect`` (in standard deviations) of ``what`` moved most, both AUCs of
        the scorer, and whether it is an ``alarm``; None where there are too few labels.
    """
    rows = _learnable(month, names, p)
    if world.scorer is None or len(rows) < scorer.LEAST_OF_A_CLASS:
        return None
    before = _asked(world, world.window, world.coded, world.labelled, names)
    now = _asked(world, month, coding.code(month, world.codes), rows, names)
    told, of_before, of_now = _both(before.moments, now.moments)
    found = _movement(
        world.window.take(world.labelled), month.take(rows), of_before, of_now, names, p
    )
    strong = np.abs(found.effects) >= p.label_effect
    alarm = (found.p_values <= p.label_false_alarm_rate) & strong
    # What is said is the clearest of what alarms, else the clearest of all.
    rank = np.lexsort((-np.abs(found.effects), found.p_values, ~alarm))[0]
    return {
        "what": told[rank],
        "p_value": files.rounded(found.p_values[rank]),
        "effect": files.rounded(found.effects[rank]),
        "auc_window": before.auc,
        "auc_month": now.auc,
        "rate_window": files.rounded(before.churned.mean()),
        "rate_month": files.rounded(now.churned.mean()),
        "alarm": bool(alarm.any()),
    }


@dataclass(frozen=True)
class _Asked:
    churned: NDArray[np.int8]
    auc: float | None
    moments: dict[str, Floats]


def _asked(
    world: World, table: pa.Table, coded: dict[str, Floats], rows: NDArray[np.int64], names: Names
) -> _Asked:
    """What is asked of the labelled rows of one side."""
    chosen = {name: values[rows] for name, values in coded.items()}
    churned = _labels(table, names)[rows]
    assert world.scorer is not None  # noqa: S101 - asked before
    said = world.scorer.score(chosen, _first(table, names)[rows])
    mistakes = churned - said
    moments = {
        "the label rate": churned.astype(np.float64),
        "the mistakes of the scorer": mistakes,
        "the mistakes along the score": mistakes * _logit(said),
    }
    for name, how in world.codes.items():
        for moment, values in how.moments(chosen[name]):
            if moment != "spread":
                moments[f"the mistakes along {name} ({moment})"] = mistakes * values
    both = 0 < churned.sum() < len(churned)
    auc = files.rounded(roc_auc_score(churned, said)) if both else None
    return _Asked(churned, auc, moments)


def _logit(probability: Floats) -> Floats:
    within = np.clip(probability, 1e-3, 1 - 1e-3)
    found: Floats = np.log(within / (1 - within))
    return found


def _both(before: dict[str, Floats], now: dict[str, Floats]) -> tuple[list[str], Floats, Floats]:
    """The moments that enough rows take part in on both sides."""
    told = [
        name
        for name in before
        if min(np.count_nonzero(before[name]), np.count_nonzero(now[name])) >= coding.LEAST_ROWS
    ]
    return (
        told,
        np.column_stack([before[name] for name in told]),
        np.column_stack([now[name] for name in told]),
    )


def _movement(
    window: pa.Table, month: pa.Table, before: Floats, now: Floats, names: Names, p: Drift
) -> movement.Movement:
    customers = _customers(window, month, names)
    old, new = customers[: len(before)], customers[len(before) :]
    return movement.measure(movement.Rows(before, old), movement.Rows(now, new), p.seed)


def _customers(window: pa.Table, month: pa.Table, names: Names) -> NDArray[np.int64]:
    """A number for each customer, the same on both sides; the window's rows, then the month's."""
    import pyarrow as pa

    ids = pa.chunked_array([*window[names.id].chunks, *month[names.id].chunks])
    found: NDArray[np.int64] = (
        ids.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    )
    return found


def _learnable(table: pa.Table, names: Names, p: Drift) -> NDArray[np.int64]:
    """The labelled rows of the customers outside the holdout."""
    held = split.in_holdout(table[names.id].to_numpy(), p.salt, p.holdout_share)
    known = ~np.isnan(_known(table, names))
    return np.flatnonzero(known & ~held)


def _known(table: pa.Table, names: Names) -> Floats:
    found: Floats = table[names.label].to_numpy().astype(np.float64)
    return found


def _labels(table: pa.Table, names: Names) -> NDArray[np.int8]:
    """The labels; what is not known is 0, and in no row that is asked for."""
    return np.nan_to_num(_known(table, names)).astype(np.int8)


def _first(table: pa.Table, names: Names) -> NDArray[np.bool_]:
    return split.in_holdout(table[names.id].to_numpy(), HALVES, 0.5)
