"""`make smoke`: the images as they were built, on a real Postgres, through a model's whole life.

The tests are the steps of one story and stand in its order; nothing is trained.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import by_hand
import pytest
import registry_fixtures
import stack
from clone import Clone
from ports import free_port
from ruamel.yaml import YAML
from stack import Stack, ask, until

from stages.shared import files, params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and scikit-learn warn about their own

# Where the registry says that files lie.
PLACES = """
from stages.registry import connection
with connection.asking() as client:
    experiments = client.search_experiments()
    runs = client.search_runs([experiment.experiment_id for experiment in experiments])
print(*(e.artifact_location for e in experiments), *(run.info.artifact_uri for run in runs))
"""


@dataclass
class Story:
    """The stack, a clone on the host beside it, and what was promoted from there."""

    stack: Stack
    clone: Clone
    answers: dict[int, list[float]] = field(default_factory=dict)
    bare: list[float] = field(default_factory=list)  # seconds: see `bare`
    customers: list[dict[str, Any]] = field(
        default_factory=lambda: by_hand.rows(params.data().features)
    )

    def promote(self, slope: float) -> int:
        """Promote a model that was written by hand, as a person on the host does."""
        there = registry_fixtures.Clone(self.clone.root)
        before = max(self.answers, default=None)
        _, said = by_hand.put(there, slope, before)
        self.clone.make("promote", MLFLOW_TRACKING_URI=self.stack.registry)
        outcome, version = self.clone.outcome()
        assert outcome == "promoted"
        assert version is not None
        self.answers[version] = said
        return version

    def served(self) -> int | None:
        """The version that answers at the moment; its answers must be those of that model."""
        status, said = self.stack.ask("/predict", {"instances": self.customers})
        if status != 200:
            return None
        now = [one["churn_probability"] for one in said["predictions"]]
        version: int = said["model_version"]
        assert now == pytest.approx(self.answers[version], abs=1e-9)
        return version

    def wait_served(self, version: int) -> None:
        """Wait until a version answers."""
        until(lambda: self.served() == version, f"version {version} is served")


@pytest.fixture(scope="module")
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    host = Clone.new(tmp_path_factory.mktemp("host") / "clone")
    services = "postgres", "mlflow", "api"
    for one in stack.running(request, *services, reports=host.root / "reports"):
        yield Story(one, host)


def test_a_server_without_a_model_is_alive_and_not_ready(story: Story) -> None:
    assert story.stack.ask("/health")[0] == 200
    status, said = story.stack.ask("/ready")
    assert (status, said["ready"]) == (503, False)
    assert story.stack.ask("/predict", story.customers[0])[0] == 503


def test_the_server_made_a_token_and_tells_nobody_without_it_of_customers(story: Story) -> None:
    port, row = story.stack.api, story.customers[0]
    assert len(story.stack.token) == 48
    for path, sent in (("/predict", row), ("/invocations", row), ("/explain", row), ("/", None)):
        assert ask(port, path, sent)[0] == 401
        assert ask(port, path, sent, "of-somebody-else")[0] == 401
        assert ask(port, path, sent, story.stack.token)[0] in {200, 400, 503}
    assert story.stack.token not in story.stack.compose("logs", "api")


def test_a_model_that_is_promoted_on_the_host_is_served_in_the_container(story: Story) -> None:
    version = story.promote(1.0)
    story.wait_served(version)
    status, said = story.stack.ask("/ready")
    assert (status, said["model_version"], said["problem"]) == (200, version, None)


def test_prometheus_can_read_what_the_workers_counted(story: Story) -> None:
    page = story.stack.ask("/metrics")[1]
    assert 'churn_requests_total{route="/predict",status="200"}' in page
    assert "churn_model_version{pid=" in page


def test_the_server_shows_the_page_that_was_made_on_the_host(story: Story) -> None:
    assert "The page is not here yet" in story.stack.ask("/")[1]
    story.clone.make("report", MLFLOW_TRACKING_URI=story.stack.registry)
    page = story.stack.ask("/")[1]
    assert f"Version {max(story.answers)} is in production" in page
    assert 'id="customer"' in page


def test_the_server_says_what_moves_a_probability(story: Story) -> None:
    status, said = story.stack.ask("/explain", story.customers[0])
    assert status == 200, said
    assert {one["column"] for one in said["contributions"]} == set(params.data().features)
    # That model is a linear one; trees are for LightGBM's library.
    loads = "from serve import explain; print(explain.library().LGBM_GetLastError() is not None)"
    assert story.stack.compose("exec", "-T", "api", "python", "-c", loads).strip() == "True"


def test_no_client_sees_a_path_of_the_registrys(story: Story) -> None:
    found = story.clone.run("python", "-c", PLACES, MLFLOW_TRACKING_URI=story.stack.registry)
    assert {place.partition("/")[0] for place in found.split()} == {"mlflow-artifacts:"}


def test_the_next_model_is_served_without_a_restart(story: Story) -> None:
    container = story.stack.container("api")
    story.wait_served(story.promote(2.0))
    assert story.stack.container("api") == container


def test_a_server_that_is_killed_comes_back_with_the_same_answers(story: Story) -> None:
    version, container = max(story.answers), story.stack.container("api")
    before = started(container)
    story.stack.kill("api")
    until(lambda: started(container) != before, "the engine restarts the container")
    story.wait_served(version)


def test_the_server_goes_on_without_its_registry_and_through_a_restart(story: Story) -> None:
    version = max(story.answers)
    story.stack.compose("stop", "--timeout", "5", "mlflow")
    until(lambda: story.stack.ask("/ready")[1]["problem"], "/ready names the trouble")
    assert story.served() == version
    story.stack.compose("restart", "--timeout", "15", "api")
    story.wait_served(version)
    assert story.stack.ask("/ready")[0] == 200


def test_the_volumes_survive_down_and_up(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    version = max(story.answers)
    story.stack.compose("down")
    in_containers = seconds_until(lambda: story.served() == version, story.stack.up)
    story.stack.wait_healthy("mlflow")
    said = story.clone.make("history", MLFLOW_TRACKING_URI=story.stack.registry)
    assert f"{len(story.answers)} events, chain verified" in said
    story.bare = bare(story, version)
    with capsys.disabled():
        report("last model at hand", in_containers, story.bare[1])


def test_a_server_with_nothing_at_hand_takes_its_model_from_the_registry(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    version = max(story.answers)
    story.stack.compose("down")
    volume = f"{story.stack.name}_serving"
    subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True)
    in_containers = seconds_until(lambda: story.served() == version, story.stack.up)
    with capsys.disabled():
        report("from nothing, with MLflow and Postgres", in_containers, story.bare[0])


def test_a_rollback_on_the_host_is_served_in_the_container(story: Story) -> None:
    story.stack.wait_healthy("mlflow")
    story.clone.make("rollback", MLFLOW_TRACKING_URI=story.stack.registry)
    story.wait_served(1)


def test_the_servers_image_has_nothing_that_only_training_needs(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "import importlib.util as u; print(*(n for n in {} if u.find_spec(n)))"
    training = ("pandas", "pyarrow", "sklearn", "skops", "evidently", "dvc", "pip", "pytest")
    found = story.stack.compose("exec", "-T", "api", "python", "-c", asked.format(training))
    assert found.split() == []
    image, base = size("churn-api"), size("python:3.11-slim-bookworm")
    files = (p for p in Path(sys.prefix).rglob("*") if p.is_file() and p.suffix != ".pyc")
    everything = sum(path.lstat().st_size for path in files)
    with capsys.disabled():
        print(
            f"\nsmoke: the API's image is {image / 1e6:.0f} MB, {(image - base) / 1e6:.0f} of them "
            f"on top of its base; the full environment is {everything / 1e6:.0f} MB"
        )
    assert image - base <= everything / 4


def test_replicas_answer_alike_and_prometheus_watches_them_all(story: Story) -> None:
    story.stack.profiles = "replicas,monitoring"  # from here on, as `.env` would say
    story.stack.up()
    version = story.stack.ask("/ready")[1]["model_version"]
    for port in story.stack.replicas:
        until(partial(has_version, story, port, version), f"{port} has the model")
        assert answer(story, port) == answer(story, story.stack.api)
    until(lambda: targets(story) == ["up"] * 3, "Prometheus reaches all three")
    rules = ask(story.stack.prometheus, "/api/v1/rules")[1]["data"]["groups"][0]["rules"]
    expected = YAML(typ="safe").load(files.ROOT / "ops/prometheus/alerts.yml")
    named = [rule["alert"] for rule in expected["groups"][0]["rules"]]
    assert [rule["name"] for rule in rules] == named
    assert [rule["lastError"] for rule in rules if "lastError" in rule] == []


def test_the_server_runs_without_rights(story: Story) -> None:
    who = story.stack.compose("exec", "-T", "api", "python", "-c", "import os; print(os.getuid())")
    assert who.strip() == "10001"
    write = ["python", "-c", "open('/app/models/new', 'w')"]
    assert "Read-only" in story.stack.compose("exec", "-T", "api", *write, check=False)


def test_the_server_has_no_password_to_the_registrys_database(story: Story) -> None:
    asked = ["docker", "inspect", "--format", "{{json .Config}}"]
    for service, knows in (("api", False), ("postgres", True)):
        command = [*asked, story.stack.container(service)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert (story.stack.password in told) == knows


# --- helpers -----------------------------------------------------------------------------------


def answer(story: Story, port: int) -> tuple[int | None, Any]:
    """The version behind a port, and its answers."""
    said = story.stack.ask("/predict", {"instances": story.customers}, port)[1] or {}
    return said.get("model_version"), said.get("predictions")


def has_version(story: Story, port: int, version: int) -> bool:
    """Whether a version answers behind a port."""
    return answer(story, port)[0] == version


def targets(story: Story) -> list[str]:
    """What Prometheus says of each server that it has found."""
    found = ask(story.stack.prometheus, "/api/v1/targets?state=active")[1]
    active = found["data"]["activeTargets"] if found else []
    return [one["health"] for one in active if one["labels"]["job"] == "churn-api"]


def size(image: str) -> int:
    """Bytes of an image."""
    asked = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def started(container: str) -> str:
    """When the engine last started a container."""
    asked = ["docker", "inspect", "--format", "{{.State.StartedAt}}", container]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def seconds_until(true: Callable[[], bool], begin: Callable[[], None]) -> float:
    """Seconds from ``begin``, which may end later, to the first time that something is true."""
    start = time.perf_counter()
    thread = threading.Thread(target=begin)
    thread.start()
    until(true, "the first answer", 0.02)
    took = time.perf_counter() - start
    thread.join()
    return took


def bare(story: Story, version: int) -> list[float]:
    """The same without containers: `python -m serve` in the clone, with nothing, and once more."""
    port = free_port()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": story.stack.registry}

    def serve() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "serve", f"--port={port}"],
            cwd=story.clone.root, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def answers() -> bool:
        status, said = ask(port, "/predict", story.customers[0])
        return status == 200 and said["model_version"] == version

    took = []
    for _ in range(2):  # the first time it fetches the model
        start = time.perf_counter()
        process = serve()
        try:
            until(answers, "the first answer", 0.02)
            took.append(time.perf_counter() - start)
        finally:
            process.terminate()
            process.wait()
    return took


def report(what: str, containers: float, without: float) -> None:
    """Print the figures of a start."""
    print(
        f"\nsmoke: from `up` to the first answer, {what}: {containers:.1f} s; "
        f"without containers {without:.1f} s; ratio {containers / without:.1f}"
    )
