"""The fold: which window, from which month on, and why."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from stages.shared import fold, params
from stages.shared.fold import Month

if TYPE_CHECKING:
    from collections.abc import Mapping

Window = tuple[str, ...]


# A window of one month is full at once, so that nothing grows.
VALUES = params.read()["drift"] | {
    "window_months": 1, "max_age_months": 24, "min_rows": 1, "growth": 2,
}  # fmt: skip


def section(**changes: Any) -> params.Drift:
    return params.parse(params.Drift, "drift", VALUES | changes)


def arrived(*names: str, unlabelled: Window = (), rows: int = 500) -> list[Month]:
    return [Month(name, rows, name not in unlabelled) for name in names]


def year(*numbers: int) -> Window:
    """Months of 2024; the 13th is the first of 2025."""
    return tuple(f"{2024 + (n - 1) // 12}-{(n - 1) % 12 + 1:02}" for n in numbers)


def column(*, alarm: bool) -> dict[str, Any]:
    value = 0.9 if alarm else 0.0
    return {"method": "m", "value": value, "threshold": 0.1, "drifted": alarm, "alarm": alarm}


class Told:
    """A judge who was told of what world each month is, and notes what it is asked.

    Args:
        columns: months of another world than all others, each with its world's name.
        labels: the same of the labels.
        broken: months with columns whose feed broke.
    """

    def __init__(
        self,
        columns: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        broken: Mapping[str, dict[str, str]] | None = None,
    ) -> None:
        self._columns, self._labels, self._broken = columns or {}, labels or {}, broken or {}
        self.asked: list[tuple[Window, str]] = []
        self.labels_asked: list[tuple[Window, str]] = []
        self.feeds_asked: list[tuple[str, str]] = []

    def broken(self, before: str, month: str) -> dict[str, str]:
        self.feeds_asked.append((before, month))
        return self._broken.get(month, {})

    def columns(self, window: Window, month: str) -> dict[str, dict[str, Any]]:
        self.asked.append((window, month))
        return {"plan": column(alarm=self._columns.get(month) != self._columns.get(window[-1]))}

    def labels(self, window: Window, month: str) -> dict[str, Any] | None:
        self.labels_asked.append((window, month))
        moved = self._labels.get(month) != self._labels.get(window[-1])
        return {"what": "the label rate", "alarm": moved}


class Moody:
    """A judge whose answers nobody can foresee, and who answers the same question the same way."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _says(self, share: float, *question: object) -> bool:
        drawn = hashlib.sha256(repr((self._seed, question)).encode()).digest()
        return int.from_bytes(drawn[:4]) < share * 2**32

    def broken(self, before: str, month: str) -> dict[str, str]:
        return {"plan": "stuck"} if self._says(0.1, "broken", before, month) else {}

    def columns(self, window: Window, month: str) -> dict[str, dict[str, Any]]:
        return {n: column(alarm=self._says(0.1, n, window, month)) for n in ("plan", "spend")}

    def labels(self, window: Window, month: str) -> dict[str, Any] | None:
        if self._says(0.1, "few", window, month):
            return None
        return {"what": "the label rate", "alarm": self._says(0.1, "labels", window, month)}


class Replay(NamedTuple):
    state: fold.State
    steps: list[fold.Step]

    @property
    def window(self) -> Window:
        return self.state.window

    @property
    def renewed(self) -> Window:
        return tuple(step.month for step in self.steps if step.renewed)


def replay(
    these: list[Month], delay: int, judge: Any = None, moved: Window = (), **changes: Any
) -> Replay:
    """Fold the months; ``moved`` are months whose columns are of another world."""
    judge = judge or Told(dict.fromkeys(moved, "other"))
    return Replay(*fold.fold(these, delay, section(**changes), judge))


def windows(count: int, delay: int, judge: Any = None, **changes: Any) -> dict[str, Window]:
    """The windows that so many months lead to, by the month that renewed them."""
    these = arrived(*year(*range(1, count + 1)))
    ends = [replay(these[: n + 1], delay, judge, **changes) for n in range(count)]
    return {end.steps[-1].month: end.window for end in ends if end.steps[-1].renewed}


# --- the first window --------------------------------------------------------------------------


def test_the_first_window_is_the_first_labelled_month_and_later_months_are_held_against_it() -> (
    None
):
    judge = Told()
    result = replay(arrived(*year(1, 2, 3, 4)), 1, judge)
    assert result.window == year(1)
    assert judge.asked == [(year(1), "2024-02"), (year(1), "2024-03"), (year(1), "2024-04")]
    assert result.steps[0].share is None
    assert result.steps[0].reason == "no month's labels are known yet"


def test_without_a_label_delay_the_first_month_is_the_window_and_is_not_held_against_itself() -> (
    None
):
    judge = Told()
    result = replay(arrived(*year(1, 2)), 0, judge)
    assert result.window == year(1)
    assert judge.asked == judge.labels_asked == [(year(1), "2024-02")]


def test_labels_that_come_all_at_once_make_a_first_window_of_all_of_them_at_most() -> None:
    # No month is two months older than the newest before the gap.
    these = arrived("2024-01", "2024-02", "2024-09")
    assert replay(these, 2, window_months=3).window == year(1, 2)
    assert replay(these, 2).window == year(2)


def test_without_labels_there_is_no_window() -> None:
    judge = Told()
    result = replay(arrived(*year(1, 2, 3), unlabelled=year(1, 2, 3)), 0, judge)
    assert result.window == ()
    assert judge.asked == judge.labels_asked == []


def test_a_first_window_waits_until_there_are_both_classes_to_learn_from() -> None:
    judge = Told()
    one = [Month(name, 500, True, frozenset({0})) for name in year(1, 2)]
    result = replay([*one, *arrived(*year(3, 4))], 0, judge, window_months=3)
    assert [step.reason for step in result.steps[:3]] == [
        "all known labels are the same yet",
        "all known labels are the same yet",
        "the first window",
    ]
    assert result.window == year(1, 2, 3)
    assert judge.asked == [(year(1, 2, 3), "2024-04")]


def test_a_window_is_not_renewed_by_months_of_one_class() -> None:
    one = [Month(name, 500, True, frozenset({1})) for name in year(3, 4, 5)]
    result = replay([*arrived(*year(1, 2)), *one], 0, moved=year(3, 4, 5))
    assert result.window == year(1)
    assert result.state.pending == "2024-03"
    assert "all of them are the same: the window stays" in result.steps[2].reason
    result = replay([*arrived(*year(1, 2)), *one, *arrived(*year(6))], 0, moved=year(3))
    assert result.window == year(6)


def test_months_without_drift_leave_the_window_as_it_is() -> None:
    result = replay(arrived(*year(1, 2, 3, 4, 5, 6)), 1)
    assert result.window == year(1)
    assert result.state.pending is None
    assert not any(step.renewed for step in result.steps)


# --- a changed world ---------------------------------------------------------------------------


def test_drift_waits_until_the_labels_of_the_drifted_month_are_known() -> None:
    these = arrived(*year(1, 2, 3, 4, 5, 6))
    result = replay(these[:5], 2, moved=year(4))
    assert result.state.pending == "2024-04"
    assert result.window == year(1)
    assert result.steps[3].reason == (
        "1 of 1 columns drifted, an alarm for plan; waits for the labels of 2024-04"
    )
    assert result.steps[4].reason == (
        "0 of 1 columns drifted, none is an alarm; waits for the labels of 2024-04"
    )
    result = replay(these, 2, moved=year(4))
    assert result.state.pending is None
    assert result.window == year(4)
    assert "the labels of 2024-04, which had drifted, are known" in result.steps[-1].reason


def test_drift_that_goes_on_while_it_waits_renews_the_window_once() -> None:
    judge = Told(dict.fromkeys(year(4, 5, 6, 7), "new"))
    result = replay(arrived(*year(1, 2, 3, 4, 5, 6, 7)), 2, judge)
    assert result.renewed == year(6)
    assert result.window == year(4)
    assert judge.asked[-1] == (year(4), "2024-07")


def test_without_a_label_delay_drift_renews_the_window_at_once() -> None:
    result = replay(arrived(*year(1, 2, 3)), 0, moved=year(3))
    assert result.window == year(3)
    assert result.state.pending is None


def test_a_drifted_month_that_never_gets_labels_is_replaced_by_the_next_one_that_has_some() -> None:
    result = replay(arrived(*year(1, 2, 3, 4, 5), unlabelled=year(3)), 1, moved=year(3))
    assert result.renewed == year(5)
    assert result.window == year(4)


def test_a_month_that_is_too_small_is_not_judged_and_keeps_the_window() -> None:
    judge = Told(dict.fromkeys(year(3), "other"))
    result = replay([*arrived(*year(1, 2)), Month("2024-03", 10, True)], 1, judge, min_rows=200)
    assert result.window == year(1)
    assert result.steps[-1].share is None
    assert result.steps[-1].reason == "too small to judge: 10 rows, drift.min_rows is 200"
    assert judge.asked == [(year(1), "2024-02")]


def test_the_share_of_drifted_columns_triggers_where_that_is_the_trigger() -> None:
    class Quarter(Told):
        def columns(self, *_: object) -> dict[str, dict[str, Any]]:
            moved = column(alarm=True) | {"alarm": False}
            return {"a": moved} | dict.fromkeys("bcd", column(alarm=False))

    for threshold, triggered in ((0.25, True), (0.26, False)):
        judge = Quarter(labels={"2024-02": "other"})
        result = replay(arrived(*year(1, 2)), 0, judge, trigger="share", threshold=threshold)
        assert result.steps[-1].share == 0.25
        assert result.steps[-1].triggered is triggered
        assert judge.labels_asked == []
    # Evidence is something else: a drifted column that is no alarm triggers nothing.
    result = replay(arrived(*year(1, 2)), 0, Quarter(), threshold=0.25)
    assert (result.steps[-1].share, result.steps[-1].triggered) == (0.25, False)


# --- the labels --------------------------------------------------------------------------------


def test_each_months_labels_are_held_against_the_window_once_when_they_are_known() -> None:
    judge = Told()
    replay(arrived(*year(1, 2, 3, 4, 5, 6)), 2, judge)
    assert judge.labels_asked == [(year(1), month) for month in year(2, 3, 4)]


def test_an_alarm_of_the_labels_renews_the_window_at_once() -> None:
    judge = Told(labels=dict.fromkeys(year(4, 5, 6, 7, 8, 9), "new"))
    result = replay(arrived(*year(1, 2, 3, 4, 5, 6, 7, 8, 9)), 2, judge)
    assert result.renewed == year(6)
    assert result.window == year(4)
    step = result.steps[5]
    assert step.triggered
    assert step.label_tests["2024-04"]["alarm"] is True
    assert "the label rate of 2024-04 changed" in step.reason
    assert judge.labels_asked[-1] == (year(4), "2024-07")


def test_an_alarm_of_the_labels_waits_for_no_drifted_month() -> None:
    judge = Told(dict.fromkeys(year(5, 6), "new"), dict.fromkeys(year(4, 5, 6), "new"))
    result = replay(arrived(*year(1, 2, 3, 4, 5, 6)), 2, judge)
    assert result.steps[-1].label_tests["2024-04"]["alarm"] is True
    assert result.renewed == year(6)


def test_too_few_labels_are_no_alarm_and_no_entry() -> None:
    class Few(Told):
        def labels(self, *_: object) -> None:
            return None

    result = replay(arrived(*year(1, 2, 3)), 0, Few())
    assert result.window == year(1)
    assert [step.label_tests for step in result.steps] == [{}, {}, {}]


# --- age and growth ----------------------------------------------------------------------------


def test_an_old_window_is_renewed_without_drift() -> None:
    result = replay(arrived(*year(1, 2, 3, 4, 5)), 1, max_age_months=3)
    assert result.renewed == year(5)
    assert result.window == year(4)
    assert "its newest month was 4 months old" in result.steps[-1].reason


def test_age_is_counted_in_calendar_months_not_in_files() -> None:
    result = replay(arrived("2024-01", "2024-02", "2024-08"), 1, max_age_months=3)
    assert result.window == ("2024-02",)
    assert "its newest month was 7 months old" in result.steps[-1].reason


def test_an_old_window_stays_while_there_is_nothing_newer_to_learn_from() -> None:
    these = arrived(*year(1, 2, 3, 4, 5, 6), unlabelled=year(2, 3, 4, 5, 6))
    result = replay(these, 1, max_age_months=2)
    assert result.window == year(1)
    assert not any(step.renewed for step in result.steps)


def test_a_first_window_grows_by_doublings_until_it_is_full_and_then_stays() -> None:
    assert windows(10, 0, window_months=6) == {
        "2024-01": year(1),
        "2024-02": year(1, 2),
        "2024-04": year(1, 2, 3, 4),
        "2024-06": year(1, 2, 3, 4, 5, 6),
    }
    assert list(windows(10, 0, window_months=6, growth=3.0).values()) == [
        year(1), year(1, 2, 3), year(1, 2, 3, 4, 5, 6),
    ]  # fmt: skip


def test_after_a_change_the_window_grows_with_the_months_of_the_new_world() -> None:
    judge = Told(dict.fromkeys(year(*range(9, 21)), "new"))
    found = windows(20, 0, judge, window_months=6)
    assert {month: window for month, window in found.items() if month > "2024-08"} == {
        "2024-09": year(4, 5, 6, 7, 8, 9),
        "2024-10": year(5, 6, 7, 8, 9, 10),
        "2024-12": year(7, 8, 9, 10, 11, 12),
        "2025-02": year(9, 10, 11, 12, 13, 14),
    }


def test_months_are_held_against_the_window_s_months_of_the_newest_world_alone() -> None:
    judge = Told(dict.fromkeys(year(*range(9, 21)), "new"))
    replay(arrived(*year(*range(1, 17))), 0, judge, window_months=6)
    against = {month: window for window, month in judge.asked}
    assert against["2024-08"] == against["2024-09"] == year(1, 2, 3, 4, 5, 6)
    assert against["2024-10"] == year(9)
    assert against["2024-11"] == against["2024-12"] == year(9, 10)
    assert against["2025-01"] == against["2025-02"] == year(9, 10, 11, 12)
    assert against["2025-03"] == year(9, 10, 11, 12, 13, 14)
    assert {month: window for window, month in judge.labels_asked} == against


@pytest.mark.parametrize(
    ("holdout", "first", "changed", "full"),
    [
        ("world", year(1, 2, 3, 4, 5, 6), year(9), year(9, 10, 11, 12, 13, 14)),
        ("newest", year(6), year(9), year(14)),
    ],
)
def test_the_judging_months_are_the_window_s_of_the_newest_world_or_the_newest_of_them(
    holdout: str, first: Window, changed: Window, full: Window
) -> None:
    judge = Told(dict.fromkeys(year(*range(9, 21)), "new"))
    for count, expected in ((8, first), (9, changed), (14, full)):
        these = arrived(*year(*range(1, count + 1)))
        result = replay(these, 0, judge, window_months=6, holdout=holdout)
        assert result.state.holdout == expected


def test_a_judging_month_after_the_window_is_none_of_the_window_s() -> None:
    judge = Told(dict.fromkeys(year(*range(5, 10)), "new"))
    these = arrived(*year(*range(1, 7)))
    state = replay(these[:1], 0, judge, window_months=3, holdout="after").state
    assert (state.window, state.holdout) == (year(1), year(1))  # there is no other yet
    state = replay(these[:3], 0, judge, window_months=3, holdout="after").state
    assert (state.window, state.holdout) == (year(1, 2), year(3))
    state = replay(these[:5], 0, judge, window_months=3, holdout="after").state
    assert (state.window, state.pending) == (year(1, 2, 3), "2024-05")
    state = replay(these, 0, judge, window_months=3, holdout="after").state
    assert (state.window, state.holdout) == (year(3, 4, 5), year(6))


# --- a season ----------------------------------------------------------------------------------

SUMMERS = dict.fromkeys(year(7, 8, 19, 20), "summer")


@pytest.mark.parametrize("of", ["columns", "labels"])
def test_a_season_that_returns_is_no_alarm_and_the_first_one_is(of: str) -> None:
    judge = Told(SUMMERS) if of == "columns" else Told(labels=SUMMERS)
    result = replay(arrived(*year(*range(1, 25))), 0, judge)
    triggered = [step.month for step in result.steps if step.triggered]
    assert triggered == ["2024-07", "2024-09"]
    returned = result.steps[18]
    found = returned.columns["plan"] if of == "columns" else returned.label_tests["2025-07"]
    assert (found["alarm"], found["as_a_year_before"]) == (False, True)


def test_a_season_excuses_no_change_that_was_not_there_a_year_before() -> None:
    judge = Told(SUMMERS | {"2025-07": "heat"})
    result = replay(arrived(*year(*range(1, 20))), 0, judge)
    assert result.steps[-1].triggered
    assert result.steps[-1].columns["plan"]["as_a_year_before"] is False
    assert judge.asked[-1] == (("2024-07",), "2025-07")


def test_a_year_before_without_known_labels_excuses_nothing() -> None:
    these = arrived(*year(*range(1, 20)), unlabelled=year(7))
    assert replay(these, 0, Told(SUMMERS)).steps[-1].triggered


# --- broken feeds ------------------------------------------------------------------------------

STUCK = {"plan": "100% of its values are 'a'"}


def test_a_broken_month_is_judged_by_nobody_and_says_why() -> None:
    judge = Told(dict.fromkeys(year(3), "other"), broken={"2024-03": STUCK})
    result = replay(arrived(*year(1, 2, 3, 4)), 0, judge)
    step = result.steps[2]
    assert step.broken == STUCK
    assert step.reason == "its feed is broken: plan: 100% of its values are 'a'"
    assert (step.triggered, step.columns, step.label_tests) == (False, {}, {})
    assert "2024-03" not in [month for _, month in judge.asked + judge.labels_asked]


def test_a_month_s_feed_is_held_against_the_newest_month_whose_feed_was_whole() -> None:
    judge = Told(broken={"2024-03": STUCK, "2024-04": STUCK})
    replay(arrived(*year(1, 2, 3, 4, 5, 6)), 0, judge)
    assert judge.feeds_asked == list(
        zip(year(1, 2, 2, 2, 5), year(2, 3, 4, 5, 6), strict=True),
    )


def test_broken_months_are_left_out_of_windows_judging_months_and_references() -> None:
    judge = Told(broken=dict.fromkeys(year(3, 4), STUCK))
    result = replay(arrived(*year(*range(1, 9))), 0, judge, window_months=4)
    assert result.window == result.state.holdout == year(1, 2, 5, 6)
    assert result.state.broken == year(3, 4)
    assert judge.asked[-1] == (year(1, 2, 5, 6), "2024-08")


def test_a_broken_month_is_no_season_s_year_before() -> None:
    judge = Told(SUMMERS, broken={"2024-07": STUCK})
    assert replay(arrived(*year(*range(1, 20))), 0, judge).steps[-1].triggered


def test_an_accepted_column_breaks_no_month_and_others_still_do() -> None:
    judge = Told(broken={"2024-03": STUCK})
    result = replay(
        arrived(*year(1, 2, 3)), 0, judge, window_months=3, accepted={"2024-03": ["plan"]}
    )
    assert result.window == year(1, 2, 3)
    assert (result.state.broken, result.state.intact) == ((), "2024-03")
    judge = Told(broken={"2024-03": STUCK | {"spend": "a jump"}})
    result = replay(arrived(*year(1, 2, 3)), 0, judge, accepted={"2024-03": ["plan"]})
    assert result.steps[-1].broken == {"spend": "a jump"}
    judge = Told(broken=dict.fromkeys(year(3, 4), STUCK))
    result = replay(arrived(*year(1, 2, 3, 4)), 0, judge, accepted={"2024-03": ["plan"]})
    assert result.state.broken == year(4)


# --- the past stays ----------------------------------------------------------------------------


def test_a_label_that_is_there_before_its_time_changes_nothing() -> None:
    early = arrived(*year(1, 2, 3, 4))
    late = arrived(*year(1, 2, 3, 4), unlabelled=year(3, 4))
    for changes in ({}, {"window_months": 3}):
        assert replay(early, 2, moved=year(4), **changes) == replay(
            late, 2, moved=year(4), **changes
        )


@pytest.mark.parametrize("seed", range(10))
def test_the_future_changes_nothing_of_the_past(seed: int) -> None:
    judge = Moody(seed)
    these = [
        Month(name, 50 if place % 7 == 6 else 500, place % 5 != 3, frozenset({0, place % 4 % 2}))
        for place, name in enumerate(year(*range(1, 31)))
    ]
    changes: dict[str, Any] = {"window_months": 3, "min_rows": 100, "max_age_months": 6}
    long = replay(these, 2, judge, **changes)
    assert any(step.triggered for step in long.steps)
    assert long.state.broken
    for length in range(1, len(these)):
        assert replay(these[:length], 2, judge, **changes).steps == long.steps[:length]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("holdout", ["world", "newest", "after"])
def test_whatever_happens_windows_hold_known_whole_months_and_judge_by_them(
    seed: int, holdout: str
) -> None:
    these = arrived(*year(*range(1, 31)))
    for length in range(3, len(these)):
        state = replay(these[:length], 2, Moody(seed), window_months=3, holdout=holdout).state
        if state.window:
            whole = {month.name for month in these[: length - 2]} - set(state.broken)
            assert {*state.window, *state.holdout} <= whole
            assert 1 <= len(state.window) <= 3
            assert list(state.window) == sorted(state.window)
            assert state.holdout
            assert set(state.reference) <= set(state.window)
