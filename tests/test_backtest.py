"""The backtest in small: bounds that the loop keeps, and that a bad gate breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backtest import calibration, cases, history, measures, policies, report, results, work
from backtest.policies import Policy
from data import simulate
from stages.shared.contract import Names, from_dict

if TYPE_CHECKING:
    from backtest.history import History

pytestmark = pytest.mark.slow

ROWS, MONTHS, ONSET, SEEDS = 3_000, 16, 9, (1, 2, 3)
MONTHLY = policies.every(1, simulate.LABEL_DELAY)
OURS = Policy("ours", "the defaults")
NAMES = Names(simulate.ID, simulate.LABEL, from_dict(simulate.FEATURES))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[Any, History] = {}

    def make(scenario: str, seed: int, kind: str | None = None) -> History:
        key = (scenario, seed, kind)
        if key not in made:
            folder = tmp_path_factory.mktemp("months")
            case = cases.Case(scenario, kind, seed, ROWS, MONTHS, ONSET)
            made[key] = cases.made(case, folder, cases.settings())
        return made[key]

    return make


def promoted_for_nothing(world: Any, policy: Policy) -> float:
    """The share of candidates in truth hardly better than production that were promoted."""
    wrong = asked = 0
    for seed in SEEDS:
        past = world("none", seed)
        decided = policies.replay(past, policy, seed)
        for before, now in itertools.pairwise(decided):
            if now.trained is None or before.production is None:
                continue
            month = past.months[-1].name
            true_gain = past.quality(now.trained, month) - past.quality(before.production, month)
            if true_gain <= past.settings.compare.delta:
                asked += 1
                wrong += now.promoted
    assert asked >= 15
    return wrong / asked


AT_MOST = 0.2  # of some 25 candidates; 0.025 is the rate that is set


def test_candidates_that_are_no_better_are_hardly_ever_promoted(world: Any) -> None:
    assert promoted_for_nothing(world, MONTHLY) <= AT_MOST


@pytest.mark.parametrize(
    "bad",
    [
        replace(MONTHLY, gate=policies.coin),
        replace(MONTHLY, gate=policies.always),
        replace(MONTHLY, on_holdout=False),
    ],
    ids=["a coin", "always", "on training rows"],
)
def test_a_bad_gate_breaks_that_bound(world: Any, bad: Policy) -> None:
    assert promoted_for_nothing(world, bad) > AT_MOST


def test_without_a_gate_whatever_is_no_better_is_promoted_and_is_counted(world: Any) -> None:
    past = world("none", 1)
    without, ours = (
        measures.measure(past, policies.replay(past, policy, 1), None)
        for policy in (replace(MONTHLY, gate=policies.always), MONTHLY)
    )
    assert without["false_promotions"] == without["worthless"] > 0
    assert without["promotions"] == without["trainings"] - 1 == sum(without["yearly"]) - 1
    assert ours["false_promotions"] < ours["worthless"]


def test_a_calendar_is_held_against_ours_at_as_many_trainings_history_by_history() -> None:
    of_it = {
        "ours": {"all_trainings": [2, 5], "regrets": [0.0, 0.0]},
        "every 1": {"all_trainings": [6, 6], "regrets": [0.1, 0.1]},
        "every 3": {"all_trainings": [2, 4], "regrets": [0.3, 0.2]},
        "never": {"all_trainings": [5, 5], "regrets": [9.0, 9.0]},
    }
    assert results.at_the_same_trainings(of_it) == pytest.approx([0.3, 0.15])


def test_where_nothing_changes_there_is_hardly_an_alarm(world: Any) -> None:
    found = [
        measures.measure(past, policies.replay(past, OURS, 1), None)
        for past in (world("none", seed) for seed in SEEDS)
    ]
    assert sum(f["false_triggers"] for f in found) <= 1
    assert all(f["broken"] == 0 for f in found)


@pytest.mark.parametrize("scenario", ["covariate", "concept", "label"])
def test_a_planted_change_is_seen_as_soon_as_it_is_visible(world: Any, scenario: str) -> None:
    past = world(scenario, 1)
    found = measures.measure(past, policies.replay(past, OURS, 1), ONSET)
    assert measures.seen([found["alarm"]], results.VISIBLE[scenario]) == 1
    blind = replace(OURS, judge=policies.only("broken"))
    assert measures.measure(past, policies.replay(past, blind, 1), ONSET)["alarm"] is None


@pytest.mark.parametrize("kind", simulate.KINDS)
def test_a_broken_feed_stops_its_months_and_no_model_learns_from_them(
    world: Any, kind: str
) -> None:
    past = world("broken", 1, kind)
    decided = policies.replay(past, OURS, 1)
    broken = {d.step.month for d in decided if d.step.broken}
    assert broken == {past.months[ONSET - 1 + i].name for i in range(3)}
    assert not any(broken & set(d.trained or ()) for d in decided)


def test_after_a_change_of_concept_ours_is_about_as_good_as_retraining_every_month(
    world: Any,
) -> None:
    past = world("concept", 1)
    ours, monthly, never = (
        measures.measure(past, policies.replay(past, policy, 1), ONSET)
        for policy in (OURS, MONTHLY, policies.listed(simulate.LABEL_DELAY, 0.01)[0])
    )
    assert ours["regret"] <= monthly["regret"] + 0.005
    assert ours["regret"] < never["regret"] - 0.005
    assert ours["trainings"] <= monthly["trainings"] / 2


def test_nobody_is_better_than_the_oracle_and_nothing_than_the_truth(world: Any) -> None:
    past = world("concept", 1)
    oracle = next(p for p in policies.listed(simulate.LABEL_DELAY, 0.01) if p.hindsight)
    by_hindsight, monthly = (
        measures.measure(past, policies.replay(past, policy, 1), ONSET)
        for policy in (oracle, MONTHLY)
    )
    assert 0 < by_hindsight["regret"] <= monthly["regret"]


def test_the_expected_auc_is_that_of_many_draws_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(40), rng.integers(0, 9, 40).astype(float)
    drawn = (rng.random((4000, 40)) < truth).astype(float)
    above = np.sign(scores[:, None] - scores[None, :]) / 2 + 0.5
    pairs = drawn.T @ (1 - drawn)  # how often the first churned and the second stayed
    np.fill_diagonal(pairs, 0)
    expected = history.expected_auc(scores, truth)
    # Of a row paired with itself the expectation knows a half.
    itself = float((truth * (1 - truth)).sum())
    whole = float(truth.sum() * (1 - truth).sum())
    without = (expected * whole - itself / 2) / (whole - itself)
    assert (above * pairs).sum() / pairs.sum() == pytest.approx(without, abs=0.01)


def test_what_was_worked_out_is_not_worked_out_again_and_a_changed_policy_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "KEPT", tmp_path)
    said: list[str] = []
    pieces: list[work.Piece] = [("gate", (300, 0.0)), ("gate", (300, 0.02))]
    first = work.run(pieces, 1, said.append)
    again = work.run(pieces, 1, said.append)
    assert first == again
    assert first[pieces[0]] <= 0.04 < first[pieces[1]]
    assert said[-1] == "2 of 2 pieces were worked out before"
    (tmp_path / "left.tmp").write_text("of a run that was killed")
    next(tmp_path.glob("*.json")).unlink()
    assert work.run(pieces, 1, said.append) == first


def test_a_panel_without_a_change_hardly_alarms_and_one_with_a_change_does() -> None:
    p = cases.settings().drift
    still = [calibration.ask(calibration.Question(300, 5, 0.0, 0), seed, p) for seed in range(60)]
    assert calibration.rates(still, 0.01)["p_value"] <= 0.1
    moved = calibration.ask(calibration.Question(1_000, 14, 0.5, 0), 1, p)
    assert moved == {"p_value": True, "trigger": True}


def test_tables_replace_what_stands_between_their_marks_and_nothing_else() -> None:
    grid = [
        {"rows": 300, "gain": 0.0, "promoted": 0.01},
        {"rows": 300, "gain": 0.02, "promoted": 1},
    ]
    begin, end = report.BEGIN.format("gate"), report.END.format("gate")
    page = report.replaced(
        f"before\n{begin}\nwhat was there\n{end}\nafter\n", "gate", report.gate({"gate": grid})
    )
    assert page.startswith(f"before\n{begin}\n\n| holdout customers | +0.000 | +0.020 |")
    assert page.endswith(f"{end}\nafter\n")
    assert "what was there" not in page
    assert report.replaced(page, "gate", report.gate({"gate": grid})) == page
