"""The page's facts from a real registry, and how the server has its page made anew."""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import registry_fixtures
from registry_fixtures import FEATURES, Shop
from ruamel.yaml import YAML

from page import __main__ as command
from page import render
from page.facts import Facts
from page.gather import gather
from serve import place
from serve.place import PAGE
from serve.remake import Remaker
from stages.commands import rollback
from stages.registry import ledger, ledger_copy, store
from stages.shared import contract, files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code
ROWS = 400
MONTHS = ("1997-04", "1997-05", "1997-06")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    made = registry_fixtures.shop(tmp_path, monkeypatch, capsys)
    for name in ("page", "stages"):  # what is remembered is found by a key over the code
        (made.clone.root / name).symlink_to(registry_fixtures.ROOT / name)
    return made


def report() -> str:
    return (files.REPORTS / command.REPORT).read_text()


def put_months(shop: Shop) -> None:
    """Three labelled months with the fixture's columns, and what drift says of them."""
    features = contract.from_dict(FEATURES)
    for place_, name in enumerate(MONTHS):
        rows = [
            {
                "recency": float((7 * i + place_) % 60),
                "plan": ["NA", "basic"][i % 2],
                "paperless": None,
            }
            for i in range(ROWS)
        ]
        table = contract.to_table(rows, features)
        table = table.append_column("customer_id", pa.array([f"{i:05}" for i in range(ROWS)]))
        churned = pa.array([int((7 * i + place_) % 60 > 30) for i in range(ROWS)], pa.int8())
        target = files.MONTHS / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.append_column("churned", churned), target)
    measured = {"method": "wasserstein", "value": 0.05, "threshold": 0.1, "drifted": False}
    steps = [
        {
            "month": name, "rows": ROWS, "window": ["1997-04"] if n else None,
            "share": 0.0 if n else None, "threshold": 0.3, "triggered": False, "renewed": False,
            "reason": "0 of 3 columns drifted", "labels": "known",
            "columns": dict.fromkeys(FEATURES, measured) if n else {},
        }
        for n, name in enumerate(MONTHS)
    ]  # fmt: skip
    report = {"window": ["1997-04"], "pending": None, "months": steps}
    files.write_json(files.REPORTS / "drift.json", report)
    path = shop.clone.root / "params.yaml"
    yaml = YAML()
    values = yaml.load(path)
    values["data"] = {
        "id": "customer_id", "label": "churned", "label_delay": 0, "features": FEATURES,
    }  # fmt: skip
    yaml.dump(values, path)


def test_of_a_clone_in_which_nothing_has_run_the_page_says_what_to_do(shop: Shop) -> None:
    found = gather()
    assert (found.next_step, found.events, found.form) == ("make run", [], None)
    said = shop.call(command.main)
    assert said.status == 0, said.err
    assert "Nothing is in production yet" in report()


def test_the_facts_are_those_of_registry_reports_and_months(shop: Shop) -> None:
    digests = shop.given(2)
    put_months(shop)
    found = gather()
    assert [event["candidate"] for event in found.events] == digests
    assert [run["digest"] for run in found.runs] == digests
    assert all("/#/experiments/" in run["url"] for run in found.runs)
    assert found.form is not None
    assert (found.form["version"], found.form["features"]) == (2, FEATURES)
    assert found.columns["recency"]["months"].keys() == set(MONTHS)
    assert sum(found.columns["plan"]["months"]["1997-05"]) == 1000
    assert shop.call(command.main).status == 0
    assert "Version 2 is in production" in report()


def test_production_is_scored_on_each_labelled_month_once_and_remembered(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_months(shop)
    shop.promoted()
    found = gather()
    assert found.events[0]["month"] == "1997-06"  # the newest that was there, from the ledger
    assert found.events[0]["evidence"]["month"] == "1997-06"
    (measured,) = found.quality
    assert (measured["month"], measured["version"]) == ("1997-06", 1)
    assert 60 < measured["n"] < 180  # the holdout's share of the customers
    assert measured["low"] <= measured["auc"] <= measured["high"]
    monkeypatch.setattr(store, "fetch", lambda _: pytest.fail("it was measured before"))
    monkeypatch.setattr("page.gather._form", lambda _: None)
    assert gather().quality == found.quality


@pytest.mark.parametrize("name", ["recency", "customer_id"])
def test_a_month_without_a_column_that_production_needs_has_no_auc(shop: Shop, name: str) -> None:
    put_months(shop)
    shop.promoted()
    path = files.MONTHS / "1997-06.parquet"
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    assert gather().quality == []


def test_a_page_that_cannot_be_written_is_told_in_one_line(shop: Shop) -> None:
    (files.REPORTS / PAGE).mkdir(parents=True)
    said = shop.call(command.main)
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "page.html cannot be written: " in said.err


def test_a_rollback_keeps_the_evidence_of_what_it_puts_back(shop: Shop) -> None:
    put_months(shop)
    shop.given(2)
    assert shop.call(rollback.main).status == 0
    events = store.read().events
    assert events[-1].evidence == {"month": "1997-06"}
    known = ledger.evidence(events, events[-1].candidate)
    assert (known["auc"], known["month"]) == (0.7, "1997-06")
    assert shop.call(command.main).status == 0
    page = report()
    assert "Version 1 is in production" in page
    assert "who rolled back version 2" in page


def test_a_feature_that_old_months_lack_is_left_out_of_the_columns(shop: Shop) -> None:
    shop.given(1)
    put_months(shop)
    path = shop.clone.root / "params.yaml"
    yaml = YAML()
    values = yaml.load(path)
    values["data"]["features"] = {**FEATURES, "new": {"type": "number"}}
    yaml.dump(values, path)
    assert set(gather().columns) == set(FEATURES)


def test_with_the_registry_away_the_page_shows_the_ledgers_copy_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.given(2)
    ledger_copy.refresh(store.read().events)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = gather()
    assert found.trouble
    assert [event["to_version"] for event in found.events] == [1, 2]
    assert (found.runs, found.form) == ([], None)
    assert shop.call(command.main).status == 0
    page = report()
    assert "The registry cannot be relied on" in page
    assert "2 events in the clone&#39;s copy, not verified against the other" in page
    live = (files.REPORTS / PAGE).read_text()
    assert "The contract of version 2 is not at hand" in live
    assert "There is no model to ask yet" not in live


def test_with_the_registry_away_a_model_that_is_kept_still_has_its_form(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.given(2)
    ledger_copy.refresh(store.read().events)
    store.fetch(store.versions()[2])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = gather()
    assert found.form is not None
    assert (found.form["version"], found.next_step) == (2, "mend the registry, then: make status")


def test_events_that_contradict_the_copy_are_said_to_be_the_registrys(shop: Shop) -> None:
    shop.given(2)
    other: list[ledger.Event] = []
    for event in store.read().events:
        move = {one.name: getattr(event, one.name) for one in fields(ledger.Move)}
        other.append(ledger.append(other, ledger.Move(**move | {"why": "another story"})))
    ledger_copy.path().unlink()
    ledger_copy.refresh(other)
    assert not gather().from_copy
    assert shop.call(command.main).status == 0
    assert "events in the registry, not verified against the other" in report()


def test_a_broken_chain_is_on_the_page(shop: Shop) -> None:
    shop.given(2)
    events = [{**vars(event), "month": None} for event in store.read().events]
    events[0] |= {"why": "another reason"}
    facts = Facts(as_of="2026-01-31T08:00:00+00:00", next_step="mend it", events=events)
    assert "The chain is broken at event 1" in render.page(facts)


def test_facts_that_are_none_are_refused_in_one_line(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text("[")
    said = shop.call(command.main, "--facts", str(path))
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "holds no facts of the page" in said.err


# --- the server's page ---


def runs_of(made: Remaker, log: Path) -> int:
    """How often the page was made, once there is nothing to do any more."""
    idle = 0
    while idle < 3:
        made.step()
        idle = idle + 1 if made.idle else 0
        time.sleep(0.01)
    return len(log.read_text()) if log.exists() else 0


def appending(log: Path, status: int = 0) -> list[str]:
    """A command that notes that it ran, in the place of the one that takes seconds."""
    code = f"import sys; open({str(log)!r}, 'a').write('x'); "
    code += f"{status} or open({str(log.parent / PAGE)!r}, 'w').write('page'); sys.exit({status})"
    return [sys.executable, "-c", code]


def test_the_page_is_made_at_the_start_and_whenever_what_it_shows_has_changed(
    shop: Shop, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    made = Remaker(tmp_path, appending(log), quiet=0)
    assert runs_of(made, log) == 1
    changes: tuple[Callable[[], None], ...] = (
        lambda: files.write_json(files.REPORTS / "drift.json", {}),
        lambda: place.replace_current(tmp_path, {"version": 2}),
        lambda: place.note(tmp_path, {"names": 2, "error": "the registry cannot be asked"}),
        lambda: files.write_bytes(files.home() / "models" / "ledger.jsonl", b""),
        (tmp_path / PAGE).unlink,
    )
    for number, change in enumerate(changes, start=2):
        change()
        assert runs_of(made, log) == number
    place.note(tmp_path, {"names": 2, "error": "the registry cannot be asked", "at": 1.0})
    assert runs_of(made, log) == 6  # the watcher's own clock is no change


def test_while_reports_are_written_the_page_waits(shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = Remaker(tmp_path, appending(log), quiet=3600)
    assert runs_of(made, log) == 0


def test_a_page_that_cannot_be_made_is_tried_again_later_and_the_old_one_stays(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    (tmp_path / PAGE).write_text("old")
    later = Remaker(tmp_path, appending(log, status=1), quiet=0, again=3600)
    assert runs_of(later, log) == 1
    assert "the old one stays" in capsys.readouterr().err
    assert (tmp_path / PAGE).read_text() == "old"
    soon = Remaker(tmp_path, appending(log, status=1), quiet=0, again=0)
    while len(log.read_text()) < 4:
        soon.step()


def test_making_a_page_that_has_no_end_is_a_failure_too(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hangs = (sys.executable, "-c", "import time; time.sleep(600)")
    made = Remaker(tmp_path, hangs, quiet=0, again=3600, longest=0.1)
    made.step()
    assert not made.idle
    end = time.monotonic() + 60
    while not made.idle and time.monotonic() < end:
        made.step()
    assert made.idle
    assert "the old one stays" in capsys.readouterr().err


def test_the_live_page_is_put_where_the_server_looks(shop: Shop) -> None:
    shop.given(1)
    folder = command.folder()
    said = shop.call(command.main, "--live")
    assert said.status == 0, said.err
    page = (folder / PAGE).read_text()
    assert 'id="customer"' in page
    assert 'data-name="recency"' in page
