"""The watcher: sees where the alias points, checks that model, and puts it in its place.

One process beside the server's workers, and the only one that knows of MLflow. Whatever goes wrong
here, the workers go on with the model that they have.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from serve import place
from serve.remake import Remaker
from stages.registry import connection, ledger, moves, store
from stages.shared import candidate, files, identifiers, params, servable, terminal
from stages.shared.contract import from_dict
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stages.registry.ledger import Event
    from stages.shared.contract import Feature

LONGEST_PAUSE = 30.0  # seconds between two tries to take a model that cannot be taken
# Codes of what one command mends: a look at the ledger finds out, and no model is fetched for that.
SETTLED_BY_A_PERSON = {"no_ledger", "moved_by_hand", "deleted", "not_in_ledger", "digest_differs"}
# Of a registry that hangs: the workers do not wait for it, but nobody learns of its moves.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class Watcher:
    """Holds the place against the registry, step by step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = _inode()
        self._refused: tuple[store.Version, float, float] | None = None  # next try, pause
        self._seen: tuple[Any, dict[str, str]] | None = None  # files, and their hashes
        self._told: tuple[str | None, str | None] = (None, None)  # error, its code
        self._notes: dict[str, Any] = {"failures": 0, "reached": None}

    def step(self) -> None:
        """Look once; nothing that goes wrong is raised."""
        try:
            version = store.named()
            self._notes |= {"reached": time.time(), "names": version and version.number}
        except Exception as error:
            self._notes["failures"] += 1
            self._tell(f"the registry cannot be asked: {_line(error)}", "unreachable")
            return
        if version is None:
            none = "the registry names no production model: type `make run` or `make promote`"
            self._tell(none, "no_production")
        elif self._is_in_place(version):
            self._refused = None
            self._tell()
        elif self._is_due(version):
            self._try(version)
        else:
            self._tell(*self._told)

    def is_outdated(self) -> bool:
        """Whether the registry's file is another one now: then only a new process sees it."""
        return _inode() != self._database

    def _is_in_place(self, version: store.Version) -> bool:
        current = place.read(self._folder, place.CURRENT) or {}
        # The digest too: a registry that was made anew may count anew. And the files: what was
        # damaged here is put in place once more.
        named = version.number, version.digest
        if (current.get("version"), current.get("digest")) != named:
            return False
        try:
            return bool(current.get("files") == self._hashes(self._folder / str(version.digest)))
        except OSError:  # taking it anew mends that, or says what is wrong
            return False

    def _hashes(self, folder: Path) -> dict[str, str]:
        """`servable.hashes`, worked out anew only where a file changed: they may be large."""
        stats = [p.stat() for name in servable.FILES if (p := folder / name).is_file()]
        stamp = folder, [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats]
        if self._seen is None or self._seen[0] != stamp:
            self._seen = stamp, servable.hashes(folder)
        return self._seen[1]

    def _is_due(self, version: store.Version) -> bool:
        """Whether it is time to take a version: one that was refused waits, longer each time."""
        if self._refused is None or self._refused[0] != version:
            self._refused = None
            return True
        return time.monotonic() >= self._refused[1]

    def _try(self, version: store.Version) -> None:
        try:
            take(version, self._folder)
        except Exception as error:
            code = error.code if isinstance(error, UserError) else "defect"
            pause = min(2 * self._refused[2], LONGEST_PAUSE) if self._refused else 1.0
            if code in SETTLED_BY_A_PERSON:  # who has just done so waits for it
                pause = 1.0
            self._refused = (version, time.monotonic() + pause, pause)
            self._tell(f"version {version.number} is not taken: {_line(error)}", code)
        else:
            self._refused = None
            self._tell()

    def _tell(self, error: str | None = None, code: str | None = None) -> None:
        """Note how things stand; print what is new."""
        if error and error != self._told[0]:
            print(f"serve: {terminal.line(error)}", file=sys.stderr, flush=True)
        self._told = error, code
        found = self._notes | {"error": error, "code": code, "at": time.time()}
        try:
            place.note(self._folder, found)
        except OSError as failed:
            print(
                f"serve: {place.WATCHER} cannot be written: {failed}", file=sys.stderr, flush=True
            )


def take(version: store.Version, folder: Path) -> None:
    """Check a version's model and put it in place.

    It is taken where the ledger's event, the version's tag and the digest of the bytes agree.

    Raises:
        UserError: it is not what it should be; the place is as it was.
        OSError: so is it where the disk is full.
    """
    now = moves.gather()  # refuses a ledger that was changed
    check_ledger(now, version)
    source = store.fetch(version)  # the digest of its bytes is checked there
    card = files.read_json(source / candidate.CARD)
    check_contract(from_dict(card["features"]), card["id"], params.data())
    check_golden(source)
    kept = candidate.keep(source, folder, source.name)
    facts = describe(version, card, now.events) | {"files": servable.hashes(kept)}
    place.replace_current(folder, facts)
    print(f"serve: version {version.number} ({source.name[:12]}) is in place", flush=True)
    sweep(folder, source.name)


def check_ledger(now: store.Registry, version: store.Version) -> None:
    """Refuse a version of which the ledger says something else, or nothing.

    Raises:
        UserError: its code tells why.
    """
    if not now.events:
        raise UserError(
            "this registry has no ledger that names it; to take it all the same: "
            f"make rollback VERSION={version.number} REASON='…'",
            "no_ledger",
        )
    store.refuse_moved_by_hand(now)
    if code := store.distrust(ledger.state(now.events), version):
        raise UserError(store.why_distrusted(version.number, code), code)


def check_contract(features: dict[str, Feature], customer: str, data: params.Data) -> None:
    """Refuse a model that takes other columns than clients were told.

    Raises:
        UserError: names the first column.
    """
    if customer != data.id:
        raise UserError(f"its id is {customer!r}, that of params.yaml is {data.id!r}")
    for name, feature in features.items():
        now = data.features.get(name)
        if now is None or now.type != feature.type:
            there = "is not there" if now is None else f"is {now.type}"
            raise UserError(f"it takes {name!r} as {feature.type}, which {there} in params.yaml")


def check_golden(source: Path) -> None:
    """Refuse a model that answers otherwise here than it did in training.

    Raises:
        UserError: no servable, or another probability for a golden row.
    """
    if not (source / servable.PLAN).is_file():
        raise UserError("it has no form for the server: train again")
    servable.check_golden(servable.load(source), files.read_json(source / candidate.GOLDEN))


def describe(
    version: store.Version, card: dict[str, Any], known: Sequence[Event]
) -> dict[str, Any]:
    """What the server says of a model: see `GET /model`."""
    events = [event for event in known if event.to_version == version.number]
    return {
        "version": version.number,
        "digest": version.digest,
        "folder": version.digest,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": card["id"],
        "label": card["label"],
        "features": card["features"],
        "decision_threshold": card["decision_threshold"],
        "estimator": card["estimator"],
        "window": card["window"],
        "metrics": store.metrics(version.run_id) if version.run_id else {},
        "promoted": _promoted(events[-1] if events else None),
    }


def _promoted(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {"kind": event.kind, "by": event.who, "when": event.when, "why": event.why}


def sweep(folder: Path, digest: str) -> None:
    """Remove the models that nobody takes any more; the newest two others may still be read."""
    others = [p for p in folder.iterdir() if p.is_dir() and p.name != digest and _is_ours(p.name)]
    for path in sorted(others, key=lambda p: p.stat().st_mtime)[:-2]:
        files.remove(folder, path.name)


def _is_ours(name: str) -> bool:
    """Whether a folder was made by `candidate.keep`: `serve.folder` may be any folder."""
    try:
        return name.startswith(candidate.SCRATCH) or bool(identifiers.digest(name))
    except ValueError:
        return False


def _inode() -> int | None:
    local = connection.database()
    try:
        return None if local is None else local.stat().st_ino
    except OSError:
        return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Watch until the process that started this one is gone."""
    p = params.serve()
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    folder = files.home() / p.folder
    folder.mkdir(parents=True, exist_ok=True)
    watcher, page, parent = Watcher(folder), Remaker(folder), os.getppid()
    makes_page = page.is_possible()
    while os.getppid() == parent and not watcher.is_outdated():
        watcher.step()
        if makes_page:
            page.step()
        time.sleep(p.interval_seconds)


if __name__ == "__main__":
    main()
