"""`make test-kills`: 300 kills at random instants, and what the next plain command makes of it.

Each command runs for real, in a clone of its own, and is killed at an instant that is drawn from
its own length. Then the same is typed again. KILLS in the environment says how many there are, and
SEED which; COMMANDS names some of the commands.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from commands import Command, Features, Gc, Promote, Repro, Restore, Rollback, Serve, check, make
from groups import WAYS, Group, Way

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and scikit-learn warn about their own

KILLS = int(os.environ.get("KILLS") or 300)
SEED = int(os.environ.get("SEED") or 1)
# How many of a hundred: a run of the pipeline takes as long as five of the others.
SHARES: dict[type[Command], int] = {
    Serve: 18, Repro: 10, Restore: 12, Gc: 12, Promote: 16, Rollback: 16, Features: 16,
}  # fmt: skip
NAMED = (os.environ.get("COMMANDS") or " ".join(command.name for command in SHARES)).split()


@dataclass
class Told:
    """What became of one command's rounds."""

    name: str
    seconds: float = 0.0  # of its own length
    kills: Counter[Way] = field(default_factory=Counter)
    hits: Counter[Way] = field(default_factory=Counter)  # it still ran
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ways = ", ".join(f"{way}: {self.hits[way]} of {n}" for way, n in sorted(self.kills.items()))
        return (
            f"{self.name} ({self.seconds:.1f} s): {self.kills.total()} kills, "
            f"{self.hits.total()} while it ran ({ways}); {len(self.wrong)} wrong"
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "clone"
    make(root)
    return root


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Processes that ignore Ctrl-C have children that do: a shell in the background is one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_a_kill_at_any_instant_the_same_command_completes(made: Path, tmp_path: Path) -> None:
    chosen = {command: share for command, share in SHARES.items() if command.name in NAMED}
    whole = sum(chosen.values())
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each has a clone, and waits for processes
        waiting = [
            pool.submit(rounds, command(made, tmp_path / command.name), KILLS * share // whole or 1)
            for command, share in chosen.items()
        ]
        told = [one.result() for one in waiting]
    print(*told, sep="\n")
    print(f"{sum(one.kills.total() for one in told)} kills, seed {SEED}")
    assert not [wrong for one in told for wrong in one.wrong]


def rounds(command: Command, number: int) -> Told:
    """Kill a command so many times; stop at the first time that it does not come back."""
    draw = random.Random(f"{SEED} {command.name}")  # noqa: S311 - to draw the same ones again
    told = Told(command.name)
    ways = cycle(WAYS)
    log = command.root.with_suffix(".log")
    told.seconds = length(command, log)
    for n in range(number):
        way, instant = next(ways), draw.uniform(0, told.seconds)
        typed = command.next()
        try:
            told.hits[way] += kill(command, typed, way, instant, log, draw)
            told.kills[way] += 1
            command.again(typed, log.with_suffix(".again"))
            check(command.root)
            command.is_done()
        except Exception as error:
            what = f"{command.name}, round {n + 1}, {way} after {instant:.2f} s: {error!r}"
            told.wrong.append(f"{what}; it said:\n{log.read_text()}")
            print(f"wrong: {what}", flush=True)
            break
    print(told, flush=True)
    return told


def length(command: Command, log: Path) -> float:
    """Seconds that the command takes when nobody kills it."""
    typed = command.next()
    begun = time.monotonic()
    command.again(typed, log)
    took = time.monotonic() - begun
    check(command.root)
    command.is_done()
    return took


def kill(
    command: Command, typed: list[str], way: Way, instant: float, log: Path, draw: random.Random
) -> bool:
    """Type a command and kill it after so many seconds; whether it still ran then."""
    group = Group(command.clone, typed, log)
    end = time.monotonic() + instant
    while time.monotonic() < end and group.process.poll() is None:
        time.sleep(0.01)
    hit = group.kill(way, draw)
    if way == "-9 of one" and command.stays:
        time.sleep(draw.uniform(0, 2))
        group.signal(signal.SIGINT)
    group.wait()
    return hit
