"""A broken feed is told from a changed world."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data import simulate
from data.simulate import World
from stages.shared import contract, feed
from stages.shared.contract import Feature

NUMBER, CATEGORY, BOOLEAN = (Feature(type=t) for t in ("number", "category", "boolean"))
FEATURES = contract.from_dict(simulate.FEATURES)
RNG = np.random.default_rng(1)
SHAPES = {
    "normal": RNG.normal(20, 5, (2, 1000)),
    "skewed": RNG.lognormal(0, 0.7, (2, 1000)),
    "count": RNG.poisson(2.6, (2, 1000)).astype(float),
    "rare": RNG.poisson(3.0, (2, 1000)) * (RNG.random((2, 1000)) < 0.5),
}


def broken(before: Any, now: Any, feature: Feature = NUMBER) -> str | None:
    kind = {"number": pa.float64(), "category": pa.string(), "boolean": pa.bool_()}[feature.type]
    old, new = (pa.chunked_array([pa.array(list(rows), kind)]) for rows in (before, now))
    return feed.broken(old, new, feature)


@cache
def two_months(rows: int = 1000, **world: Any) -> tuple[pa.Table, pa.Table]:
    """A month of the world of before, and the month in which the scenario begins."""
    before, now = simulate.months(World(rows=rows, months=2, onset=2, **world))
    return before.table, now.table


def found(**world: Any) -> dict[str, str]:
    before, now = two_months(**world)
    signs = {n: feed.broken(before[n], now[n], f) for n, f in FEATURES.items()}
    return {name: sign for name, sign in signs.items() if sign}


@pytest.mark.parametrize(
    ("kind", "column", "said"),
    [
        ("unit", "watch_hours_30d", "times those of the month before: another unit"),
        ("stuck", "avg_session_mins_7d", "100% of its values are 38.0"),
        ("nulls", "rebuffer_events_7d", "of its values are missing, 0% in the month before"),
        ("renamed", "net_service", "values like 'fiber' are gone"),
    ],
)
@pytest.mark.parametrize("rows", [300, 1000])
def test_each_kind_of_broken_feed_is_found_in_its_column_alone(
    kind: str, column: str, said: str, rows: int
) -> None:
    signs = found(scenario="broken", kind=kind, rows=rows)
    assert list(signs) == [column]
    if column != "net_service":
        assert said in signs[column]
    else:
        assert "are gone, and 100% have one never seen" in signs[column]


@pytest.mark.parametrize("scenario", ["none", "covariate", "concept", "label", "gradual"])
@pytest.mark.parametrize("rows", [300, 1000])
def test_a_changed_world_is_no_broken_feed(scenario: str, rows: int) -> None:
    assert found(scenario=scenario, rows=rows) == {}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moved", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_a_move_of_a_standard_deviation_is_no_broken_feed(shape: str, moved: float) -> None:
    before, now = SHAPES[shape]
    spread, mean = before.std(), before.mean()
    assert broken(before, now + moved * spread) is None
    if moved > 0:  # the same by a factor: what is zero stays zero
        assert broken(before, now * (1 + moved * spread / mean)) is None


@pytest.mark.parametrize("shape", ["normal", "skewed", "count", "rare"])
@pytest.mark.parametrize("factor", [60, 1000, 0.01, 3.28, 1 / 3.28])
def test_another_unit_is_found_and_its_factor_named(shape: str, factor: float) -> None:
    before, now = SHAPES[shape]
    said = broken(before, now * factor)
    assert said is not None
    assert "another unit" in said
    assert float(said.split()[3]) == pytest.approx(factor, rel=0.1)


def test_a_jump_of_many_standard_deviations_is_found() -> None:
    before, now = SHAPES["normal"]
    assert "moved by -8.1 standard deviations" in str(broken(before, -now))
    # A few giants are no jump of all.
    giants = np.where(np.arange(1000) < 30, 1e6, now)
    assert broken(before, giants) is None


@pytest.mark.parametrize("feature", [NUMBER, CATEGORY, BOOLEAN])
def test_a_constant_column_that_stays_so_is_not_stuck(feature: Feature) -> None:
    one, other = {"number": (1.0, 7.0), "category": ("x", "y"), "boolean": (True, False)}[
        feature.type
    ]
    assert broken([one] * 300, [one] * 300, feature) is None
    assert broken([one] * 285 + [other] * 15, [one] * 300, feature) is None  # 95% already
    assert broken([one] * 300, [one, other] * 150, feature) is None  # it begins to live
    assert "100% of its values" in str(broken([one, other] * 150, [one] * 300, feature))


@pytest.mark.parametrize("feature", [NUMBER, CATEGORY, BOOLEAN])
def test_missing_values_are_a_sign_when_there_are_many_more_of_them(feature: Feature) -> None:
    kinds: dict[str, list[Any]] = {
        "number": [1.0, 2.0], "category": ["x", "y"], "boolean": [True, False],
    }  # fmt: skip
    values = kinds[feature.type]
    whole, some, most = values * 500, values * 400 + [None] * 200, values * 200 + [None] * 600
    assert broken(whole, some, feature) is None
    assert "60% of its values are missing, 0% in the month before" in str(
        broken(whole, most, feature)
    )
    assert broken(most, most, feature) is None
    assert broken(most, whole, feature) is None  # a feed that is mended
    assert "100% of its values are missing" in str(broken(whole, [None] * 1000, feature))
    assert broken([None] * 1000, [None] * 1000, feature) is None
    assert broken([None] * 1000, whole, feature) is None


def test_a_category_that_is_new_beside_the_others_is_no_renamed_one() -> None:
    old = ["a", "b", "c"] * 300
    assert broken(old, ["a", "b", "c", "new"] * 300, CATEGORY) is None
    assert broken(old, ["a", "b", "new"] * 300, CATEGORY) is not None
    assert broken(old, ["a", "b"] * 300, CATEGORY) is None  # one that is not sold any more
    few = old + ["rare"] * 20
    assert broken(few, old + ["other"] * 20, CATEGORY) is None


@pytest.mark.parametrize("few", [0, 1, 99])
def test_few_rows_prove_nothing(few: int) -> None:
    before, now = SHAPES["normal"]
    assert broken(before, [7.0] * few) is None
    assert broken(before[:few], now * 60) is None


def test_a_price_that_was_one_for_all_and_rises_for_all_is_no_broken_feed() -> None:
    assert broken([9.99] * 500, [11.99] * 500) is None
    assert broken([True] * 55 + [False] * 445, [True] * 10 + [False] * 490, BOOLEAN) is None
