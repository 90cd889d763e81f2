"""Metrics and the absolute gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from stages import evaluate
from stages.shared import params


def section(**changes: Any) -> params.Evaluate:
    values = {"gate_f1": 0.5, "confidence": 0.95}
    return params.parse(params.Evaluate, "evaluate", values | changes)


def customers(n: int = 1000, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 2, n)
    return (rng.random(n) < truth).astype(np.int8), truth


def evaluated(churned: Any, scores: Any, threshold: float, **changes: Any) -> dict[str, Any]:
    """Each row is a customer's own."""
    return evaluate.evaluate(
        churned, np.arange(len(churned)), scores, threshold, section(**changes)
    )


def test_the_figures_are_those_of_scikit_learn() -> None:
    churned, scores = customers()
    found = evaluated(churned, scores, 0.4)
    said = scores >= 0.4
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(churned, scores), abs=1e-6)
    assert found["f1"] == pytest.approx(metrics.f1_score(churned, said), abs=1e-6)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(churned, said), abs=1e-6)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(churned, scores), abs=1e-6)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(churned, scores), abs=1e-6)
    assert found["average_precision"] == pytest.approx(
        metrics.average_precision_score(churned, scores), abs=1e-6
    )
    assert (found["n"], found["base_rate"]) == (1000, pytest.approx(churned.mean()))
    low, high = found["auc_interval"]
    assert low < found["auc"] < high


def test_a_good_model_passes_the_gate() -> None:
    churned, scores = customers()
    found = evaluated(churned, scores, 0.4)
    assert found["gate_passed"] is True
    assert found["reasons"] == []


def test_an_f1_below_the_gate_fails_and_says_so() -> None:
    churned, scores = customers()
    found = evaluated(churned, scores, 0.4, gate_f1=0.99)
    assert found["gate_passed"] is False
    assert found["reasons"] == [f"F1 {found['f1']:.3f} is below evaluate.gate_f1 0.99"]


def test_yes_to_everybody_fails_even_where_its_f1_is_high() -> None:
    churned = np.array([1] * 90 + [0] * 10, dtype=np.int8)
    scores = np.linspace(1, 0.6, 100)
    found = evaluated(churned, scores, 0.5)
    assert found["f1"] > 0.9
    assert any("no better than answering churn to everybody" in r for r in found["reasons"])


def test_shuffled_labels_fail_as_a_coin() -> None:
    churned, scores = customers()
    churned = np.random.default_rng(0).permutation(churned)
    found = evaluated(churned, scores, 0.4, gate_f1=0.0)
    assert any("may be a coin's" in reason for reason in found["reasons"])


@pytest.mark.parametrize(
    ("labels", "said"), [([], "no row"), ([0, 0], "of one class only"), ([1], "of one class only")]
)
def test_a_holdout_that_tells_nothing_fails_in_words(labels: list[int], said: str) -> None:
    churned = np.array(labels, dtype=np.int8)
    found = evaluated(churned, np.full(len(labels), 0.3), 0.5)
    assert found["gate_passed"] is False
    assert said in found["reasons"][0]
    assert found["auc"] is None
    assert evaluate.plots(churned, np.full(len(labels), 0.3), 0.5)["roc"] == []


def test_a_customer_with_several_rows_is_one_customer() -> None:
    churned, scores = customers(300)
    once = evaluated(churned, scores, 0.4)
    rows, ids, said = (np.tile(values, 3) for values in (churned, np.arange(300), scores))
    thrice = evaluate.evaluate(rows, ids, said, 0.4, section())
    assert (once["n"], once["customers"]) == (300, 300)
    assert (thrice["n"], thrice["customers"]) == (900, 300)
    assert thrice["auc"] == once["auc"]
    assert thrice["auc_interval"] == pytest.approx(once["auc_interval"], abs=1e-5)


def test_calibration_error_is_nothing_for_true_rates_and_the_distance_for_false_ones() -> None:
    churned = np.array([0, 1] * 500, dtype=np.int8)
    right, wrong = np.full(1000, 0.5), np.full(1000, 0.8)
    assert evaluate.expected_calibration_error(churned, right) == 0
    assert evaluate.expected_calibration_error(churned, wrong) == pytest.approx(0.3)


def test_curves_begin_and_end_where_they_must() -> None:
    churned, scores = customers(5000)
    found = evaluate.plots(churned, scores, 0.5)
    roc = found["roc"]
    assert (roc[0]["false_positive_rate"], roc[0]["true_positive_rate"]) == (0, 0)
    assert (roc[-1]["false_positive_rate"], roc[-1]["true_positive_rate"]) == (1, 1)
    assert len(roc) <= evaluate.POINTS
    assert sum(point["rows"] for point in found["calibration"]) == 5000


def test_the_confusion_plot_counts_customers_and_stays_small() -> None:
    churned, scores = customers(1000)
    rows = evaluate.plots(churned, scores, 0.5)["confusion"]
    hits = sum(row == {"actual": "churns", "predicted": "churns"} for row in rows)
    assert len(rows) == 1000
    assert hits == int(((churned == 1) & (scores >= 0.5)).sum())
    many = evaluate.plots(np.tile(churned, 30), np.tile(scores, 30), 0.5)["confusion"]
    assert len(many) == pytest.approx(evaluate.SHOWN, abs=3)
