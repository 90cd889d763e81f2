"""Two clones that promote at once into one registry, and what must be true of it afterwards.

In step: both begin each round at the same instant, from the same production, so that one of them
has to come too late. Freely: each promotes as often as it can, and meets the other as it happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import registry_fixtures
from registry_worker import Worker

from stages.registry import ledger, ledger_copy, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

HERE = Path(__file__).parent
TOO_LATE = ("compare again", "nothing was changed")  # what a loser is told ends with one of them

_RACE = """
import os, pytest, registry_fixtures, sys, time
from pathlib import Path
from stages import promote
from stages.registry import store

root, rounds = Path({folder!r}), {rounds}
RACERS = {{"racer-1": 1000, "racer-2": 2000}}  # each has candidates of its own: by their C

def meet(place):  # both have come this far
    for racer in RACERS:
        while not (root / f"{{place}}-{{racer}}").exists():
            time.sleep(0.001)

def race(name, first):
    clone = registry_fixtures.make(root / name)
    registry_fixtures.enter(clone, pytest.MonkeyPatch(), keep=["MLFLOW_TRACKING_URI"])
    for n in range(rounds):
        digest = clone.candidate(first + n)
        clone.reports(digest, store.production().version)
        (root / f"start-{{n}}-{{name}}").touch()
        meet(f"start-{{n}}")
        status = run(promote.main)
        (root / f"end-{{n}}-{{name}}").write_text(str(status))
        meet(f"end-{{n}}")

racers = []
for name, first in RACERS.items():
    racers.append(os.fork())
    if not racers[-1]:
        race(name, first)
        sys.stdout.flush()
        os._exit(0)
status = max(os.waitpid(racer, 0)[1] for racer in racers)
"""


def in_step(worker: Worker, uri: str, folder: Path, rounds: int) -> list[str]:
    """Let two clones race so many rounds; one wins each, and the other is told.

    Args:
        worker: forks the racers.
        uri: the registry of both.
        folder: where the clones of the racers will be.
        rounds: how many.

    Returns:
        What the losers were told.
    """
    code = _RACE.format(folder=str(folder), rounds=rounds)
    done = worker.do(folder, code, MLFLOW_TRACKING_URI=uri)
    assert done.status == 0, done.said
    for n in range(rounds):
        ends = sorted(path.read_text() for path in folder.glob(f"end-{n}-*"))
        assert ends == ["0", "1"], done.said
    assert "Traceback" not in done.said, done.said
    errors = [line for line in done.said.splitlines() if line.startswith("error")]
    assert len(errors) == rounds
    assert all(any(said in line for said in TOO_LATE) for line in errors), errors
    return errors


def freely(roots: Sequence[Path], uri: str, promotions: int) -> list[str]:
    """Let clones promote so often each, all at once, each in a process of its own.

    Returns:
        What each of them said.
    """
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": uri,
        "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE))),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "promote_often.py", root, str(promotions)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for root in roots
    ]  # fmt: skip
    said = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(roots), said
    print(*said, sep="\n")
    # They met: each was told that the other was first, which happens in most of the rounds.
    assert all("again: " in text for text in said)
    return said


@contextmanager
def warm(root: Path) -> Iterator[Worker]:
    """A process that forks racers, and has promoted once, in a clone at a root.

    What it imports and looks up, its children need not.
    """
    clone = registry_fixtures.make(root)
    clone.reports(clone.candidate(), None)
    with Worker() as worker:
        worker.warm_up(
            root,
            "import registry_fixtures; registry_fixtures.quicken()\n"
            "from stages import promote; status = run(promote.main)",
        )
        yield worker


def sqlite(root: Path) -> str:
    """The address of the registry of a clone."""
    return f"sqlite:///{root}/mlflow/mlflow.db"


def racer(root: Path, parameters: str) -> Path:
    """A folder that stands for a clone, with a git user of its name, and nobody's yes needed."""
    root.mkdir()
    (root / "params.yaml").write_text(parameters)
    for command in (["init", "--quiet"], ["config", "user.name", root.name]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def check(
    roots: Sequence[Path], monkeypatch: pytest.MonkeyPatch, before: int, promotions: int
) -> store.Registry:
    """Assert that the registry that MLFLOW_TRACKING_URI names has one whole chain, one production.

    Args:
        roots: the clones that raced freely; each has made ``promotions`` of the events.
        monkeypatch: this process looks at the clones in turn.
        before: events that were there before the race.
        promotions: of each clone.
    """
    now = store.read()
    raced = now.events[before:]
    assert len(raced) == promotions * len(roots)
    is_one_story(now)
    assert Counter(event.who for event in raced) == dict.fromkeys(
        (root.name for root in roots), promotions
    )
    for root in roots:
        registry_fixtures.enter(registry_fixtures.Clone(root), monkeypatch, ["MLFLOW_TRACKING_URI"])
        copied = ledger_copy.read()
        assert copied == list(now.events[: len(copied)])
    return now


def is_one_story(now: store.Registry) -> None:
    """Assert that the events follow each other, and that the alias is what they add up to."""
    events = now.events
    assert ledger.broken_at(events) is None
    assert [event.n for event in events] == list(range(1, len(events) + 1))
    assert [e.from_version for e in events[1:]] == [e.to_version for e in events[:-1]]
    assert now.standing == "settled"
    assert now.alias == events[-1].to_version == ledger.state(events).production
    digests = [version.digest for version in store.versions().values()]
    assert len(set(digests)) == len(digests)
