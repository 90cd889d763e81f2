"""`make test-shared`: one registry on a real Postgres, for two clones and a server."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import by_hand
import clone
import pytest
import races
import registry_fixtures
import stack
from clone import Clone
from sqlalchemy.exc import SQLAlchemyError
from stack import Stack, until

from serve import online
from stages.registry import store
from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and scikit-learn warn about their own

PROMOTIONS = 50  # as many as there are rounds
PSQL = ("exec", "-T", "postgres", "psql", "--username=churn", "--tuples-only", "--command")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def ada(data: Path) -> Clone:
    """The clone that sets up the data, and a folder for DVC's files that all share."""
    made = clone.small(data / "ada")
    made.run("git", "config", "user.name", "Ada")
    made.run("dvc", "remote", "add", "--default", "shared", str(data / "remote"))
    made.commit("a remote for DVC")
    return made


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, ada: Clone) -> Iterator[Stack]:
    yield from stack.running(request, "postgres", "mlflow", "api", params=ada.root / "params.yaml")


@pytest.fixture(scope="module")
def bob(data: Path, ada: Clone, shared: Stack) -> Clone:
    """A colleague's clone: from git and DVC's remote alone, after Ada has run the pipeline."""
    ada.make("repro", MLFLOW_TRACKING_URI=shared.registry)
    ada.run("dvc", "push", "--quiet")
    ada.commit("the first model")
    return ada.colleague(data / "bob", "Bob")


def test_a_colleague_gets_data_and_model_without_training(
    ada: Clone, bob: Clone, shared: Stack
) -> None:
    assert not (bob.root / "models").exists()
    bob.run("dvc", "pull", "--quiet")
    for name in ("data/raw/2024-01.csv", "data/train.parquet", "models/candidate/model.skops"):
        assert (bob.root / name).read_bytes() == (ada.root / name).read_bytes()
    said = bob.make("repro", MLFLOW_TRACKING_URI=shared.registry)
    ran = {line.split()[0] for line in said.splitlines() if " ran " in line}
    assert ran == {"promote"}
    assert bob.outcome() == ada.outcome() == ("promoted", 1)
    assert "1 event, chain verified" in bob.make("history", MLFLOW_TRACKING_URI=shared.registry)


def test_what_one_clone_trained_is_served_in_the_container(shared: Stack, ada: Clone) -> None:
    until(lambda: shared.ask("/ready")[0] == 200, "version 1 is served")
    row = {"spend": 1.5, "calls": -0.5, "plan": "NA", "paperless": True}
    status, said = shared.ask("/predict", row)
    assert (status, said["model_version"]) == (200, ada.outcome()[1])
    asked = (
        "import json,sys;from stages.shared import candidate as c, contract, files;"
        "m=c.load(files.CANDIDATE);r=contract.to_table([json.loads(sys.argv[1])],m.features);"
        "print(m.probabilities(r)[0])"
    )
    expected = float(
        ada.run(
            "python",
            "-W",
            "ignore",
            "-c",
            asked,
            str(row).replace("'", '"').replace("True", "true"),
        )
    )
    assert said["churn_probability"] == pytest.approx(expected, abs=1e-9)


def test_the_ledger_is_one_for_both_and_a_rollback_reaches_everybody(
    ada: Clone, bob: Clone, shared: Stack
) -> None:
    here: Any = {"MLFLOW_TRACKING_URI": shared.registry}
    clone.put(bob, "2024-03", turned=True, shift=3.0)
    clone.put(bob, "2024-04", turned=True, shift=3.0, labelled=False)
    bob.make("repro", **here)
    assert bob.outcome() == ("promoted", 2)
    until(lambda: shared.ask("/ready")[1]["model_version"] == 2, "version 2 is served")
    ada.make("rollback", REASON="support is flooded", **here)
    until(lambda: shared.ask("/ready")[1]["model_version"] == 1, "version 1 is served")
    said = [" ".join(one.make("history", **here).split()) for one in (ada, bob)]
    assert said[0] == said[1]
    assert "3 events, chain verified" in said[0]
    assert "Bob" in said[0]
    assert "support is flooded" in said[0]
    assert "quarantined" in bob.make("status", **here)


def test_a_customer_is_answered_by_id_from_postgres(ada: Clone, shared: Stack) -> None:
    script = (files.ROOT / "ops" / "online-store.sql").read_text()
    for password in ("forgotten", "features"):  # it may be run again: the last passwords are right
        given = "".join(f"\\set {role} {password}_{role}\n" for role in ("writer", "reader"))
        psql = ("exec", "-T", "postgres", "psql", "-v", "ON_ERROR_STOP=1", "-U", "churn")
        shared.compose(*psql, standard_input=given + script)
    writer = shared.online("features_writer", f"127.0.0.1:{shared.postgres}")
    said = ada.make("features", SERVE_ONLINE_STORE=writer)
    assert "600 customers, as of 2024-03, are answered by id" in said
    status, by_id = shared.ask("/predict", {"customer": "00007"})
    assert status == 200, by_id
    reader = shared.online("features_reader", f"127.0.0.1:{shared.postgres}")
    with pytest.raises(SQLAlchemyError, match="permission denied"):
        online.replace(online.engine(reader), [], "other")
    with pytest.raises(SQLAlchemyError, match="permission denied"):
        online.filled_from(online.engine(reader.replace("/online", "/churn")))


def test_of_two_clones_that_promote_at_once_one_wins_and_the_other_is_told(
    ada: Clone, bob: Clone, shared: Stack
) -> None:
    for slope, one in ((3.0, ada), (4.0, bob)):
        by_hand.put(registry_fixtures.Clone(one.root), slope, production=1)
    racers = [
        subprocess.Popen(
            ["make", "--no-print-directory", "promote", f"MLFLOW_TRACKING_URI={shared.registry}"],
            cwd=one.root, env=one.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for one in (ada, bob)
    ]  # fmt: skip
    said = [racer.communicate()[0] for racer in racers]
    lost = [text for racer, text in zip(racers, said, strict=True) if racer.returncode]
    assert len(lost) == 1, said
    line = next((line for line in lost[0].splitlines() if line.startswith("error: ")), lost[0])
    assert "somebody else moved production" in line or "production is now version" in line
    assert "`make status`" in line or "compare again" in line
    assert "4 events, chain verified" in ada.make("history", MLFLOW_TRACKING_URI=shared.registry)


def test_a_backup_brings_registry_and_ledger_back(ada: Clone, shared: Stack, data: Path) -> None:
    here: Any = {"MLFLOW_TRACKING_URI": shared.registry}
    before = ada.make("history", **here)
    answers = shared.ask("/model")[1]
    shared.run("make", "backup", f"DIR={data / 'backup'}")
    load = ("make", "load-backup", f"DIR={data / 'backup'}")
    assert "REPLACE=yes" in shared.run(*load, check=False)
    assert ada.make("history", **here) == before  # what was refused stopped nothing
    shared.compose(*PSQL, "CREATE TABLE after_the_backup (n int)")
    shared.run(*load, "REPLACE=yes")
    shared.wait_healthy("mlflow")  # it ran before, and does again
    assert ada.make("history", **here) == before
    assert "after_the_backup" not in shared.compose(*PSQL, "SELECT tablename FROM pg_tables")
    shared.compose("down", "--volumes")
    shared.run(*load)
    shared.up()
    shared.wait_healthy("mlflow", "api")
    assert ada.make("history", **here) == before
    until(lambda: shared.ask("/ready")[0] == 200, "a model is served")
    after = shared.ask("/model")[1]
    assert {**after, "since": ""} == {**answers, "since": ""}


@pytest.mark.parametrize("name", ["registry.dump", "artifacts.tar"])
def test_a_backup_that_cannot_be_loaded_changes_nothing(
    ada: Clone, shared: Stack, data: Path, name: str
) -> None:
    """Cut off, with a SHA-256 that was taken afterwards: it is found while it is loaded."""
    here: Any = {"MLFLOW_TRACKING_URI": shared.registry}
    before = ada.make("history", **here)
    damaged = data / f"cut-{name}"
    shared.run("make", "backup", f"DIR={damaged}")
    whole = (damaged / name).read_bytes()
    # In the middle of a block: a tar that ends between two is whole for all that tar can see.
    (damaged / name).write_bytes(whole[: len(whole) // 2 - 100])
    sums = [f"{files.sha256(damaged / n)}  {n}\n" for n in ("registry.dump", "artifacts.tar")]
    (damaged / "SHA256SUMS").write_text("".join(sums))
    shared.compose(*PSQL, "CREATE TABLE after_the_backup (n int)")
    said = shared.run("make", "load-backup", f"DIR={damaged}", "REPLACE=yes", check=False)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert errors[0].endswith(": the registry is as it was")
    shared.wait_healthy("mlflow")
    assert ada.make("history", **here) == before
    assert "after_the_backup" in shared.compose(*PSQL, "SELECT tablename FROM pg_tables")
    shared.compose(*PSQL, "DROP TABLE after_the_backup")
    left = shared.compose("exec", "-T", "mlflow", "ls", "-A", "/mlflow/artifacts")
    assert ".loading" not in left


def test_fifty_promotions_from_two_clones_at_once_are_one_chain(
    data: Path, ada: Clone, shared: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = (ada.root / "params.yaml").read_text()
    roots = [races.racer(data / name, parameters) for name in ("carol", "dave")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared.registry)
    before = len(store.read().events)
    races.freely(roots, shared.registry, PROMOTIONS // 2)
    now = races.check(roots, monkeypatch, before, PROMOTIONS // 2)
    until(lambda: shared.ask("/ready")[1]["registry_names"] == now.alias, "the last is named")


def test_of_two_that_begin_at_one_instant_one_wins_each_of_fifty_rounds(
    data: Path, shared: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared.registry)
    before = len(store.read().events)
    with races.warm(data / "warm") as worker:
        races.in_step(worker, shared.registry, data, PROMOTIONS)
    now = store.read()
    assert len(now.events) == before + PROMOTIONS
    races.is_one_story(now)
    print(f"in step: {PROMOTIONS} rounds, {len(now.events) - before} more events")
