"""A small clone with a real candidate, real reports and a real SQLite registry; no mocks."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import CDNOW
from ruamel.yaml import YAML

from stages import promote, train
from stages.commands import rollback
from stages.registry import connection, store
from stages.shared import candidate, contract, errors, export, files, params

ROOT = Path(__file__).resolve().parents[1]

REASONS = ("gain in AUC +0.0100 [+0.0020, +0.0200]",)
FEATURES = {
    "recency": {"type": "number", "min": 0},
    "plan": {"type": "category"},
    "paperless": {"type": "boolean"},
}
ROWS: list[dict[str, Any]] = [
    {"recency": 1.0, "plan": "NA", "paperless": True},
    {"recency": 40.0, "plan": "basic", "paperless": None},
    {"recency": 2.0, "plan": "premium", "paperless": False},
    {"recency": 50.0, "plan": "premium", "paperless": False},
    {"recency": 3.0, "plan": "basic", "paperless": True},
    {"recency": 60.0, "plan": "NA", "paperless": True},
]
CHURNED = [0, 1, 0, 1, 0, 1]
# How C makes one candidate of an estimator another than the next.
SIZES: dict[str, Callable[[float], dict[str, float]]] = {
    "logistic_regression": lambda c: {"C": c},
    "random_forest": lambda c: {"n_estimators": int(20 * c), "min_samples_leaf": 1},
}


@dataclass(frozen=True)
class Clone:
    """A folder that stands for a clone; every candidate in it is told from others by its C."""

    root: Path

    def candidate(
        self,
        c: float = 1.0,
        months: tuple[str, ...] = ("1997-04", "1997-05"),
        estimator: str = "logistic_regression",
    ) -> str:
        """Train a tiny model into models/candidate and return its digest."""
        features = contract.from_dict(FEATURES)
        frame = contract.to_frame(contract.to_table(ROWS, features), features)
        size = SIZES[estimator](c)
        p = params.parse(
            params.Train, "train", {"estimator": estimator, "seed": 1, estimator: size}
        )
        model = train.pipeline(features, p).fit(frame, np.array(CHURNED))
        card = {
            "id": "customer_id",
            "label": "churned",
            "features": FEATURES,
            "window": list(months),
            "split": {"method": "hash", "salt": "churn", "holdout_share": 0.3},
            "estimator": estimator,
            "hyperparameters": size,
            "decision_threshold": 0.5,
            "seed": 1,
            "rows": len(ROWS),
            "train_sha256": "0" * 64,
        }
        golden = {
            "rows": ROWS,
            "probabilities": candidate.churn_probability(model, frame).tolist(),
        }
        served = export.servable(model, features)
        return candidate.save(self.root / "models" / "candidate", model, card, golden, served)

    def reports(
        self, digest: str, production: int | None, verdict: str = "promote", **other: Any
    ) -> None:
        """Write what evaluate and compare would have said about a candidate."""
        gate_passed = other.pop("gate_passed", True)
        evaluate = {
            "auc": 0.7,
            "f1": 0.6,
            "log_loss": 0.5,
            "ece": None,
            "n": 100,
            "gate_passed": gate_passed,
            "reasons": [] if gate_passed else ["F1 0.400 is below evaluate.gate_f1 0.5"],
            "candidate": digest,
            "holdout_sha256": "1" * 64,
        }
        compare = {
            "verdict": verdict,
            "gain": 0.01,
            "interval": [0.002, 0.02],
            "reasons": other.pop("reasons", list(REASONS)),
            "gates_passed": gate_passed,
            "candidate": digest,
            "production_version": production,
            "holdout_sha256": "1" * 64,
            **other,
        }
        train = {"digest": digest, "window": ["1997-04", "1997-05"], "estimator": "x"}
        for name, report in (("evaluate", evaluate), ("compare", compare), ("train", train)):
            files.write_json(self.root / "reports" / f"{name}.json", report)
        files.write_json(self.root / "reports" / "plots" / "roc.json", [{"fpr": 0.0, "tpr": 0.0}])

    def approval(self, value: str) -> None:
        """Set promote.approval in params.yaml."""
        path = self.root / "params.yaml"
        yaml = YAML()
        content = yaml.load(path.read_text())
        content["promote"]["approval"] = value
        yaml.dump(content, path)

    def receipt(self) -> dict[str, Any]:
        """reports/promote.json."""
        found: dict[str, Any] = files.read_json(self.root / "reports" / "promote.json")
        return found

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the clone; returns what it prints."""
        done = self.python("-m", "dvc", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def forget_registry(self) -> None:
        """Delete MLflow's store, as if a disk were lost."""
        shutil.rmtree(self.root / "mlflow")
        self.new_registry()

    def new_registry(self) -> None:
        """Make an empty one."""
        (self.root / "mlflow").mkdir()
        shutil.copy(template(), self.root / "mlflow" / "mlflow.db")

    def python(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a module of the clone's own code as make does."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=env,
        )


def make(root: Path, *, code: bool = False) -> Clone:
    """A clone at ``root`` with an empty registry; with its own code where it is run from there."""
    root.mkdir(parents=True, exist_ok=True)
    if code:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "stages", root / "stages", ignore=ignored)
    shutil.copy(ROOT / "dvc.yaml", root)
    (root / "params.yaml").write_text(parameters())
    clone = Clone(root)
    clone.new_registry()
    return clone


def serving(root: Path, made: Path) -> Clone:
    """A clone that can serve what was promoted in the one at ``made``."""
    clone = make(root, code=True)
    for name in ("models", "mlflow"):
        shutil.copytree(made / name, root / name, dirs_exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("page", "serve"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    yaml, path = YAML(), root / "params.yaml"
    values = yaml.load(path)
    values["data"] = {
        "id": "customer_id", "label": "churned", "label_delay": 3, "features": FEATURES,
    }  # fmt: skip
    values["serve"]["interval_seconds"] = 0.2
    yaml.dump(values, path)
    return clone


@cache
def parameters() -> str:
    """params.yaml of the default data, where nobody's yes is needed, whatever this clone's says."""
    yaml, text = YAML(), StringIO()
    values = yaml.load(ROOT / "params.yaml")
    values["data"] = CDNOW.model_dump(mode="json", exclude_none=True)
    values["promote"]["approval"] = "auto"
    yaml.dump(values, text)
    return text.getvalue()


def quicken() -> None:
    """Let MLflow look up once, not for every database, what the newest form of its tables is."""
    from mlflow.store.db import utils

    newest = getattr(utils, "_get_latest_schema_revision", None)
    if newest is not None and not hasattr(newest, "cache_info"):
        utils._get_latest_schema_revision = cache(newest)


@cache
def template() -> Path:
    """An empty registry, made once: MLflow takes seconds to make its tables."""
    path = Path(tempfile.mkdtemp()) / "mlflow.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # MLflow warns about its own code
        quicken()
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        with connection.asking() as client:
            client.search_experiments()
    return path


def enter(clone: Clone, monkeypatch: pytest.MonkeyPatch, keep: Collection[str] = ()) -> None:
    """Let this process work in ``clone``: every path of ours leads there.

    What else the environment says of registry and experiment is forgotten, but for ``keep``.
    """
    old = files.ROOT
    for name, value in vars(files).copy().items():
        if isinstance(value, Path) and value.is_relative_to(old):
            monkeypatch.setattr(files, name, clone.root / value.relative_to(old))
    for name in {"MLFLOW_TRACKING_URI", "DVC_EXP_NAME"}.difference(keep):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str


def call(
    main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: str
) -> Said:
    """Call a module's main as its command line would."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    capsys.readouterr()
    try:
        errors.run(main)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return Said(status, out, err)


def move(version: int) -> None:
    """Put a version into production, as `make rollback` does, where it is not there already."""
    if store.production().version == version:
        return
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.setattr(sys, "argv", ["rollback", f"--version={version}", "--reason=a test"])
        rollback.main()


class Shop:
    """A clone in which this process works: its commands are called as their command lines."""

    def __init__(self, clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.clone, self.monkeypatch, self.capsys = clone, monkeypatch, capsys

    def candidate(self, c: float = 1.0, verdict: str = "promote", **other: Any) -> str:
        """Train a candidate and compare it with what is in production now."""
        digest = self.clone.candidate(c)
        self.clone.reports(digest, store.production().version, verdict, **other)
        return digest

    def call(self, main: Callable[[], None], *arguments: str) -> Said:
        """Call a module's main as its command line would."""
        return call(main, self.monkeypatch, self.capsys, *arguments)

    def stage(self) -> Said:
        """Run the sixth stage."""
        return self.call(promote.main)

    def promoted(self, c: float = 1.0) -> str:
        """Train a candidate that goes into production."""
        digest = self.candidate(c)
        assert self.stage().status == 0
        assert self.clone.receipt()["outcome"] == "promoted"
        return digest

    def given(self, versions: int) -> list[str]:
        """Start with so many promoted versions, C being 1.0 and up; returns their digests.

        They are made once, and copied: the copy's registry puts its addresses right by itself.
        """
        made = promoted(versions)
        for name in ("models", "reports", "mlflow"):
            shutil.copytree(made / name, self.clone.root / name, dirs_exist_ok=True)
        return [event.candidate for event in store.read().events]

    def forget_registry(self) -> None:
        """Lose the registry: this process may have its old file open, so the new one has a name."""
        shutil.rmtree(self.clone.root / "mlflow")
        (self.clone.root / "new").mkdir()
        shutil.copy(template(), self.clone.root / "new" / "mlflow.db")
        self.monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///new/mlflow.db")


@cache
def promoted(versions: int, estimator: str = "logistic_regression") -> Path:
    """A clone in which so many candidates were promoted, one after the other."""
    root = Path(tempfile.mkdtemp()) / "clone"
    atexit.register(shutil.rmtree, root.parent, ignore_errors=True)
    clone = make(root)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        enter(clone, patch)
        patch.setattr(sys, "argv", ["promote"])
        for n in range(versions):
            clone.reports(clone.candidate(1.0 + n, estimator=estimator), n or None)
            promote.main()
    return root


def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    """A clone to work in; what DVC would record is tested where DVC is."""
    clone = make(tmp_path / "clone")
    enter(clone, monkeypatch)
    monkeypatch.setattr(promote, "_record", lambda: None)
    return Shop(clone, monkeypatch, capsys)


# The stages whose outputs the registry's commands ask DVC about, without their code.
PIPELINE = """
stages:
  train:
    cmd: "false"
    outs: [models/candidate, reports/train.json]
  evaluate:
    cmd: "false"
    deps: [models/candidate]
    metrics: [reports/evaluate.json]
    plots: [reports/plots]
  compare:
    cmd: "false"
    deps: [models/candidate]
    metrics: [reports/compare.json: {persist: true}]
  promote:
    cmd: python -m stages.promote
    deps: [models/candidate, reports/compare.json]
    metrics: [reports/promote.json: {cache: false}]
"""


def make_with_dvc(root: Path) -> Clone:
    """A clone that is a repository of git's and DVC's."""
    clone = make(root)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / ".gitignore").write_text("/models/\n/reports/\n/mlflow/\n/data/\n")
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.name", "Ada"],
        ["git", "config", "user.email", "ada@localhost"],
    ):
        subprocess.run(command, cwd=root, check=True)
    clone.dvc("init", "--quiet")
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "clone"], cwd=root, check=True)
    return clone
