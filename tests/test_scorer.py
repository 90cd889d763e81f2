"""The scorer of a window's world, and what columns are worth to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stages.shared import scorer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def test_a_customer_is_scored_by_a_scorer_that_never_saw_him() -> None:
    """Customers whose label is chance and who are known by their number alone."""
    rng = np.random.default_rng(1)
    customers = np.repeat(np.arange(120), 60)
    coded = {"who": rng.random(120)[customers], "noise": rng.random(len(customers))}
    churned = rng.integers(0, 2, 120).astype(np.int8)[customers]
    first = (rng.random(120) < 0.5)[customers]
    found = scorer.fit(coded, churned, first, seed=1)
    assert found is not None
    honest, by_heart = (
        roc_auc_score(churned, found.score(coded, half)) for half in (first, ~first)
    )
    assert by_heart > 0.8  # the other way round each would be scored by the one that knows him
    assert honest == pytest.approx(0.5, abs=0.15)


@pytest.fixture(scope="module")
def world() -> tuple[dict[str, Floats], NDArray[np.int8], NDArray[np.bool_]]:
    """Two columns that matter, one of them with missing values, and two that do not."""
    rng = np.random.default_rng(2)
    coded = {name: rng.random(6000) for name in ("strong", "weak", "nothing", "constant")}
    coded["constant"][:] = 0.5
    coded["weak"][::4] = np.nan
    score = 5 * (coded["strong"] - 0.5) + 2 * (np.nan_to_num(coded["weak"], nan=1.0) - 0.5)
    churned = (rng.random(6000) < 1 / (1 + np.exp(-score))).astype(np.int8)
    return coded, churned, rng.random(6000) < 0.5


def test_a_column_is_worth_what_is_lost_without_it(
    world: tuple[dict[str, Floats], NDArray[np.int8], NDArray[np.bool_]],
) -> None:
    coded, churned, first = world
    found = scorer.fit(coded, churned, first, seed=1)
    assert found is not None
    worth = found.importances(coded, first, churned, seed=1)
    assert list(worth) == list(coded)
    assert worth["strong"] > 0.15 > worth["weak"] > 0.01
    assert abs(worth["nothing"]) < 0.01
    assert worth["constant"] == 0


def test_the_same_rows_give_the_same_scores_and_worths(
    world: tuple[dict[str, Floats], NDArray[np.int8], NDArray[np.bool_]],
) -> None:
    coded, churned, first = world
    before = {name: values.copy() for name, values in coded.items()}
    one, other = (scorer.fit(coded, churned, first, seed=1) for _ in range(2))
    assert one is not None
    assert other is not None
    assert (one.score(coded, first) == other.score(coded, first)).all()
    assert one.importances(coded, first, churned, 1) == other.importances(coded, first, churned, 1)
    assert all(np.array_equal(coded[n], before[n], equal_nan=True) for n in coded)


@pytest.mark.parametrize("rare", [0, 1])
def test_a_half_with_too_few_of_a_class_teaches_nothing(rare: int) -> None:
    rng = np.random.default_rng(3)
    first, churned = np.arange(2000) < 1000, np.full(2000, 1 - rare, dtype=np.int8)
    coded = {"x": rng.random(2000)}
    churned[:200] = rare
    churned[1000 : 1000 + scorer.LEAST_OF_A_CLASS - 1] = rare
    assert scorer.fit(coded, churned, first, seed=1) is None
    churned[1999] = rare
    assert scorer.fit(coded, churned, first, seed=1) is not None
