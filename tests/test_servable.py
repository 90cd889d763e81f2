"""The servable answers as the pipeline that it was made of, for every estimator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from stages import train
from stages.shared import candidate, contract, export, params, servable
from stages.shared.contract import Feature
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from sklearn.pipeline import Pipeline

ESTIMATORS = ("hist_gradient_boosting", "logistic_regression", "random_forest")
FEATURES = {
    "spénd": Feature(type="number"),
    "region": Feature(type="category"),
    "paperless": Feature(type="boolean"),
    "constant": Feature(type="number"),
    "empty": Feature(type="number"),
    "always there": Feature(type="number"),
    "city": Feature(type="category"),
    "nobody": Feature(type="boolean"),
    "blank": Feature(type="category"),
}


def rows(n: int, seed: int, *, fresh: bool = False) -> list[dict[str, Any]]:
    """Customers; ``fresh`` ones have values that the others never have, and holes everywhere."""
    rng = np.random.default_rng(seed)
    cities = [f"city {i}" for i in range(60)] + ["?", "??"] * fresh
    found = []
    for _ in range(n):
        row = {
            "spénd": float(rng.normal() * 1e6),
            "region": str(rng.choice(["NA", "EU", "None", *(["new"] if fresh else [])])),
            "paperless": bool(rng.random() < 0.5),
            "constant": 7.0,
            "empty": float(rng.normal()) if fresh else None,
            "always there": float(rng.integers(-5, 5)),
            "city": str(rng.choice(cities)),
            "nobody": True if fresh and rng.random() < 0.5 else None,
            "blank": "x" if fresh else None,
        }
        share = 0.3 if fresh else 0.1
        spared = () if fresh else ("always there", "constant")
        found.append(
            {k: None if k not in spared and rng.random() < share else v for k, v in row.items()}
        )
    return found


def fitted(estimator: str, features: dict[str, Feature], **changes: Any) -> Pipeline:
    small = {
        "hist_gradient_boosting": {"max_iter": 30} | changes,
        "random_forest": {"n_estimators": 20, "min_samples_leaf": 5} | changes,
    }
    p = params.parse(params.Train, "train", {"estimator": estimator, "seed": 1, **small})
    known = rows(800, seed=0)
    frame = contract.to_frame(contract.to_table(known, features), features)
    rng = np.random.default_rng(1)
    score = [
        (row["spénd"] or 0) / 1e6 + (row["region"] == "NA") + len(row["city"] or "") - 6
        for row in known
    ]
    return train.pipeline(features, p).fit(frame, (score + rng.normal(size=800) > 0).astype(int))


def columns(of: list[dict[str, Any]], features: dict[str, Feature]) -> list[list[Any]]:
    return [[row[name] for row in of] for name in features]


@pytest.mark.parametrize("chosen", [tuple(FEATURES), ("spénd",), ("region",), ("paperless",)])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_answers_as_the_pipeline_does_also_what_training_never_saw(
    estimator: str, chosen: tuple[str, ...]
) -> None:
    features = {name: FEATURES[name] for name in chosen}
    model = fitted(estimator, features)
    served = servable.assemble(*export.servable(model, features))
    for asked in (rows(500, seed=2), rows(500, seed=3, fresh=True)):
        frame = contract.to_frame(contract.to_table(asked, features), features)
        expected = candidate.churn_probability(model, frame)
        many = served.many(columns(asked, features))
        assert np.abs(many - expected).max() < 1e-9
        one = [served.one([row[name] for name in features]) for row in asked]
        assert one == many.tolist()  # to the last bit
    assert len(set(np.round(many, 6))) > 1


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "random_forest"])
def test_trees_without_a_split_answer_too(estimator: str) -> None:
    model = fitted(estimator, FEATURES, min_samples_leaf=500)
    asked = rows(50, seed=2, fresh=True)
    frame = contract.to_frame(contract.to_table(asked, FEATURES), FEATURES)
    expected = candidate.churn_probability(model, frame)
    many = servable.assemble(*export.servable(model, FEATURES)).many(columns(asked, FEATURES))
    assert len(set(expected)) == 1
    assert np.abs(many - expected).max() < 1e-9


def test_trees_that_split_by_categories_are_refused() -> None:
    features = {name: FEATURES[name] for name in ("always there", "region")}
    model = fitted("hist_gradient_boosting", features, categorical_features=[1])
    with pytest.raises(UserError, match="splits by categories cannot be served"):
        export.servable(model, features)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_is_the_same_bytes_twice_and_comes_back_from_its_files(
    estimator: str, tmp_path: Path
) -> None:
    features = dict(sorted(FEATURES.items()))
    exported = [export.servable(fitted(estimator, features), features) for _ in range(2)]
    assert exported[0] == exported[1]
    plan, trees = exported[0]
    (tmp_path / servable.PLAN).write_text(json.dumps(servable.to_json(plan)))
    if trees is not None:
        (tmp_path / servable.TREES).write_bytes(trees)
    asked = columns(rows(20, seed=4, fresh=True), features)
    back, here = servable.load(tmp_path), servable.assemble(plan, trees)
    assert back.many(asked).tolist() == here.many(asked).tolist()


@pytest.mark.parametrize("damage", ["missing", "truncated", "not json", "another format"])
def test_a_damaged_servable_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    features = {"spénd": FEATURES["spénd"]}
    plan, trees = export.servable(fitted("random_forest", features), features)
    assert trees is not None
    text = json.dumps(servable.to_json(plan))
    if damage == "another format":
        text = text.replace('"format": 2', '"format": 1')
    (tmp_path / servable.PLAN).write_text(text[:40] if damage == "not json" else text)
    if damage != "missing":
        (tmp_path / servable.TREES).write_bytes(trees[:100] if damage == "truncated" else trees)
    with pytest.raises(UserError) as refused:
        servable.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_training_refuses_a_model_whose_servable_answers_otherwise() -> None:
    features = {"spénd": FEATURES["spénd"]}
    model = fitted("logistic_regression", features)
    asked = rows(5, seed=5)
    frame = contract.to_frame(contract.to_table(asked, features), features)
    golden = {"rows": asked, "probabilities": candidate.churn_probability(model, frame).tolist()}
    served = export.servable(model, features)
    train.check_servable(served, golden)
    golden["probabilities"][3] += 1e-6
    with pytest.raises(UserError, match="other probabilities here, by up to 1e-06"):
        train.check_servable(served, golden)


def test_columns_of_any_order_find_their_place() -> None:
    table = pa.table({"b": [1.0, 2.0], "a": [3.0, 4.0]})
    features = {"b": Feature(type="number"), "a": Feature(type="number")}
    p = params.parse(params.Train, "train", {"estimator": "logistic_regression", "seed": 1})
    model = train.pipeline(features, p).fit(contract.to_frame(table, features), [0, 1])
    plan, _ = export.servable(model, features)
    assert [column.name for column in plan.columns] == ["b", "a"]
