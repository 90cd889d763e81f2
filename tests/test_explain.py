"""What moves a probability: contributions that add up to exactly what the model says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import serve_fixtures
from serve_fixtures import FEATURES, GOOD
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from serve import explain, online
from serve.problems import MIMETYPE
from stages.shared import files, servable, treeshap

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.random.default_rng(1).normal(size=(600, 4))
CHURNED = (ROWS[:, 0] * ROWS[:, 1] + ROWS[:, 2] > 0).astype(np.int8)
SMALL = {"max_iter": 15, "max_leaf_nodes": 7}


@pytest.fixture(params=["hist_gradient_boosting", "random_forest", "logistic_regression"])
def placed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, serve_fixtures.Placed]:
    return tmp_path, serve_fixtures.put(tmp_path, 1, request.param)


def ask(folder: Path, value: Any, **settings: Any) -> tuple[int, Any]:
    answer = serve_fixtures.client(folder, **settings).post("/explain", json=value)
    if answer.status_code >= 400:
        assert answer.mimetype == MIMETYPE
    return answer.status_code, answer.json


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(**SMALL),
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=400),  # trees without a split
        RandomForestClassifier(9, min_samples_leaf=5),
    ],
    ids=["boosting", "stumps", "forest"],
)
def test_contributions_and_the_mean_are_exactly_what_the_trees_say(model: Any) -> None:
    model.fit(ROWS, CHURNED)
    text = treeshap.of_estimator(model)
    assert text
    booster = explain.Booster(text)
    boosting = isinstance(model, HistGradientBoostingClassifier)
    rows = ROWS[:50] if boosting else ROWS[:50].astype(np.float32).astype(float)
    base = float(np.ravel(model._baseline_prediction)[0]) if boosting else 0.0
    said = np.array([booster.all(row).sum() + base for row in rows])
    expected = model.decision_function(rows) if boosting else model.predict_proba(rows)[:, 1]
    assert said == pytest.approx(expected, abs=1e-9)
    assert (explain.LOGISTIC in text) == boosting


def test_a_value_that_no_tree_asks_for_contributes_nothing() -> None:
    model = HistGradientBoostingClassifier(**SMALL).fit(ROWS * [1, 1, 1, 0], CHURNED)
    booster = explain.Booster(str(treeshap.of_estimator(model)))
    found = np.array([booster.contributions(row) for row in ROWS[:20]])
    assert not found[:, 3].any()
    assert found[:, 0].any()


def test_columns_are_named_the_largest_contribution_first(
    placed: tuple[Path, serve_fixtures.Placed],
) -> None:
    folder, model = placed
    status, said = ask(folder, GOOD)
    assert (status, said["model_version"]) == (200, 1)
    assert said["churn_probability"] == model.probability(GOOD)
    assert {one["column"]: one["value"] for one in said["contributions"]} == GOOD
    sizes = [abs(one["contribution"]) for one in said["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0


def test_a_contribution_has_the_sign_of_what_the_value_does(
    placed: tuple[Path, serve_fixtures.Placed],
) -> None:
    folder, model = placed

    def of(calls: float) -> float:
        said = ask(folder, GOOD | {"calls": calls})[1]["contributions"]
        return float(next(one["contribution"] for one in said if one["column"] == "calls"))

    low, high = {"calls": 5.0}, {"calls": 995.0}
    assert model.probability(GOOD | low) < model.probability(GOOD | high)
    assert of(5.0) < 0 < of(995.0)


def test_a_linear_models_contributions_differ_as_its_logits_do(tmp_path: Path) -> None:
    model = serve_fixtures.put(tmp_path, 1, "logistic_regression")

    def told(row: dict[str, Any]) -> float:
        found = ask(tmp_path, row)[1]["contributions"]
        return float(sum(one["contribution"] for one in found))

    def logit(row: dict[str, Any]) -> float:
        p = model.probability(row)
        return float(np.log(p / (1 - p)))

    other = {"calls": 700.0, "paperless": False, "plan": "basic", "région.x y": None}
    assert told(GOOD) - told(other) == pytest.approx(logit(GOOD) - logit(other), abs=1e-9)


def test_an_id_alone_is_explained_from_the_store_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    serve_fixtures.put(tmp_path, 1)
    url = f"sqlite:///{tmp_path}/online.db"
    row = {"customer": "00123", "month": "2026-01", "features": json.dumps(GOOD)}
    online.replace(online.engine(url), [row], "key")
    assert ask(tmp_path, {"customer": "00123"}, online_store=url)[0] == 200
    assert ask(tmp_path, {"customer": "nobody"}, online_store=url)[0] == 404
    status, said = ask(tmp_path, GOOD | {"calls": -1.0})
    assert (status, said["errors"][0]["field"]) == (422, "calls")
    assert ask(tmp_path, [])[0] == 422


@pytest.mark.parametrize(
    ("put", "said"),
    [(None, "is missing, or not as"), (b"tree\n", "not as it was put there")],
)
def test_trees_that_are_missing_or_damaged_explain_nothing_and_the_answers_go_on(
    put: bytes | None, said: str, tmp_path: Path
) -> None:
    serve_fixtures.put(tmp_path, 1)
    text = tmp_path / "of-1" / servable.SHAP
    text.unlink() if put is None else text.write_bytes(put)
    client = serve_fixtures.client(tmp_path)
    refused = client.post("/explain", json=GOOD)
    assert (refused.status_code, refused.mimetype) == (503, MIMETYPE)
    assert said in refused.json["detail"]
    assert client.post("/predict", json=GOOD).status_code == 200


def test_another_model_is_explained_anew(tmp_path: Path) -> None:
    serve_fixtures.put(tmp_path, 1)
    client = serve_fixtures.client(tmp_path)
    first = client.post("/explain", json=GOOD).json
    serve_fixtures.put(tmp_path, 2)
    second = client.post("/explain", json=GOOD).json
    assert (first["model_version"], second["model_version"]) == (1, 2)
    assert first["contributions"] != second["contributions"]


def test_a_worker_that_explains_imports_neither_lightgbm_nor_pandas(tmp_path: Path) -> None:
    serve_fixtures.put(tmp_path, 1)
    code = (
        "import json, sys; from pathlib import Path; from serve import explain; "
        f"explainer = explain.Explainer(Path({str(tmp_path / 'of-1')!r})); "
        f"explainer.contributions({[GOOD[name] for name in FEATURES]!r}); "
        "print([m for m in ('lightgbm', 'mlflow', 'pandas', 'sklearn') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=files.ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
