"""`make serve`: gunicorn and the watcher, started together, kept alive, and stopped together."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from serve import access, metrics
from stages.registry import cli
from stages.shared import errors, files, params
from stages.shared.errors import UserError

HERE = Path(__file__).parent
PAUSE = 1.0  # seconds before a watcher that died is started again
# Seconds between two reloads, and from the start to the first. gunicorn carries out each one that
# it is asked for, one after the other, with new workers every time.
SETTLE = 5.0
# Seconds that gunicorn has for its end, then it is killed: `graceful_timeout`, after which it kills
# workers that do not end, and some more. Docker waits for ten.
LAST = 8.0
_PR_SET_PDEATHSIG = 1  # Linux: a signal for when the parent dies


class Supervisor:
    """Two children: the server, without which it ends, and the watcher, which it starts again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._stopping = self._hung_up = False
        self._next_reload = time.monotonic() + SETTLE
        self._killed_at = math.inf  # when gunicorn is killed if it has not ended
        self._children: list[subprocess.Popen[bytes]] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGUSR1, self._pass_on)  # gunicorn opens its logs anew
        self._server = self._start("gunicorn", "--config", str(HERE / "gunicorn.conf.py"))
        self._watcher = self._start_watcher()

    def run(self) -> int:
        """Wait for the server to end; its exit status."""
        while self._server.poll() is None:
            if self._watcher.poll() is not None and not self._stopping:
                print("serve: the watcher ended and is started again", flush=True)
                self._children.remove(self._watcher)
                time.sleep(PAUSE)
                self._watcher = self._start_watcher()
            if self._hung_up and time.monotonic() >= self._next_reload:
                self._reload()
            if time.monotonic() >= self._killed_at:
                _kill(self._server)
                break
            time.sleep(0.1)
        _kill(self._watcher)
        return 0 if self._stopping else self._server.returncode

    def _start_watcher(self) -> subprocess.Popen[bytes]:
        # It may end at any moment, and must also if it is stopped: whatever it writes is whole.
        return self._start("serve.watch", last=signal.SIGKILL)

    def _start(
        self, module: str, *arguments: str, last: signal.Signals = signal.SIGTERM
    ) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=files.ROOT,
            env=self._environment,
            start_new_session=True,  # Ctrl-C comes to us alone, and we pass it on
            preexec_fn=partial(_prepare_child, last),  # noqa: PLW1509 - we have one thread
        )
        self._children.append(child)
        if self._stopping:  # told so in between
            child.terminate()
        return child

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping, self._killed_at = True, time.monotonic() + LAST
        for child in self._children:
            child.terminate()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True

    def _reload(self) -> None:
        """Renew the workers, once for all hangups since the last time."""
        self._hung_up, self._next_reload = False, time.monotonic() + SETTLE
        try:
            access.rules(params.serve())  # gunicorn ends where it cannot read its settings
        except UserError as error:
            print(f"serve: not reloaded: {error}", file=sys.stderr, flush=True)
        else:
            self._server.send_signal(signal.SIGHUP)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._children:
            self._children[0].send_signal(number)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a child and its own children at once, also if they are stopped or hang."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # it hangs in the system
            child.wait(LAST)


def _prepare_child(last: signal.Signals) -> None:
    """Have a child end with us, also if we are killed, but not for a signal that comes early."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # until gunicorn has its own
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, last)


def refuse_taken(host: str, port: int) -> None:
    """Refuse a port that somebody else listens on.

    Raises:
        UserError: names it.
    """
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or str(error)
            remedy = "make serve PORT=…"
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                remedy = "set serve.host to an address of this machine"
            raise UserError(f"{host}:{port} cannot be had ({why}): {remedy}") from None


def main() -> None:
    """Serve until told to stop."""
    parser = cli.parser("Serve what production names.")
    parser.add_argument("--port", type=cli.port, default=8000)
    given = parser.parse_args()
    settings = params.serve()
    access.rules(settings)
    refuse_taken(settings.host, given.port)
    environment = {k: v for k, v in os.environ.items() if k != metrics.FOLDER} | {
        "PORT": str(given.port),
        "OMP_WAIT_POLICY": "passive",  # threads that wait take no time from other requests
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds; libpq's own wait has no end
    status = Supervisor(environment).run()
    sys.exit(status)


if __name__ == "__main__":
    errors.run(main)
