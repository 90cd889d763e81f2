"""How far columns moved, by the real Evidently."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from stages.shared import distances, params
from stages.shared.contract import Feature
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ö. <x>"
NUMBER, CATEGORY, BOOLEAN = (Feature(type=t) for t in ("number", "category", "boolean"))


def section(**changes: Any) -> params.Drift:
    return params.parse(params.Drift, "drift", params.read()["drift"] | changes)


def measured(
    feature: Feature, before: Any, now: Any, html: Path | None = None, **changes: Any
) -> dict[str, Any]:
    kind = {"number": pa.float64(), "category": pa.string(), "boolean": pa.bool_()}[feature.type]
    window, month = (pa.table({NAME: pa.array(list(rows), kind)}) for rows in (before, now))
    features, p = {NAME: feature}, section(**changes)
    if html:
        distances.write_page(window, month, features, p, html)
    return distances.measure(window, month, features, p)[NAME]


RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=2000)


def test_a_shift_of_half_a_standard_deviation_drifts_and_its_value_says_so() -> None:
    found = measured(NUMBER, NORMAL, RNG.normal(0.5, 1, 2000))
    assert (found["method"], found["threshold"], found["drifted"]) == ("wasserstein", 0.1, True)
    assert found["value"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rows", [1000, 3000, 10_000])
def test_columns_of_one_world_hardly_ever_drift_however_many_rows_there_are(rows: int) -> None:
    # Half of the numbers with a heavy tail. Fewer rows move this far by chance: there are p-values.
    rng = np.random.default_rng(rows)
    values = [f"v{i}" for i in range(300)]

    def world(n: int) -> pa.Table:
        columns: dict[str, Any] = {f"n{i}": rng.normal(size=n) for i in range(12)}
        columns |= {f"l{i}": rng.lognormal(size=n) for i in range(12)}
        columns |= {f"c{i}": rng.choice(values, n) for i in range(12)}
        columns |= {f"b{i}": rng.random(n) < 0.2 for i in range(12)}
        return pa.table(columns)

    kinds = {"n": NUMBER, "l": NUMBER, "c": CATEGORY, "b": BOOLEAN}
    before, now = world(10_000), world(rows)
    features = {name: kinds[name[0]] for name in before.column_names}
    found = distances.measure(before, now, features, section())
    assert sum(column["drifted"] for column in found.values()) <= 2


def test_numbers_of_a_small_unit_are_judged_by_their_spread_all_the_same() -> None:
    tiny = NORMAL / 1e6
    found = measured(NUMBER, tiny, RNG.normal(0.5, 1, 2000) / 1e6)
    assert found["value"] == pytest.approx(0.5, abs=0.1)
    assert not measured(NUMBER, tiny, RNG.normal(0, 1, 2000) / 1e6)["drifted"]


@pytest.mark.parametrize("feature", [NUMBER, CATEGORY, BOOLEAN])
def test_constant_and_empty_columns_break_nothing(feature: Feature) -> None:
    same = {"number": 1.0, "category": "x", "boolean": True}[feature.type]
    for before, now in (([same], [same]), ([None], [None]), ([same, None], [same, None])):
        assert not measured(feature, before * 300, now * 300)["drifted"]


def test_a_column_that_becomes_empty_drifts_whatever_its_type() -> None:
    assert measured(CATEGORY, ["x", "y"] * 150, [None] * 300)["drifted"]
    assert measured(BOOLEAN, [True, False] * 150, [None] * 300)["drifted"]
    found = measured(NUMBER, NORMAL, [None] * 300)
    assert found == {
        "method": "missing share", "value": 1.0, "threshold": 0.1, "drifted": True,
    }  # fmt: skip


def test_a_constant_number_that_changes_drifts() -> None:
    assert measured(NUMBER, [1.0] * 300, [2.0] * 300)["drifted"]


def test_a_new_value_of_a_category_drifts_once_it_is_frequent() -> None:
    old = ["a", "b"] * 500
    assert not measured(CATEGORY, old, [*old, "new"])["drifted"]
    assert measured(CATEGORY, old, [*old, *(["new"] * 300)])["drifted"]


def test_na_and_none_are_values_like_others() -> None:
    old = ["NA", "None"] * 500
    assert not measured(CATEGORY, old, old)["drifted"]
    assert measured(CATEGORY, old, ["NA"] * 1000)["drifted"]


def test_a_column_may_have_a_test_and_a_threshold_of_its_own() -> None:
    now = RNG.normal(0.5, 1, 2000)
    found = measured(NUMBER, NORMAL, now, columns={NAME: {"threshold": 0.9}})
    assert (found["method"], found["threshold"], found["drifted"]) == ("wasserstein", 0.9, False)
    found = measured(NUMBER, NORMAL, now, columns={NAME: {"method": "ks", "threshold": 0.01}})
    assert (found["method"], found["drifted"]) == ("ks", True)  # a p-value: small means drift
    assert found["value"] < 0.01


def test_a_method_that_evidently_does_not_know_is_one_line() -> None:
    with pytest.raises(UserError, match=r"params.yaml: drift: .*no_such_test") as caught:
        measured(NUMBER, NORMAL, NORMAL, number_method="no_such_test")
    assert "\n" not in str(caught.value)


def test_a_value_is_the_one_that_evidently_reports() -> None:
    import pandas as pd

    now = RNG.normal(0.2, 1, 2000)
    found = measured(NUMBER, NORMAL, now)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies on import
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        kinds = DataDefinition(numerical_columns=[NAME])
        before, after = (
            Dataset.from_pandas(pd.DataFrame({NAME: values}), data_definition=kinds)
            for values in (NORMAL, now)
        )
        metric = ValueDrift(column=NAME, method=found["method"], threshold=found["threshold"])
        said = Report([metric]).run(after, before).dict()
    assert found["value"] == pytest.approx(said["metrics"][0]["value"], abs=1e-6)


def test_where_evidently_is_asked_of_no_column_there_is_no_page(tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    page.write_text("of another comparison")
    measured(NUMBER, NORMAL, [None] * 300, html=page)
    assert not page.exists()


def test_the_page_is_written_whole_and_names_the_column(tmp_path: Path) -> None:
    measured(NUMBER, NORMAL, NORMAL, html=tmp_path / "drift.html")
    assert [p.name for p in tmp_path.iterdir()] == ["drift.html"]
    assert "Drift" in (tmp_path / "drift.html").read_text()
