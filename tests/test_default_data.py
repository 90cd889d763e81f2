"""Every holdout row of the default data over HTTP, against the pipeline's own probabilities."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from clone import Clone
from contracts import CDNOW
from ports import free_port
from ruamel.yaml import YAML

from serve import place, watch
from stages.shared import candidate, scoring, servable, window

if TYPE_CHECKING:
    from pathlib import Path

ESTIMATORS = ("hist_gradient_boosting", "logistic_regression", "random_forest")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The default data up to their holdout; they are fetched from where `make run` fetches them."""
    clone = Clone.new(tmp_path_factory.mktemp("default"))
    clone.give(CDNOW.model_dump(mode="json", exclude_none=True))
    clone.make("data")
    clone.run(sys.executable, "-m", "stages.ingest")
    clone.run(sys.executable, "-m", "stages.drift")
    return clone


def put(clone: Clone, estimator: str) -> candidate.Candidate:
    """Train and put the candidate in place, as the watcher would."""
    yaml, path = YAML(), clone.root / "params.yaml"
    values = yaml.load(path)
    values["train"]["estimator"] = estimator
    yaml.dump(values, path)
    clone.run(sys.executable, "-m", "stages.train")
    source, folder = clone.root / "models" / "candidate", clone.root / "models" / "serving"
    trained = candidate.load(source)
    watch.check_golden(source)
    candidate.keep(source, folder, trained.digest)
    facts = {"version": 1, "digest": trained.digest, "folder": trained.digest, "since": "now"}
    facts["files"] = servable.hashes(folder / trained.digest)
    place.replace_current(folder, facts | trained.card)
    return trained


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_holdout_row_over_http_is_scored_as_by_the_pipeline(
    clone: Clone, estimator: str, tmp_path: Path
) -> None:
    trained = put(clone, estimator)
    holdout = clone.root / "data" / "holdout.parquet"
    (expected,) = scoring.scores(holdout, [trained])
    rows = [
        {name: row[name] for name in trained.features}
        for part in window.rows(holdout)
        for row in part.to_pylist()
    ]
    port = free_port()
    environment = os.environ | {"PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "serve/gunicorn.conf.py"],
        cwd=clone.root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with closing(connected(port)) as connection:
            many = [p["churn_probability"] for p in ask(connection, {"instances": rows})]
            one = [ask(connection, row)["churn_probability"] for row in rows[:300]]
    finally:
        server.terminate()
        server.wait()
    assert len(many) == len(expected) > 5000
    assert np.abs(np.array(many) - expected).max() < 1e-9
    assert np.abs(np.array(one) - expected[:300]).max() < 1e-9


def connected(port: int) -> http.client.HTTPConnection:
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.connect()
        except OSError:
            time.sleep(0.1)
        else:
            return connection
    raise AssertionError("the server does not listen")


def ask(connection: http.client.HTTPConnection, value: Any) -> Any:
    body, kind = json.dumps(value), {"Content-Type": "application/json"}
    connection.request("POST", "/predict", body, kind)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    assert answer.status == 200, said
    return said.get("predictions", said)
