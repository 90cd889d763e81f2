"""What `make test-kills` kills: each command in a clone of its own, with work to do every time."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from http.client import HTTPConnection
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import by_hand
import clone as clones
import registry_fixtures
from groups import Group
from ports import free_port

from stages.registry import ledger
from stages.shared import dvc_files
from stages.shared.identifiers import Address

if TYPE_CHECKING:
    from pathlib import Path

    from stages.registry.ledger import Event

ROW = json.dumps({"spend": 1.5, "calls": -0.5, "plan": "NA", "paperless": True})
CUSTOMERS = 600  # of a month that `clone.month` writes


def ask(database: Path, question: str) -> list[Any]:
    """What a database answers; nothing of the product is between."""
    with closing(sqlite3.connect(database, timeout=60)) as opened:
        return opened.execute(question).fetchall()


def events(root: Path) -> list[Event]:
    """The ledger, from the rows of the clone's registry."""
    texts: dict[str, dict[str, str]] = {}
    for name, key, value in ask(
        root / "mlflow" / "mlflow.db",
        "SELECT name, key, value FROM experiments JOIN experiment_tags USING (experiment_id) "
        "WHERE name LIKE 'churn_model/ledger/%' AND key LIKE 'event.%' ORDER BY name",
    ):
        texts.setdefault(name, {})[key] = value
    parts = [[text[f"event.{n}"] for n in range(len(text))] for text in texts.values()]
    return [ledger.from_text("".join(text)) for text in parts]


def alias(root: Path) -> int | None:
    """The version that is named production."""
    rows = ask(root / "mlflow" / "mlflow.db", "SELECT version FROM registered_model_aliases")
    return rows[0][0] if rows else None


def check(root: Path) -> None:
    """The chain is whole, production is what it says, so does the copy, DVC's files parse."""
    found = events(root)
    assert ledger.broken_at(found) is None
    assert alias(root) == ledger.state(found).production
    copied = (root / "models" / "ledger.jsonl").read_text().splitlines()
    assert copied == [ledger.to_text(event) for event in found]
    dvc_files.lock_entries((root / "dvc.lock").read_text())
    dvc_files.pointer_outputs((root / "data" / "raw.dvc").read_text())


class Command:
    """A `make` target that is killed, and typed again."""

    name: ClassVar[str]
    # What it says, with exit status 1, where the one that was killed had come to its end.
    nothing_left: ClassVar[str | None] = None
    stays: ClassVar[bool] = False  # it ends only when it is told to

    def __init__(self, made: Path, root: Path) -> None:
        """Begin with a copy of the clone at ``made``."""
        shutil.copytree(made, root, symlinks=True)
        self.root, self.clone = root, clones.Clone(root)
        self._number = count(1)
        self.before: list[Event] = []
        self.set_up()

    def set_up(self) -> None:
        """Once."""

    def next(self) -> list[str]:
        """See to it that there is work to do; returns what to type."""
        typed = self.prepare(next(self._number))
        self.before = events(self.root) if (self.root / "mlflow").exists() else []
        return [self.name, *typed]

    def prepare(self, n: int) -> list[str]:
        """The same for round ``n``; returns the target's variables."""
        raise NotImplementedError

    def again(self, typed: list[str], log: Path) -> None:
        """Type it, and let it come to its end."""
        group = Group(self.clone, typed, log)
        status, said = group.wait(), group.said()
        if status and self.nothing_left and self.nothing_left in said:
            return
        assert not status, said

    def is_done(self) -> None:
        """Assert that the work is done, once."""
        raise NotImplementedError


class Repro(Command):
    """In turn: a month comes, another model is asked for, the registry is new."""

    name = "repro"

    def prepare(self, n: int) -> list[str]:
        if n % 3 == 1:
            clones.put(self.clone, "2024-03", labelled=False, shift=n / 1000)
        elif n % 3 == 2:
            settings = {"estimator": "logistic_regression", "logistic_regression": {"C": 1 / n}}
            self.clone.set(train=settings)
        else:
            shutil.rmtree(self.root / "mlflow")
            for name in ("models/ledger.jsonl", "reports/compare.json", "reports/promote.json"):
                (self.root / name).unlink(missing_ok=True)
        self.is_new = n % 3 == 0
        return []

    def is_done(self) -> None:
        more = len(events(self.root)) - len(self.before)
        assert more == 1 if self.is_new else more in (0, 1)
        assert self.clone.run("dvc", "status") == "Data and pipelines are up to date.\n"


class Promote(Command):
    """A candidate that nobody saw before awaits a yes."""

    name = "promote"
    nothing_left = "nothing to do"

    def prepare(self, n: int) -> list[str]:
        there = registry_fixtures.Clone(self.root)
        by_hand.put(there, slope=1 + n / 100, production=alias(self.root))
        return []

    def is_done(self) -> None:
        assert len(events(self.root)) == len(self.before) + 1
        assert self.clone.run("dvc", "status", "promote") == "Data and pipelines are up to date.\n"


class Rollback(Command):
    """From version 2 to version 1, and back."""

    name = "rollback"
    nothing_left = "nothing to do"

    def prepare(self, n: int) -> list[str]:
        self.to = 1 if alias(self.root) == 2 else 2
        return [f"VERSION={self.to}", f"REASON=the {n}th time"]

    def is_done(self) -> None:
        assert len(events(self.root)) == len(self.before) + 1
        assert alias(self.root) == self.to


class Restore(Command):
    """The registry is lost."""

    name = "restore"

    def set_up(self) -> None:
        self.kept = events(self.root)

    def prepare(self, _n: int) -> list[str]:
        shutil.rmtree(self.root / "mlflow")
        return []

    def is_done(self) -> None:
        assert events(self.root) == self.kept
        rows = ask(
            self.root / "mlflow" / "mlflow.db",
            "SELECT version, value FROM model_version_tags WHERE key = 'digest' AND version IN "
            "(SELECT version FROM model_versions WHERE current_stage != 'Deleted_Internal')",
        )
        assert dict(rows) == dict(ledger.state(self.kept).digests)


class Gc(Command):
    """There is a run that nobody needs, and so is an object of DVC's."""

    name = "gc"

    def set_up(self) -> None:
        there = registry_fixtures.Clone(self.root)
        digest, _ = by_hand.put(there, slope=1.0, production=alias(self.root))
        there.reports(digest, alias(self.root), "reject")
        self.clone.run("python", "-m", "stages.promote")
        by_hand.put(there, slope=2.0, production=alias(self.root))
        self.kept = self.root.with_suffix(".kept")
        shutil.copytree(self.root / "mlflow", self.kept)
        self.needed = list(self._needed())
        assert len(self.needed) > 10
        self.spare = self._object(Address("ab" + "0" * 30))

    def prepare(self, _n: int) -> list[str]:
        shutil.rmtree(self.root / "mlflow")
        shutil.copytree(self.kept, self.root / "mlflow")
        self.spare.parent.mkdir(parents=True, exist_ok=True)
        self.spare.write_text("of no use")
        (self.root / "data" / "memory").mkdir(exist_ok=True)
        (self.root / "data" / "memory" / "of no use").touch()
        return []

    def is_done(self) -> None:
        assert events(self.root) == self.before
        assert not self.spare.exists()
        assert not (self.root / "data" / "memory").exists()
        assert all(path.is_file() for path in self.needed)
        runs = ask(self.root / "mlflow" / "mlflow.db", "SELECT lifecycle_stage FROM runs")
        assert sorted(stage for (stage,) in runs) == ["active", "active", "deleted"]

    def _needed(self) -> set[Path]:
        """What the ledger names in DVC's cache."""
        found = set()
        for event in events(self.root):
            for address in event.evidence["files"].values():
                found.add(self._object(address))
                if address.endswith(".dir"):
                    listed = json.loads(self._object(address).read_bytes())
                    found |= {self._object(entry["md5"]) for entry in listed}
        return found

    def _object(self, address: Address) -> Path:
        return self.root / ".dvc" / "cache" / "files" / "md5" / address[:2] / address[2:]


class Features(Command):
    """The newest month is another one than the last time."""

    name = "features"

    def set_up(self) -> None:
        months = self.root / "data" / "months"
        self.months = [(months / f"2024-0{n}.parquet").read_bytes() for n in (1, 2)]
        self.newest = months / "2024-03.parquet"

    def prepare(self, n: int) -> list[str]:
        self.newest.write_bytes(self.months[n % 2])
        return []

    def is_done(self) -> None:
        store = self.root / "data" / "online.db"
        assert ask(store, "PRAGMA integrity_check") == [("ok",)]
        assert ask(store, "SELECT count(*) FROM customers") == [(CUSTOMERS,)]
        assert ask(store, "SELECT count(*) FROM filled_from") == [(1,)]
        assert "is up to date" in self.clone.make("features")


class Serve(Command):
    """Every second time it has to fetch the model first."""

    name = "serve"
    stays = True

    def prepare(self, n: int) -> list[str]:
        if n % 2:
            shutil.rmtree(self.root / "models" / "serving", ignore_errors=True)
        return [f"PORT={free_port()}"]

    def again(self, typed: list[str], log: Path) -> None:
        group = Group(self.clone, typed, log)
        port = int(typed[1].removeprefix("PORT="))
        group.until(lambda: self._answers(group, port), "it answers")
        group.signal(signal.SIGINT)
        group.wait()
        assert "Traceback" not in group.said(), group.said()

    def is_done(self) -> None:
        assert events(self.root) == self.before

    def _answers(self, group: Group, port: int) -> bool:
        """Whether it answers with what is in production by the ledger."""
        assert group.process.poll() is None, group.said()
        try:
            with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as server:
                server.request("POST", "/predict", ROW, {"Content-Type": "application/json"})
                answer = server.getresponse()
                said = json.loads(answer.read())
        except OSError:
            return False
        assert answer.status in (200, 503), said
        return bool(said.get("model_version") == ledger.state(self.before).production)


def make(root: Path) -> None:
    """Make what every command begins with: two models by the pipeline, the better in production."""
    clone = clones.small(root)
    clone.make("repro")
    clone.set(train={"estimator": "hist_gradient_boosting"})
    clone.make("repro")
    assert clone.outcome() == ("promoted", 2)
    clone.commit("two models")
