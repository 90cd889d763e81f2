"""The server against `mlflow models serve` and against a route that does nothing; 2 workers each.

Needs wrk (Debian: `apt install wrk`) and a clone in which `make run` was run. All ratios are of one
run: the servers take turns, round after round, and medians of the rounds are compared. MLSERVER
names a Python with mlserver, mlserver-mlflow and uvloop below 0.22, if that server is to be there.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from serve import place, watch
from stages.shared import candidate, files, params

ROUNDS, SECONDS, WORKERS = 5, 4, 2
MANY = 10_000
# Seconds after a load: wrk leaves with its last requests unanswered, and a slow server still works
# on 64 of them while the next one is measured.
SILENCE = 2
OURS, CONSTANT, FOURTH = 8431, 8432, 8434
MLFLOW, MLSERVER = "mlflow models serve", "MLServer"
PEERS = {MLFLOW: 8433, MLSERVER: 8435}  # they speak one protocol

CONSTANT_APP = """
import orjson
from flask import Response, request
from serve.main import application

def make():
    app = application()
    @app.post("/constant")
    def constant():
        orjson.loads(request.get_data(cache=False))
        answer = {"id": None, "churn_probability": 0.5, "churn": True, "model_version": 1}
        return Response(orjson.dumps(answer), mimetype="application/json")
    return app
"""
WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BODY"))
wrk.body = file:read("*a")
file:close()
"""


@dataclass
class Figures:
    """What wrk says of an address, round by round."""

    rate: list[float] = field(default_factory=list)  # requests a second
    p50: list[float] = field(default_factory=list)  # ms
    p99: list[float] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median over the rounds."""
        return float(statistics.median(getattr(self, name)))


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is not installed: apt install wrk, or the like")
    served = files.home() / params.serve().folder
    served.mkdir(parents=True, exist_ok=True)
    watch.Watcher(served).step()  # puts in place what production names, as `make serve` would
    if place.read(served, place.CURRENT) is None:
        raise SystemExit("bench: nothing is in production here: type `make run`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bodies = write_bodies(folder)
        (folder / "constant_app.py").write_text(CONSTANT_APP)
        with servers(folder) as processes:
            peers = [name for name in PEERS if name in processes]
            one = rounds(folder, bodies, peers)
            rows = of_one(one, peers) + of_many(bodies, peers) + of_memory(processes)
        return rows + of_start(folder)


def write_bodies(folder: Path) -> dict[str, Path]:
    """The bodies that are sent: customers of the holdout, once for us and once for MLflow."""
    names = list(files.read_json(files.CANDIDATE / candidate.CARD)["features"])
    rows = pq.read_table(files.HOLDOUT, columns=names).to_pylist()
    many = [rows[n % len(rows)] for n in range(MANY)]
    found = {
        "one": rows[0],
        "one, MLflow's": {"dataframe_records": [rows[0]]},
        "many": {"instances": many},
        "many, MLflow's": {"dataframe_records": many},
    }
    paths = {name: folder / f"{n}.json" for n, name in enumerate(found)}
    for name, path in paths.items():
        path.write_text(json.dumps(found[name]))
    (folder / "post.lua").write_text(WRK)
    return paths


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """All of them, started and stopped."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        started["ours"] = start(gunicorn("serve.main:application()"), OURS, folder / "ours")
        started["constant"] = start(gunicorn("constant_app:make()"), CONSTANT, folder / "constant")
        started[MLFLOW] = start(mlflow(PEERS[MLFLOW]), PEERS[MLFLOW], folder / "mlflow")
        if python := os.environ.get("MLSERVER"):
            port = PEERS[MLSERVER]
            started[MLSERVER] = start(mlserver(port, folder), port, folder / "mlserver", python)
        for port in (OURS, CONSTANT, PEERS[MLFLOW]):
            wait(port, "/ping")
        if MLSERVER in started:
            wait(PEERS[MLSERVER], "/v2/models/churn/ready")
        yield started
    finally:
        for process in started.values():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def gunicorn(application: str) -> list[str]:
    """The server as `make serve` starts it, without the watcher."""
    config = str(files.ROOT / "serve" / "gunicorn.conf.py")
    return ["gunicorn", "--config", config, "--workers", str(WORKERS), "--log-level", "error",
            application]  # fmt: skip


def mlflow(port: int) -> list[str]:
    """MLflow's own server of the model in production."""
    return ["mlflow", "models", "serve", "--model-uri", "models:/churn_model@production",
            "--env-manager", "local", "--workers", str(WORKERS), "--port", str(port)]  # fmt: skip


def mlserver(port: int, folder: Path) -> list[str]:
    """MLServer on the same saved model."""
    from stages.registry import connection, store

    with connection.asking() as client:
        version = client.get_model_version_by_alias(store.MODEL, store.ALIAS).version
        model = client.get_model_version_download_uri(store.MODEL, version)
    settings = {"parallel_workers": WORKERS, "http_port": port, "grpc_port": port + 1,
                "metrics_port": port + 2, "host": "127.0.0.1", "debug": False}  # fmt: skip
    runtime = "mlserver_mlflow.MLflowRuntime"
    what = {"name": "churn", "implementation": runtime, "parameters": {"uri": model}}
    files.write_json(folder / "mlserver" / "settings.json", settings)
    files.write_json(folder / "mlserver" / "model-settings.json", what)
    return ["mlserver.cli.main", "start", str(folder / "mlserver")]


def start(
    module: list[str], port: int, counts: Path, python: str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own."""
    counts.mkdir(exist_ok=True)
    environment = os.environ | {
        "PORT": str(port),
        "PROMETHEUS_MULTIPROC_DIR": str(counts),
        "PYTHONPATH": os.pathsep.join((str(files.ROOT), str(counts.parent))),
        "OMP_WAIT_POLICY": "passive",
        "MLFLOW_TRACKING_URI": f"sqlite:///{files.home()}/mlflow/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return subprocess.Popen(
        [python, "-m", *module],
        cwd=files.ROOT, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def wait(port: int, path: str) -> None:
    """Wait for the first answer."""
    for _ in range(9000):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
        time.sleep(0.02)
    raise SystemExit(f"bench: nothing answers on port {port}")


def rounds(
    folder: Path, bodies: dict[str, Path], peers: list[str]
) -> dict[tuple[str, int], Figures]:
    """One row a request, at 8 and at 64 connections."""
    targets = {
        "ours": (OURS, "/predict", bodies["one"]),
        "ours, MLflow's protocol": (OURS, "/invocations", bodies["one, MLflow's"]),
        "constant": (CONSTANT, "/constant", bodies["one"]),
        **{peer: (PEERS[peer], "/invocations", bodies["one, MLflow's"]) for peer in peers},
    }
    found = {(name, c): Figures() for name in targets for c in (8, 64)}
    for name, (port, path, body) in targets.items():
        load(folder, port, path, body, 8, 1)  # the first requests warm it up
        print(f"  warm: {name}", flush=True)
    for _ in range(ROUNDS):
        for connections in (8, 64):
            for name, (port, path, body) in targets.items():
                said = load(folder, port, path, body, connections, SECONDS)
                figures = found[name, connections]
                figures.rate.append(said["Requests/sec"])
                figures.p50.append(said["50%"])
                figures.p99.append(said["99%"])
    return found


def load(
    folder: Path, port: int, path: str, body: Path, connections: int, seconds: int
) -> dict[str, float]:
    """What wrk measures; every answer must be a 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "--timeout", "30",
               "-s", str(folder / "post.lua"), f"http://127.0.0.1:{port}{path}"]  # fmt: skip
    environment = os.environ | {"BODY": str(body)}
    said = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout
    time.sleep(SILENCE)
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"bench: {path} of port {port} refused requests: {said}")
    words = [line.replace(":", "").split() for line in said.splitlines() if line.strip()]
    found = {w[0]: w[1] for w in words if len(w) == 2}
    return {name: number(found[name]) for name in ("Requests/sec", "50%", "99%")}


def number(text: str) -> float:
    """A figure of wrk's; times in ms."""
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def of_one(one: dict[tuple[str, int], Figures], peers: list[str]) -> list[tuple[str, str, str]]:
    """Ratios of one row a request."""
    rows = []
    for c in (8, 64):
        ours, idle, theirs = (one[name, c] for name in ("ours", "constant", MLFLOW))
        for what, other, asked in (
            *((peer, one[peer, c], "at least 12") for peer in peers),
            ("a constant Flask route", idle, "at least 0.85"),
        ):
            ratio = ours.median("rate") / other.median("rate")
            told = f"{ours.median('rate'):,.0f} against {other.median('rate'):,.0f} a second"
            rows.append(
                (f"one row, {c} connections, against {what}", f"{ratio:.2f} ({told})", asked)
            )
        p99 = ours.median("p99") / idle.median("p99")
        told = (
            f"p50 {ours.median('p50'):.1f} ms, p99 {ours.median('p99'):.1f} ms; constant "
            f"{idle.median('p50'):.1f}, {idle.median('p99'):.1f}; MLflow "
            f"{theirs.median('p50'):.1f}, {theirs.median('p99'):.1f}"
        )
        rows.append(
            ("the same, p99 against the constant route's", f"{p99:.2f} ({told})", "at most 2")
        )
        said = one["ours, MLflow's protocol", c]
        ratio = said.median("rate") / theirs.median("rate")
        rows.append((f"the same by MLflow's protocol, {c} connections", f"{ratio:.2f}", ""))
    return rows


def of_many(bodies: dict[str, Path], peers: list[str]) -> list[tuple[str, str, str]]:
    """Ratios of 10,000 rows a request, one client."""
    targets = {
        "ours": (OURS, "/predict", bodies["many"]),
        "ours, MLflow's protocol": (OURS, "/invocations", bodies["many, MLflow's"]),
        **{peer: (PEERS[peer], "/invocations", bodies["many, MLflow's"]) for peer in peers},
    }
    took: dict[str, list[float]] = {name: [] for name in targets}
    for turn in range(3 * ROUNDS):
        for name, (port, path, body) in targets.items():
            sent = body.read_bytes()
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                begun = time.perf_counter()
                connection.request("POST", path, sent, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise SystemExit(f"bench: {path} of port {port} answered {answer.status}")
                if turn:
                    took[name].append(1000 * (time.perf_counter() - begun))
    ms = {name: statistics.median(times) for name, times in took.items()}
    return [
        (
            f"{MANY:,} rows in a request, {name}, against {peer}",
            f"{ms[peer] / ms[name]:.2f} ({ms[name]:.0f} ms against {ms[peer]:.0f} ms)",
            "at least 2" if peer == MLFLOW else "above 1",
        )
        for peer in peers
        for name in ("ours", "ours, MLflow's protocol")
    ]


def of_memory(processes: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Private memory of a worker, after the load."""
    ours = max(private(pid) for pid in workers(processes["ours"].pid))
    theirs = max(private(pid) for pid in workers(processes[MLFLOW].pid))
    told = f"{ours:.0f} MB against {theirs:.0f} MB"
    return [("private memory of a worker", f"{ours / theirs:.2f} ({told})", "at most 0.33")]


def workers(group: int) -> list[int]:
    """The processes of a group that have no child: the workers."""
    done = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,pgid="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    ours = [(pid, parent) for pid, parent, of in rows if of == group]
    parents = {parent for _, parent in ours}
    return [pid for pid, _ in ours if pid not in parents]


def private(pid: int) -> float:
    """Megabytes that a process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def of_start(folder: Path) -> list[tuple[str, str, str]]:
    """Seconds from start to the first answer: with the last model at hand, and from nothing."""
    placed, aside = files.home() / params.serve().folder, folder / "aside"
    took: dict[str, list[float]] = {"at hand": [], "nothing": [], "mlflow": []}
    for _ in range(3):
        took["at hand"].append(first_answer(["serve", f"--port={FOURTH}"], folder))
        shutil.copytree(placed, aside)
        shutil.rmtree(placed)
        try:
            took["nothing"].append(first_answer(["serve", f"--port={FOURTH}"], folder))
        finally:
            shutil.rmtree(placed, ignore_errors=True)
            shutil.move(aside, placed)
        took["mlflow"].append(first_answer(mlflow(FOURTH), folder))
    seconds = {name: statistics.median(times) for name, times in took.items()}
    return [
        (
            f"from start to the first answer, {what}, against mlflow models serve",
            versus(seconds[name], seconds["mlflow"]),
            asked,
        )
        for name, what, asked in (
            ("at hand", "the last good model at hand", "at most 0.33"),
            ("nothing", "from nothing", "at most 1"),
        )
    ]


def versus(ours: float, theirs: float) -> str:
    """A ratio of two times."""
    return f"{ours / theirs:.2f} ({ours:.1f} s against {theirs:.1f} s)"


def first_answer(module: list[str], folder: Path) -> float:
    """Seconds until a server that is started answers."""
    begun = time.perf_counter()
    process = start(module, FOURTH, folder / "start")
    wait(FOURTH, "/ping")
    took = time.perf_counter() - begun
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    with suppress(ProcessLookupError):  # MLflow's children outlive it
        os.killpg(process.pid, signal.SIGKILL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", FOURTH), timeout=1).close()
        except OSError:
            return took
        time.sleep(0.05)
