"""The compose stack as a test brings it up: a project, ports and secrets of its own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ports import free_port

from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 120.0  # seconds for what should take a few: CI's machines are slow at times
LOGS = files.REPORTS / "containers"


def until(true: Callable[[], Any], what: str, pause: float = 0.05) -> Any:
    """Wait for something, but not for ever."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {PATIENCE:g} s")


def ask(port: int, path: str, row: Any = None, token: str = "") -> tuple[int, Any]:
    """One request on a connection of its own; status 0 if nobody answers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        body = None if row is None else json.dumps(row)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request("POST" if body else "GET", path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, None
    is_json = "json" in (answer.getheader("Content-Type") or "")
    return answer.status, json.loads(text) if is_json and text.strip() else text


@dataclass
class Stack:
    """A project of compose's. Its name keeps it apart from whatever else runs here."""

    name: str = field(default_factory=lambda: f"churn-test-{secrets.token_hex(4)}")
    api: int = field(default_factory=free_port)
    replicas: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    mlflow: int = field(default_factory=free_port)
    prometheus: int = field(default_factory=free_port)
    postgres: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: f"p@:/#%{secrets.token_hex(8)}")
    params: Path = files.PARAMS
    reports: Path = files.REPORTS
    profiles: str = ""
    _token: str = ""

    @property
    def registry(self) -> str:
        """MLFLOW_TRACKING_URI as a clone on this machine has it."""
        return f"http://127.0.0.1:{self.mlflow}"

    @property
    def environment(self) -> dict[str, str]:
        """What compose is told of this project."""
        return {
            "COMPOSE_PROJECT_NAME": self.name,
            "POSTGRES_PASSWORD": self.password,
            "COMPOSE_PROFILES": self.profiles,
            "API_PORT": str(self.api),
            "API_2_PORT": str(self.replicas[0]),
            "API_3_PORT": str(self.replicas[1]),
            "MLFLOW_PORT": str(self.mlflow),
            "PROMETHEUS_PORT": str(self.prometheus),
            "POSTGRES_PORT": str(self.postgres),
            "API_ONLINE_STORE": self.online("features_reader", "postgres:5432"),
            "SERVE_ONLINE_STORE": "sqlite:///of-the-shell-that-calls-compose.db",
            "PARAMS_FILE": str(self.params),
            "REPORTS_FOLDER": str(self.reports),
        }

    def online(self, role: str, where: str) -> str:
        """The online store's address for one of its two roles; each has its name for a password."""
        return f"postgresql+psycopg2://{role}:{role}@{where}/online"

    def compose(
        self, *arguments: str, check: bool = True, standard_input: str | None = None
    ) -> str:
        """Run compose; returns what it printed."""
        command = [*os.environ.get("COMPOSE", "docker-compose").split(), *arguments]
        return self.run(*command, check=check, standard_input=standard_input)

    def run(self, *command: str, check: bool = True, standard_input: str | None = None) -> str:
        """Run a command that finds this project; returns what it printed."""
        done = subprocess.run(
            command,
            cwd=files.ROOT,
            env={**os.environ, **self.environment},
            input=standard_input or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    @property
    def token(self) -> str:
        """What clients show: the server made it; docs/operations.md says how to read it."""
        return self.compose("exec", "-T", "api", "cat", "token/token", check=False).strip()

    def ask(self, path: str, row: Any = None, port: int | None = None) -> tuple[int, Any]:
        """One request to a server of this project's, with the token; see `ask`."""
        found = ask(port or self.api, path, row, self._token)
        if found[0] == 401:  # of a server that has been made since
            self._token = self.token
            found = ask(port or self.api, path, row, self._token)
        return found

    def up(self, *services: str) -> None:
        """Bring up services, or all that have no profile."""
        self.compose("up", "--detach", "--no-build", *services)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def health(self, service: str) -> str:
        """What the engine says of a container's health."""
        asked = ["docker", "inspect", "--format", "{{.State.Health.Status}}"]
        done = subprocess.run(
            [*asked, self.container(service)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def _is_healthy(self, service: str) -> bool:
        return self.health(service) == "healthy"

    def wait_healthy(self, *services: str) -> None:
        """Wait until the engine calls each service healthy."""
        for service in services:
            until(partial(self._is_healthy, service), f"{service} is healthy", 0.5)

    def kill(self, service: str) -> None:
        """Kill a service's own process from within, as a crash would: the engine restarts it.

        (What is killed through the engine was meant, and stays down.)
        """
        crash = (
            "import os,pathlib as p;[os.kill(int(s.parent.name),9) for s in"
            " p.Path('/proc').glob('[0-9]*/stat') if s.read_text().rsplit(')',1)[1].split()[1]"
            " == '1' and int(s.parent.name) != os.getpid()]"
        )
        self.compose("exec", "-T", service, "python", "-c", crash, check=False)

    def keep_logs(self) -> Path:
        """Write every container's log where CI finds it."""
        LOGS.mkdir(parents=True, exist_ok=True)
        path = LOGS / f"{self.name}.log"
        path.write_text(
            self.compose("ps", check=False)
            + self.compose("logs", "--no-color", "--timestamps", check=False)
        )
        return path


def running(request: Any, *services: str, **settings: Any) -> Iterator[Stack]:
    """A fixture's body: the stack, healthy; its logs are kept if a test of the module failed."""
    stack = Stack(**settings)
    failed = request.session.testsfailed
    up = False
    try:
        stack.up(*services)
        stack.wait_healthy(*services)
        up = True
        yield stack
    finally:
        if not up or request.session.testsfailed > failed:
            print(f"\nthe containers' logs: {files.relative(stack.keep_logs())}")
        stack.compose("down", "--volumes", "--remove-orphans", check=False)
