"""AUC and its intervals: against scikit-learn, against brute force, and against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from stages import compare
from stages.shared import params, ranking

if TYPE_CHECKING:
    from numpy.random import Generator

CONFIDENCE = 0.95


def judged(
    rng: Generator, of_class: int, first: float, second: float, most_rows: int = 3
) -> tuple[Any, Any, Any, Any]:
    """Rows of as many customers of either class, and what two models say of them.

    Args:
        rng: draws them.
        of_class: customers of each class; each has 1 to ``most_rows`` rows, much alike.
        first: how far apart the classes lie in the scores of the first model, in their spread.
        second: the same of the second one.
    """
    customers = np.repeat(np.arange(2 * of_class), rng.integers(1, most_rows + 1, 2 * of_class))
    churned = (customers % 2).astype(np.int8)
    common, alike, own = (
        rng.standard_normal((2, size))[:, customers if size == 2 * of_class else slice(None)]
        for size in (2 * of_class, 2 * of_class, len(customers))
    )
    noise = np.sqrt(0.4) * common[0] + np.sqrt(0.3) * alike + np.sqrt(0.3) * own
    return churned, customers, first * churned + noise[0], second * churned + noise[1]


def true_auc(apart: float) -> float:
    return float(stats.norm.cdf(apart / np.sqrt(2)))


def binomial(tries: int, rate: float) -> tuple[float, float]:
    """What a rate gives in so many tries, in 999 of 1,000 cases."""
    low, high = stats.binom.interval(0.999, tries, rate)
    return low / tries, high / tries


@pytest.mark.parametrize("weighted", [False, True])
def test_the_auc_is_that_of_scikit_learn_ties_and_weights_included(weighted: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        churned = rng.integers(0, 2, 60).astype(np.int8)
        scores = rng.integers(0, 8, 60).astype(np.float64)
        times = rng.integers(0, 4, 60) if weighted else np.ones(60, dtype=int)
        expected = roc_auc_score(np.repeat(churned, times), np.repeat(scores, times))
        weights = times.astype(np.float64) if weighted else None
        assert ranking.auc(churned, scores, weights) == pytest.approx(expected, abs=1e-12)
        if not weighted:
            found = ranking.auc_estimate(churned, scores)
            assert found.value == pytest.approx(expected, abs=1e-12)
            assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_where_a_class_has_no_weight_there_is_no_auc() -> None:
    churned, scores = np.array([0, 1, 1], dtype=np.int8), np.array([0.1, 0.2, 0.3])
    assert np.isnan(ranking.auc(churned[1:], scores[1:]))
    assert np.isnan(ranking.auc(churned, scores, np.array([0.0, 1.0, 1.0])))


def test_the_log_losses_are_those_of_scikit_learn_and_finite() -> None:
    rng = np.random.default_rng(4)
    churned, scores = rng.integers(0, 2, 100).astype(np.int8), rng.random(100)
    scores[:2] = [0.0, 1.0]
    losses = ranking.log_losses(churned, scores)
    assert np.isfinite(losses).all()
    assert losses.mean() == pytest.approx(log_loss(churned, scores), rel=1e-9)


@pytest.mark.parametrize("what", ["auc", "gain", "loss"])
def test_the_interval_is_as_wide_as_a_bootstrap_of_the_customers_says(what: str) -> None:
    rng = np.random.default_rng(5)
    churned, customers, one, other = judged(rng, 150, 1.0, 0.6)
    losses = np.square(one)
    found = {
        "auc": ranking.auc_estimate(churned, one),
        "gain": ranking.auc_estimate(churned, one) - ranking.auc_estimate(churned, other),
        "loss": ranking.mean_estimate(losses),
    }[what]
    drawn = []
    for _ in range(1000):
        times = np.bincount(rng.integers(0, 300, 300), minlength=300)[customers].astype(float)
        if what == "loss":
            drawn.append(float(np.average(losses, weights=times)))
        else:
            gain = ranking.auc(churned, one, times)
            drawn.append(gain - (ranking.auc(churned, other, times) if what == "gain" else 0))

    def error(whose: Any) -> float:
        low, high = ranking.interval(found, whose, CONFIDENCE, 10**9)
        return float((high - low) / 2 / stats.norm.ppf((1 + CONFIDENCE) / 2))

    assert error(customers) == pytest.approx(np.std(drawn), rel=0.1)
    # Taken for rows of as many customers, they would tell more than they know.
    assert error(np.arange(len(churned))) < 0.9 * np.std(drawn)


def test_two_equal_models_differ_by_exactly_nothing() -> None:
    churned, customers, one, _ = judged(np.random.default_rng(6), 100, 1.0, 1.0)
    # Another scale is no other order.
    gain = ranking.auc_estimate(churned, one) - ranking.auc_estimate(churned, np.exp(one))
    assert ranking.interval(gain, customers, CONFIDENCE, 100) == (0.0, 0.0)


def test_an_interval_of_few_customers_is_wider() -> None:
    found = ranking.mean_estimate(np.random.default_rng(7).random(100))
    arms = [
        np.diff(ranking.interval(found, np.arange(100), CONFIDENCE, few))[0] for few in (5, 30, 300)
    ]
    assert arms == sorted(arms, reverse=True)


def test_customers_are_numbered_and_those_of_the_rarer_class_counted() -> None:
    codes = ranking.codes(np.array(["b", "a", "b", "c"], dtype=object))
    assert codes.tolist() == [1, 0, 1, 2]
    assert ranking.fewest(np.array([1, 0, 1, 0], dtype=np.int8), codes) == 1


@pytest.mark.parametrize("of_class", [30, 300])
def test_the_interval_of_a_gain_holds_the_true_one_as_often_as_it_says(of_class: int) -> None:
    rng, tries, inside = np.random.default_rng(of_class), 600, 0
    truth = true_auc(1.0) - true_auc(0.6)
    for _ in range(tries):
        churned, customers, one, other = judged(rng, of_class, 1.0, 0.6)
        gain = ranking.auc_estimate(churned, one) - ranking.auc_estimate(churned, other)
        low, high = ranking.interval(gain, customers, CONFIDENCE, of_class)
        inside += low <= truth <= high
    least, most = binomial(tries, CONFIDENCE)
    assert least <= inside / tries <= most


@pytest.mark.parametrize("of_class", [30, 300])
def test_the_gate_promotes_a_model_that_is_no_better_as_rarely_as_it_says(of_class: int) -> None:
    section = {"delta": 0.0, "confidence": CONFIDENCE, "min_lower_bound": 0.0}
    p = params.parse(params.Compare, "compare", section)
    rng, tries, verdicts = np.random.default_rng(of_class), 500, []
    for _ in range(tries):
        churned, customers, one, other = judged(rng, of_class, 0.8, 0.8)
        ours, theirs = (1 / (1 + np.exp(-scores)) for scores in (one, other))
        gain = compare.measure(churned, customers, ours, theirs, p)
        decision = compare.decide(
            gates=[], already=None, unmeasured=None, first=False, incomparable=None, gain=gain, p=p,
        )  # fmt: skip
        verdicts.append(decision.verdict)
    _, most = binomial(tries, (1 - CONFIDENCE) / 2)
    assert verdicts.count("promote") / tries <= most
    assert "undecided" in verdicts
