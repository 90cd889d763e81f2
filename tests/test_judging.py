"""What a month's rows prove about the window's world."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data import simulate
from data.simulate import World
from stages.shared import contract, distances, judging, params, split
from stages.shared.contract import Names

NAMES = Names(simulate.ID, simulate.LABEL, contract.from_dict(simulate.FEATURES))
DRIFT = params.read()["drift"]
ROWS, MONTHS = 3000, 3  # of the window


def section(**changes: Any) -> params.Drift:
    return params.parse(params.Drift, "drift", DRIFT | changes)


@cache
def simulated(scenario: str = "none", seed: int = 1) -> tuple[pa.Table, pa.Table]:
    """A window of the world of before, and the month after it, in which the scenario begins."""
    world = World(scenario=scenario, rows=ROWS, months=MONTHS + 1, onset=MONTHS + 1, seed=seed)
    tables = [month.table for month in simulate.months(world)]
    return pa.concat_tables(tables[:-1]).combine_chunks(), tables[-1]


@cache
def learned(seed: int = 1) -> tuple[judging.World, dict[str, float] | None]:
    """The window is the same in every scenario."""
    world = judging.learn(simulated(seed=seed)[0], NAMES, section())
    return world, judging.importances(world, NAMES, section())


def judged(month: pa.Table, seed: int = 1, **changes: Any) -> dict[str, dict[str, Any]]:
    """What the judge says of a month's columns."""
    (world, worth), p = learned(seed), section(**changes)
    moved = judging.columns(world, month, worth, NAMES, p)
    far = distances.measure(world.window, month, NAMES.features, p)
    return judging.alarms(far, moved, p)


def alarms(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, of_it in found.items() if of_it["alarm"]}


def labels(scenario: str, seed: int = 1) -> dict[str, Any]:
    found = judging.labels(learned(seed)[0], simulated(scenario, seed)[1], NAMES, section())
    assert found is not None
    return found


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    kind = table.schema.field(name).type
    return table.set_column(table.column_names.index(name), name, pa.array(values, kind))


# --- the columns -------------------------------------------------------------------------------


def test_columns_that_matter_and_moved_are_alarms_and_no_others() -> None:
    found = judged(simulated("covariate")[1])
    assert alarms(found) == {"monthly_fee", "rebuffer_events_7d", "watch_hours_30d"}
    for name in alarms(found):
        assert found[name]["matters"]
        assert found[name]["drifted"]
        assert found[name]["p_value"] <= section().false_alarm_rate


@pytest.mark.parametrize("scenario", ["none", "concept", "label"])
def test_where_no_column_moves_there_is_no_alarm(scenario: str) -> None:
    assert alarms(judged(simulated(scenario)[1])) == set()


@pytest.mark.parametrize("name", ["skips_7d", "unique_devices_30d"])
def test_a_column_that_does_not_matter_never_alarms_however_far_it_moved(name: str) -> None:
    month = simulated()[1]
    month = with_column(month, name, month[name].to_numpy() * 3)
    found = judged(month)
    assert found[name]["drifted"]
    assert found[name]["value"] > 1  # standard deviations
    assert not found[name]["matters"]
    assert found[name]["p_value"] is None
    assert alarms(found) == set()
    # Nothing else keeps it from being one.
    without_scorer = judging.columns(learned()[0], month, None, NAMES, section())
    assert alarms(judging.alarms(found, without_scorer, section())) == {name}


def test_columns_that_churn_does_not_depend_on_do_not_matter() -> None:
    for seed in range(1, 7):
        _, worth = learned(seed)
        assert worth is not None
        matter = {name for name, value in worth.items() if value >= section().min_importance}
        assert matter.isdisjoint(simulate.IRRELEVANT), seed


def test_without_a_scorer_all_columns_matter() -> None:
    month = simulated("covariate")[1]
    found = judging.columns(learned()[0], month, None, NAMES, section())
    assert all(of_it["matters"] for of_it in found.values())
    assert {n for n, of_it in found.items() if of_it["p_value"] <= section().false_alarm_rate} == {
        "monthly_fee", "rebuffer_events_7d", "watch_hours_30d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("drifted", "p_value", "alarm"),
    [
        (True, 0.01, True),
        (True, 0.011, False),
        (False, 0.0001, False),
        (True, None, False),
        (False, None, False),
    ],
)
def test_an_alarm_needs_both_a_p_value_and_an_effect(
    drifted: bool, p_value: float | None, alarm: bool
) -> None:
    far = {"spend": {"method": "m", "value": 0.5, "threshold": 0.1, "drifted": drifted}}
    moved = {"spend": {"importance": 0.1, "matters": p_value is not None, "p_value": p_value}}
    found = judging.alarms(far, moved, section(false_alarm_rate=0.01))
    assert found["spend"] == far["spend"] | moved["spend"] | {"alarm": alarm}


# --- the labels --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_labels_of_the_same_world_are_no_alarm(seed: int) -> None:
    found = labels("none", seed)
    assert found["alarm"] is False
    assert found["auc_month"] == pytest.approx(found["auc_window"], abs=0.06)
    assert found["rate_month"] == pytest.approx(found["rate_window"], abs=0.04)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_change_of_concept_is_an_alarm_though_no_column_moved(seed: int) -> None:
    found = labels("concept", seed)
    assert found["alarm"] is True
    assert "mistakes" in found["what"]
    assert found["p_value"] <= section().label_false_alarm_rate
    assert abs(found["effect"]) >= section().label_effect
    assert found["auc_month"] < found["auc_window"]


def test_half_as_many_again_who_churn_are_an_alarm() -> None:
    found = labels("label")
    assert found["alarm"] is True
    assert found["rate_month"] / found["rate_window"] == pytest.approx(1.5, abs=0.15)
    assert found["effect"] > 0.1


def test_a_change_of_the_labels_without_an_effect_of_note_is_no_alarm() -> None:
    (world, _), month = learned(), simulated("label")[1]
    found = judging.labels(world, month, NAMES, section(label_effect=3.0))
    assert found is not None
    assert found["p_value"] <= section().label_false_alarm_rate
    assert found["alarm"] is False


def test_too_few_labels_say_nothing() -> None:
    (world, _), month = learned(), simulated("label")[1]
    few = month[NAMES.label].to_pylist()
    few[40:] = [None] * len(few[40:])
    assert judging.labels(world, with_column(month, NAMES.label, few), NAMES, section()) is None
    none = with_column(simulated()[0], NAMES.label, [None] * ROWS * MONTHS)
    blind = judging.learn(none, NAMES, section())
    assert blind.scorer is None
    assert judging.importances(blind, NAMES, section()) is None
    assert judging.labels(blind, month, NAMES, section()) is None


# --- who is asked ------------------------------------------------------------------------------


def answers(window: pa.Table, month: pa.Table) -> str:
    p = section()
    world = judging.learn(window, NAMES, p)
    worth = judging.importances(world, NAMES, p)
    moved = judging.columns(world, month, worth, NAMES, p)
    return json.dumps([worth, moved, judging.labels(world, month, NAMES, p)])


def turned(table: pa.Table, *, held: bool) -> pa.Table:
    """The labels of the holdout's customers, or of all others, are the other way round."""
    p, churned = section(), table[NAMES.label].to_numpy()
    of_holdout = split.in_holdout(table[NAMES.id].to_numpy(), p.salt, p.holdout_share)
    return with_column(table, NAMES.label, np.where(of_holdout == held, 1 - churned, churned))


def test_the_labels_of_the_holdout_change_no_byte_of_an_answer() -> None:
    window, month = simulated("covariate")
    said = answers(window, month)
    assert answers(turned(window, held=True), turned(month, held=True)) == said
    assert answers(window, turned(month, held=False)) != said
