"""DVC's experiments on a real clone: they read the registry, and nothing in it moves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import clone as clones
import pytest

if TYPE_CHECKING:
    from clone import Clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with a linear model in production, where trees would do better."""
    made = clones.small(tmp_path_factory.mktemp("experiments"))
    made.make("repro")
    assert made.outcome() == ("promoted", 1)
    return made


@pytest.mark.parametrize(
    ("name", "where"), [("workspace", []), ("temp", ["--temp"]), ("queue", ["--queue"])]
)
def test_experiments_read_the_registry_and_move_nothing(
    clone: Clone, name: str, where: list[str]
) -> None:
    before = clone.registry()
    clone.commit(f"before {name}")
    clone.run(
        "dvc", "exp", "run", *where, "--name", name,
        "-S", "train.estimator=hist_gradient_boosting",
        "-S", f"train.hist_gradient_boosting.max_iter={20 + len(name)}",
    )  # fmt: skip
    if name == "queue":
        clone.run("dvc", "queue", "start")
        _wait_for_the_queue(clone)
    assert name in clone.run("dvc", "exp", "show", "--json")
    assert clone.registry() == before
    clone.run("git", "checkout", "--quiet", ".")
    clone.run("dvc", "checkout", "--quiet")


def _wait_for_the_queue(clone: Clone) -> None:
    for _ in range(120):
        said = clone.run("dvc", "queue", "status")
        if "Queued" not in said and "Running" not in said:
            assert "Success" in said, said
            return
        clone.run("sleep", "1")
    raise AssertionError(said)


def test_an_experiment_that_is_applied_awaits_a_person_who_promotes_it(clone: Clone) -> None:
    clone.run("dvc", "exp", "apply", "workspace")
    assert clone.report("compare")["verdict"] == "promote"
    before = clone.registry()
    assert before["alias"] == {"production": 1}
    clone.make("promote")
    after = clone.registry()
    assert after["alias"] == {"production": 2}
    assert len(after["events"]) == len(before["events"]) + 1
    assert clone.make("repro").count("skipped") == 6


def test_the_table_of_experiments_has_what_differs_and_fits_160_columns(clone: Clone) -> None:
    said = clone.run(
        "script",
        "-qec",
        "stty cols 160; make --no-print-directory experiments",
        "/dev/null",
        COLUMNS="160",  # whatever the tests were started in
    )
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in said.splitlines()]
    head = next(line for line in lines if "Experiment" in line)
    assert max(map(len, lines)) <= 160
    differ = "train.estimator", "train.hist_gradient_boosting.max_iter"
    for name in ("gain", "gain_low", "auc", *differ):  # a verdict that all share is none
        assert name in head.split()
    assert "…" not in head
    assert any("[queue]" in line for line in lines)  # the one that began at the newest commit
