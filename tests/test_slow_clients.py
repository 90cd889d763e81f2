"""The server while hundreds of clients send slowly, or nothing: the others must not notice."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import crowd
import pytest
import serve_fixtures
from ports import free_port
from serve_fixtures import GOOD

from stages.shared import files

PATIENCE = 6  # seconds that a request has here
LATE = 6.0  # seconds beyond that in which the server has cut whoever is late
SLOW, IDLE = 200, 2_500  # connections: of each kind; idle ones
FLOODS = 20  # connections of each kind that send as fast as they can
MEASURED = 12.0  # seconds
MOST = 1.0  # seconds that a good client waits, at p99


def asked(port: int, seconds: float) -> list[float]:
    """Seconds that a good client waits for each answer, on a connection that lives and on others.

    It looks at each answer: all are right.
    """
    body, kind = json.dumps(GOOD).encode(), {"Content-Type": "application/json"}
    waits, end = [], time.monotonic() + seconds
    with closing(connection(port)) as living:
        while time.monotonic() < end:
            for method, path, sent in (("GET", "/health", None), ("POST", "/predict", body)):
                begun = time.monotonic()
                with closing(connection(port)) as fresh:
                    for one in (living, fresh):
                        one.request(method, path, sent, kind)
                        answer = one.getresponse()
                        assert (answer.status, bool(answer.read())) == (200, True)
                        waits.append(time.monotonic() - begun)
                        begun = time.monotonic()
            time.sleep(0.005)
    return waits


def connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def p99(waits: list[float]) -> float:
    return sorted(waits)[int(0.99 * (len(waits) - 1))]


@pytest.fixture(scope="module")
def gunicorn(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A port on which gunicorn answers with two workers and a model, and its process."""
    folder, port = tmp_path_factory.mktemp("slow"), free_port()
    serve_fixtures.put(folder / "serving", 1)
    (folder / "counts").mkdir()
    environment = os.environ | {
        "PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": str(folder / "counts"),
        "SERVE_FOLDER": str(folder / "serving"), "SERVE_PATIENCE": str(PATIENCE),
        "SERVE_WORKERS": "2", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "--config", "serve/gunicorn.conf.py"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=files.ROOT, env=environment, stdout=log, stderr=log)
    try:
        until_answered(port, process, folder / "log")
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


def until_answered(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            with closing(socket.create_connection(("127.0.0.1", port))):
                if len(workers(process)) == 2:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def workers(process: subprocess.Popen[bytes]) -> set[str]:
    done = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@contextmanager
def attacked(port: int, slow: int, floods: int, idle: int) -> Iterator[Callable[[], Any]]:
    """The clients of `crowd.py`; what is yielded ends them and returns what they saw."""
    numbers = map(str, (port, slow, floods, idle))
    process = subprocess.Popen(
        [sys.executable, crowd.__file__, *numbers],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def end() -> Any:
        said = process.communicate("end\n", timeout=60)[0].splitlines()
        assert said[0] == "there"
        return json.loads(said[1])

    try:
        yield end
    finally:
        process.kill()
        process.wait()


def test_slow_and_idle_clients_by_the_hundred_cost_others_nothing(
    gunicorn: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = gunicorn
    before = workers(process)
    with attacked(port, SLOW, 0, IDLE) as end:
        waits = asked(port, MEASURED)
        seen = end()
    print(f"p99 {p99(waits):.3f} s, at most {max(waits):.3f} s, of {len(waits)} answers")
    assert p99(waits) < MOST
    assert workers(process) == before  # none was killed
    assert seen.pop("idle") == {"open": IDLE, "ended": 0}
    for name, one in seen.items():
        assert one["open"] == 0, name
        assert one["answers"].keys() <= {"408", ""}, name
        assert one["latest"] < PATIENCE + LATE, name


def test_clients_that_send_nonsense_as_fast_as_they_can_cost_others_little(
    gunicorn: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = gunicorn
    before = workers(process)
    with attacked(port, 0, FLOODS, 0) as end:
        waits = asked(port, MEASURED)
        seen = end()
    print(f"p99 {p99(waits):.3f} s, at most {max(waits):.3f} s, of {len(waits)} answers")
    assert p99(waits) < MOST
    assert workers(process) == before
    for name, one in seen.items():
        assert one["open"] == 0, name
        assert one["answers"].keys() <= {"400", "408", "431", ""}, name
