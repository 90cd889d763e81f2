"""What a person does with the registry: roll back, look, restore, tidy up."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import registry_fixtures
from registry_fixtures import REASONS, Shop

from stages import promote
from stages.commands import gc, history, pages, restore, rollback, status
from stages.registry import evidence, ledger, ledger_copy, store
from stages.shared import candidate, files
from stages.shared.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    return registry_fixtures.shop(tmp_path, monkeypatch, capsys)


def kinds() -> list[tuple[str, int | None, int]]:
    return [(one.kind, one.from_version, one.to_version) for one in store.read().events]


def next_step(shop: Shop) -> str:
    said = shop.call(status.main)
    assert said.status == 0, said.err
    return said.out.splitlines()[-1].removeprefix("next: ")


# --- store --------------------------------------------------------------------------------------


def test_reading_a_registry_that_is_not_there_creates_nothing(shop: Shop) -> None:
    shutil.rmtree(files.ROOT / "mlflow")
    found = store.production()
    assert (found.version, found.digest, dict(found.quarantined)) == (None, None, {})
    assert not (files.ROOT / "mlflow").exists()


def test_the_address_of_the_registry_is_found_from_the_root(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.registry import connection

    assert connection.uri() == f"sqlite:///{files.ROOT}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other/place.db")
    assert connection.uri() == f"sqlite:///{files.ROOT}/other/place.db"
    # pragma: allowlist nextline secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@registry:5000")
    assert connection.uri() == "http://ada:secret@registry:5000"  # pragma: allowlist secret
    assert connection.shown() == "http://registry:5000"


@pytest.mark.slow
def test_a_server_that_is_down_is_one_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = shop.call(history.main)
    assert said.status == 1
    assert said.err.startswith(
        "error: the registry at http://127.0.0.1:9 does not do what is asked"
    )
    assert said.err.count("\n") == 1


def test_a_version_is_fetched_with_its_own_bytes(shop: Shop) -> None:
    digests = shop.given(2)
    assert candidate.digest(store.fetch(store.versions()[1])) == digests[0]


def test_a_version_whose_files_were_changed_is_not_fetched(shop: Shop) -> None:
    shop.promoted()
    for path in (files.ROOT / "mlflow").rglob("candidate/model.json"):
        path.write_text("{}")
    with pytest.raises(UserError, match="the files of version 1 are gone or damaged"):
        store.fetch(store.versions()[1])


def test_a_version_that_nobody_knows_is_not_fetched(shop: Shop) -> None:
    with pytest.raises(UserError, match="version 9 of churn_model is gone from the registry"):
        store.at_hand(9, "0" * 64)


def test_a_long_reason_is_kept_whole(shop: Shop) -> None:
    shop.given(1)
    shop.candidate(2.0, "undecided")
    reason = "ö" * 9000
    assert shop.call(promote.main, "--by-hand", "--reason", reason).status == 0
    assert store.read().events[1].why == reason


# --- rollback -----------------------------------------------------------------------------------


def test_with_nothing_in_production_there_is_nothing_to_roll_back(shop: Shop) -> None:
    said = shop.call(rollback.main)
    assert (said.status, said.err) == (
        1,
        "error: nothing is in production: there is nothing to roll back\n",
    )


def test_from_the_first_model_there_is_no_way_back(shop: Shop) -> None:
    shop.given(1)
    said = shop.call(rollback.main)
    assert said.status == 1
    assert said.err == "error: nothing was in production before version 1: no way back\n"


def test_a_quarantined_version_comes_back_with_a_reason_only(shop: Shop) -> None:
    shop.given(2)
    assert shop.call(rollback.main, "--version", "", "--reason", "").status == 0
    said = shop.call(rollback.main)
    assert said.status == 1
    assert "is quarantined" in said.err
    assert said.err.endswith("make rollback VERSION=2 REASON='…'\n")
    said = shop.call(rollback.main, "--version", "2")
    assert said.status == 1
    assert "to put it back all the same: make rollback VERSION=2 REASON='…'" in said.err
    said = shop.call(rollback.main, "--version", "2", "--reason", "it was the data")
    assert said.out == (
        "rollback: version 2 is in production again: its quarantine is lifted; version 1 was left\n"
    )
    assert store.read().events[-1].why == "it was the data"
    assert store.production().quarantined == {}


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("two", "VERSION=two is no version: give a number that `make history` shows"),
        ("0", "VERSION=0 is no version: give a number that `make history` shows"),
        ("7", "there is no version 7 of churn_model (there is: 1)"),
        ("1", "version 1 is in production already: nothing to do"),
    ],
)
def test_a_version_that_cannot_be_meant_is_refused_in_one_line(
    shop: Shop, version: str, line: str
) -> None:
    shop.given(1)
    said = shop.call(rollback.main, "--version", version, "--reason", "x")
    assert (said.status, said.err) == (1, f"error: {line}\n")
    assert len(kinds()) == 1


def test_an_alias_that_was_moved_by_hand_is_adopted_with_a_reason(shop: Shop) -> None:
    shop.given(2)
    store.point(1)
    assert shop.call(rollback.main).status == 1
    assert shop.call(rollback.main, "--version", "1").status == 1
    assert len(kinds()) == 2
    said = shop.call(rollback.main, "--version", "1", "--reason", "Eve meant it")
    assert said.out == "rollback: version 1 is in production, adopted\n"
    assert kinds()[-1] == ("adopt", 2, 1)
    assert store.read().standing == "settled"


def test_an_alias_that_was_moved_by_hand_is_put_back_with_a_reason(shop: Shop) -> None:
    shop.given(2)
    store.point(1)
    said = shop.call(rollback.main, "--version", "2", "--reason", "a slip")
    assert said.out == "rollback: version 2 is in production again: the alias is back\n"
    assert kinds()[-1] == ("put back", 1, 2)
    assert store.read().alias == 2
    assert store.production().quarantined == {}


def test_an_alias_without_a_ledger_asks_for_adoption(shop: Shop) -> None:
    shop.candidate(verdict="undecided")
    shop.stage()
    shop.call(restore.main)  # registers the candidate, moves no alias
    store.point(1)
    with pytest.raises(UserError, match=r"to adopt it: make rollback VERSION=1 REASON='…'$"):
        store.production()
    said = shop.call(rollback.main, "--version", "1", "--reason", "it was there before us")
    assert said.status == 0
    assert kinds() == [("adopt", None, 1)]
    assert store.read().events[0].evidence["window"] == ["1997-04", "1997-05"]


# --- history ------------------------------------------------------------------------------------


def test_history_is_a_table_with_the_chain_verified(shop: Shop) -> None:
    assert shop.call(history.main).out == "no event yet\n"
    shop.given(2)
    shop.call(rollback.main, "--reason", "complaints")
    out = shop.call(history.main).out
    assert out.splitlines()[-1] == "3 events, chain verified"
    assert "none → 1" in out
    assert "2 → 1" in out
    assert "complaints" in out
    assert "+0.0100" in out


def test_history_shows_that_the_alias_was_moved_by_hand(shop: Shop) -> None:
    shop.given(2)
    store.point(1)
    said = shop.call(history.main)
    assert said.status == 0
    assert said.out.splitlines()[-1].startswith("the alias production was moved by hand")


def test_history_tells_what_was_in_production_on_a_day(shop: Shop) -> None:
    shop.given(1)
    today = store.read().events[0].when[:10]
    said = shop.call(history.main, "--as-of", today).out
    assert said.startswith(f"on {today} version 1 was in production: promote by ")
    assert shop.call(history.main, "--as-of", "1997-01-01").out == (
        "on 1997-01-01 nothing was in production\n"
    )
    assert shop.call(history.main, "--as-of", "").status == 0
    assert shop.call(history.main, "--as-of", "soon").err == (
        "error: AS_OF=soon is no day: write it as YYYY-MM-DD\n"
    )


def test_a_ledger_that_somebody_changed_is_found_out_and_nothing_is_promoted(shop: Shop) -> None:
    from mlflow import MlflowClient

    shop.given(2)
    client = MlflowClient()
    found = client.get_experiment_by_name("churn_model/ledger/000001")
    assert found
    forged = found.tags["event.0"].replace('"by_hand":false', '"by_hand":true')
    client.set_experiment_tag(found.experiment_id, "event.0", forged)
    said = shop.call(history.main)
    assert said.status == 1
    assert said.err.startswith("error: the ledger's chain is broken at event 1")
    told = shop.call(status.main)
    assert told.status == 0
    said_ = " ".join(told.out.split())
    assert "2 events in the clone's copy, chain verified" in said_
    assert "the ledger's chain is broken at event 1" in said_
    ledger_copy.path().unlink()
    assert "2 events, chain broken at event 1" in " ".join(shop.call(status.main).out.split())
    shop.clone.reports(shop.clone.candidate(3.0), 2)
    assert shop.stage().status == 1
    assert list(store.versions()) == [1, 2]


def test_an_event_that_somebody_deleted_in_mlflow_s_pages_is_still_read(shop: Shop) -> None:
    from mlflow import MlflowClient

    shop.given(2)
    client = MlflowClient()
    found = client.get_experiment_by_name("churn_model/ledger/000002")
    assert found
    client.delete_experiment(found.experiment_id)
    assert len(kinds()) == 2
    shop.promoted(3.0)
    assert len(kinds()) == 3


# --- status -------------------------------------------------------------------------------------


def drift_report(*windows: list[str], labels: str = "known") -> dict[str, Any]:
    """A report over months from 1997-06 on; ``windows`` are those in force after each month."""
    names = [f"1997-{6 + n:02d}" for n in range(len(windows))]
    steps = [
        {
            "month": name,
            "window": windows[n - 1] if n else None,
            "share": 0.1,
            "threshold": 0.3,
            "triggered": False,
            "reason": "1 of 13 columns drifted",
            "labels": labels,
        }
        for n, name in enumerate(names)
    ]
    return {"window": windows[-1], "pending": None, "months": steps}


def test_status_works_before_anything_has_run(shop: Shop) -> None:
    shutil.rmtree(files.ROOT / "mlflow")
    said = shop.call(status.main)
    assert said.status == 0
    assert "nothing has run yet" in said.out
    assert said.out.splitlines()[-1] == "next: make run"


def test_status_works_before_there_is_a_window(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report([], [], labels="not due yet"))
    said = shop.call(status.main)
    assert said.status == 0, said.err
    assert "window none yet" in " ".join(said.out.split())


def test_status_tells_what_is_in_production_since_when_and_why(shop: Shop) -> None:
    old = ["1997-04", "1997-05"]
    files.write_json(files.REPORTS / "drift.json", drift_report(old, old, labels="not due yet"))
    digest = shop.given(1)[0]
    out = " ".join(shop.call(status.main).out.split())
    assert f"production version 1 ({digest[:12]}), since 20" in out
    assert f": {REASONS[0]}" in out
    assert "trained on 1997-04..1997-05" in out
    assert "waiting for labels: 1997-06, 1997-07" in out
    assert "alias agrees with the ledger" in out
    assert next_step(shop) == "make month && make repro"


def test_status_says_for_how_many_months_production_is_of_another_window(shop: Shop) -> None:
    old, new = ["1997-04", "1997-05"], ["1997-06", "1997-07"]
    shop.given(1)
    shop.clone.reports(shop.clone.candidate(2.0, tuple(new)), 1, "undecided")
    shop.stage()
    files.write_json(files.REPORTS / "drift.json", drift_report(old, old, new, new, new))
    out = " ".join(shop.call(status.main).out.split())
    assert (
        "production was trained on 1997-04..1997-05, the last candidate on 1997-06..1997-07, for "
        "2 months now" in out
    )
    files.write_json(files.REPORTS / "drift.json", drift_report(old, old, new))
    assert "since this month" in " ".join(shop.call(status.main).out.split())


def test_status_names_the_command_that_an_awaiting_verdict_needs(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    assert next_step(shop) == "make repro"
    shop.clone.approval("manual")
    shop.candidate()
    shop.stage()
    assert next_step(shop) == "make promote"


def test_status_names_the_ways_out_of_an_undecided_verdict(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    shop.given(1)
    shop.candidate(2.0, "undecided")
    shop.stage()
    assert next_step(shop) == (
        "make month && make repro; or, to promote all the same: make promote REASON='…'"
    )


def test_status_says_when_the_verdict_is_about_a_production_that_is_gone(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    shop.given(2)
    shop.candidate(3.0, "reject")
    shop.stage()
    shop.call(rollback.main)
    assert next_step(shop) == status.COMPARE_AGAIN
    assert "but production is version 1 by now" in shop.call(status.main).out


def test_status_sees_a_verdict_that_an_experiment_brought_beside_an_old_receipt(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    shop.given(1)
    shop.candidate(2.0)  # what `dvc exp apply` leaves: another candidate, the receipt of the first
    assert next_step(shop) == "make promote"
    assert "outcome awaiting approval" in " ".join(shop.call(status.main).out.split())


def test_status_shows_an_alias_that_was_moved_by_hand(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    shop.given(2)
    store.point(1)
    assert next_step(shop) == (
        "to adopt it: make rollback VERSION=1 REASON='…'; "
        "to put it back: make rollback VERSION=2 REASON='…'"
    )


def test_status_of_a_lost_registry_leads_to_make_restore(shop: Shop) -> None:
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    shop.given(1)
    shop.forget_registry()
    assert next_step(shop) == "make restore"
    assert "version 1" in shop.call(status.main).out


def test_status_of_a_damaged_database_is_told_without_a_traceback(shop: Shop) -> None:
    shutil.rmtree(files.ROOT / "mlflow")
    (files.ROOT / "mlflow").mkdir()
    (files.ROOT / "mlflow" / "mlflow.db").write_text("no database")
    assert next_step(shop) == "mend the registry, then: make status"


# --- the copy, and what is restored from it -----------------------------------------------------


def test_a_registry_that_lost_its_ledger_is_refused_until_it_is_restored(shop: Shop) -> None:
    shop.given(2)
    shop.forget_registry()
    with pytest.raises(UserError) as error:
        store.production()
    assert str(error.value) == (
        "the registry has lost 2 of 2 events of its ledger (the last put version 2 into "
        "production): type `make restore`"
    )
    assert shop.stage().status == 1
    assert len(ledger_copy.read()) == 2


def test_a_copy_of_another_registry_is_never_overwritten(shop: Shop) -> None:
    shop.given(1)
    text = ledger_copy.path().read_text()
    shop.forget_registry()
    ledger_copy.path().unlink()
    shop.promoted(2.0)
    ledger_copy.path().write_text(text)
    said = shop.call(history.main)
    assert said.status == 1
    assert "is the ledger of another registry" in said.err
    assert ledger_copy.path().read_text() == text


def test_a_copy_that_was_deleted_is_written_anew_by_who_reads_the_ledger(shop: Shop) -> None:
    shop.given(1)
    text = ledger_copy.path().read_text()
    ledger_copy.path().unlink()
    shop.call(history.main)
    assert ledger_copy.path().read_text() == text


def test_a_damaged_copy_is_one_line(shop: Shop) -> None:
    shop.given(1)
    ledger_copy.path().write_text("{}\n")
    said = shop.call(history.main)
    assert said.status == 1
    assert said.err.startswith("error: models/ledger.jsonl is damaged")


def test_without_a_copy_restore_registers_the_candidate_and_moves_no_alias(shop: Shop) -> None:
    digest = shop.given(1)[0]
    shop.forget_registry()
    ledger_copy.path().unlink()
    said = shop.call(restore.main)
    assert said.out == (
        f"restore: there is no copy of the ledger; candidate {digest[:12]} is version 1, and "
        "nothing is in production; if it should be:\n  make rollback VERSION=1 REASON='…'\n"
    )
    assert (store.read().alias, kinds()) == (None, [])
    files.write_json(files.REPORTS / "drift.json", drift_report(["1997-04"]))
    assert next_step(shop) == "to put version 1 into production: make rollback VERSION=1 REASON='…'"
    assert shop.call(rollback.main, "--version", "1").status == 1
    assert shop.call(rollback.main, "--version", "1", "--reason", "as before").status == 0
    assert kinds() == [("adopt", None, 1)]


def test_a_model_whose_files_are_nowhere_is_named_and_its_number_stays_taken(shop: Shop) -> None:
    lost, digest = shop.given(2)  # the second is the workspace's candidate
    shop.forget_registry()
    said = shop.call(restore.main)
    assert said.status == 0
    assert said.out.splitlines() == [
        f"restore: version 1: the files of {lost[:12]} are nowhere",
        "restore: version 2 is back",
        "restore: 2 events; version 2 is in production",
    ]
    assert {v.number: v.digest for v in store.versions().values()} == {2: digest}
    assert store.read().standing == "settled"


def test_when_production_s_own_files_are_nowhere_a_person_chooses_another(shop: Shop) -> None:
    shop.given(1)
    kept = shop.clone.root / "kept"
    shutil.copytree(files.CANDIDATE, kept)
    shop.promoted(2.0)
    shop.forget_registry()
    shutil.rmtree(files.CANDIDATE)
    kept.rename(files.CANDIDATE)
    said = shop.call(restore.main)
    assert said.status == 1
    assert "version 2 is in production by the ledger, but its files are nowhere" in said.err
    assert shop.call(rollback.main, "--version", "1", "--reason", "the files are lost").status == 0
    assert kinds()[-1] == ("rollback", 2, 1)
    assert store.read().standing == "settled"
    shop.promoted(3.0)
    assert list(store.versions()) == [1, 3]


def test_an_intact_registry_is_left_as_it_is_by_restore(shop: Shop) -> None:
    shop.given(1)
    before = store.read()
    said = shop.call(restore.main)
    assert said.out.splitlines() == [
        "restore: version 1 is there",
        "restore: 1 events; version 1 is in production",
    ]
    assert store.read() == before


# --- with DVC -----------------------------------------------------------------------------------


@pytest.fixture
def dvc_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    clone = registry_fixtures.make_with_dvc(tmp_path / "clone")
    registry_fixtures.enter(clone, monkeypatch)
    restore.cache_folder.cache_clear()
    return Shop(clone, monkeypatch, capsys)


@pytest.mark.slow
def test_gc_frees_what_nobody_names_and_restore_still_finds_what_the_ledger_names(
    dvc_shop: Shop,
) -> None:
    shop = dvc_shop
    digests = []
    for c, verdict in ((1.0, "promote"), (2.0, "undecided"), (3.0, "promote")):
        digests.append(shop.candidate(c, verdict))
        shop.clone.dvc("commit", "--force", "train", "evaluate", "compare")
        assert shop.stage().status == 0
    (files.MEMORY / "candidates").mkdir(parents=True, exist_ok=True)
    old_month = committed_and_replaced(shop, b"a month that only an old commit names")
    cache = files.ROOT / ".dvc" / "cache"
    before = gc.size(cache)
    said = shop.call(gc.main)
    assert said.status == 0, said.err
    assert said.out.startswith("gc: 0.")
    assert said.out.endswith("MB are free; 1 MLflow run deleted\n")
    assert gc.size(cache) < before
    assert old_month.is_file()
    assert not files.MEMORY.exists()
    assert {run.data.tags["digest"] for run in runs()} == {digests[0], digests[2]}

    # Version 1 is neither the workspace's nor in the registry any more.
    events = store.read().events
    shop.forget_registry()
    said = shop.call(restore.main)
    assert said.status == 0, said.out + said.err
    assert store.read().events == events
    assert store.read().standing == "settled"
    known = {v.number: v.digest for v in store.versions().values()}
    assert known == {1: digests[0], 2: digests[2]}
    assert candidate.digest(store.fetch(store.versions()[1])) == digests[0]
    assert {run.data.metrics["compare.gain"] for run in runs()} == {0.01}


def committed_and_replaced(shop: Shop, month: bytes) -> Path:
    """Commit a raw month, replace it; returns where DVC's cache has the old one."""
    raw = files.ROOT / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(files.ROOT))
    for content in (month, b"the same month with its labels"):
        (raw / "2024-01.csv").write_bytes(content)
        shop.clone.dvc("add", "raw")
        subprocess.run([*git, "add", "--force", "raw.dvc"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message=month"], check=True)
    md5 = hashlib.md5(month, usedforsecurity=False).hexdigest()
    return files.ROOT / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def runs() -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name("churn_model")
    return list(client.search_runs([found.experiment_id])) if found else []


def test_gc_refuses_where_the_ledger_is_lost(shop: Shop) -> None:
    shop.given(1)
    shop.forget_registry()
    said = shop.call(gc.main)
    assert said.status == 1
    assert "make restore" in said.err


def test_mlflow_s_pages_need_a_registry_and_a_port(shop: Shop) -> None:
    assert shop.call(pages.main, "--port", "http").err == (
        "error: PORT=http is no port: give a number from 1 to 65535\n"
    )
    shutil.rmtree(files.ROOT / "mlflow")
    assert shop.call(pages.main).err == "error: there is no registry yet: type `make run`\n"
    shop.monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry:5000")
    assert shop.call(pages.main).out == ("the registry is a server already: http://registry:5000\n")


def test_gc_keeps_every_address_that_an_event_names() -> None:
    moves = [
        ledger.Move("promote", None, 1, "a", "Ada", "", "", False, {"files": {"x": "2", "y": "1"}}),
        ledger.Move("rollback", 1, 2, "b", "Ada", "", "", True, {}),
        ledger.Move("promote", 2, 3, "c", "Ada", "", "", False, {"files": {"x": "2", "y": "3"}}),
    ]
    events: list[ledger.Event] = []
    for move in moves:
        events.append(ledger.append(events, move))
    assert gc.kept_addresses(events) == ["1", "2", "3"]


def test_as_of_needs_a_calendar_day() -> None:
    assert history.day("2026-02-28") == date(2026, 2, 28)
    assert history.day(" ") is None
    with pytest.raises(UserError):
        history.day("2026-02-30")


def test_the_addresses_of_a_candidate_that_is_not_in_the_workspace_are_unknown(shop: Shop) -> None:
    digest = shop.clone.candidate()
    outs = [{"path": "models/candidate", "md5": "ab.dir"}]
    files.LOCK.write_text(json.dumps({"stages": {"train": {"outs": outs}}}))
    assert evidence.addresses_of(digest) == {"models/candidate": "ab.dir"}
    assert evidence.addresses_of("another") == {}
