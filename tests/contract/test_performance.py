"""Performance regression: the frozen recipe still gives the model that it gave.

See `recipe` for the data, the model, and how the intervals were derived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import recipe

from stages import train
from stages.shared import candidate, contract, files

if TYPE_CHECKING:
    from collections.abc import Callable

FROZEN = 1  # the draw of the training rows that is tested; none of those behind the intervals
ESTIMATORS = tuple(recipe.ESTIMATORS)


def outside(estimator: str) -> dict[str, float]:
    """The metrics that lie outside their interval."""
    intervals = files.read_json(recipe.INTERVALS)[estimator]
    found = recipe.measured(estimator, FROZEN)
    return {
        name: value
        for name, value in found.items()
        if not intervals[name][0] <= value <= intervals[name][1]
    }


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_recipe_gives_the_model_that_it_gave(estimator: str) -> None:
    assert outside(estimator) == {}


def shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that belong to other rows, in training alone."""
    whole = train.train

    def faulty(frame: Any, churned: Any, *others: Any) -> Any:
        return whole(frame, np.random.default_rng(1).permutation(churned), *others)

    monkeypatch.setattr(train, "train", faulty)


def other_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probability of staying."""
    whole = candidate.churn_probability
    monkeypatch.setattr(candidate, "churn_probability", lambda *given: 1 - whole(*given))


def another_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plans in capitals, where the model is asked: it has seen none of them."""
    whole, frames = contract.to_frame, []

    def faulty(*given: Any) -> Any:
        frames.append(whole(*given))
        frame = frames[-1]
        return frame if len(frames) == 1 else frame.assign(plan=frame["plan"].str.upper() + "!")

    monkeypatch.setattr(contract, "to_frame", faulty)


def a_column_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that finds nothing, where the model is asked."""
    whole, frames = contract.to_frame, []

    def faulty(*given: Any) -> Any:
        frames.append(whole(*given))
        return frames[-1] if len(frames) == 1 else frames[-1].assign(tenure=0.0)

    monkeypatch.setattr(contract, "to_frame", faulty)


def hardly_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hyper-parameters that somebody left in from a trial."""
    weak = {"hist_gradient_boosting": {"max_iter": 2}, "logistic_regression": {"C": 1e-5}}
    monkeypatch.setattr(recipe, "ESTIMATORS", weak)


def a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holdout is what the model was trained on: too good is a fault, too."""
    whole = recipe.rows
    monkeypatch.setattr(recipe, "rows", lambda _: whole(FROZEN))


FAULTS = (shuffled, other_class, another_spelling, a_column_is_zero, hardly_trained, a_leak)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
    estimator: str,
) -> None:
    fault(monkeypatch)
    assert outside(estimator) != {}
