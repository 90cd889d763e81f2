from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from clone import Clone
from pyarrow import parquet
from scipy import stats

from data import simulate
from data.simulate import World
from data.simulation import churn, columns, population, writing
from data.simulation.months import CHUNK
from data.simulation.scenarios import Change
from stages import ingest
from stages.shared import files, params, ranking
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from data.simulate import Month

CHANGED = [
    ("none", None, set()),
    ("covariate", None, {"monthly_fee", "rebuffer_events_7d", "watch_hours_30d"}),
    ("concept", None, set()),
    ("label", None, set()),
    ("gradual", None, {"monthly_fee", "rebuffer_events_7d", "watch_hours_30d"}),
    ("broken", "unit", {"watch_hours_30d"}),
    ("broken", "stuck", {"avg_session_mins_7d"}),
    ("broken", "nulls", {"rebuffer_events_7d"}),
    ("broken", "renamed", {"net_service"}),
]


def simulated(**world: Any) -> list[Month]:
    return list(simulate.months(World(**world)))


def observed(rows: int, change: Change, seed: int = 1) -> columns.Columns:
    """The true columns of settled subscribers; the same ones for the same seed."""
    rngs = [np.random.default_rng([seed, stream]) for stream in range(3)]
    return columns.observe(population.settled(rows, rngs[0]), change, rngs[1], rngs[2])


def labels(truth: NDArray[np.float64]) -> NDArray[np.int8]:
    return (np.random.default_rng(9).random(len(truth)) < truth).astype(np.int8)


# --- the same world ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_rows_and_another_seed_gives_others() -> None:
    first, again, other = (simulated(rows=500, months=3, seed=seed) for seed in (1, 1, 2))
    for one, same, different in zip(first, again, other, strict=True):
        assert one.table.equals(same.table)
        assert (one.truth == same.truth).all()
        for name in simulate.FEATURES:
            assert not one.table[name].equals(different.table[name]), name


def test_a_month_at_a_time_and_a_chunk_at_a_time_are_the_same_rows() -> None:
    world = World(scenario="covariate", rows=2 * CHUNK + 300, months=2, onset=2)
    parts = [list(chunk) for chunk in simulate.chunks(world)]
    assert [len(part[0].table) for part in parts] == [CHUNK, CHUNK, 300]
    for at, month in enumerate(simulate.months(world)):
        tables = [part[at].table for part in parts]
        assert month.table.equals(pa.concat_tables(tables).combine_chunks())
        assert (month.truth == np.concatenate([part[at].truth for part in parts])).all()
        assert pc.count_distinct(month.table["user_id"]).as_py() == world.rows


def test_no_chunk_repeats_another() -> None:
    one, other = (next(chunk).table for chunk in simulate.chunks(World(rows=2 * CHUNK, months=1)))
    for name in simulate.FEATURES:
        assert not one[name].equals(other[name]), name


def test_the_table_has_the_columns_of_the_contract_in_their_types() -> None:
    (month,) = simulated(rows=100, months=1)
    assert month.name == "2024-01"
    assert month.table.column_names == ["user_id", *simulate.FEATURES, "churned"]
    assert month.table.schema.field("churned").type == pa.int8()
    kinds = {
        "number": {pa.float64(), pa.int64()}, "boolean": {pa.bool_()}, "category": {pa.string()},
    }  # fmt: skip
    for name, feature in simulate.FEATURES.items():
        assert month.table.schema.field(name).type in kinds[feature["type"]], name


# --- customers ---------------------------------------------------------------------------------


def test_subscribers_return_every_month_until_they_have_churned_and_never_after() -> None:
    found = simulated(rows=5_000, months=12)
    ids = [month.table["user_id"].to_pylist() for month in found]
    left: set[str] = set()
    for before, now, month in zip(ids, ids[1:], found, strict=False):
        gone = set(before) - set(now)
        assert len(gone) / len(before) == pytest.approx(population.GONE, abs=0.01)
        churned = dict(zip(before, month.table["churned"].to_pylist(), strict=True))
        assert {churned[user] for user in gone} == {1}
        assert not left & set(now)
        left |= gone
    assert 0.6 < len(set(ids[0]) & set(ids[-1])) / len(ids[0]) < 0.8


def test_who_stays_grows_older_by_a_month_and_who_joins_is_new() -> None:
    before, now = (
        dict(zip(m.table["user_id"].to_pylist(), m.table["months_active"].to_pylist(), strict=True))
        for m in simulated(rows=1_000, months=2)
    )
    assert all(now[user] == before[user] + 1 for user in now.keys() & before.keys())
    assert {now[user] for user in now.keys() - before.keys()} == {0}


@pytest.mark.parametrize(
    ("name", "a_month"),
    [
        ("failed_payments_90d", population.FAILED_A_MONTH),
        ("support_tickets_90d", population.TICKETS_A_MONTH),
    ],
)
def test_of_who_is_new_a_count_of_90_days_holds_one_month(name: str, a_month: float) -> None:
    for month in simulated(rows=50_000, months=2):
        new = pc.equal(month.table["months_active"], 0)
        assert pc.mean(month.table[name].filter(new)).as_py() == pytest.approx(a_month, rel=0.4)


def test_a_subscriber_resembles_the_one_of_the_month_before() -> None:
    one, other = (month.table for month in simulated(rows=5_000, months=2))
    stayed = pc.equal(one["user_id"], other["user_id"])
    for name, least in {
        "watch_hours_30d": 0.7,
        "monthly_fee": 0.9,
        "rebuffer_events_7d": 0.5,
    }.items():
        pair = (table[name].filter(stayed).to_numpy() for table in (one, other))
        assert np.corrcoef(*pair)[0, 1] > least, name


# --- nothing changes ---------------------------------------------------------------------------


def test_when_nothing_changes_no_column_moves_in_two_years() -> None:
    """Subscribers of two seeds: nobody is in both months, so that the rows are independent."""
    first = simulated(rows=20_000, months=1, seed=1)[0].table
    last = simulated(rows=20_000, months=24, seed=2)[-1].table
    for name, feature in simulate.FEATURES.items():
        pair = [table[name].drop_null() for table in (first, last)]
        if feature["type"] == "number":
            p = stats.ks_2samp(*(column.to_numpy() for column in pair)).pvalue
        else:
            counts = [Counter(column.to_pylist()) for column in pair]
            p = stats.chi2_contingency([[count[v] for v in counts[0]] for count in counts]).pvalue
        assert p > 0.001, name


def test_a_mean_of_all_rows_has_no_trend() -> None:
    """The same places twice, two years apart: the mean difference in its standard errors."""
    first, *_, last = simulated(rows=20_000, months=24, seed=3)
    for name in ("months_active", "failed_payments_90d", "support_tickets_90d", "monthly_fee"):
        moved = last.table[name].to_numpy() - first.table[name].to_numpy()
        assert abs(moved.mean()) < 4 * moved.std() / np.sqrt(len(moved)), name
    assert last.truth.mean() == pytest.approx(first.truth.mean(), abs=0.01)


# --- who churns --------------------------------------------------------------------------------


def test_of_those_with_a_true_probability_as_many_churn() -> None:
    first = simulated(rows=50_000, months=1)[0]
    churned = first.table["churned"].to_numpy()
    for part in np.array_split(np.argsort(first.truth), 10):
        assert churned[part].mean() == pytest.approx(first.truth[part].mean(), abs=0.02)
    assert 0.15 < churned.mean() < 0.25
    assert 0.78 < ranking.auc(churned, first.truth) < 0.82


def test_the_columns_that_do_not_matter_do_not_change_the_probability() -> None:
    true = observed(1_000, Change())
    shuffled = {n: v[::-1] if n in simulate.IRRELEVANT else v for n, v in true.items()}
    for change in (Change(), Change(concept=1.0)):
        same = churn.probability(shuffled, change) == churn.probability(true, change)
        assert same.all()


@pytest.mark.parametrize("name", sorted(set(simulate.FEATURES) - set(simulate.IRRELEVANT)))
def test_every_other_column_does(name: str) -> None:
    true = observed(1_000, Change())
    other = true | {name: true[name][::-1]}
    assert (churn.probability(other, Change()) != churn.probability(true, Change())).any()


# --- what changes, and how much ----------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "kind", "moved"), CHANGED)
def test_a_scenario_moves_its_columns_from_its_onset_on_and_nothing_else(
    scenario: str, kind: str | None, moved: set[str]
) -> None:
    world = {"rows": 2_000, "months": 5, "onset": 3}
    same = simulated(**world)
    changed = simulated(scenario=scenario, kind=kind, **world)
    for number, (one, other) in enumerate(zip(same, changed, strict=True), start=1):
        names = ["user_id", *simulate.FEATURES]
        differ = {name for name in names if not one.table[name].equals(other.table[name])}
        assert differ == (moved if number >= 3 else set())
        truly = scenario in {"none", "broken"} or number < 3
        assert (one.truth == other.truth).all() == truly
        assert one.table["churned"].equals(other.table["churned"]) == truly


@pytest.mark.parametrize("name", sorted(CHANGED[1][2]))
def test_a_covariate_change_is_half_a_standard_deviation(name: str) -> None:
    before, after = (observed(100_000, change)[name] for change in (Change(), Change(1.0)))
    assert (after.mean() - before.mean()) / before.std() == pytest.approx(0.5, abs=0.02)


def test_a_change_of_concept_costs_the_best_model_of_before_five_points_of_auc() -> None:
    true = observed(100_000, Change())
    before, after = (churn.probability(true, change) for change in (Change(), Change(concept=1.0)))
    churned = labels(after)
    assert ranking.auc(churned, after) - ranking.auc(churned, before) == pytest.approx(
        0.05, abs=0.01
    )
    assert after.mean() == pytest.approx(before.mean(), abs=0.003)
    assert ranking.auc(churned, after) == pytest.approx(
        ranking.auc(labels(before), before), abs=0.015
    )


def test_a_change_of_the_rate_makes_half_as_many_again_churn() -> None:
    true = observed(100_000, Change())
    before, after = (churn.probability(true, change) for change in (Change(), Change(label=1.0)))
    assert after.mean() / before.mean() == pytest.approx(1.5, abs=0.02)


def test_a_gradual_change_takes_eight_months() -> None:
    world = World(scenario="gradual", onset=3)
    parts = [world.change(month).concept for month in range(12)]
    assert parts == [0, 0, *(n / 8 for n in range(1, 9)), 1, 1]
    assert world.change(9) == Change(covariate=1.0, concept=1.0)


def test_a_season_returns_every_year() -> None:
    found = simulated(scenario="season", rows=10_000, months=24)
    watched = [pc.mean(month.table["watch_hours_30d"]).as_py() for month in found]
    assert [watched.index(max(watched[at : at + 12])) % 12 for at in (0, 12)] == [0, 0]
    assert [watched.index(min(watched[at : at + 12])) % 12 for at in (0, 12)] == [6, 6]
    assert watched[:12] == pytest.approx(watched[12:], rel=0.05)
    world = World(scenario="season")
    assert [world.change(month).concept for month in (0, 6, 12)] == [0, 0.5, 0]


# --- broken feeds ------------------------------------------------------------------------------


def broken(kind: str) -> tuple[list[Month], list[Month]]:
    """Six months as they are, and as they arrive while months 2 to 4 are broken."""
    world = {"rows": 1_000, "months": 6, "onset": 2}
    return simulated(**world), simulated(scenario="broken", kind=kind, **world)


@pytest.mark.parametrize("kind", simulate.KINDS)
def test_a_broken_feed_is_mended_after_three_months(kind: str) -> None:
    same = [one.table.equals(other.table) for one, other in zip(*broken(kind), strict=True)]
    assert same == [True, False, False, False, True, True]


def test_a_unit_is_minutes_for_hours() -> None:
    true, arrived = (m[1].table["watch_hours_30d"].to_numpy() for m in broken("unit"))
    assert arrived == pytest.approx(60 * true)


def test_a_stuck_column_is_one_value() -> None:
    assert pc.count_distinct(broken("stuck")[1][1].table["avg_session_mins_7d"]).as_py() == 1


def test_nulls_are_sixty_in_a_hundred() -> None:
    true, arrived = (m[1].table["rebuffer_events_7d"] for m in broken("nulls"))
    assert arrived.null_count / len(arrived) == pytest.approx(0.6, abs=0.05)
    there = arrived.is_valid()
    assert arrived.filter(there).equals(true.filter(there))


def test_renamed_values_are_the_same_under_other_names() -> None:
    true, arrived = (m[1].table["net_service"].to_pylist() for m in broken("renamed"))
    assert [columns.RENAMED[name] for name in true] == arrived


@pytest.mark.parametrize("kind", simulate.KINDS)
def test_the_contract_does_not_give_a_broken_feed_away(kind: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.simulate(scenario="broken", kind=kind, rows=1_000, months=4, onset=1)
    judged = ingest.judge(place.raw / "2024-01.csv", place.data(), 0.0)
    assert judged.refusal is None
    assert judged.table.num_rows == 1_000


# --- putting it in place -----------------------------------------------------------------------


class Place:
    """A repository of one's own: params.yaml, data/raw and data/truth."""

    def __init__(self, root: Path) -> None:
        self.params, self.raw, self.truth = root / "params.yaml", root / "raw", root / "truth"
        shutil.copy(files.PARAMS, self.params)

    def simulate(self, **world: Any) -> None:
        simulate.simulate(World(**world), self.params, self.raw, self.truth)

    def data(self) -> params.Data:
        return params.parse(params.Data, "data", params.read(self.params)["data"])

    def state(self) -> dict[str, bytes]:
        paths = [p for p in self.params.parent.rglob("*") if p.is_file()]
        return {p.relative_to(self.params.parent).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_snapshots_hold_what_was_simulated_and_the_newest_three_have_no_labels(
    place: Place,
) -> None:
    world = {"scenario": "concept", "rows": 300, "months": 5, "onset": 2}
    place.simulate(**world)
    found = simulated(**world)
    assert sorted(p.name for p in place.raw.iterdir()) == [f"{m.name}.csv" for m in found]
    for number, month in enumerate(found):
        judged = ingest.judge(place.raw / f"{month.name}.csv", place.data(), 0.0)
        assert judged.report["labelled"] == (300 if number < 2 else 0)
        for name in ["user_id", *simulate.FEATURES, *(["churned"] if number < 2 else [])]:
            written = judged.table[name].to_pylist()
            assert written == month.table[name].to_pylist(), name
        truth = parquet.read_table(place.truth / f"{month.name}.parquet")
        assert truth["user_id"].equals(month.table["user_id"])
        assert (truth["probability"].to_numpy() == month.truth).all()
        assert truth["churned"].equals(month.table["churned"])


def test_the_parameters_are_those_of_the_simulated_table(place: Place) -> None:
    before = params.read(place.params)
    place.simulate(rows=300, months=5)
    after = params.read(place.params)
    data = place.data()
    assert (data.id, data.label, data.label_delay, data.source) == ("user_id", "churned", 3, None)
    assert data.features.keys() == simulate.FEATURES.keys()
    assert 0.3 < after["evaluate"].pop("gate_f1") < 0.6
    before["evaluate"].pop("gate_f1")
    assert {**after, "data": None} == {**before, "data": None}
    assert "data: # simulated subscribers, by `make simulate`\n" in place.params.read_text()


def test_the_same_command_writes_the_same_bytes(place: Place) -> None:
    place.simulate(rows=300, months=5)
    before = place.state()
    place.simulate(rows=300, months=5)
    assert place.state() == before


def test_other_months_are_kept_beside(place: Place) -> None:
    place.raw.mkdir()
    (place.raw / "2020-01.csv").write_text("mine")
    place.simulate(rows=300, months=5)
    assert (place.raw.with_name("raw.before-1.tmp") / "2020-01.csv").read_text() == "mine"


def test_a_disk_that_is_full_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.simulate(rows=300, months=5)
    before = place.state()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.csv.write_csv", full)
    with pytest.raises(UserError, match=r"nothing was changed.*No space left"):
        place.simulate(rows=400, months=5)
    assert place.state() == before


def test_months_that_cannot_be_put_in_place_leave_the_truth_of_those_that_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.simulate(rows=300, months=5)
    before = place.state()

    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    with pytest.raises(UserError, match="nothing was changed"):
        place.simulate(rows=400, months=5)
    assert place.state() == before


def test_the_best_f1_is_that_of_the_best_threshold() -> None:
    assert writing.best_f1(np.array([0.1, 0.9])) == pytest.approx(0.9)
    assert writing.best_f1(np.array([0.5, 0.5, 0.5])) == pytest.approx(2 * 1.5 / (3 + 1.5))


# --- what people type --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ({"scenario": "nonsense"}, "SCENARIO=nonsense: name one of none, covariate"),
        ({"months": 0}, "MONTHS=0: give a number from 1 to 240"),
        ({"rows": 5}, "ROWS=5: give a number from 100 to 10,000,000"),
        ({"seed": -1}, "SEED=-1: give a number from 0"),
        ({"scenario": "label", "onset": 25}, "ONSET=25: give a number from 1 to 24"),
        ({"scenario": "broken", "kind": "x"}, "KIND=x: name one of unit, stuck"),
        ({"kind": "unit"}, "KIND=unit is for SCENARIO=broken"),
    ],
)
def test_of_some_values_there_is_no_world(world: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        World(**world)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        ({}, ("none", 24, 12)),
        ({"scenario": "label", "months": "4"}, ("label", 4, 2)),
        ({"scenario": "label", "months": "1"}, ("label", 1, 1)),
        ({"scenario": "label", "months": "36"}, ("label", 36, 12)),
        ({"scenario": "label", "onset": "30"}, ("label", 42, 30)),
        ({"scenario": "label", "onset": "240"}, ("label", 240, 240)),
        ({"kind": "stuck"}, ("broken", 24, 12)),
        ({"kind": "stuck", "months": "5"}, ("broken", 5, 2)),
    ],
)
def test_what_was_not_typed_adapts_to_what_was(typed: dict[str, str], made: Any) -> None:
    world = simulate.world_of(typed)
    assert (world.scenario, world.months, world.onset) == made


@pytest.mark.parametrize("scenario", simulate.SCENARIOS)
@pytest.mark.parametrize("name", ["months", "rows", "seed"])
def test_no_default_contradicts_what_was_typed(scenario: str, name: str) -> None:
    for value in (1, 2, 11, 12, 13, 100, 240):
        if name != "rows" or value >= 100:
            simulate.world_of({"scenario": scenario, name: str(value)})


@pytest.mark.parametrize("scenario", [{}, {"scenario": "season"}])
def test_an_onset_of_what_has_none_is_refused(scenario: dict[str, str]) -> None:
    with pytest.raises(UserError, match="ONSET=5 means nothing for SCENARIO="):
        simulate.world_of({"onset": "5", **scenario})


def test_without_a_month_that_has_labels_nothing_is_put_in_place(place: Place) -> None:
    before = place.state()
    with pytest.raises(UserError, match="MONTHS=3: give 4 or more"):
        place.simulate(months=3)
    assert place.state() == before


@pytest.mark.slow
def test_make_simulate_says_what_it_did_and_what_comes_next(tmp_path: Path) -> None:
    clone = Clone.new(tmp_path)
    said = clone.make("simulate", SCENARIO="label", MONTHS="6", ROWS="200", SEED="7", ONSET="5")
    assert "scenario label: from 2024-05 on 1.5 times as many churn, and no feature moves" in said
    assert said.splitlines()[-1] == "next: make repro"
    assert len(list((clone.root / "data" / "raw").iterdir())) == 6
    said = clone.make("simulate", status=1, SCENARIO="it's; nonsense")
    assert said.startswith("error: SCENARIO=it's; nonsense: name one of none, covariate")
    assert "error: ROWS=many is no whole number" in clone.make("simulate", status=1, ROWS="many")
