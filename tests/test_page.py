"""The page's pure parts: facts in, words, charts and HTML out."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from bench import page as made_up
from page import challenger, charts, heat, histograms, line, now, placing, quality, render
from page.facts import Facts, from_json, to_json
from page.view import production_left, view
from stages.registry import ledger
from stages.shared import policy
from stages.shared.contract import Feature

SCRIPT = "<script>alert(1)</script>"
NOTHING = Facts(as_of="2026-01-31T08:00:00+00:00", next_step="make run")


def move(kind: str, before: int | None, to: int, **other: Any) -> ledger.Event:
    values: dict[str, Any] = {
        "kind": kind, "from_version": before, "to_version": to, "candidate": f"digest-{to}",
        "who": "Ada", "why": "it is better", "when": "2026-01-31T08:00:00Z", "by_hand": False,
        "evidence": {}, "n": 1, "prev": ledger.START, "hash": "0" * 64,
    }  # fmt: skip
    return ledger.Event(**values | other)


def world(found: Facts) -> dict[str, Any]:
    events = [ledger.Event(**{k: v for k, v in e.items() if k != "month"}) for e in found.events]
    state = ledger.state(events)
    return line.world(found, state, production_left(found, state))


def event(**values: Any) -> dict[str, Any]:
    return {"kind": "promote", "to_version": 1, "evidence": {}, **values}


def test_facts_are_read_back_as_they_were_written_and_unknown_keys_are_left_out() -> None:
    found = made_up.facts(6, 3)
    values = json.loads(json.dumps(to_json(found)))
    assert from_json({**values, "of_a_later_version": 1}) == from_json(values)
    assert json.loads(json.dumps(to_json(from_json(values)))) == values


# --- now ---


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (move("promote", None, 1), "promoted on the verdict, in a run by Ada"),
        (
            move("promote", 1, 2, by_hand=True, evidence={"verdict": "promote"}),
            "approved by Ada",
        ),
        (
            move("promote", 1, 2, by_hand=True, evidence={"verdict": "undecided"}),
            "promoted by hand by Ada",
        ),
        (move("rollback", 2, 1), "put back by Ada, who rolled back version 2"),
        (move("adopt", None, 1), "adopted by Ada"),
        (move("put back", 2, 1), "put back by Ada"),
    ],
)
def test_the_page_says_on_whose_word(what: ledger.Event, said: str) -> None:
    assert now.word(what) == said


def test_the_first_screen_says_which_model_since_when_and_on_what_evidence() -> None:
    shown = view(made_up.facts(12, 5))["now"]
    assert shown["headline"] == "Version 2 is in production"
    assert "15 July 2021, 08:00 UTC" in shown["lede"]
    evidence, window, drift, data = shown["tiles"]
    assert (evidence["value"], window["value"]) == ("0.731", "2021-01 to 2021-04")
    assert "+0.012 [+0.006, +0.018] against version 1" in evidence["note"]
    assert drift["label"] == "Drift in 2021-12"
    assert data["note"].startswith("labels are known up to 2021-09; AUC of version 2 0.7")
    assert data["note"].endswith("in 2021-09")


def test_without_a_model_the_page_says_what_to_do() -> None:
    shown = view(NOTHING)
    assert shown["now"]["headline"] == "Nothing is in production yet"
    assert shown["now"]["commands"] == [{"words": "", "command": "make run"}]
    assert shown["time_line"]["empty"]
    assert shown["heat"]["empty"]
    assert shown["candidate"]["empty"]


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("make month && make repro", [("", "make month && make repro")]),
        (
            "make month; or, to promote all the same: make promote REASON='…'",
            [("", "make month"), ("or, to promote all the same", "make promote REASON='…'")],
        ),
        ("mend the registry", [("mend the registry", "")]),
    ],
)
def test_the_next_step_is_parted_into_words_and_commands(
    step: str, parts: list[tuple[str, str]]
) -> None:
    found = [(part["words"], part["command"]) for part in now.commands(step)]
    assert found == parts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trouble": "it does not answer"}, "The registry cannot be relied on"),
        ({"alias": "the alias production was moved by hand"}, "moved by hand"),
        ({"awaits": True}, "waits for a yes"),
        ({"stale": True}, "compare again"),
        ({"outcome": "undecided"}, "a person may promote it all the same"),
        ({"outcome": "promoted"}, "Nothing waits for a decision"),
    ],
)
def test_the_page_says_what_waits_for_a_person(change: dict[str, Any], said: str) -> None:
    found = replace(made_up.facts(6, 3), **change)
    assert said in view(found)["now"]["awaits"]


# --- months ---


def test_an_event_is_placed_by_its_month_or_its_window_or_the_event_before() -> None:
    drift: dict[str, Any] = {
        "window": ["2024-03"],
        "months": [
            {"month": "2024-02", "window": None, "renewed": False},
            {"month": "2024-03", "window": ["2024-01"], "renewed": False},
            {"month": "2024-04", "window": ["2024-01"], "renewed": False},
            {"month": "2024-05", "window": ["2024-01"], "renewed": True},
        ],
    }
    renewed = placing.renewals(drift)
    assert renewed == ["2024-03", "2024-05"]
    events = [
        event(evidence={"month": "2024-09", "window": ["2024-01"]}),
        event(evidence={"window": ["2024-01"]}),
        event(evidence={"window": ["2024-01", "2024-02"]}),
        event(evidence={}),
    ]
    found = placing.of_events(events, renewed, label_delay=2)
    assert found == ["2024-09", "2024-03", "2024-05", "2024-05"]
    assert placing.of_events([event()], renewed, 2) == [None]
    drift["months"][0]["renewed"] = True  # labels without delay: it is its own first window
    assert placing.renewals(drift) == ["2024-02", "2024-05"]


def test_production_of_a_month_is_what_its_run_left_in_place() -> None:
    events = [event(month="2024-02"), event(to_version=2, month="2024-03"), event(month=None)]
    found = placing.in_production(events, ["2024-01", "2024-02", "2024-03", "2024-04"])
    assert {month: by["to_version"] for month, by in found.items()} == {
        "2024-02": 1, "2024-03": 2, "2024-04": 2,
    }  # fmt: skip


def test_months_without_a_file_are_on_the_axis_too() -> None:
    assert line.between("2023-11", "2024-02") == ["2023-11", "2023-12", "2024-01", "2024-02"]


def test_every_kind_of_decision_is_a_mark_and_two_in_a_place_are_one() -> None:
    found = made_up.facts(36, 3)
    rolled = {**found.events[-1], "kind": "rollback", "to_version": 1}
    back = {**rolled, "kind": "put back", "to_version": 2}
    twice = replace(found, events=[*found.events, rolled, back], runs=[*found.runs, found.runs[0]])
    twice.drift["months"][-1]["broken"] = {"column_000": "60% are missing"}
    marks = line.marks(twice, ledger.State(), set(made_up.names(36)))
    assert {mark["kind"] for mark in marks} == set(charts.KINDS)
    places = [(mark["month"], mark["kind"]) for mark in marks]
    assert len(places) == len(set(places))
    assert "2 times" in {mark["label"] for mark in marks}


def test_the_sentence_says_whether_the_world_is_still_the_same() -> None:
    calm = world(made_up.facts(12, 5, drifted=False))["sentence"]
    assert calm.startswith(
        "Yes: 2021-12 looks like 2021-04 to 2021-09: 0% of its columns moved, none is an alarm"
    )
    assert "0 of 9 judged months drifted" in calm
    wild = world(made_up.facts(6, 5))["sentence"]  # the sixth month has drifted
    assert wild.startswith("No: 2021-06 has left the window")


def moved_on() -> Facts:
    """Two months drifted since production was trained, and the newest is like the window again."""
    found = made_up.facts(20, 5)
    chosen = found.events[-1]["month"]
    later = [step for step in found.drift["months"] if step["month"] > chosen]
    assert len(later) >= 4
    for step in later:
        step |= {"triggered": False, "window": [chosen]}
    for step in later[:2]:
        step["triggered"] = True
    runs = [
        {**found.runs[0], "digest": f"{n:064x}", "month": later[2]["month"]} for n in (901, 902)
    ]
    before = [run for run in found.runs if run["month"] <= chosen]
    return replace(found, runs=[*before, *runs])


def test_that_the_loop_moved_on_and_production_did_not_is_no_yes() -> None:
    found = moved_on()
    chosen, version = found.events[-1]["month"], found.events[-1]["to_version"]
    names = [step["month"] for step in found.drift["months"] if step["month"] > chosen]
    said = world(found)["sentence"]
    assert said.startswith(
        f"No: since version {version} was trained, 2 months drifted, {names[0]} first; "
        f"none of the 2 candidates trained since has taken its place. {names[-1]} is like {chosen}:"
    )
    tiles = {tile["label"]: tile for tile in view(found)["now"]["tiles"]}
    assert tiles["Trained on"]["state"] == "past"
    assert f"the world has left them: {names[0]} drifted" in tiles["Trained on"]["note"]
    drift = tiles[f"Drift in {names[-1]}"]
    assert drift["state"] == ""
    assert drift["note"].startswith(f"held against {chosen}: ")


def test_where_the_runs_are_away_the_ledger_tells_when_production_was_trained() -> None:
    found = moved_on()
    digest = found.events[-1]["candidate"]
    known = placing.left(found.drift, found.runs, found.events, digest)
    assert known is not None
    assert len(known) == 2
    assert placing.left(found.drift, [], found.events, digest) == known
    assert placing.left(found.drift, [], [], digest) is None
    # Today's windows may place a run later than it was: the ledger's month is the earlier one.
    late = [{**run, "month": "2022-08"} for run in found.runs]
    assert placing.left(found.drift, late, found.events, digest) == known


def test_of_a_production_of_other_data_nobody_can_say() -> None:
    found = moved_on()
    for event in found.events:
        event["evidence"]["window"] = ["1997-04"]
    assert world(found)["sentence"].startswith("Nobody can say: what production was trained on is")
    assert "fine" not in {tile["state"] for tile in view(found)["now"]["tiles"]}


def test_without_registry_and_copy_nothing_is_claimed() -> None:
    page = render.page(replace(NOTHING, trouble="the registry does not answer"), live=True)
    assert "Nobody can say what is in production" in page
    assert "Nothing is in production" not in page
    assert "The registry has to be asked first" in page


def test_what_drifted_before_production_was_trained_does_not_count_against_it() -> None:
    found = moved_on()
    for step in found.drift["months"]:
        if step["month"] > found.events[-1]["month"]:
            step["triggered"] = False
    assert any(step["triggered"] for step in found.drift["months"])
    assert world(found)["sentence"].startswith("Yes: ")
    assert {tile["state"] for tile in view(found)["now"]["tiles"]} == {"", "fine"}


def test_the_table_of_months_says_what_the_marks_and_windows_show() -> None:
    found = made_up.facts(20, 3)
    rows = {row["month"]: row for row in world(found)["rows"]}
    for event in found.events:
        assert f"promoted v{event['to_version']}" in rows[event["month"]]["decided"]
        assert rows[event["month"]]["served"] == f"version {event['to_version']}"
    for run in found.runs:
        assert "trained" in rows[run["month"]]["decided"]


def test_where_alarms_decide_the_page_speaks_of_alarms_and_not_of_a_limit() -> None:
    found = made_up.facts(8, 3)
    step = found.drift["months"][-1]
    for column in step["columns"].values():
        column |= {"p_value": 0.2, "alarm": False}
    calm = world(found)["sentence"]
    assert "none is an alarm" in calm
    assert "limit" not in calm
    step["columns"]["column_001"] |= {"p_value": 0.001, "alarm": True, "drifted": True}
    step |= {
        "triggered": True,
        "broken": {"column_002": "60% are missing"},
        "label_tests": {
            "2021-05": {
                "what": "the churn rate", "alarm": True, "rate_month": 0.31, "rate_window": 0.2,
            }
        },
    }  # fmt: skip
    said = world(found)["sentence"]
    assert "an alarm for column_001; the churn rate of 2021-05 changed" in said
    assert "In 2021-05, whose labels came with it, 31% churned (20% in the window)" in said
    shown = line.time_line(found, ledger.State())
    assert [month["threshold"] for month in shown["months"]][-1] is None
    assert {"month": "2021-08", "kind": "feed broken", "label": ""} in shown["marks"]
    cells = {row["name"]: row["cells"][-1]["text"] for row in heat.heat(found)["rows"]}
    assert cells["column_001"].endswith("!")
    assert "column_001" in view(found)["now"]["tiles"][-2]["note"]
    assert "and an alarm" in render.page(found)


def test_where_a_share_decides_the_page_speaks_of_its_limit() -> None:
    found = made_up.facts(8, 3)
    found.drift["trigger"] = "share"
    found.drift["months"][-1] |= {"share": 0.4, "triggered": True}
    assert "40% of its columns moved, past the limit of 30%" in world(found)["sentence"]
    assert world(found)["rows"][0]["share"] == "40%, limit 30%"
    shown = line.time_line(found, ledger.State())["months"]
    assert [month["threshold"] for month in shown] == [None] * 3 + [0.3] * 5


def test_before_a_month_was_judged_the_months_are_shown_all_the_same() -> None:
    found = made_up.facts(3, 3)
    assert world(found)["empty"]
    assert "No month has been held against a training window yet" in render.page(found)
    assert [row["month"] for row in world(found)["rows"]] == ["2021-03", "2021-02", "2021-01"]


def test_a_month_too_small_to_judge_is_spoken_of_if_its_labels_alarmed() -> None:
    found = made_up.facts(8, 3, drifted=False)
    test = {"what": "the label rate", "alarm": True, "rate_month": 0.31, "rate_window": 0.2}
    found.drift["months"][-1] |= {
        "share": None, "columns": {}, "triggered": True, "label_tests": {"2021-05": test},
    }  # fmt: skip
    said = world(found)["sentence"]
    assert said.startswith(
        "No: 2021-08 has left the window of 2021-01 to 2021-05: the label rate of 2021-05 changed."
    )


def test_a_broken_newest_month_is_said() -> None:
    found = made_up.facts(8, 3, drifted=False)
    found.drift["months"][-1] |= {"share": None, "columns": {}, "broken": {"fee": "all are 0"}}
    said = world(found)["sentence"]
    assert said.startswith("Yes: 2021-07 looks like")
    assert "2021-08 cannot be judged: the feed of fee is broken: all are 0." in said


def test_a_drift_report_with_less_in_it_is_no_error() -> None:
    found = made_up.facts(6, 2)
    for step in found.drift["months"]:
        for key in ("labels", "reason", "renewed"):
            del step[key]
    assert world(found)["rows"][0]["labels"] == ""
    assert "<svg" in render.page(found)


# --- columns ---


def columns(**values: tuple[str, float | None, float, bool]) -> dict[str, Any]:
    keys = ("method", "value", "threshold", "drifted")
    more = {"importance": None, "matters": True, "p_value": 0.2, "alarm": False}
    return {name: dict(zip(keys, value, strict=True)) | more for name, value in values.items()}


def of(*months: dict[str, Any]) -> Facts:
    steps = [
        {"month": name, "columns": measured, "rows": 10, "window": ["2020-01"]}
        for name, measured in zip(made_up.names(len(months)), months, strict=True)
    ]
    return replace(NOTHING, drift={"window": [], "months": steps})


def test_the_column_that_moved_farthest_comes_first_whatever_its_method() -> None:
    found = heat.heat(
        of(
            columns(
                near=("wasserstein", 0.02, 0.1, False),
                far=("psi", 0.6, 0.2, True),
                by_p=("ks", 0.001, 0.05, True),
                none=("wasserstein, without a result", None, 0.1, False),
            )
        )
    )
    assert [row["name"] for row in found["rows"]] == ["by_p", "far", "near", "none"]
    assert [row["cells"][0]["text"] for row in found["rows"]] == ["50", "3.0", "0.2", "-"]
    assert found["sentence"].startswith("In 2021-01, 2 columns moved past the limit: by_p (50.0")


def test_a_p_value_far_above_its_limit_is_far_from_drifting() -> None:
    found = heat.heat(of(columns(by_p=("ks", 0.9, 0.05, False), far=("psi", 0.1, 0.2, False))))
    assert [row["name"] for row in found["rows"]] == ["far", "by_p"]
    assert found["rows"][1]["cells"][0]["text"] == "0.1"


def test_a_rounded_value_on_its_limit_does_not_turn_its_method_round() -> None:
    month = columns(a=("wasserstein", 0.1, 0.1, False), b=("wasserstein", 0.3, 0.1, True))
    rows = {row["name"]: row["newest"] for row in heat.heat(of(month))["rows"]}
    assert rows == {"a": pytest.approx(1), "b": pytest.approx(3)}


def test_what_drifted_looks_otherwise_than_what_did_not_whatever_its_value() -> None:
    measured = of(columns(a=("psi", 0.1999, 0.2, False), b=("psi", 0.2, 0.2, True)))
    shades = {row["name"]: row["cells"][0]["shade"] for row in heat.heat(measured)["rows"]}
    assert shades == {"a": 2, "b": 3}


def test_where_nothing_drifted_the_nearest_column_is_named() -> None:
    found = heat.heat(of(columns(a=("psi", 0.1, 0.2, False), b=("psi", 0.02, 0.2, False))))
    assert found["sentence"] == (
        "No column is past its limit in 2021-01; a is nearest to it, at 0.5 times the limit."
    )


@pytest.mark.parametrize(
    ("values", "feature", "words", "shares"),
    [
        ([True, True, False, None], {"type": "boolean"}, ["true", "false", "(missing)"],
         [500, 250, 250]),
        (["a", "b", "a", None], {"type": "category"}, ["a", "b", "(other)", "(missing)"],
         [500, 250, 0, 250]),
        ([1.0, 2.0, 2.0, 2.5], {"type": "number"}, ["1", "2", "2.5", "(other)", "(missing)"],
         [250, 500, 250, 0, 0]),
        ([None, None], {"type": "number"}, ["(other)", "(missing)"], [0, 1000]),
    ],
)  # fmt: skip
def test_few_values_are_a_bin_each(
    values: list[Any], feature: dict[str, Any], words: list[str], shares: list[int]
) -> None:
    kinds = {"boolean": pa.bool_(), "category": pa.string(), "number": pa.float64()}
    column, known = pa.chunked_array([pa.array(values, kinds[feature["type"]])]), Feature(**feature)
    cut = histograms.cuts(column, known)
    assert histograms.words(cut, known) == words
    assert histograms.shares(column, known, cut) == shares


def test_counts_are_binned_one_by_one_and_a_tail_is_open() -> None:
    column = pa.chunked_array([pa.array([float(n) for n in [0] * 90 + list(range(1, 10)) + [40]])])
    feature = Feature(type="number", min=0)
    cut = histograms.cuts(column, feature)
    words = histograms.words(cut, feature)
    assert words == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9 and more", "(missing)"]
    assert histograms.shares(column, feature, cut) == [900, *[10] * 8, 20, 0]


def test_values_outside_the_bins_fall_into_the_outermost() -> None:
    feature = Feature(type="number")
    cut = histograms.cuts(pa.chunked_array([pa.array(np.linspace(0, 1, 500))]), feature)
    outside = pa.chunked_array([pa.array([-5.0, 5.0, 5.0, None])])
    shares = histograms.shares(outside, feature, cut)
    assert (shares[0], shares[-2], shares[-1]) == (250, 500, 250)
    assert histograms.words(cut, feature)[0].startswith("below")


# --- curves ---


def test_roc_and_calibration_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(400).round(2)
    churned = (rng.random(400) < scores).astype(np.int8)
    false, true = np.array(quality.roc(churned, scores)).T
    assert metrics.auc(false, true) == pytest.approx(
        metrics.roc_auc_score(churned, scores), abs=0.01
    )
    exact = metrics.roc_curve(churned, scores, drop_intermediate=False)
    for x, y in zip(false, true, strict=True):
        assert np.hypot(exact[0] - x, exact[1] - y).min() < 1e-3
    predicted, observed = np.array(quality.calibration(churned, scores)).T
    assert list(predicted) == sorted(predicted)
    assert observed.mean() == pytest.approx(churned.mean(), abs=1e-3)
    assert quality.roc(np.ones(3, np.int8), np.ones(3)) == []


def test_the_auc_is_that_of_scikit_learn_and_its_interval_covers_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        churned = (np.arange(240) < 80).astype(np.int8)
        scores = rng.normal(churned * 1.0, 1).round(1)
        found = quality.auc(churned, scores, 0.9)
        assert found["auc"] == pytest.approx(metrics.roc_auc_score(churned, scores), abs=1e-6)
        covered += found["low"] <= 0.7602 <= found["high"]  # of two normals one deviation apart
    assert 0.85 < covered / 300 < 0.95
    assert quality.auc(np.ones(3, np.int8), np.ones(3), 0.9)["auc"] is None


def test_the_verdict_is_said_in_words_with_the_least_gain() -> None:
    found = challenger.candidate(made_up.facts(12, 3))
    assert found["verdict"] == "Nobody can say yet whether it is better: the verdict is undecided."
    assert found["least"] == "The least gain that this holdout could have shown is +0.0087 in AUC."
    assert list(found["curves"]) == ["candidate", "version 2"]


# --- HTML ---


@pytest.fixture(scope="module")
def html() -> str:
    return render.page(made_up.facts(12, 20), live=True)


def test_the_page_needs_nothing_from_elsewhere(html: str) -> None:
    ours = r"#|data:|drift\.html|docs|model|metrics|http://127"
    assert re.findall(rf'(?:src|href|action)="(?!{ours})', html) == []
    assert "@import" not in html
    assert "url(" not in html
    assert "cdn" not in html.lower()


def test_a_name_with_markup_in_it_stays_a_name() -> None:
    found = made_up.with_column(made_up.facts(12, 20), SCRIPT)
    for live in (True, False):
        page = render.page(found, live=live)
        assert SCRIPT not in page
        assert "&lt;script&gt;alert(1)" in page
        given = re.search(
            r'<script type="application/json" id="distributions">(.*?)</script>', page, re.DOTALL
        )
        assert given
        assert SCRIPT in json.loads(given[1])["columns"]


def test_what_people_wrote_stays_text() -> None:
    found = made_up.facts(12, 3)
    found.events[-1] |= {"who": SCRIPT, "why": SCRIPT}
    assert SCRIPT not in render.page(found)


def test_only_the_pages_own_script_may_run(html: str) -> None:
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    css = html[html.index("<style>") + len("<style>") : html.index("</style>")]
    said = policy.of(html)
    assert said == render.allowed(script, css)
    assert policy.source(script) in said
    assert "unsafe" not in said
    assert " style=" not in html  # which that policy would refuse


def test_only_the_live_page_has_a_form(html: str) -> None:
    assert 'id="customer"' in html
    assert 'id="customer"' not in render.page(made_up.facts(12, 3))


def test_charts_take_their_colours_from_the_page(html: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--blue)" in drawn
    assert re.findall(r'(?:fill|stroke)="#(?!000)', drawn) == []


def test_one_month_is_too_few_for_a_time_line() -> None:
    found = replace(made_up.facts(1, 3), next_month="put it into data/raw, then: make repro")
    page = render.page(found)
    assert "The time line begins with the second month" in page
    assert page.count("Next: put it into data/raw, then: <code>make repro</code>.") == 2


def test_the_page_of_36_months_by_200_columns_is_small_enough() -> None:
    assert len(render.page(made_up.facts(), live=True).encode()) < 1.5e6


def test_making_the_page_from_facts_needs_neither_pandas_nor_mlflow(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(to_json(made_up.facts(6, 3))))
    code = (
        "import sys; from page.__main__ import main; "
        f"sys.argv[1:] = '--facts {tmp_path}/facts.json --out {tmp_path}/p.html'.split(); "
        "main(); print([m for m in ('mlflow', 'pandas', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_curves_are_there_as_tables_too() -> None:
    curves = {"a": {"roc": [[0, 0], [0, 0.4], [0.5, 0.8], [1, 1]], "calibration": [[0.1, 0.2]]}}
    found = replace(made_up.facts(12, 3), curves={"candidate": curves["a"]})
    roc, calibration = view(found)["candidate"]["tables"]
    assert dict(roc["rows"])["50%"] == "80.0%"
    assert dict(roc["rows"])["10%"] == "48.0%"
    assert calibration["rows"] == [["1", "10.0% → 20.0%"]]
    assert "<caption>ROC: true positive rate of each model</caption>" in render.page(found)


def test_the_whole_gate_is_drawn() -> None:
    compared = {"interval": [0.001, 0.02], "gain": 0.01}
    assert "the interval: above +0.004" in charts.svg(charts.gain(compared, 0.005, 0.004, 300))
    assert "the interval" not in charts.svg(charts.gain(compared, 0.005, 0.0, 300))


def test_a_gain_that_is_an_exact_zero_is_drawn() -> None:
    spec = charts.gain({"interval": [0.0, 0.0], "gain": 0.0}, 0.0, 0.0, 300)
    domain = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] < 0 < domain[1]
    assert math.isfinite(domain[1])
    assert "<svg" in charts.svg(spec)
