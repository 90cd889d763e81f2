"""Moves of the alias under load: how soon every worker answers from the new version, what is lost.

In a copy of the clone with a registry of its own, in which the candidate is one version and the
same trained with fewer trees another; clients ask without a pause and never twice.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bench.serve import FOURTH, wait
from stages.shared import candidate, files

MOVES, CLIENTS, PAUSE = 30, 8, 1.0
REGISTER = """
import sys
from stages.registry import connection, store
from stages.shared import candidate
from pathlib import Path
folder = Path(sys.argv[1])
with connection.asking() as client:
    run = client.create_run(store.experiment()).info.run_id
    client.log_artifacts(run, str(folder), store.CANDIDATE)
    store._create_model(client)
    client.create_model_version(store.MODEL, "bench", run_id=run,
                                tags={"digest": candidate.digest(folder)})
"""
# Both versions are adopted, as whoever has moved the alias by hand may do; then each is put back.
MOVE = """
import sys
from contextlib import redirect_stdout
from stages.commands import rollback
from stages.registry import store
def move(version):
    sys.argv = ["rollback", f"--version={version}", "--reason=bench"]
    with redirect_stdout(sys.stderr):
        rollback.main()
for version in (1, 2):
    store.point(version)
    move(version)
for line in sys.stdin:
    move(int(line))
    print("moved", flush=True)
"""


class Client(threading.Thread):
    """Asks without a pause, on one connection; keeps when, which version, and how long it took."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body, self.ended, self.failed = body, threading.Event(), 0
        self.answers: list[tuple[float, int, float]] = []

    def run(self) -> None:
        """Ask until told to stop."""
        kind = {"Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", FOURTH, timeout=30)) as connection:
            while not self.ended.is_set():
                begun = time.perf_counter()
                try:
                    connection.request("POST", "/predict", self._body, kind)
                    answer = connection.getresponse()
                    said = json.loads(answer.read())
                    now = time.perf_counter()
                    self.answers.append((now, said["model_version"], now - begun))
                except (OSError, http.client.HTTPException, ValueError, KeyError):
                    self.failed += 1
                    connection.close()


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        copy(root)
        body = json.dumps(files.read_json(files.CANDIDATE / candidate.GOLDEN)["rows"][0]).encode()
        mover = subprocess.Popen(
            [sys.executable, "-c", MOVE],
            cwd=root, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        move(mover, 1)
        server = subprocess.Popen(
            [sys.executable, "-m", "serve", f"--port={FOURTH}"],
            cwd=root, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait(FOURTH, "/ping")
            time.sleep(PAUSE)
            clients = [Client(body) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            moves = []
            for n in range(MOVES):
                time.sleep(PAUSE)
                version = 2 - n % 2
                moves.append((move(mover, version), version))
                time.sleep(2 * PAUSE)
            for client in clients:
                client.ended.set()
                client.join()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
            mover.kill()
            mover.wait()
        return told(clients, moves)


def told(clients: list[Client], moves: list[tuple[float, int]]) -> list[tuple[str, str, str]]:
    """What the clients saw."""
    answers = sorted(answer for client in clients for answer in client.answers)
    lags = []
    for n, (moved, version) in enumerate(moves):
        end = moves[n + 1][0] if n + 1 < len(moves) else float("inf")
        late = [when for when, of, _ in answers if moved < when < end and of != version]
        lags.append(max(late, default=moved) - moved)
    took = sorted(seconds for _, _, seconds in answers)
    failed = sum(client.failed for client in clients)
    p50, p99 = (1000 * took[int(share * len(took))] for share in (0.5, 0.99))
    return [
        (
            f"{len(answers):,} requests across {MOVES} swaps, {CLIENTS} connections",
            f"{failed} failed, p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            "0 failed",
        ),
        (
            "from the end of a rollback to the last answer of the old version",
            f"{statistics.median(lags):.2f} s, at most {max(lags):.2f} s",
            "2 s",
        ),
    ]


def copy(root: Path) -> None:
    """The clone's code and candidate, a second candidate, and both in a registry."""
    for part in ("stages", "serve", "models/candidate"):
        shutil.copytree(files.ROOT / part, root / part)
    (root / "data").mkdir()
    for part in ("params.yaml", "data/train.parquet"):
        shutil.copy2(files.ROOT / part, root / part)
    yaml, path = YAML(), root / "params.yaml"
    values: Any = yaml.load(path)
    values["train"] |= {"estimator": "hist_gradient_boosting"}
    values["train"]["hist_gradient_boosting"] |= {"max_iter": 50}
    yaml.dump(values, path)
    shutil.move(root / "models" / "candidate", root / "first")
    run(root, "-m", "stages.train")
    for folder in ("first", "models/candidate"):
        run(root, "-c", REGISTER, folder)


def environment() -> dict[str, str]:
    """This one, with the copy's own registry."""
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}


def run(root: Path, *arguments: str) -> None:
    """Run Python in the copy."""
    command = [sys.executable, "-W", "ignore", *arguments]
    subprocess.run(command, cwd=root, env=environment(), check=True, stdout=subprocess.DEVNULL)


def move(mover: subprocess.Popen[str], version: int) -> float:
    """Move the alias; when it had moved."""
    if mover.stdin and mover.stdout:
        mover.stdin.write(f"{version}\n")
        mover.stdin.flush()
        mover.stdout.readline()
    return time.perf_counter()
