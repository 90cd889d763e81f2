"""Which means moved: as often by chance as it says, whoever comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from stages.shared import coding, movement
from stages.shared.contract import Feature

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MONTHS = 6  # of the window
KEPT = 0.9  # correlation of what a customer is like with the month before
LEVEL = 0.05


class Panel(NamedTuple):
    """The window's rows and a month's, coded as the pipeline does, of mostly the same customers."""

    before: movement.Rows
    now: movement.Rows


def columns(values: Floats) -> pa.Table:
    """Numbers of two shapes, counts, booleans and categories, in turn."""
    made = {}
    for place, of_one in enumerate(values.T):
        kind, rarer = "nlvbc"[place % 5], (place // 5) % 3
        made[f"{kind}{place}"] = {
            "n": of_one,
            "l": np.exp(of_one),
            "v": np.floor(np.exp(of_one - rarer)),
            "b": of_one > rarer,
            "c": np.array(list("abcd"))[np.digitize(of_one, [-1.0, 0.0, 1.5])],
        }[kind]
    return pa.table(made)


def contract(table: pa.Table) -> dict[str, Feature]:
    kinds = {"n": "number", "l": "number", "v": "number", "b": "boolean", "c": "category"}
    return {n: Feature.model_validate({"type": kinds[n[0]]}) for n in table.column_names}


def panel(
    rng: Generator, rows: int, wide: int, stay: float = 0.95, *, new: bool = False, shift: float = 0
) -> Panel:
    """Customers whose columns are autoregressions with a trait in common; nothing moves.

    Args:
        rng: draws them.
        rows: customers in each month.
        wide: columns.
        stay: share of them who are there the month after; others take the places of the rest.
        new: in the month to be judged there are none but new customers.
        shift: of the first column in the month to be judged, in standard deviations.
    """
    share = 0.8 * rng.random(wide)  # of the trait in each column
    customers = np.arange(rows)
    trait, own = rng.standard_normal((rows, 1)), rng.standard_normal((rows, wide))
    values, who = [], []
    for month in range(MONTHS + 1):
        if month:
            own = KEPT * own + np.sqrt(1 - KEPT**2) * rng.standard_normal(own.shape)
            gone = rng.random(rows) > (0.0 if new and month == MONTHS else stay)
            own[gone] = rng.standard_normal((gone.sum(), wide))
            trait[gone] = rng.standard_normal((gone.sum(), 1))
            customers = np.where(gone, customers.max() + 1 + np.arange(rows), customers)
        values.append(share * trait + np.sqrt(1 - share**2) * own)
        who.append(customers)
    values[-1][:, 0] += shift
    window, month_ = columns(np.concatenate(values[:-1])), columns(values[-1])
    codes = coding.learn(window, contract(window))
    _, before, now = coding.moments(codes, coding.code(window, codes), coding.code(month_, codes))
    _, of_all = np.unique(np.concatenate(who), return_inverse=True)
    old, last = of_all[: MONTHS * rows], of_all[MONTHS * rows :]
    return Panel(movement.Rows(before, old), movement.Rows(now, last))


def least(found: Panel, seed: int = 1) -> float:
    return float(movement.measure(*found, seed).p_values.min())


def naive(found: Panel) -> float:
    """What a test says that takes all rows for independent; corrected for the number of tests."""
    p_values = stats.ttest_ind(found.before.values, found.now.values, equal_var=False).pvalue
    return float(np.nanmin(p_values) * found.now.values.shape[1])


def chance(tries: int) -> tuple[float, float]:
    """What a rate of LEVEL gives in so many tries, in 999 of 1,000 cases."""
    low, high = stats.binom.interval(0.999, tries, LEVEL)
    return low / tries, high / tries


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to know a p-value of 0.05; many tries are made."""
    monkeypatch.setattr(movement, "DRAWS", 1_000)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("rows", "wide", "tries"), [(300, 5, 200), (1000, 5, 200), (300, 50, 60), (1000, 50, 40)]
)
def test_when_nothing_moves_there_are_as_many_alarms_as_the_rate_says(
    rows: int, wide: int, tries: int
) -> None:
    panels = (panel(np.random.default_rng([rows, wide, n]), rows, wide) for n in range(tries))
    found = np.array([least(one, seed) for seed, one in enumerate(panels)])
    low, high = chance(tries)
    assert low <= (found <= LEVEL).mean() <= high


@pytest.mark.usefixtures("few_draws")
def test_a_test_that_takes_rows_for_independent_alarms_too_often_on_the_same_rows() -> None:
    tries = 100
    rngs = (np.random.default_rng([7, n]) for n in range(tries))
    panels = [panel(rng, 300, 50, new=True) for rng in rngs]
    ours = np.array([least(one, seed) for seed, one in enumerate(panels)])
    theirs = np.array([naive(one) for one in panels])
    low, high = chance(tries)
    assert low <= (ours <= LEVEL).mean() <= high
    assert (theirs <= LEVEL).mean() > high


@pytest.mark.parametrize("wide", [5, 50])
def test_a_shift_of_three_tenths_of_a_standard_deviation_is_seen(wide: int) -> None:
    for n in range(5):
        assert least(panel(np.random.default_rng([wide, n]), 300, wide, shift=0.3)) <= 0.01


def test_the_effect_is_the_difference_in_standard_deviations_of_before() -> None:
    rng = np.random.default_rng(1)
    before, now = rng.normal(2, 3, (4000, 1)), rng.normal(2 + 3 * 0.5, 3, (2000, 1))
    found = movement.measure(
        movement.Rows(before, np.arange(4000)), movement.Rows(now, 4000 + np.arange(2000)), 1
    )
    assert found.effects[0] == pytest.approx((now.mean() - before.mean()) / before.std())
    assert found.effects[0] == pytest.approx(0.5, abs=0.1)


def test_what_is_constant_on_both_sides_did_not_move() -> None:
    before, now = panel(np.random.default_rng(2), 300, 5, shift=1.0)
    for constants in (1, 2):
        sides = [
            movement.Rows(
                np.column_stack([s.values, np.ones((len(s.values), constants))]), s.customers
            )
            for s in (before, now)
        ]
        found = movement.measure(sides[0], sides[1], 1)
        assert found.p_values[-constants:].tolist() == [1.0] * constants
        assert found.effects[-constants:].tolist() == [0.0] * constants
        # Nor is it one more among which the largest is looked for.
        assert (
            found.p_values[:-constants].tolist()
            == movement.measure(before, now, 1).p_values.tolist()
        )
    ones = [movement.Rows(np.ones((len(s.values), 2)), s.customers) for s in (before, now)]
    assert movement.measure(ones[0], ones[1], 1).p_values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("rows", "fewer"), [(1800, 300), (5000, 777)])
def test_a_constant_of_which_no_sum_is_exact_did_not_move_either(rows: int, fewer: int) -> None:
    sides = [
        movement.Rows(np.full((n, 1), -1 / 12), np.arange(n, dtype=np.int64)) for n in (rows, fewer)
    ]
    found = movement.measure(sides[0], sides[1], 1)
    assert (found.effects.tolist(), found.p_values.tolist()) == ([0.0], [1.0])


def test_the_order_of_the_rows_and_the_numbers_of_the_customers_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    sides = panel(rng, 300, 5, shift=0.1)
    other = rng.permutation(max(side.customers.max() for side in sides) + 1)
    turned = []
    for side in sides:
        order = rng.permutation(len(side.values))
        turned.append(movement.Rows(side.values[order], other[side.customers[order]]))
    one, two = movement.measure(*sides, 1), movement.measure(turned[0], turned[1], 1)
    assert two.effects == pytest.approx(one.effects, abs=1e-9)
    assert two.p_values == pytest.approx(one.p_values, abs=0.002)


def test_a_column_that_is_there_twice_counts_as_one() -> None:
    """Correlated columns cost no power: the largest of two equal ones is one of them."""
    before, now = panel(np.random.default_rng(4), 300, 1, shift=0.1)
    level = [movement.Rows(side.values[:, :1], side.customers) for side in (before, now)]
    twice = [movement.Rows(np.repeat(side.values, 20, axis=1), side.customers) for side in level]
    one, many = (movement.measure(side[0], side[1], 1) for side in (level, twice))
    assert 0.001 < one.p_values[0] < 0.5
    assert many.p_values == pytest.approx(np.full(20, one.p_values[0]), abs=0.02)


def test_p_values_do_not_depend_on_which_eigenvectors_lapack_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their signs, and any of those of equal eigenvalues, differ from processor to processor."""
    rng = np.random.default_rng(5)
    parts = rng.standard_normal((2000, 6))
    values = np.column_stack([parts, parts > 0, parts <= 0])
    who = np.arange(1000)
    before, now = movement.Rows(values[:1000], who), movement.Rows(values[1000:], who)
    first = movement.measure(before, now, seed=1).p_values
    eigh = np.linalg.eigh

    def others(matrix: Floats) -> tuple[Floats, Floats]:
        found, vectors = eigh(matrix)
        return found, vectors * rng.choice([-1.0, 1.0], len(found))

    monkeypatch.setattr(np.linalg, "eigh", others)
    assert (movement.measure(before, now, seed=1).p_values == first).all()
