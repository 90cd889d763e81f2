"""`make test-races`: two clones promote at once, fifty times, into one SQLite registry on one disk.

ROUNDS in the environment says how often. The same on Postgres is a part of `make test-shared`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import races
import registry_fixtures
from registry_worker import Worker

from stages.registry import store

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and scikit-learn warn about their own

ROUNDS = int(os.environ.get("ROUNDS") or 50)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with races.warm(tmp_path_factory.mktemp("warm") / "clone") as worker:
        yield worker


def test_of_two_that_begin_at_one_instant_one_wins_each_round(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = registry_fixtures.make(tmp_path / "shared")
    told = races.in_step(worker, races.sqlite(shared.root), tmp_path, ROUNDS)
    registry_fixtures.enter(shared, monkeypatch)
    now = store.read()
    assert len(now.events) == ROUNDS
    races.is_one_story(now)
    kinds = {said: sum(said in line for line in told) for said in races.TOO_LATE}
    print(f"\nin step: {ROUNDS} rounds, {len(now.events)} events, version {now.alias} is the last")
    print(f"losers were told, one line each: {kinds}, such as\n{told[-1]}")


def test_two_that_promote_as_often_as_they_can_write_one_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = registry_fixtures.make(tmp_path / "shared")
    registry_fixtures.enter(shared, monkeypatch)
    uri = races.sqlite(shared.root)
    parameters = registry_fixtures.parameters()
    roots = [races.racer(tmp_path / name, parameters) for name in ("carol", "dave")]
    races.freely(roots, uri, ROUNDS // 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    now = races.check(roots, monkeypatch, 0, ROUNDS // 2)
    print(f"freely: {len(now.events)} events, version {now.alias} is the last")
