"""A command in a process group of its own, as a terminal starts it, and the ways to kill it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from clone import Clone

Way = Literal["-9", "Ctrl-C", "-9 of one"]
# What kills a computer's whole session, a person, and a system without memory: every second is -9.
WAYS: tuple[Way, ...] = ("-9", "Ctrl-C", "-9 of one", "Ctrl-C")
MARK = "KILLED_BY_A_TEST"
PATIENCE = 300.0  # seconds that anything may take on a busy machine


class Group:
    """A `make` command under way; all that it starts bears a mark in its environment."""

    def __init__(self, clone: Clone, arguments: list[str], log: Path) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self._mark.split("=")
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", *arguments], cwd=clone.root,
                env=clone.environment() | {name: value}, stdout=out, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def alive(self) -> list[int]:
        """All its processes, those in other sessions too."""
        self.process.poll()
        return [pid for pid in map(_number, Path("/proc").iterdir()) if pid and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            told = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return self._mark.encode() in told.split(b"\0")

    def kill(self, way: Way, draw: random.Random) -> bool:
        """Kill it; whether it still ran."""
        found = sorted(self.alive())
        if not found or self.process.poll() is not None:
            return False
        if way == "-9 of one":
            with suppress(ProcessLookupError):
                os.kill(draw.choice(found), signal.SIGKILL)
        else:
            self.signal(signal.SIGKILL if way == "-9" else signal.SIGINT)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the group, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Wait for the end of all its processes; the status."""
        self.until(lambda: not self.alive(), "all its processes end")
        return self.process.wait()

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait for something, but not for ever; nothing is left where it never comes."""
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                left = {pid: _command(pid) for pid in self.alive()}
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"{what}: not within {PATIENCE:g} s; {left}:\n{self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")


def _number(path: Path) -> int | None:
    return int(path.name) if path.name.isdecimal() else None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "gone"
