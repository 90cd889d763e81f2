"""A clone of the repository as a user has it: real git, real DVC, real MLflow, tiny months."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from ruamel.yaml import YAML

from stages.shared import files

COPIED = (
    ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "Makefile", "dvc.yaml",
    "page", "params.yaml", "reports/.gitkeep", "requirements.txt", "serve", "stages",
    "ops/portable.py", "data/__init__.py", "data/adopt.py", "data/adoption", "data/cdnow.py",
    "data/requirements.txt", "data/simulate.py", "data/simulation",
)  # fmt: skip


class Clone:
    """A folder with the repository's files, and the commands that people type in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def new(cls, root: Path) -> Self:
        """A repository of its own, with the files of this one."""
        for name in COPIED:
            source, target = files.ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, target)
        made = cls(root)
        made.run("git", "init", "--quiet", "--initial-branch=main")
        return made._set_up("A Person")

    def colleague(self, root: Path, name: str) -> Self:
        """What somebody else gets from git alone."""
        self.run("git", "clone", "--quiet", str(self.root), str(root))
        return type(self)(root)._set_up(name)

    def _set_up(self, name: str) -> Self:
        """With a user for git, and the environment that the tests run in, which make then keeps."""
        (self.root / ".venv").symlink_to(sys.prefix)
        os.utime(self.root / "requirements.txt", (0, 0))  # older than that environment
        self.run("git", "config", "user.name", name)
        self.run("git", "config", "user.email", "a@example.org")
        return self

    def environment(self) -> dict[str, str]:
        """What the commands see: this Python first, and nothing that points at another registry."""
        kept = {
            k: v for k, v in os.environ.items() if k not in {"MLFLOW_TRACKING_URI", "PYTHONPATH"}
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "MAKEFLAGS": ""}

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """Run a command; return what it printed; fail unless it exits with ``status``."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{command} gave {done.returncode}:\n{done.stdout}"
        return done.stdout

    def make(self, target: str, status: int = 0, **variables: str) -> str:
        """Run ``make``; a target that fails makes it exit with 2, whatever the command's status."""
        settings = [f"{name}={value}" for name, value in variables.items()]
        return self.run("make", "--no-print-directory", target, *settings, status=status and 2)

    def commit(self, message: str) -> None:
        """Commit all that git tracks or may track."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", f"--message={message}")

    def report(self, stage: str) -> dict[str, Any]:
        """What a stage left."""
        found: dict[str, Any] = json.loads((self.root / f"reports/{stage}.json").read_text())
        return found

    def outcome(self) -> tuple[str, int | None]:
        """Outcome and version of the last receipt."""
        receipt = self.report("promote")
        return receipt["outcome"], receipt["version"]

    def set(self, **sections: dict[str, Any]) -> None:
        """Change params.yaml: one level deep."""
        with self._params() as values:
            for section, changes in sections.items():
                values[section].update(changes)

    def give(self, data: dict[str, Any]) -> None:
        """Let params.yaml be of these data, whatever data it is of in the repository."""
        with self._params() as values:
            values["data"] = data

    @contextmanager
    def _params(self) -> Iterator[Any]:
        """What params.yaml says, to be changed."""
        yaml, path = YAML(), self.root / "params.yaml"
        values = yaml.load(path)
        yield values
        yaml.dump(values, path)

    def registry(self) -> dict[str, Any]:
        """All that must not move by itself: versions, alias, ledger; straight from the database."""
        with closing(sqlite3.connect(self.root / "mlflow" / "mlflow.db")) as database:
            ask = database.execute
            versions = ask("SELECT version FROM model_versions ORDER BY version").fetchall()
            aliases = ask("SELECT alias, version FROM registered_model_aliases").fetchall()
            events = ask("SELECT name FROM experiments WHERE name LIKE '%/ledger/%' ORDER BY name")
            return {
                "versions": [version for (version,) in versions],
                "alias": dict(aliases),
                "events": [name for (name,) in events.fetchall()],
            }


def ran(said: str) -> set[str]:
    """The stages that the table of `make repro` says ran."""
    rows = [line.split() for line in said.splitlines()]
    return {row[0] for row in rows if len(row) > 2 and row[1] == "ran"}


def month(
    name: str,
    *,
    shift: float = 0.0,
    turned: bool = False,
    labelled: bool = True,
    stuck: bool = False,
) -> str:
    """A month of 600 customers as CSV; the same customers every month, in other moods.

    Whether they leave depends on spend and plan together, which no linear model can see.

    Args:
        name: seeds the draw.
        shift: of spend, in its standard deviations.
        turned: the relation to churn is another one.
        labelled: whether the label column is filled.
        stuck: the feed of calls is broken, and gives everybody the same number.
    """
    rng = np.random.default_rng([int(part) for part in name.split("-")])
    lines = ["customer,spend,calls,plan,paperless,left"]
    for customer in range(600):
        spend, calls = rng.normal(shift), rng.normal(shift)
        plan, paperless = rng.choice(["NA", "basic"]), rng.choice(["true", "false"])
        odd = (spend > shift) != (plan == "NA")
        score = (calls - shift) * (-4 if turned else 4) + (3 if odd else -3)
        left = int(rng.random() < 1 / (1 + np.exp(-score)))
        label, told = left if labelled else "", 1.0 if stuck else calls
        lines.append(f"{customer:05},{spend:.4f},{told:.4f},{plan},{paperless},{label}")
    return "\n".join(lines) + "\n"


DATA = {
    "snapshots": "data/raw",
    "id": "customer",
    "label": "left",
    "label_delay": 1,
    "features": {
        "spend": {"type": "number"},
        "calls": {"type": "number"},
        "plan": {"type": "category"},
        "paperless": {"type": "boolean"},
    },
}


def small(root: Path) -> Clone:
    """A clone with three tiny months and a linear model, nothing run yet."""
    clone = Clone.new(root)
    clone.set(
        drift={
            "window_months": 1, "max_age_months": 24, "min_rows": 500,
            "columns": {}, "accepted": {},
        },
        train={"estimator": "logistic_regression", "hist_gradient_boosting": {"max_iter": 40}},
        evaluate={"gate_f1": 0.4},
        compare={"delta": 0.01, "min_lower_bound": 0.0},
        promote={"approval": "auto"},
    )  # fmt: skip
    clone.give(DATA)
    for name, labelled in (("2024-01", True), ("2024-02", True), ("2024-03", False)):
        put(clone, name, labelled=labelled)
    clone.run("dvc", "add", "--quiet", "data/raw")
    clone.commit("tiny months")
    return clone


def put(clone: Clone, name: str, **world: Any) -> None:
    """A month's file arrives, or is replaced by one that has labels."""
    folder = clone.root / "data" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(month(name, **world))
