"""The verdict, with its negative controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stages import compare
from stages.compare import Decision, Gain
from stages.shared import params


def section(**changes: Any) -> params.Compare:
    values = {
        "delta": 0.01,
        "confidence": 0.95,
        "min_lower_bound": 0.0,
    }
    return params.parse(params.Compare, "compare", values | changes)


def gain(value: float, low: float, high: float, rows: int = 1000) -> Gain:
    return Gain(0.7 + value, 0.7, value, (low, high), 0.0, (0.0, 0.0), rows)


def decided(**changes: Any) -> Decision:
    situation: dict[str, Any] = {
        "gates": [],
        "already": None,
        "unmeasured": None,
        "first": False,
        "incomparable": None,
        "gain": gain(0.02, 0.005, 0.035),
        "p": section(),
    }
    return compare.decide(**situation | changes)


def measured(churned: Any, ours: Any, theirs: Any, **changes: Any) -> Gain:
    """Each row is a customer's own."""
    return compare.measure(churned, np.arange(len(churned)), ours, theirs, section(**changes))


def customers(n: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Labels, the true probabilities, and noise that knows nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 3, n)
    return (rng.random(n) < truth).astype(np.int8), truth, rng.random(n)


def test_a_sure_and_sufficient_gain_is_promoted() -> None:
    assert decided().verdict == "promote"


def test_the_first_model_needs_the_gates_alone() -> None:
    assert decided(first=True, gain=None).verdict == "promote"
    assert decided(first=True, gain=None, gates=["F1 too low"]).verdict == "reject"


def test_no_gain_makes_up_for_a_failed_gate() -> None:
    found = decided(gates=["F1 0.3 is below evaluate.gate_f1 0.5"], gain=gain(0.2, 0.1, 0.3))
    assert found == Decision("reject", ("F1 0.3 is below evaluate.gate_f1 0.5",))


def test_a_gain_that_cannot_reach_delta_is_rejected() -> None:
    found = decided(gain=gain(0.001, -0.005, 0.009))
    assert found.verdict == "reject"
    assert "at best below compare.delta 0.01" in found.reasons[0]


def test_a_sufficient_gain_that_may_be_nothing_is_undecided_and_says_how_many_rows_it_takes() -> (
    None
):
    found = decided(gain=gain(0.02, -0.02, 0.06))
    assert found.verdict == "undecided"
    assert found.rows_needed == 4100  # half the arm takes four times the 1,000 rows, rounded up
    assert "some 4,100 holdout rows would settle it, 1,000 are there" in found.reasons[0]


def test_a_gain_below_delta_that_may_be_above_it_is_undecided() -> None:
    found = decided(gain=gain(0.005, 0.001, 0.02))
    assert found.verdict == "undecided"
    assert found.rows_needed is not None
    assert found.rows_needed > 1000


def test_a_gain_that_equals_delta_is_enough_if_it_is_sure() -> None:
    assert decided(gain=gain(0.01, 0.001, 0.02)).verdict == "promote"


def test_an_interval_that_touches_the_lower_bound_is_not_above_it() -> None:
    assert decided(gain=gain(0.02, 0.0, 0.04)).verdict == "undecided"


@pytest.mark.parametrize("bound", [0.0, -0.1])
def test_a_tie_is_never_promoted_whatever_the_parameters(bound: float) -> None:
    tie = gain(0.0, 0.0, 0.0)
    found = decided(gain=tie, p=section(delta=0.0, min_lower_bound=bound))
    assert found.verdict == "undecided"
    assert "no gain at all is no reason to promote" in found.reasons[0]


def test_what_is_in_production_already_is_not_promoted_again() -> None:
    found = decided(already="it is in production already, as version 3")
    assert found == Decision("reject", ("it is in production already, as version 3",))


def test_what_was_rolled_back_stays_out_even_if_it_would_be_the_first() -> None:
    assert decided(already="it was rolled back", first=True).verdict == "reject"


def test_production_that_cannot_be_scored_leaves_it_undecided() -> None:
    found = decided(incomparable="another split", gain=None)
    assert found == Decision("undecided", ("not comparable: another split",))


@pytest.mark.parametrize("first", [True, False])
def test_a_holdout_that_tells_nothing_promotes_nothing(first: bool) -> None:
    for labels in ([], [0, 0, 0], [1, 1], [0, 1, 1], [0] * 500 + [1] * 29):
        reason = compare.unmeasured(np.array(labels, dtype=np.int8), np.arange(len(labels)))
        assert decided(unmeasured=reason, gain=None, first=first).verdict == "undecided"
    churned = np.array([0, 1] * 30, dtype=np.int8)
    assert compare.unmeasured(churned, np.arange(60)) is None
    # Rows of the same customers are no more customers.
    said = compare.unmeasured(np.tile(churned[:58], 3), np.tile(np.arange(58), 3))
    assert said is not None
    assert "174 rows have only 29 customers of one class" in said


def test_a_model_against_itself_gains_exactly_nothing() -> None:
    churned, truth, _ = customers(500)
    found = measured(churned, truth, truth)
    assert (found.gain, found.interval, found.log_loss_gain) == (0.0, (0.0, 0.0), 0.0)


def test_a_better_model_has_a_gain_whose_interval_lies_above_nothing() -> None:
    churned, truth, noise = customers(2000)
    found = measured(churned, truth, noise)
    assert found.candidate_auc == pytest.approx(roc_auc_score(churned, truth), abs=1e-6)
    assert found.production_auc == pytest.approx(roc_auc_score(churned, noise), abs=1e-6)
    assert found.interval[0] > 0.1
    assert found.log_loss_interval[0] > 0
    assert compare.decide(
        gates=[], already=None, unmeasured=None, first=False, incomparable=None, gain=found,
        p=section(),
    ).verdict == "promote"  # fmt: skip


def test_swapping_the_models_turns_the_gain_round() -> None:
    churned, truth, noise = customers(800)
    one, other = (measured(churned, *pair) for pair in ((truth, noise), (noise, truth)))
    assert one.gain == -other.gain
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=2e-6)


def test_shuffled_labels_promote_nothing() -> None:
    verdicts = []
    for seed in range(20):
        churned, truth, noise = customers(600, seed)
        shuffled = np.random.default_rng(seed).permutation(churned)
        found = measured(shuffled, truth, noise, delta=0.0)
        verdicts.append(decided(gain=found, p=section(delta=0.0)).verdict)
    assert verdicts.count("promote") <= 2  # one in forty by the interval; 20 tries


def test_the_interval_covers_the_true_gain_as_often_as_it_says() -> None:
    churned, truth, noise = customers(200_000, seed=99)
    worse = truth + 0.5 * noise
    true_gain = roc_auc_score(churned, truth) - roc_auc_score(churned, worse)
    rng, inside = np.random.default_rng(5), 0
    for _ in range(100):
        drawn = rng.integers(0, len(churned), 400)
        found = measured(churned[drawn], truth[drawn], worse[drawn])
        inside += found.interval[0] <= true_gain <= found.interval[1]
    assert 88 <= inside <= 100  # 95 expected; 88 has a chance of one in 400


def test_the_least_gain_shown_is_what_would_just_have_been_promoted() -> None:
    p, found = section(), gain(0.004, -0.016, 0.024)
    least = compare.least_gain_shown(found, p)
    assert least == 0.02
    arm = found.gain - found.interval[0]
    assert decided(gain=gain(least + 1e-4, least + 1e-4 - arm, 1.0)).verdict == "promote"
    assert decided(gain=gain(least - 1e-4, least - 1e-4 - arm, 1.0)).verdict == "undecided"


CARD: dict[str, Any] = {
    "id": "customer",
    "label": "churned",
    "positive": None,
    "split": {"salt": "a"},
    "features": {"plan": {"type": "category"}, "spend": {"type": "number"}},
}


def test_models_of_one_split_compare_and_a_new_column_of_the_candidate_does_no_harm() -> None:
    more = CARD | {"features": CARD["features"] | {"age": {"type": "number"}}}
    assert compare.incomparable(CARD, CARD) is None
    assert compare.incomparable(more, CARD) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": {"salt": "b"}}, "another split"),
        ({"label": "left"}, "data.label 'churned'"),
        ({"positive": "no"}, "data.positive None"),
        ({"features": {"plan": {"type": "category"}}}, "needs column 'spend' as number"),
        (
            {"features": {"plan": {"type": "number"}, "spend": {"type": "number"}}},
            "needs column 'plan' as category",
        ),
    ],
)
def test_other_splits_and_columns_do_not_compare(change: dict[str, Any], said: str) -> None:
    assert said in str(compare.incomparable(CARD | change, CARD))


def test_the_headline_has_the_few_figures_that_matter_most_first() -> None:
    evaluated = {"auc": 0.7, "f1": 0.6, "log_loss": 0.5, "ece": 0.1, "n": 100, "recall": 0.9}
    compared = {"verdict": "undecided", "gain": 0.01, "interval": [-0.01, 0.03], "candidate": "d"}
    assert list(compare.headline(evaluated, compared).items()) == [
        ("verdict", "undecided"), ("gain", 0.01), ("gain_low", -0.01), ("auc", 0.7), ("f1", 0.6),
    ]  # fmt: skip
    nothing = compare.headline(evaluated, {**compared, "gain": None, "interval": None})
    assert (nothing["gain"], nothing["gain_low"]) == (None, None)
