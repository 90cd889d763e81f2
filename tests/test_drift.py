"""The fold: which window, from which month on, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from stages import drift
from stages.drift import Month
from stages.shared import params

STILL = {"plan": {"method": "m", "value": 0.0, "threshold": 0.1, "drifted": False}}
MOVED = {"plan": {"method": "m", "value": 0.9, "threshold": 0.1, "drifted": True}}


def section(**changes: Any) -> params.Drift:
    values = params.read()["drift"] | {"window_months": 3, "max_age_months": 12, "min_rows": 1}
    return params.parse(params.Drift, "drift", values | changes)


def arrived(*names: str, unlabelled: tuple[str, ...] = (), rows: int = 500) -> list[Month]:
    return [Month(name, rows, name not in unlabelled) for name in names]


class Replay(NamedTuple):
    window: tuple[str, ...]
    pending: str | None
    steps: list[drift.Step]


def replay(
    months: list[Month], delay: int, moved: tuple[str, ...] = (), **changes: Any
) -> tuple[Replay, list[tuple[tuple[str, ...], str]]]:
    asked = []

    def judge(window: tuple[str, ...], month: str) -> dict[str, Any]:
        asked.append((window, month))
        return MOVED if month in moved else STILL

    state, steps = drift.fold(months, delay, section(**changes), judge)
    return Replay(state.window, state.pending, steps), asked


def year(*months: int) -> tuple[str, ...]:
    return tuple(f"2024-{month:02}" for month in months)


def test_the_first_window_is_the_first_labelled_month_and_later_months_are_held_against_it() -> (
    None
):
    result, asked = replay(arrived(*year(1, 2, 3, 4)), delay=1)
    assert result.window == year(1)
    assert asked == [(year(1), "2024-02"), (year(1), "2024-03"), (year(1), "2024-04")]
    assert result.steps[0].share is None
    assert result.steps[0].reason == "no month's labels are known yet"


def test_without_a_label_delay_the_first_month_is_the_window_and_is_not_held_against_itself() -> (
    None
):
    result, asked = replay(arrived(*year(1, 2)), delay=0)
    assert result.window == year(1)
    assert asked == [(year(1), "2024-02")]


def test_labels_that_come_all_at_once_make_a_first_window_of_all_of_them_at_most() -> None:
    # No month is two months older than the newest before the gap.
    result, _ = replay(arrived("2024-01", "2024-02", "2024-09"), delay=2)
    assert result.window == year(1, 2)
    result, _ = replay(arrived("2024-01", "2024-02", "2024-09"), delay=2, window_months=1)
    assert result.window == year(2)


def test_without_labels_there_is_no_window() -> None:
    result, asked = replay(arrived(*year(1, 2, 3), unlabelled=year(1, 2, 3)), delay=0)
    assert result.window == ()
    assert asked == []


def test_a_first_window_waits_until_there_are_both_classes_to_learn_from() -> None:
    one = [Month(name, 500, True, frozenset({0})) for name in year(1, 2)]
    result, asked = replay([*one, *arrived(*year(3, 4))], delay=0)
    assert [step.reason for step in result.steps[:3]] == [
        "all known labels are the same yet",
        "all known labels are the same yet",
        "the first window",
    ]
    assert result.window == year(1, 2, 3)
    assert asked == [(year(1, 2, 3), "2024-04")]


def test_a_window_is_not_renewed_by_months_of_one_class() -> None:
    one = [Month(name, 500, True, frozenset({1})) for name in year(3, 4, 5)]
    result, _ = replay([*arrived(*year(1, 2)), *one], delay=0, moved=year(3), window_months=1)
    assert result.window == year(1)
    assert result.pending == "2024-03"
    assert "all of them are the same: the window stays" in result.steps[2].reason
    result, _ = replay(
        [*arrived(*year(1, 2)), *one, *arrived(*year(6))], 0, year(3), window_months=1
    )
    assert result.window == year(6)


def test_months_without_drift_leave_the_window_as_it_is() -> None:
    result, _ = replay(arrived(*year(1, 2, 3, 4, 5, 6)), delay=1)
    assert result.window == year(1)
    assert result.pending is None
    assert not any(step.renewed for step in result.steps)


def test_drift_waits_until_the_labels_of_the_drifted_month_are_known() -> None:
    months = arrived(*year(1, 2, 3, 4, 5, 6))
    result, _ = replay(months[:5], delay=2, moved=year(4))
    assert result.pending == "2024-04"
    assert result.window == year(1)
    assert result.steps[-1].reason == "0 of 1 columns drifted; waits for the labels of 2024-04"
    result, _ = replay(months, delay=2, moved=year(4))
    assert result.pending is None
    assert result.window == year(2, 3, 4)
    assert "the labels of 2024-04, which had drifted, are known" in result.steps[-1].reason


def test_drift_that_goes_on_while_it_waits_renews_the_window_once() -> None:
    months = arrived(*year(1, 2, 3, 4, 5, 6, 7))
    result, asked = replay(months, delay=2, moved=year(4, 5, 6))
    assert [step.month for step in result.steps if step.renewed] == ["2024-06"]
    assert result.window == year(2, 3, 4)
    assert asked[-1] == (year(2, 3, 4), "2024-07")


def test_without_a_label_delay_drift_renews_the_window_at_once() -> None:
    result, _ = replay(arrived(*year(1, 2, 3)), delay=0, moved=year(3))
    assert result.window == year(1, 2, 3)
    assert result.pending is None


def test_a_drifted_month_that_never_gets_labels_is_replaced_by_the_next_one_that_has_some() -> None:
    months = arrived(*year(1, 2, 3, 4, 5, 6), unlabelled=year(3))
    result, _ = replay(months, delay=1, moved=year(3))
    assert [step.month for step in result.steps if step.renewed] == ["2024-05"]
    assert result.window == year(1, 2, 4)


def test_an_old_window_is_renewed_without_drift() -> None:
    months = arrived(*year(1, 2, 3, 4, 5))
    result, _ = replay(months, delay=1, max_age_months=3)
    assert [step.month for step in result.steps if step.renewed] == ["2024-05"]
    assert result.window == year(2, 3, 4)
    assert "its newest month was 4 months old" in result.steps[-1].reason


def test_age_is_counted_in_calendar_months_not_in_files() -> None:
    result, _ = replay(arrived("2024-01", "2024-02", "2024-08"), delay=1, max_age_months=3)
    assert result.window == ("2024-01", "2024-02")


def test_an_old_window_stays_while_there_is_nothing_newer_to_learn_from() -> None:
    months = arrived(*year(1, 2, 3, 4, 5, 6), unlabelled=year(2, 3, 4, 5, 6))
    result, _ = replay(months, delay=1, max_age_months=2)
    assert result.window == year(1)
    assert not any(step.renewed for step in result.steps)


def test_a_month_that_is_too_small_is_not_judged_and_keeps_the_window() -> None:
    months = [*arrived(*year(1, 2)), Month("2024-03", 10, True)]
    result, asked = replay(months, delay=1, moved=year(3), min_rows=200)
    assert result.window == year(1)
    assert result.steps[-1].share is None
    assert result.steps[-1].reason == "too small to judge: 10 rows, drift.min_rows is 200"
    assert asked == [(year(1), "2024-02")]


def test_a_label_that_is_there_before_its_time_changes_nothing() -> None:
    early = arrived(*year(1, 2, 3, 4))
    late = arrived(*year(1, 2, 3, 4), unlabelled=year(3, 4))
    assert replay(early, delay=2, moved=year(4))[0] == replay(late, delay=2, moved=year(4))[0]


def test_the_future_changes_nothing_of_the_past() -> None:
    months = arrived(*year(*range(1, 13)))
    for length in range(1, 13):
        short, _ = replay(months[:length], delay=2, moved=year(4, 9))
        long, _ = replay(months, delay=2, moved=year(4, 9))
        assert short.steps == long.steps[:length]


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


def test_the_share_is_that_of_drifted_columns_and_reaching_the_threshold_triggers() -> None:
    columns = {"a": MOVED["plan"], "b": STILL["plan"], "c": STILL["plan"], "d": STILL["plan"]}
    assert drift.drifted_share(columns) == 0.25
    for threshold, triggered in ((0.25, True), (0.26, False)):
        _, steps = drift.fold(
            arrived(*year(1, 2)), 1, section(threshold=threshold), lambda _w, _m: columns
        )
        assert steps[-1].triggered is triggered
