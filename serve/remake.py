"""Has the page made anew whenever what it shows has changed, by a process of its own.

Making it reads the registry, which takes seconds of importing alone: neither the workers nor the
watcher may wait for that. What has changed is seen by the files: the model in place, what the
watcher noted, the reports, the ledger's copy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from serve import place
from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMAND = (sys.executable, "-m", "page", "--live")
QUIET = 2.0  # seconds without a change: a run of the pipeline writes one report after the other
_PR_SET_PDEATHSIG = 1  # Linux: a signal for when the parent dies
AGAIN = 60.0  # seconds until a page that could not be made is tried again
LONGEST = 600.0  # seconds that making a page may take


class Remaker:
    """Looks, step by step, and starts the process."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str] = COMMAND,
        quiet: float = QUIET,
        again: float = AGAIN,
        longest: float = LONGEST,
    ) -> None:
        """Begin without a page.

        Args:
            folder: see `serve.place`.
            command: makes the page.
            quiet: seconds that nothing must have changed for.
            again: seconds until it is tried again after it failed.
            longest: seconds after which it is killed, which is a failure.
        """
        self._folder, self._command = folder, command
        self._quiet, self._again, self._longest = quiet, again, longest
        self._made: Any = None  # what the newest page was made of
        self._seen: Any = None
        self._since = self._begun = 0.0
        self._child: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether the code that makes the page is here; an image of the server alone has it not."""
        return find_spec("page") is not None

    @property
    def idle(self) -> bool:
        """Whether no page is being made."""
        return self._child is None

    def step(self) -> None:
        """Look once; a page that cannot be made leaves the old one where it is."""
        if self._child is not None:
            self._reap(self._child)
            return
        now, at = self._stamp(), time.monotonic()
        if now != self._seen:
            self._seen, self._since = now, at
        if now != self._made and at - self._since >= self._quiet:
            self._made, self._child = now, self._start()

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        status = child.poll()
        if status is None:
            if time.monotonic() - self._begun > self._longest:
                child.kill()  # what has become of it is seen at the next look
            return
        self._child = None
        if status:
            print("serve: the page could not be made, the old one stays", file=sys.stderr)
            self._made, self._since = None, time.monotonic() + self._again
        else:
            self._made = (True, *self._made[1:])  # that the page is there now is no change

    def _start(self) -> subprocess.Popen[bytes]:
        self._begun = time.monotonic()
        return subprocess.Popen(
            self._command,
            cwd=files.ROOT,
            preexec_fn=_stand_back,  # noqa: PLW1509 - we have one thread
        )

    def _stamp(self) -> Any:
        noted = place.read(self._folder, place.WATCHER) or {}
        home = files.home()
        paths = [
            self._folder / place.CURRENT,
            home / "models" / "ledger.jsonl",
            *sorted((home / "reports").glob("*.json")),
        ]
        there = (self._folder / place.PAGE).is_file()
        return there, noted.get("names"), noted.get("error"), [_changed(path) for path in paths]


def _stand_back() -> None:
    """Let the workers have the processor first, and end with the watcher (Linux)."""
    os.nice(19)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _changed(path: Path) -> tuple[str, int] | None:
    try:
        return path.name, path.stat().st_mtime_ns
    except OSError:
        return None
