"""`make test-soak`: a million requests over a thousand moves of production, by the real server.

Every answer is compared with the probability that the version it names gives the row that was
asked about. Every move is a real one: `make rollback` in one long-lived process, event and all.
REQUESTS and MOVES in the environment shorten it.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import threading
import time
from collections import defaultdict
from contextlib import closing
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import registry_fixtures
from registry_fixtures import FEATURES, ROWS, Clone
from registry_worker import Worker
from test_server import Server, running, until

from stages.registry import ledger, ledger_copy, store
from stages.shared import servable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code

REQUESTS = int(os.environ.get("REQUESTS") or 1_000_000)
MOVES = int(os.environ.get("MOVES") or 1_000)
CLIENTS, VERSIONS = 8, 3
GROWTH = 0.05  # of the memory at a tenth of the moves: what may be there more at the end
NEAR = 9  # moves that a figure is the median of
WARM_UP = """
from stages.commands import rollback
from stages.registry import store
store.read()
"""
MOVE = """
from stages.commands import rollback
status = run(rollback.main, "--version", "{version}", "--reason", "a soak")
"""


class Client(threading.Thread):
    """Asks without a pause, on one connection, never twice, and checks each answer."""

    def __init__(self, port: int, expected: Mapping[int, Sequence[float]]) -> None:
        super().__init__()
        self._port, self._expected = port, expected
        self.ended = threading.Event()
        self.seconds: list[float] = []  # one for each answer
        self.wrong: list[str] = []

    def run(self) -> None:
        bodies = [(n, json.dumps(row).encode()) for n, row in enumerate(ROWS)]
        server = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with closing(server) as connection:
            for n, body in cycle(bodies):
                if self.ended.is_set():
                    return
                try:
                    self._ask(connection, n, body)
                except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                    self.wrong.append(f"row {n}: {error!r}")
                    connection.close()

    def _ask(self, connection: http.client.HTTPConnection, n: int, body: bytes) -> None:
        begun = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        text = connection.getresponse().read()
        self.seconds.append(time.perf_counter() - begun)
        said = json.loads(text)
        if said["churn_probability"] != self._expected[said["model_version"]][n]:
            self.wrong.append(f"row {n}: {said}")


class Processes:
    """What runs below `python -m serve`, and how much memory it takes."""

    def __init__(self, server: Server) -> None:
        self.of = {
            "workers": server.workers(),
            "gunicorn": server.processes("gunicorn")[:1],
            "watcher": server.processes("serve.watch"),
            "supervisor": [server.process.pid],
        }
        self.kilobytes: defaultdict[str, list[int]] = defaultdict(list)  # one for each move

    def weigh(self) -> None:
        """Note the memory."""
        for kind, pids in self.of.items():
            self.kilobytes[kind].append(sum(map(own, pids)))


def own(pid: int) -> int:
    """Kilobytes of a process's memory that is no file; what a fork shares is divided (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss_Anon:")).split()[1])


def at(figures: Sequence[float], move: int) -> float:
    """The median of the figures of the moves up to one."""
    return statistics.median(figures[max(move - NEAR, 0) : move])


def is_served(server: Server, version: int) -> bool:
    """Whether every worker has a version."""
    lines = server.ask("/metrics")[1].splitlines()
    return {line.split()[-1] for line in lines if line.startswith("churn_model_version{")} == {
        f"{version:.1f}"
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone with three promoted forests, in which this process may read the registry."""
    root = tmp_path_factory.mktemp("soak") / "clone"
    clone = registry_fixtures.serving(
        root, registry_fixtures.promoted(VERSIONS, estimator="random_forest")
    )
    with pytest.MonkeyPatch.context() as patch:
        registry_fixtures.enter(clone, patch)
        yield clone


@pytest.fixture(scope="module")
def expected(clone: Clone) -> dict[int, list[float]]:
    """What each version says of each row."""
    found, known = {}, store.versions()
    for version in range(1, VERSIONS + 1):
        served = servable.load(store.fetch(known[version]))
        found[version] = [served.one([row[name] for name in FEATURES]) for row in ROWS]
    assert len({tuple(said) for said in found.values()}) == VERSIONS
    return found


def test_moves_under_load_lose_no_request_tell_no_untruth_and_take_no_memory(
    clone: Clone, expected: dict[int, list[float]]
) -> None:
    took: list[float] = []  # seconds of each move
    lag: list[float] = []  # from its end until every worker has the version
    before = len(store.read().events)
    with running(clone) as server, Worker() as mover:
        until(lambda: server.serves(VERSIONS), "the newest version is served")
        mover.warm_up(clone.root, WARM_UP)
        processes = Processes(server)
        clients = [Client(server.port, expected) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for move in range(1, MOVES + 1):
                version = 1 + move % VERSIONS
                begun = time.monotonic()
                mover.warm_up(clone.root, MOVE.format(version=version))
                moved = time.monotonic()
                until(partial(is_served, server, version), f"version {version} is served")
                took.append(moved - begun)
                lag.append(time.monotonic() - moved)
                processes.weigh()
                share = REQUESTS * move / MOVES
                until(lambda: answers(clients) >= share, "the clients keep up", 600)  # noqa: B023
                if move % (MOVES // 10 or 1) == 0:
                    tell(move, clients, took, lag, processes)
        finally:
            for client in clients:
                client.ended.set()
            for client in clients:
                client.join()
        assert Processes(server).of == processes.of
    wrong = [said for client in clients for said in client.wrong]
    assert not wrong, (len(wrong), wrong[:10])
    assert answers(clients) >= REQUESTS
    now = store.read()
    assert len(now.events) == before + MOVES
    assert ledger.broken_at(now.events) is None
    assert ledger_copy.read() == list(now.events)
    early = MOVES // 10 or 1
    for kind, kilobytes in processes.kilobytes.items():
        assert at(kilobytes, MOVES) <= (1 + GROWTH) * at(kilobytes, early), kind


def answers(clients: Sequence[Client]) -> int:
    return sum(len(client.seconds) for client in clients)


def tell(
    move: int,
    clients: Sequence[Client],
    took: Sequence[float],
    lag: Sequence[float],
    processes: Processes,
) -> None:
    seconds = sorted(one for client in clients for one in client.seconds)
    p50, p99 = (1000 * seconds[int(share * len(seconds))] for share in (0.5, 0.99))
    memory = ", ".join(f"{k} {at(m, move) / 1024:.1f}" for k, m in processes.kilobytes.items())
    print(
        f"move {move:,}: {len(seconds):,} requests, {sum(len(c.wrong) for c in clients)} failed or "
        f"wrong, p50 {p50:.1f} ms, p99 {p99:.1f} ms; {at(took, move):.2f} s a move, served "
        f"{at(lag, move):.2f} s later; MB: {memory}",
        flush=True,
    )
