"""The stage around the fold: what it says, what it refuses, and what it writes."""

from __future__ import annotations

from typing import Any

import pytest

from stages import drift
from stages.shared import params
from stages.shared.errors import UserError
from stages.shared.fold import Month, State, Step

# Of columns that a clone of other data has, it says more.
DRIFT = params.read()["drift"] | {"columns": {}, "accepted": {}}
DATA = params.parse(
    params.Data,
    "data",
    {"id": "id", "label": "left", "label_delay": 3, "features": {"spend": {"type": "number"}}},
)


def section(**changes: Any) -> params.Drift:
    return params.parse(params.Drift, "drift", DRIFT | changes)


def step(month: str, broken: dict[str, str] | None = None) -> Step:
    return Step(
        month=month,
        rows=500,
        window=("2024-01",),
        share=0.0,
        threshold=0.3,
        triggered=False,
        renewed=False,
        reason="0 of 1 columns drifted, none is an alarm",
        columns={},
        broken=broken or {},
    )


@pytest.mark.parametrize(
    ("name", "labelled", "said"),
    [
        ("2024-01", True, "known"),
        ("2024-01", False, "missing, though due"),
        ("2024-03", True, "there before their time: not used"),
        ("2024-03", False, "not due yet"),
    ],
)
def test_the_report_says_where_labels_stand(name: str, labelled: bool, said: str) -> None:
    assert drift.labels(Month(name, 1, labelled), "2024-03", 2) == said


def test_the_report_has_an_entry_for_each_month_and_is_plain() -> None:
    state = State(window=("2024-01",), holdout=("2024-01",), pending="2024-02", since="2024-01")
    months = [Month("2024-01", 500, True), Month("2024-02", 500, False)]
    found = drift.report(state, [step("2024-01"), step("2024-02")], months, 1, "evidence")
    assert (found["window"], found["holdout"]) == (["2024-01"], ["2024-01"])
    assert (found["pending"], found["since"]) == ("2024-02", "2024-01")
    assert [entry["month"] for entry in found["months"]] == ["2024-01", "2024-02"]
    assert [entry["labels"] for entry in found["months"]] == ["known", "not due yet"]
    assert found["months"][1]["window"] == ["2024-01"]


def test_a_broken_feed_stops_the_stage_in_one_line_with_both_ways_on() -> None:
    drift.refuse_broken(step("2024-03"), DATA)
    why = {"spend": "100% of its values are 1.0, 0% in the window", "plan": "a jump"}
    with pytest.raises(UserError) as caught:
        drift.refuse_broken(step("2024-03", why), DATA)
    said = str(caught.value)
    assert said.startswith("2024-03: the feed of column 'spend' looks broken: 100% of its values")
    assert "(1 more columns too)" in said
    assert f"mend the file in {DATA.snapshots}" in said
    assert "write 2024-03: [spend, plan] into drift.accepted of params.yaml" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": {"nonsense": {"threshold": 0.1}}}, "drift.columns names 'nonsense'"),
        ({"max_age_months": 3}, "drift.max_age_months is 3, but labels come after"),
        ({"accepted": {"2024-03": ["nonsense"]}}, "drift.accepted.2024-03 names 'nonsense'"),
        ({"accepted": {"March": ["spend"]}}, "drift.accepted names 'March'"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(changes: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        drift.check(DATA, section(**changes))
    assert "\n" not in str(caught.value)


def test_what_is_accepted_is_read_as_yaml_has_it() -> None:
    p = section(accepted={"2024-03": ["spend", "plan"]})
    assert p.accepted == {"2024-03": ("spend", "plan")}
    with pytest.raises(UserError, match=r"drift\.accepted\.2024-03"):
        section(accepted={"2024-03": "spend"})
