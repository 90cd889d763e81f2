"""Columns as numbers between which means can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.shared import coding
from stages.shared.coding import Numbers, Values
from stages.shared.contract import Feature

NUMBER, CATEGORY, BOOLEAN = (Feature(type=t) for t in ("number", "category", "boolean"))
FEATURES = {"spend": NUMBER, "plan": CATEGORY, "paperless": BOOLEAN}


def table(spend: Any, plan: Any, paperless: Any) -> pa.Table:
    return pa.table(
        {
            "spend": pa.array(spend, pa.float64()),
            "plan": pa.array(plan, pa.string()),
            "paperless": pa.array(paperless, pa.bool_()),
        }
    )


WINDOW = table([1, 2, 2, 4, None], ["b", "a", "b", None, "NA"], [True, False, True, True, None])


def test_a_number_is_its_rank_in_the_window_and_ties_are_in_their_middle() -> None:
    codes = coding.learn(WINDOW, FEATURES)
    now = table([0, 1, 2, 3, 9, None], ["a"] * 6, [True] * 6)
    found = coding.code(now, codes)["spend"]
    assert found[:5].tolist() == [0.0, 0.125, 0.5, 0.75, 1.0]
    assert np.isnan(found[5])


def test_a_category_is_its_place_and_what_the_window_has_not_is_rare() -> None:
    codes = coding.learn(WINDOW, FEATURES)
    assert codes["plan"] == Values(("b", "NA", "a"))  # the most frequent first, then by name
    assert codes["paperless"] == Values(("true", "false"))
    found = coding.code(table([1] * 4, ["NA", "new", None, "b"], [False, None] * 2), codes)
    assert found["plan"][[0, 1, 3]].tolist() == [1.0, coding.RARE, 0.0]
    assert np.isnan(found["plan"][2])
    assert found["paperless"][[0, 2]].tolist() == [1.0, 1.0]
    assert np.isnan(found["paperless"][[1, 3]]).all()


def test_of_many_values_the_frequent_ones_are_told_apart() -> None:
    names = [f"v{n:03}" for n in range(100)]
    column = [name for n, name in enumerate(names) for _ in range(100 - n)]
    codes = coding.learn(pa.table({"plan": column}), {"plan": CATEGORY})
    assert codes["plan"] == Values(tuple(names[: coding.MOST_VALUES]))


def test_a_column_without_values_has_a_code_too() -> None:
    empty = table([None] * 3, [None] * 3, [None] * 3)
    codes = coding.learn(empty, FEATURES)
    assert isinstance(codes["spend"], Numbers)
    for column in coding.code(empty, codes).values():
        assert np.isnan(column).all()
    assert np.isnan(coding.code(WINDOW, codes)["spend"]).all()  # there is nothing to rank it in
    assert coding.code(WINDOW, codes)["plan"][0] == coding.RARE


def compared(before: Any, now: Any, feature: Feature) -> dict[str, tuple[float, float]]:
    """The means of each moment, before and now."""
    kind = {"number": pa.float64(), "category": pa.string(), "boolean": pa.bool_()}[feature.type]
    old, new = (pa.table({"x": pa.array(list(side), kind)}) for side in (before, now))
    codes = coding.learn(old, {"x": feature})
    names, of_before, of_now = coding.moments(
        codes, coding.code(old, codes), coding.code(new, codes)
    )
    assert {column for column, _ in names} <= {"x"}
    assert of_before.shape == (len(before) if names else 0, len(names))
    means = zip(of_before.mean(axis=0), of_now.mean(axis=0), strict=True) if names else []
    return dict(zip((moment for _, moment in names), means, strict=True))


def test_a_number_has_a_level_and_a_spread_that_are_zero_in_the_window() -> None:
    rng = np.random.default_rng(1)
    before = rng.lognormal(size=2000)
    found = compared(before, before * 2, NUMBER)
    assert list(found) == ["level", "spread"]
    assert [old for old, _ in found.values()] == pytest.approx([0, 0], abs=1e-6)
    assert found["level"][1] > 0.1
    wider = np.exp(2 * np.log(before))
    level, spread = (now for _, now in compared(before, wider, NUMBER).values())
    assert abs(level) < 0.02 < spread


def test_missing_numbers_are_a_moment_of_their_own_and_move_no_other() -> None:
    whole = np.random.default_rng(2).normal(size=1000)
    holes = [None if n % 2 else value for n, value in enumerate(whole)]
    found = compared([*whole, *holes], holes, NUMBER)
    assert found["missing"] == (0.25, 0.5)
    assert found["level"][1] == pytest.approx(found["level"][0], abs=0.02)


def test_a_category_has_a_share_for_each_value_and_for_what_is_missing() -> None:
    before = ["a"] * 500 + ["b"] * 300 + [None] * 200
    now = ["a"] * 200 + ["b"] * 300 + [None] * 200 + ["new"] * 300
    assert compared(before, now, CATEGORY) == {
        "share of 'a'": (0.5, 0.2),
        "share of 'b'": (0.3, 0.3),
        "share of other values": (0.0, 0.3),
        "missing": (0.2, 0.2),
    }


def test_shares_of_which_a_month_has_too_few_rows_are_left_out() -> None:
    before = ["a"] * 9000 + ["b"] * 900 + ["c"] * 100
    found = compared(before, ["a"] * 450 + ["b"] * 50, CATEGORY)
    assert list(found) == ["share of 'a'", "share of 'b'"]  # of c there would be five
    assert list(compared(before, ["a"] * 180 + ["b"] * 20, CATEGORY)) == []


def test_what_was_rare_and_is_frequent_is_told_all_the_same() -> None:
    before = ["a"] * 9900 + ["c"] * 100
    assert list(compared(before, ["a"] * 450 + ["c"] * 50, CATEGORY)) == []
    found = compared(before, ["a"] * 350 + ["c"] * 150, CATEGORY)
    assert found["share of 'c'"] == (0.01, 0.3)


@pytest.mark.parametrize(
    "feature",
    [
        pytest.param(
            NUMBER,
        ),
        CATEGORY,
        BOOLEAN,
    ],
)
def test_a_constant_column_has_nothing_to_compare(feature: Feature) -> None:
    value = {"number": 1.0, "category": "x", "boolean": True}[feature.type]
    assert compared([value] * 1000, [value] * 500, feature) == {}
    assert compared([None] * 1000, [None] * 500, feature) == {}
