"""A kill or a full disk at any write leaves a state that the next run completes.

Of two racers one wins.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import races
import registry_fixtures
from registry_fixtures import Clone
from registry_worker import Done, Worker

from stages.registry import store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PROMOTE = "from stages import promote; status = run(promote.main)"
BY_HAND = (
    "from stages import promote; status = run(promote.main, '--by-hand', '--reason', 'I say so')"
)
ROLLBACK = "from stages.commands import rollback; status = run(rollback.main)"
RESTORE = "from stages.commands import restore; status = run(restore.main)"
STATUS = "from stages.commands import status as where; status = run(where.main)"

# What the registry, the copy and the receipt say, without what differs from one day to the next.
TELL = """
import json
from dataclasses import asdict
from stages.registry import connection, ledger, ledger_copy, store
from stages.shared import files
now = store.read()
keep = ("n", "kind", "from_version", "to_version", "candidate", "why", "by_hand", "evidence")
receipt = files.REPORTS / "promote.json"
with connection.asking() as client:
    found = client.get_experiment_by_name("churn_model")
    runs = client.search_runs([found.experiment_id], "attributes.status = 'FINISHED'")
print(json.dumps({
    "versions": {v.number: v.digest for v in store.versions().values()},
    "events": [{name: asdict(one)[name] for name in keep} for one in now.events],
    "chain": ledger.broken_at(now.events),
    "alias": now.alias,
    "standing": now.standing,
    "copied": ledger_copy.read() == list(now.events),
    "receipt": receipt.read_text() if receipt.is_file() else None,
    "runs": sorted(run.data.tags["digest"] for run in runs),
}))
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with races.warm(tmp_path_factory.mktemp("warm") / "clone") as worker:
        yield worker


class Field:
    """A clone that can be put back to how it was."""

    def __init__(self, worker: Worker, clone: Clone) -> None:
        self.worker, self.clone = worker, clone
        self._kept = clone.root.with_suffix(".kept")

    def keep(self) -> None:
        shutil.copytree(self.clone.root, self._kept)

    def reset(self) -> None:
        shutil.rmtree(self.clone.root)
        shutil.copytree(self._kept, self.clone.root)

    def do(self, code: str, kill_at: int | None = None, full_at: int | None = None) -> Done:
        return self.worker.do(self.clone.root, code, kill_at, full_at)

    def told(self, code: str) -> dict[str, Any]:
        """Run ``code``, which must end well, and then have the state told."""
        done = self.do(f"{code}\nassert not status, status\n{TELL}")
        assert done.status == 0, done.said
        found: dict[str, Any] = json.loads(done.said.splitlines()[-1])
        return found

    def promoted(self, c: float, production: int | None) -> str:
        digest = self.clone.candidate(c)
        self.clone.reports(digest, production)
        assert self.do(PROMOTE).status == 0
        return digest

    def survives(
        self, code: str, worth: Callable[[int, str], bool] = lambda _n, _what: True
    ) -> int:
        """Kill ``code`` before each write that is ``worth`` it, run it again, compare the ends."""
        self.keep()
        whole = self.do(code)
        assert whole.status == 0, whole.said
        expected = self.told("status = 0")
        points = [n for n, what in enumerate(whole.writes, start=1) if worth(n, what)]
        for n in points:
            self.reset()
            died = self.do(code, kill_at=n)
            assert died.killed, died.said
            assert len(died.writes) == n - 1
            assert self.told(code) == expected, f"killed before {whole.writes[n - 1]}"
            self.reset()
            refused = self.do(code, full_at=n)
            assert is_one_line(refused), (whole.writes[n - 1], refused.said)
            assert self.told(code) == expected, f"no room for {whole.writes[n - 1]}"
        return len(points)


def is_one_line(refused: Done) -> bool:
    """Whether a command ended as it should where the disk is full."""
    lines = refused.said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return refused.status == 1 and len(errors) == 1 and "Traceback" not in refused.said


@pytest.fixture
def field(worker: Worker, tmp_path: Path) -> Field:
    return Field(worker, registry_fixtures.make(tmp_path / "clone"))


def is_a_move(_n: int, what: str) -> bool:
    """Whether a write is one of those that a command makes behind MLflow's run.

    Temporary files are left out: the kill before their renaming finds them written.
    """
    parts = ("registered_model", "experiment", "ledger", "promote")
    return not what.startswith("write") and any(part in what for part in parts)


def moves_and_some(every: int) -> Callable[[int, str], bool]:
    """All writes of a move, and some of the many that log a run, which is made whole or anew."""
    return lambda n, what: is_a_move(n, what) or n % every == 0 or what == "commit runs"


def test_a_promotion_survives_a_kill_before_every_write(field: Field) -> None:
    first = field.promoted(1.0, None)
    second = field.clone.candidate(2.0)
    field.clone.reports(second, 1)
    assert field.survives(PROMOTE, moves_and_some(9)) > 9
    told = field.told("status = 0")
    assert told["versions"] == {"1": first, "2": second}
    assert [one["to_version"] for one in told["events"]] == [1, 2]
    assert (told["alias"], told["standing"], told["chain"], told["copied"]) == (
        2,
        "settled",
        None,
        True,
    )
    assert told["runs"] == sorted([first, second])
    assert json.loads(told["receipt"])["outcome"] == "promoted"


def test_the_very_first_promotion_survives_a_kill_while_mlflow_s_things_are_made(
    field: Field,
) -> None:
    digest = field.clone.candidate(1.0)
    field.clone.reports(digest, None)
    made = ("commit experiments", "commit registered_models")
    assert field.survives(PROMOTE, lambda _n, what: what in made) == 2
    assert field.told("status = 0")["versions"] == {"1": digest}


ASK = """
from stages.registry import connection
with connection.asking() as client: print(client.search_experiments()[0].name)
"""


def test_mlflow_s_tables_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"
    command = [sys.executable, "-c", ASK]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    for kilobytes in (40, 200, 400):  # of some 950 that all of MLflow's migrations make
        with subprocess.Popen(command, cwd=registry_fixtures.ROOT, env=environment) as process:
            while process.poll() is None and size(tmp_path) < kilobytes * 1024:
                time.sleep(0.001)
            process.kill()
        assert not database.exists()
        shutil.rmtree(database.parent)  # or else the sizes are those of the last time
    assert subprocess.check_output(command, cwd=registry_fixtures.ROOT, env=environment) == (
        b"Default\n"
    )
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def size(folder: Path) -> int:
    """Bytes of the largest file, 0 if there is none."""
    found = [0]
    with suppress(OSError):  # it goes while it is looked at
        found += [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return max(found)


def test_a_rollback_survives_a_kill_before_every_write_and_goes_one_step_only(field: Field) -> None:
    for n, c in enumerate((1.0, 2.0, 3.0)):
        field.promoted(c, n or None)
    assert field.survives(ROLLBACK, is_a_move) == 4
    told = field.told("status = 0")
    assert [one["to_version"] for one in told["events"]] == [1, 2, 3, 2]
    assert told["alias"] == 2


def test_status_says_what_completes_an_interrupted_command(field: Field) -> None:
    field.promoted(1.0, None)
    field.promoted(2.0, 1)
    field.keep()
    whole = field.do(ROLLBACK)
    alias = whole.writes.index("commit registered_model_aliases") + 1
    for n in (alias, alias + 1):
        field.reset()
        assert field.do(ROLLBACK, kill_at=n).killed
        assert field.do(STATUS).said.splitlines()[-1] == "next: make rollback VERSION=1"


def test_another_command_completes_what_was_interrupted(field: Field) -> None:
    field.promoted(1.0, None)
    field.promoted(2.0, 1)
    field.keep()
    alias = field.do(ROLLBACK).writes.index("commit registered_model_aliases") + 1
    field.reset()
    assert field.do(ROLLBACK, kill_at=alias).killed
    digest = field.clone.candidate(3.0)
    field.clone.reports(digest, 1)
    told = field.told(PROMOTE)
    assert [one["to_version"] for one in told["events"]] == [1, 2, 1, 3]
    assert (told["alias"], told["standing"]) == (3, "settled")


def test_a_promotion_by_hand_survives_a_kill_up_to_the_entry_in_dvc_lock(
    worker: Worker, tmp_path: Path
) -> None:
    field = Field(worker, registry_fixtures.make_with_dvc(tmp_path / "clone"))
    field.promoted(1.0, None)
    digest = field.clone.candidate(2.0)
    field.clone.reports(digest, 1, "undecided")
    late = ("commit experiments experiment_tags", "commit registered_model_aliases", "promote.json")
    assert field.survives(BY_HAND, lambda n, what: is_a_move(n, what) and what.endswith(late)) == 3
    assert field.clone.dvc("status", "promote") == "Data and pipelines are up to date.\n"
    again = field.do(BY_HAND)
    assert again.status == 1
    assert "already is in production, as version 2: nothing to do" in again.said


def test_a_restore_survives_a_kill(field: Field) -> None:
    digest = field.promoted(1.0, None)
    # A second event about the same version: somebody takes the alias away, and it is put back.
    take = "from stages.registry import connection\nwith connection.asking() as client:\n"
    field.do(f"{take}    client.delete_registered_model_alias('churn_model', 'production')")
    before = field.told(ROLLBACK.replace("main)", "main, '--version', '1', '--reason', 'a slip')"))
    assert [one["kind"] for one in before["events"]] == ["promote", "put back"]
    field.clone.forget_registry()
    assert field.survives(RESTORE, is_a_move) > 6
    assert field.told("status = 0") == before
    assert before["versions"] == {"1": digest}


def test_a_gc_survives_a_kill_and_takes_nothing_that_a_version_needs(field: Field) -> None:
    digests = [field.promoted(1.0, None)]
    field.clone.reports(field.clone.candidate(2.0), 1, "undecided")
    assert field.do(PROMOTE).status == 0
    digests.append(field.promoted(3.0, 1))
    collect = """
from stages.commands import gc
from stages.registry import store
def main(): gc._delete_runs(gc._kept_digests(store.read().events))
status = run(main)
"""
    assert field.survives(collect, lambda _n, _what: True) == 4
    fetch = "from stages.registry import store; status = 0; known = store.versions()"
    fetch += "\nfor version in known.values(): store.fetch(version)"
    told = field.told(fetch)
    assert told["runs"] == sorted(digests)


def test_of_two_racers_one_wins_each_round_and_the_other_is_told(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = registry_fixtures.make(tmp_path / "shared")
    races.in_step(worker, races.sqlite(shared.root), tmp_path, rounds=3)
    registry_fixtures.enter(shared, monkeypatch)
    now = store.read()
    assert len(now.events) == 3
    races.is_one_story(now)
