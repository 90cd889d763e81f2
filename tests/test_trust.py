"""Nothing that a registry, its ledger or a copy of it says is taken for granted."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import registry_fixtures
from hypothesis import given
from hypothesis import strategies as st
from registry_fixtures import Shop
from test_identifiers import HOSTILE
from test_watch import Watched

from serve import watch
from stages.commands import history, restore, rollback, status
from stages.registry import connection, ledger, ledger_copy, store
from stages.shared import candidate, files
from stages.shared.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    return registry_fixtures.shop(tmp_path, monkeypatch, capsys)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Watched:
    clone = registry_fixtures.make(tmp_path / "clone")
    registry_fixtures.enter(clone, monkeypatch)
    monkeypatch.setattr("stages.promote._record", lambda: None)
    return Watched(clone, monkeypatch, capsys)


def tag(version: int, digest: str) -> None:
    with connection.asking() as client:
        client.set_model_version_tag(store.MODEL, str(version), "digest", digest)


def delete(version: int) -> None:
    with connection.asking() as client:
        client.delete_model_version(store.MODEL, str(version))


def written(n: int, text: str) -> None:
    """Somebody writes an event's text into MLflow."""
    with connection.asking() as client:
        found = client.get_experiment_by_name(f"churn_model/ledger/{n:06d}")
        assert found
        for i in range(len(found.tags)):
            if f"event.{i}" in found.tags:
                client.set_experiment_tag(found.experiment_id, f"event.{i}", "" if i else text)


def copied(shop: Shop) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger_copy.path().read_text().splitlines()]


def trees(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# --- a tag that is a path -----------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [*HOSTILE[1:], "../../../canary", "a" * 63 + "/"])
def test_a_digest_that_is_a_path_touches_nothing_outside(
    watched: Watched, tmp_path: Path, hostile: str
) -> None:
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "kept.txt").write_text("x")
    watched.given(1)
    try:
        tag(1, hostile)
    except UserError:
        pytest.skip("MLflow itself takes no such tag")
    before = trees(tmp_path)
    version = store.versions()[1]
    assert version.digest is None
    with pytest.raises(UserError) as caught:
        store.fetch(version)
    assert caught.value.code == "no_digest"
    with pytest.raises(UserError):
        watch.take(version, watched.folder)
    gone = before - trees(tmp_path)
    assert not [name for name in gone if not name.startswith("clone/data/memory")]


@given(st.text() | st.sampled_from(HOSTILE))
def test_no_text_makes_a_path_outside_the_place_of_candidates(text: str) -> None:
    with pytest.raises((UserError, ValueError)):
        store.at_hand(1, text)


def test_a_folder_of_the_server_that_is_any_folder_is_not_swept(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "0" * 63, "f" * 64, "e" * 64, "d" * 64, "c" * 64):
        (tmp_path / name).mkdir()
    watch.sweep(tmp_path, "f" * 64)
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"a", "b", "c", "d", "0" * 63, "f" * 64} <= kept
    assert len(kept) == 8  # of three other models the newest two


# --- ledger, tag and bytes ----------------------------------------------------------------------


def test_a_version_that_bears_another_s_digest_is_not_served(watched: Watched) -> None:
    watched.promoted(1.0)
    watched.promoted(2.0)
    assert watched.step() == (2, None)
    digests = [event.candidate for event in store.read().events]
    tag(2, digests[0])
    version, error = watched.step()
    assert version == 2
    assert watched.current()["digest"] == digests[1]  # type: ignore[index]
    assert "another digest than the ledger's" in str(error)
    assert watched.code() == "digest_differs"
    told = " ".join(watched.call(status.main).out.split())
    assert "version 2 of churn_model bears a tag with another digest" in told
    assert told.endswith("next: make restore")
    assert "bears a tag with another digest" in watched.call(history.main).out
    assert watched.call(restore.main).status == 0
    assert store.versions()[2].digest == digests[1]
    assert watched.step() == (2, None)
    assert store.read().standing == "settled"


def test_without_a_model_in_place_a_false_tag_gives_none(watched: Watched) -> None:
    watched.given(2)
    tag(2, store.versions()[1].digest or "")
    assert watched.step()[0] is None
    assert watched.code() == "digest_differs"


def test_compare_measures_against_the_ledger_s_model_or_not_at_all(watched: Watched) -> None:
    watched.given(2)
    digests = [event.candidate for event in store.read().events]
    tag(2, digests[0])
    now = store.production()
    assert (now.version, now.digest) == (2, digests[1])
    shutil.rmtree(files.MEMORY, ignore_errors=True)
    with pytest.raises(UserError, match="another digest than the ledger's"):
        store.at_hand(2, digests[1])
    assert watched.call(rollback.main, "--version", "2", "--reason", "x").status == 1


def test_an_alias_that_was_moved_by_hand_is_not_served(watched: Watched) -> None:
    watched.promoted(1.0)
    watched.promoted(2.0)
    watched.step()
    store.point(1)
    version, error = watched.step()
    assert (version, watched.code()) == (2, "moved_by_hand")
    assert "make rollback VERSION=1" in str(error)
    assert watched.call(rollback.main, "--version", "1", "--reason", "meant").status == 0
    time.sleep(1.1)
    assert watched.step() == (1, None)


def test_a_registry_without_a_ledger_is_not_served_and_says_so(watched: Watched) -> None:
    watched.given(1)
    with closing(sqlite3.connect(files.ROOT / "mlflow" / "mlflow.db")) as database, database:
        named = "SELECT experiment_id FROM experiments WHERE name LIKE '%/ledger/%'"
        database.execute(f"DELETE FROM experiment_tags WHERE experiment_id IN ({named})")  # noqa: S608
        database.execute("DELETE FROM experiments WHERE name LIKE '%/ledger/%'")
    ledger_copy.path().unlink()
    version, error = watched.step()
    assert (version, watched.code()) == (None, "no_ledger")
    assert "make rollback VERSION=1 REASON" in str(error)
    assert watched.call(rollback.main, "--version", "1", "--reason", "ours").status == 0
    time.sleep(1.1)
    assert watched.step() == (1, None)


def test_a_ledger_that_was_changed_stops_the_watcher_not_the_server(watched: Watched) -> None:
    watched.promoted(1.0)
    watched.step()
    watched.promoted(2.0)
    written(1, ledger.to_text(store.read().events[0]).replace('"by_hand":false', '"by_hand":true'))
    assert watched.step()[0] == 1
    assert watched.code() == "ledger_broken"


# --- a ledger that says anything ----------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "n": 1, "prev": "0" * 64, "hash": "1" * 64, "kind": "promote", "from_version": None,
    "to_version": 1, "candidate": "a" * 64, "who": "Ada", "why": "better",
    "when": "2026-11-20T10:00:00Z", "by_hand": False, "evidence": {},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KNOWN = (
    "window", "month", "files", "auc", "gain", "interval", "verdict", "production_version",
    "compare_sha256", "evaluate_sha256", "holdout_sha256", "f1", "log_loss",
)  # fmt: skip


def read_everything(event: ledger.Event) -> None:
    """What the commands and the page do with an event."""
    state = ledger.state([event])
    history.rows([event])
    ledger.what(event)
    known = ledger.evidence([event], state.digest)
    restore.wanted([event])
    assert all(len(month) == 7 for month in known.get("window", []))
    assert all(len(md5) in (32, 36) for md5 in known.get("files", {}).values())
    ledger.broken_at([event])


@given(st.sampled_from(sorted(PLAIN)), JSON)
def test_an_event_with_any_value_is_read_or_refused_in_one_line(field: str, value: Any) -> None:
    refused_or_read({**PLAIN, field: value})


@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=8), JSON, max_size=4))
def test_evidence_of_any_kind_is_read_or_refused_in_one_line(evidence: dict[str, Any]) -> None:
    refused_or_read({**PLAIN, "evidence": evidence})


@given(JSON)
def test_any_json_is_an_event_or_refused_in_one_line(value: Any) -> None:
    refused_or_read(value)


def refused_or_read(content: Any) -> None:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        event = ledger.from_text(text)
    except ValueError as error:
        said = str(error)
        assert said
        assert said.isprintable()
        return
    assert ledger.to_text(event) == text
    read_everything(event)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000, '{"a":' * 100_000, "1" * 5000, "NaN", '"\\ud800"', "\0", "{",
        json.dumps(PLAIN), json.dumps(PLAIN) + " ",  # not as we write it
        json.dumps({**PLAIN, "who": "\ud800"}),
    ],
)  # fmt: skip
def test_a_text_that_no_event_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ledger.from_text(text)


HOSTILE_EVENTS: list[dict[str, Any]] = [
    {"when": None}, {"when": "yesterday"}, {"when": "2026-13-40T99:00:00Z"},
    {"who": {"a": {"b": 1}}}, {"why": ["x"]},
    {"n": "1"}, {"n": 0}, {"to_version": -1}, {"to_version": 2**70},
    {"candidate": "../../.."}, {"kind": "erase"}, {"evidence": None}, {"evidence": []},
    {"evidence": {"files": {"models/candidate": "../../x"}}}, {"evidence": {"window": "1997-04"}},
    {"evidence": {"interval": [1]}}, {"extra": 1}, {"by_hand": "yes"},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE_EVENTS)
def test_every_command_says_in_one_line_that_an_event_cannot_be_read(
    shop: Shop, change: dict[str, Any]
) -> None:
    shop.given(1)
    event = asdict(store.read().events[0])
    written(1, json.dumps({**event, **change}, sort_keys=True, separators=(",", ":")))
    for command in (history.main, restore.main, rollback.main):
        said = shop.call(command)
        assert said.status == 1
        assert said.err.startswith("error: the ledger's event 1 cannot be read")
        assert said.err.count("\n") == 1
        assert "make restore" in said.err
    said = shop.call(status.main)
    assert said.status == 0
    assert "the ledger's event 1 cannot be read" in " ".join(said.out.split())


@pytest.mark.parametrize("change", HOSTILE_EVENTS)
def test_a_copy_with_such_an_event_is_one_line_and_the_way_out_works(
    shop: Shop, change: dict[str, Any]
) -> None:
    shop.given(1)
    ledger_copy.path().write_text(json.dumps({**copied(shop)[0], **change}) + "\n")
    said = shop.call(history.main)
    assert said.status == 1
    assert said.err.count("\n") == 1
    assert "move it away" in said.err
    ledger_copy.path().unlink()
    assert shop.call(history.main).status == 0
    assert len(copied(shop)) == 1


@pytest.mark.parametrize("kind", ["folder", "loop", "binary", "cut"])
def test_a_copy_that_is_no_file_of_events_is_one_line(shop: Shop, kind: str) -> None:
    shop.given(2)
    path, text = ledger_copy.path(), ledger_copy.path().read_text()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"\xff\xfe\0" if kind == "binary" else text[20:].encode())
    for command in (history.main, status.main, restore.main, rollback.main):
        said = shop.call(command)
        assert said.status in (0, 1)
        assert said.err.count("\n") == (said.status == 1)
        assert "move it away" in said.err + said.out
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert shop.call(history.main).status == 0


def test_a_chain_that_lost_its_first_event_is_one_line(shop: Shop) -> None:
    shop.given(2)
    with closing(sqlite3.connect(files.ROOT / "mlflow" / "mlflow.db")) as database, database:
        ask = "SELECT experiment_id FROM experiments WHERE name = 'churn_model/ledger/000001'"
        (first,) = database.execute(ask).fetchone()
        for table in ("experiment_tags", "experiments"):
            database.execute(f"DELETE FROM {table} WHERE experiment_id = ?", (first,))  # noqa: S608
    for command in (history.main, restore.main, rollback.main):
        said = shop.call(command)
        assert said.status == 1
        assert said.err.startswith("error: the ledger's event 1 is missing")
        assert said.err.count("\n") == 1
    lines = ledger_copy.path().read_text().splitlines(keepends=True)
    ledger_copy.path().write_text("".join(lines[1:]))
    assert "its chain is broken at event 1" in shop.call(history.main).err


def test_an_event_that_nobody_could_read_again_is_not_written(shop: Shop) -> None:
    shop.given(1)
    event = store.read().events[0]
    bad = ledger.append([event], ledger.Move("promote", 1, 2, "x", "Ada", "", "now", False, {}))
    with pytest.raises(UserError) as caught:
        store.append(bad)
    assert caught.value.code == "event_refused"
    assert len(store.read().events) == 1


# --- what somebody deleted ----------------------------------------------------------------------


def lose_files(shop: Shop) -> None:
    shutil.rmtree(files.CANDIDATE)
    shutil.rmtree(files.MEMORY, ignore_errors=True)


def test_a_deleted_production_comes_back_from_the_workspace_under_another_number(
    shop: Shop,
) -> None:
    digests = shop.given(2)
    delete(2)
    assert store.read().standing == "deleted"
    for command in (rollback.main,):
        assert "make restore" in shop.call(command).err
    assert shop.call(status.main).out.endswith("next: to bring it back: make restore\n")
    said = shop.call(restore.main)
    assert said.status == 0, said.err
    assert "restore: version 2 is back, as version 3" in said.out
    now = store.read()
    assert (now.alias, now.standing, now.events[-1].kind) == (3, "settled", "restore")
    state = ledger.state(now.events)
    assert (state.production, state.digest, state.since) == (3, digests[1], now.events[1])
    assert "next: make repro" not in shop.call(history.main).err
    assert shop.call(rollback.main).status == 0
    assert store.read().alias == 1
    assert ledger.state(store.read().events).is_quarantined(3)


def test_a_deleted_production_comes_back_from_what_the_server_answers_with(
    watched: Watched,
) -> None:
    watched.promoted(1.0)
    watched.promoted(2.0)
    assert watched.step() == (2, None)
    digest = store.read().events[-1].candidate
    delete(2)
    assert watched.step()[0] == 2
    lose_files(watched)
    assert watched.call(restore.main).status == 0
    assert store.read().alias == 3
    assert watched.step() == (3, None)
    assert watched.current()["digest"] == digest  # type: ignore[index]


def test_where_the_files_are_nowhere_the_team_goes_on_with_an_earlier_one(shop: Shop) -> None:
    digests = shop.given(2)
    delete(2)
    lose_files(shop)
    with connection.asking() as client:
        for run in client.search_runs([store.experiment()]):
            if run.data.tags["digest"] == digests[1]:
                client.delete_run(run.info.run_id)
    said = shop.call(restore.main)
    assert said.status == 1
    assert "make rollback VERSION=n REASON" in said.err
    assert "(1)" in said.err
    assert shop.call(rollback.main, "--version", "1", "--reason", "2 is lost").status == 0
    assert (store.read().alias, store.read().standing) == (1, "settled")


def test_an_earlier_version_that_was_deleted_is_found_under_its_new_number(shop: Shop) -> None:
    digests = shop.given(2)
    shutil.rmtree(files.CANDIDATE)
    for path in registry_fixtures.promoted(2).glob("mlflow/artifacts/*/artifacts/candidate"):
        if candidate.digest(path) == digests[0]:
            shutil.copytree(path, store.candidates() / digests[0])
    delete(1)
    assert shop.call(status.main).out.endswith("next: make restore\n")
    assert shop.call(restore.main).status == 0
    assert {v.number: v.digest for v in store.versions().values()} == {2: digests[1], 3: digests[0]}
    assert "next: make restore" not in shop.call(status.main).out
    said = shop.call(rollback.main)
    assert said.status == 0, said.err
    assert store.read().alias == 3
    # What was rolled back stays quarantined, whatever its number.
    assert shop.call(rollback.main, "--version", "2").status == 1


def test_a_quarantined_model_does_not_come_back_by_its_new_number_without_a_reason(
    shop: Shop,
) -> None:
    shop.given(2)
    assert shop.call(rollback.main).status == 0
    delete(2)
    assert shop.call(restore.main).status == 0
    number = max(store.versions())
    assert number == 3
    said = shop.call(rollback.main, "--version", "3")
    assert said.status == 1
    assert "is quarantined" in said.err


def test_an_experiment_that_somebody_deleted_is_brought_back(shop: Shop) -> None:
    shop.given(2)
    with connection.asking() as client:
        for name in (store.EXPERIMENT, "churn_model/ledger/000002"):
            found = client.get_experiment_by_name(name)
            assert found
            client.delete_experiment(found.experiment_id)
    shop.clone.reports(shop.clone.candidate(3.0), 2)
    said = shop.stage()
    assert said.status == 1
    assert "make restore" in said.err
    assert shop.call(restore.main).status == 0
    assert shop.stage().status == 0
    assert store.read().alias == 3


@pytest.mark.parametrize("deleted", [(1,), (2,), (1, 2)])
def test_restore_needs_no_second_time(shop: Shop, deleted: tuple[int, ...]) -> None:
    shop.given(2)
    for version in deleted:
        delete(version)
    shop.call(restore.main)
    before = store.read(), store.versions()
    shop.call(restore.main)
    assert (store.read(), store.versions()) == before
