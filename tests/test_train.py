"""Training: what it learns from, what it refuses, and that it gives the same bytes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from stages import train
from stages.shared import candidate, params
from stages.shared.contract import Feature
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = {
    "spend": Feature(type="number"),
    "régión.x y": Feature(type="category"),
    "paperless": Feature(type="boolean"),
}
ALL = ("hist_gradient_boosting", "logistic_regression", "random_forest")


def section(**changes: Any) -> params.Train:
    small = {
        "estimator": "hist_gradient_boosting",
        "seed": 1,
        "hist_gradient_boosting": {"max_iter": 30},
        "random_forest": {"n_estimators": 20, "min_samples_leaf": 5},
    }
    return params.parse(params.Train, "train", small | changes)


def customers(n: int = 400, seed: int = 0) -> tuple[pd.DataFrame, Any, Any]:
    """Rows in which spend, region and paperless all matter, with holes in each."""
    rng = np.random.default_rng(seed)
    spend = rng.normal(size=n)
    region = rng.choice(["NA", "EU", "None"], n)
    paperless = rng.random(n) < 0.5
    churned = (spend + (region == "NA") + paperless + rng.normal(size=n) > 1).astype(np.int8)
    holes = rng.random((3, n)) < 0.05
    frame = pd.DataFrame(
        {
            "spend": np.where(holes[0], np.nan, spend),
            "régión.x y": pd.Series(region, dtype="str").mask(holes[1]),
            "paperless": pd.Series(paperless, dtype=object).mask(holes[2], None),
        }
    )
    return frame, churned, pa.array([f"c{i // 2}" for i in range(n)])


@pytest.mark.parametrize("estimator", ALL)
def test_each_estimator_learns_and_answers_rows_with_unseen_and_missing_values(
    estimator: str,
) -> None:
    frame, churned, ids = customers()
    model, _ = train.train(frame, churned, ids, FEATURES, section(estimator=estimator))
    fresh, truth, _ = customers(seed=1)
    scores = candidate.churn_probability(model, fresh)
    assert roc_auc_score(truth, scores) > 0.75
    odd = fresh.head(3).copy()
    odd.loc[0, "régión.x y"] = "never seen"
    odd.loc[1] = [np.nan, None, None]
    assert np.isfinite(candidate.churn_probability(model, odd)).all()


@pytest.mark.parametrize("estimator", ALL)
def test_the_saved_model_applies_the_threshold_and_comes_back_with_equal_answers(
    estimator: str, tmp_path: Path
) -> None:
    frame, churned, ids = customers()
    model, threshold = train.train(frame, churned, ids, FEATURES, section(estimator=estimator))
    candidate.save(tmp_path, model, {"features": {}}, {})
    loaded = candidate.load(tmp_path).model
    scores = candidate.churn_probability(loaded, frame)
    assert (scores == candidate.churn_probability(model, frame)).all()
    assert (loaded.predict(frame) == (scores >= threshold)).all()
    assert 0 < loaded.predict(frame).mean() < 1


@pytest.mark.parametrize("estimator", ALL)
def test_training_twice_gives_the_same_bytes(estimator: str, tmp_path: Path) -> None:
    frame, churned, ids = customers()
    p = section(estimator=estimator)
    digests = set()
    for name in ("one", "two"):
        model, threshold = train.train(frame, churned, ids, FEATURES, p)
        card = {"decision_threshold": threshold}
        golden = train.golden_rows(model, frame, FEATURES)
        digests.add(candidate.save(tmp_path / name, model, card, golden))
    assert len(digests) == 1


def test_another_seed_or_row_is_another_candidate(tmp_path: Path) -> None:
    frame, churned, ids = customers()
    digests = set()
    for name, rows in (("one", 400), ("two", 398)):
        model, _ = train.train(frame[:rows], churned[:rows], ids[:rows], FEATURES, section())
        digests.add(candidate.save(tmp_path / name, model, {}, {}))
    assert len(digests) == 2


def test_the_threshold_is_the_one_with_the_best_f1() -> None:
    rng = np.random.default_rng(1)
    churned = (rng.random(300) < 0.3).astype(np.int8)
    scores = np.round(churned * 0.3 + rng.random(300) * 0.7, 2).astype(np.float64)
    best = train.best_f1_threshold(churned, scores)
    reached = f1_score(churned, scores >= best)
    assert all(reached >= f1_score(churned, scores >= t) for t in np.unique(scores))


def test_the_threshold_is_chosen_on_rows_whose_customers_the_model_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame, churned, ids = customers()
    seen = []

    def watch(model: Any, frame: Any, y: Any, *, groups: Any, cv: Any, method: str) -> Any:
        for inside, outside in cv.split(frame, y, groups):
            seen.append(set(groups[inside]) & set(groups[outside]))
        return np.column_stack([1 - y, y]).astype(float)

    monkeypatch.setattr(train, "cross_val_predict", watch)
    train.decision_threshold(train.pipeline(FEATURES, section()), frame, churned, ids, 1)
    assert seen == [set()] * train.FOLDS


def test_too_few_customers_of_a_class_leave_the_threshold_at_a_half() -> None:
    frame, _, ids = customers(10)
    few = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtype=np.int8)
    _, threshold = train.train(frame, few, ids, FEATURES, section())
    assert threshold == 0.5


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1]])
def test_a_window_with_nothing_to_learn_is_refused_in_words(labels: list[int]) -> None:
    frame, _, ids = customers(len(labels))
    with pytest.raises(UserError, match=r"there is nothing to learn; set drift\.window_months"):
        train.train(frame, np.array(labels, dtype=np.int8), ids, FEATURES, section())


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({"leaves": 3}, "params.yaml: train.hist_gradient_boosting: .*'leaves'"),
        ({"n_jobs": 4}, "train.hist_gradient_boosting.n_jobs: take it out"),
        ({"random_state": 4}, "train.hist_gradient_boosting.random_state: take it out"),
        ({"max_iter": -1}, "train.hist_gradient_boosting cannot be trained: .*max_iter"),
    ],
)
def test_hyperparameters_that_do_not_exist_or_fit_are_named(
    hyperparameters: dict[str, Any], said: str
) -> None:
    frame, churned, ids = customers(60)
    with pytest.raises(UserError, match=said):
        train.train(frame, churned, ids, FEATURES, section(hist_gradient_boosting=hyperparameters))


def test_golden_rows_span_the_probabilities_and_hold_what_the_model_answers() -> None:
    frame, churned, ids = customers()
    model, _ = train.train(frame, churned, ids, FEATURES, section())
    golden = train.golden_rows(model, frame, FEATURES)
    scores = candidate.churn_probability(model, frame)
    assert len(golden["rows"]) == train.GOLDEN_ROWS
    assert (golden["probabilities"][0], golden["probabilities"][-1]) == (scores.min(), scores.max())
    row = golden["rows"][0]
    assert {type(row[name]) for name in FEATURES} <= {float, str, bool, type(None)}


def test_columns_that_are_constant_or_empty_are_no_obstacle() -> None:
    frame, churned, ids = customers()
    features = FEATURES | {"none": Feature(type="number"), "one": Feature(type="category")}
    frame = frame.assign(none=np.nan, one=pd.Series(["x"] * len(frame), dtype="str"))
    for estimator in ALL:
        model, _ = train.train(frame, churned, ids, features, section(estimator=estimator))
        assert np.isfinite(candidate.churn_probability(model, frame)).all()
