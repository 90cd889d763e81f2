"""The real server: gunicorn, two workers and the watcher, on a real registry, under real faults."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import registry_fixtures
from ports import free_port
from registry_fixtures import FEATURES, Clone

from stages.registry import store
from stages.shared import candidate, contract, files, servable

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code

ROW: dict[str, Any] = {"recency": 5.0, "plan": "NA", "paperless": True}
BODY = json.dumps(ROW).encode()
PATIENCE = 60.0  # seconds for what should take one: CI's machines are slow at times


def until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait for something, but not for ever."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience:g} s")


class Server:
    """`python -m serve` in a clone."""

    def __init__(self, clone: Clone, **environment: str) -> None:
        self.port, self.log = free_port(), clone.root / "serve.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PROMETHEUS"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve", f"--port={self.port}"],
                cwd=clone.root, env=clean | environment, stdout=log, stderr=log,
            )  # fmt: skip

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """One request on a connection of its own."""
        with closing(self.connect()) as connection:
            kind = {"Content-Type": "application/json"}
            connection.request("POST" if body else "GET", path, body, kind)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if path != "/metrics" else text.decode()

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        try:
            return self.ask("/health")[0] == 200
        except OSError:
            return False

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/ready")[1]
        return found

    def serves(self, version: int) -> bool:
        """Whether every worker answers with a version; asks each of them, some several times."""
        answers = [self.ask("/predict", BODY) for _ in range(12)]
        lines = self.ask("/metrics")[1].splitlines()
        of_workers = [float(x.split()[-1]) for x in lines if x.startswith("churn_model_version{")]
        said = {answer["model_version"] if status == 200 else 0 for status, answer in answers}
        return said == {version} and of_workers == [version] * 2

    def processes(self, what: str) -> list[int]:
        """The processes below this one that run ``what``, oldest first."""
        done = subprocess.run(
            ["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
        family, found = {self.process.pid}, []
        for pid, parent, arguments in sorted(rows, key=lambda row: int(row[0])):
            if int(parent) in family:
                family.add(int(pid))
                if what in arguments:
                    found.append(int(pid))
        return found

    def workers(self) -> list[int]:
        """gunicorn's own children."""
        return self.processes("gunicorn")[1:]

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop it as Ctrl-C does; seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with three promoted versions; the third is in production."""
    root = tmp_path_factory.mktemp("server") / "clone"
    return registry_fixtures.serving(root, registry_fixtures.promoted(3))


@pytest.fixture
def here(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    """The clone, in which this process may move the alias; version 3 is in production again."""
    registry_fixtures.enter(clone, monkeypatch)
    registry_fixtures.move(3)
    yield clone
    registry_fixtures.move(3)


@contextmanager
def running(clone: Clone, **environment: str) -> Iterator[Server]:
    server = Server(clone, **environment)
    try:
        until(server.is_up, "the server answers")
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        until(lambda: not server.processes("serve"), "all processes end")


@pytest.fixture(scope="module")
def expected(clone: Clone) -> dict[int, float]:
    """What each version says of `ROW`."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        registry_fixtures.enter(clone, patch)
        for version in (1, 2, 3):
            folder = store.fetch(store.versions()[version])
            found[version] = servable.load(folder).one([ROW[name] for name in FEATURES])
            loaded = candidate.load(folder)
            table = contract.to_table([ROW], loaded.features)
            assert loaded.probabilities(table)[0] == pytest.approx(found[version], abs=1e-9)
    assert len(set(found.values())) == 3
    return found


class Load(threading.Thread):
    """A client that asks without a pause, on one connection, never twice, and keeps all answers."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server, self._end = server, threading.Event()
        self.answers: list[tuple[int, float]] = []
        self.failures: list[str] = []

    def run(self) -> None:
        kind = {"Content-Type": "application/json"}
        with closing(self._server.connect()) as connection:
            while not self._end.is_set():
                try:
                    connection.request("POST", "/predict", BODY, kind)
                    answer = connection.getresponse()
                    said = json.loads(answer.read())
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self.failures.append(repr(error))
                    return
                if answer.status != 200:
                    self.failures.append(str(said))
                    return
                self.answers.append((said["model_version"], said["churn_probability"]))

    def stop(self) -> None:
        self._end.set()
        self.join()


def resident(pid: int) -> int:
    """Kilobytes of a process's memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_thirty_moves_under_load_lose_no_request_and_every_answer_names_its_own_model(
    here: Clone, expected: dict[int, float]
) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        clients = [Load(server) for _ in range(4)]
        for client in clients:
            client.start()
        workers, memory = server.workers(), []
        for move in range(30):
            version = (1, 3, 2)[move % 3]
            registry_fixtures.move(version)
            until(partial(server.serves, version), f"version {version} is served")
            memory.append(sum(map(resident, workers)))
        for client in clients:
            client.stop()
        assert [client.failures for client in clients] == [[]] * 4
        answers = [answer for client in clients for answer in client.answers]
        assert len(answers) > 500
        assert set(answers) == {(version, expected[version]) for version in (1, 2, 3)}
        assert server.workers() == workers
        # Of the first moves some of the code was new; after that nothing may grow.
        assert memory[-1] - memory[9] < 0.02 * memory[9]


def test_the_page_and_what_moves_a_probability_follow_the_model(here: Clone) -> None:
    def page() -> str:
        with closing(server.connect()) as connection:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

    with running(here) as server:
        until(lambda: "Version 3 is in production" in page(), "the page is made")
        assert 'data-name="recency"' in page()
        status, said = server.ask("/explain", BODY)
        assert (status, said["model_version"], len(said["contributions"])) == (200, 3, 3)


def test_two_moves_within_a_second_end_with_the_second(here: Clone) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        registry_fixtures.move(1)
        registry_fixtures.move(2)
        until(lambda: server.serves(2), "version 2 is served")


def test_a_killed_worker_and_a_killed_watcher_come_back(here: Clone) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        first = server.workers()
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(set(server.workers()) - set(first)) == 1, "another worker comes")
        until(lambda: server.serves(3), "version 3 is served")  # and the dead one's figure is gone
        (watcher,) = server.processes("serve.watch")
        os.kill(watcher, signal.SIGKILL)
        registry_fixtures.move(1)
        until(lambda: server.serves(1), "version 1 is served")
        assert "the watcher ended and is started again" in server.log.read_text()


def test_hangup_renews_the_workers_and_loses_no_request(here: Clone) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        first = set(server.workers())
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while first & set(server.workers()) and time.monotonic() < end:
            assert server.ask("/predict", BODY)[0] == 200
        assert len(set(server.workers()) - first) == 2
        until(lambda: server.serves(3), "version 3 is served")


def test_ten_hangups_within_a_second_of_the_start_are_one(here: Clone) -> None:
    def reloads() -> int:
        return (here.root / "serve.log").read_text().count("Handling signal: hup")

    with running(here) as server:
        before, first = reloads(), set(server.workers())
        for _ in range(10):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        until(lambda: reloads() > before, "it reloads")
        until(lambda: not first & set(server.workers()), "the workers are new ones")
        until(lambda: server.serves(3), "version 3 is served")
        assert reloads() == before + 1


def test_a_hangup_with_settings_that_cannot_be_read_ends_nothing(here: Clone) -> None:
    path = here.root / "params.yaml"
    before = path.read_text()
    with running(here) as server:
        path.write_text(before.replace("workers: 2", "workers: two"))
        try:
            server.process.send_signal(signal.SIGHUP)
            said = "not reloaded: params.yaml: serve.workers"
            until(lambda: said in server.log.read_text(), "it says why")
            assert server.ask("/health")[0] == 200
        finally:
            path.write_text(before)


def test_without_a_registry_the_last_good_model_goes_on_also_after_a_restart(here: Clone) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        away = here.root / "mlflow"
        away.rename(here.root / "away")
        try:
            until(lambda: "there is no registry" in str(server.ready()["problem"]), "it says so")
            assert server.serves(3)
            server.stop()
            with running(here) as again:
                assert again.ask("/predict", BODY)[1]["model_version"] == 3
                until(lambda: "there is no registry" in str(again.ready()["problem"]), "it says so")
        finally:
            (here.root / "away").rename(away)
    files_gone = here.root / "models" / "serving"
    shutil.rmtree(files_gone)
    with running(here, MLFLOW_TRACKING_URI="sqlite:///nowhere/mlflow.db") as server:
        until(lambda: "there is no registry" in str(server.ready()["problem"]), "it says so")
        assert server.ask("/predict", BODY)[0] == 503
        assert server.ask("/health")[0] == 200


class Garbage(BaseHTTPRequestHandler):
    """A registry that answers nonsense, or not at all."""

    def do_GET(self) -> None:
        if self.server.hangs:  # type: ignore[attr-defined]
            time.sleep(PATIENCE)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>not MLflow</html>")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("hangs", [False, True])
def test_a_registry_that_answers_garbage_or_nothing_disturbs_no_request(
    here: Clone, hangs: bool
) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
    with ThreadingHTTPServer(("127.0.0.1", 0), Garbage) as fake:
        fake.hangs, fake.daemon_threads = hangs, True  # type: ignore[attr-defined]
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{fake.server_address[1]}"
        settings = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        with running(here, MLFLOW_TRACKING_URI=address, **settings) as server:
            until(lambda: "cannot be asked" in str(server.ready()["problem"]), "it says so")
            begun = time.monotonic()
            assert all(server.ask("/predict", BODY)[0] == 200 for _ in range(20))
            assert time.monotonic() - begun < PATIENCE / 3
        fake.shutdown()


def test_slow_and_idle_clients_hold_nobody_up(here: Clone) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        address = ("127.0.0.1", server.port)
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        held = [socket.create_connection(address) for _ in range(100)]
        for n, connection in enumerate(held):
            # Idle; in the middle of the headers; in the middle of the body.
            part = (b"", head[:40], head + b"Content-Length: 50\r\n\r\n{")[n % 3]
            connection.sendall(part)
        begun = time.monotonic()
        assert all(server.ask("/predict", BODY)[0] == 200 for _ in range(50))
        assert time.monotonic() - begun < PATIENCE / 3
        for connection in held:
            connection.close()


def test_it_stops_at_once_also_with_live_connections_and_leaves_nothing(
    here: Clone, tmp_path: Path
) -> None:
    with running(here, TMPDIR=str(tmp_path)) as server:
        until(lambda: server.serves(3), "version 3 is served")
        clients = [Load(server) for _ in range(2)]
        for client in clients:
            client.start()
        idle = socket.create_connection(("127.0.0.1", server.port))
        until(lambda: all(len(client.answers) > 10 for client in clients), "requests are answered")
        family = server.processes("")
        assert server.stop() < PATIENCE / 3
        for client in clients:
            client.stop()
        idle.close()
        assert not [pid for pid in family if is_alive(pid)]
        assert counted(tmp_path) == []
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "Exception ignored" not in log


@pytest.mark.parametrize("what", ["serve.watch", "gunicorn"])
def test_it_ends_also_where_a_child_is_stopped(here: Clone, what: str) -> None:
    with running(here) as server:
        until(lambda: server.serves(3), "version 3 is served")
        family = server.processes("")
        for pid in server.processes(what):
            os.kill(pid, signal.SIGSTOP)
        assert server.stop() < PATIENCE / 3
        until(lambda: not [pid for pid in family if is_alive(pid)], "all processes end")


def test_a_killed_supervisor_leaves_nothing_behind(here: Clone, tmp_path: Path) -> None:
    with running(here, TMPDIR=str(tmp_path)) as server:
        family = [server.process.pid, *server.processes("")]
        assert len(counted(tmp_path)) == 1
        (watcher,) = server.processes("serve.watch")
        os.kill(watcher, signal.SIGSTOP)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        until(lambda: not [p for p in family if is_alive(p)], "all processes end")
        assert counted(tmp_path) == []


def test_what_a_killed_server_counted_goes_at_the_next_start_and_no_other_s(
    here: Clone, tmp_path: Path
) -> None:
    with running(here, TMPDIR=str(tmp_path)) as other, running(here, TMPDIR=str(tmp_path)) as first:
        family = first.processes("")
        for pid in (first.process.pid, *family):
            os.kill(pid, signal.SIGKILL)
        first.process.wait()
        until(lambda: not [p for p in family if is_alive(p)], "all processes end")
        assert len(counted(tmp_path)) == 2
        with running(here, TMPDIR=str(tmp_path)):
            assert len(counted(tmp_path)) == 2
            other.ask("/health")
            assert 'churn_requests_total{route="/health",status="200"}' in other.ask("/metrics")[1]


def counted(folder: Path) -> list[Path]:
    """The folders in which servers count, or did."""
    return list(folder.glob("churn-metrics-*"))


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_port_that_is_taken_is_one_line(here: Clone) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = here.python("-m", "serve", f"--port={port}")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: 127.0.0.1:{port} cannot be had (Address already in use): make serve PORT=…\n"
    )


def variants() -> dict[str, Any]:
    """Bodies of MLflow's protocol, plain and odd; what one server takes the other must take."""
    rows = registry_fixtures.ROWS
    row = dict(rows[0])

    def one(**changes: Any) -> dict[str, Any]:
        return {"dataframe_records": [row | changes]}

    def without(name: str) -> dict[str, Any]:
        return {"dataframe_records": [row, {k: v for k, v in row.items() if k != name}]}

    columns = list(row)
    split = {"columns": columns, "data": [[r[c] for c in columns] for r in rows]}
    turned = {"columns": columns[::-1], "index": [7], "data": [[row[c] for c in columns[::-1]]]}
    return {
        "all rows": {"dataframe_records": rows},
        "split": {"dataframe_split": split},
        "another order, and an index": {"dataframe_split": turned},
        "null number": one(recency=None),
        "null category": one(plan=None),
        "null boolean": one(paperless=None),
        "whole number": one(recency=40),
        "number as text": one(recency="40.5"),
        "boolean as number": one(recency=True),
        "no number": one(recency="many"),
        "unseen category": one(plan="gold"),
        "number for a category": one(plan=5),
        "number for a boolean": one(paperless=1),
        "text for a boolean": one(paperless="false"),
        "out of range": one(recency=-1e9),
        "infinite": one(recency="-inf"),
        "infinite by its exponent": one(recency="1e400"),
        "not a number, as text": one(recency="nan"),
        "a list for a category": one(plan=["NA"]),
        "an object for a category": one(plan={"NA": 1}),
        "one column more": one(extra=1),
        "no number in one row": without("recency"),
        "no category in one row": without("plan"),
        "no boolean in one row": without("paperless"),
        "a column missing": {"dataframe_records": [{"recency": 1.0}]},
        "a column twice": {"dataframe_split": {"columns": [*columns, "plan"], "data": []}},
        "no rows": {"dataframe_records": []},
        "no list": {"dataframe_records": row},
        "two forms": {"dataframe_records": rows, "dataframe_split": split},
        "no columns": {"dataframe_split": {"data": split["data"]}},
        "short rows": {"dataframe_split": {"columns": columns, "data": [[1.0]]}},
        "a list": rows,
        "another key beside": {"dataframe_records": rows, "params": {"a": 1}},
    }


def test_mlflows_own_server_answers_the_same(here: Clone) -> None:
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local",
        "--model-uri", "models:/churn_model/3", "--port", str(port),
    ]  # fmt: skip
    address = f"sqlite:///{here.root}/mlflow/mlflow.db"
    environment = os.environ | {"MLFLOW_TRACKING_URI": address}
    with running(here) as server, (here.root / "theirs.log").open("wb") as log:
        until(lambda: server.serves(3), "version 3 is served")
        theirs = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:

            def ask(where: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
                with closing(http.client.HTTPConnection("127.0.0.1", where)) as connection:
                    kind = {"Content-Type": "application/json"}
                    connection.request("POST" if body else "GET", path, body, kind)
                    answer = connection.getresponse()
                    return answer.status, answer.read()

            def up() -> bool:
                if theirs.poll() is not None:
                    raise AssertionError((here.root / "theirs.log").read_text())
                try:
                    return ask(port, "/ping")[0] == 200
                except OSError:
                    return False

            until(up, "mlflow models serve answers", 3 * PATIENCE)
            for path in ("/ping", "/version"):
                assert ask(server.port, path) == ask(port, path)
            seen = set()
            for name, sent in variants().items():
                body = json.dumps(sent).encode()
                (status, said), (expected, wanted) = (
                    ask(where, "/invocations", body) for where in (server.port, port)
                )
                assert status == expected, (name, said, wanted)
                seen.add(status)
                if status == 200:
                    assert json.loads(said) == json.loads(wanted), name
            assert seen == {200, 400}
        finally:
            os.killpg(theirs.pid, signal.SIGKILL)
            theirs.wait()


def test_workers_import_neither_mlflow_nor_pandas_nor_scikit_learn() -> None:
    code = (
        "import sys, serve.main; serve.main.application(); "
        "print([m for m in ('mlflow', 'pandas', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=files.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
