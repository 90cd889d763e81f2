"""What a move rests on: the reports about a candidate, and where DVC keeps its files.

Everything is read under a root: the workspace, or a folder that `make restore` filled from DVC's
cache. The evidence that goes into the ledger is small: figures, digests, and DVC's addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.shared import candidate, files
from stages.shared.errors import UserError

# The stages whose outputs tell all about a candidate, but for the rows that it learned from.
STAGES = ("train", "evaluate", "compare")
_FIGURES = ("auc", "f1", "log_loss")
_VERDICT = ("verdict", "gain", "interval", "production_version")


@dataclass(frozen=True)
class Case:
    """A candidate, its card, and what was said of it; ``evaluate`` and ``compare`` may be empty."""

    root: Path
    digest: str
    card: dict[str, Any]
    evaluate: dict[str, Any]
    compare: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where the candidate's files lie."""
        return _under(self.root, files.CANDIDATE)

    @property
    def reports(self) -> Path:
        """Where the reports lie."""
        return _under(self.root, files.REPORTS)


def read(root: Path) -> Case:
    """The candidate under ``root``, with the reports that are about it and no other.

    Raises:
        UserError: the candidate is missing.
    """
    folder, reports = _under(root, files.CANDIDATE), _under(root, files.REPORTS)
    digest = candidate.digest(folder)
    card = files.read_json(folder / candidate.CARD)
    found = {}
    for name in ("evaluate", "compare"):
        report = files.report(reports / f"{name}.json")
        found[name] = report if report.get("candidate") == digest else {}
    return Case(root, digest, card, found["evaluate"], found["compare"])


def required() -> Case:
    """The workspace's candidate with both its reports.

    Raises:
        UserError: one is missing, or is about another candidate.
    """
    case = read(files.ROOT)
    for name in ("evaluate", "compare"):
        if not getattr(case, name):
            about = files.read_json(files.REPORTS / f"{name}.json").get("candidate", "?")
            raise UserError(
                f"reports/{name}.json is about candidate {about[:12]}, models/candidate is "
                f"{case.digest[:12]}: type `dvc repro`"
            )
    return case


def compare_sha256(case: Case) -> str:
    """The digest of the verdict: which comparison a promotion rests on."""
    return files.sha256(case.reports / "compare.json")


def gather(case: Case) -> dict[str, Any]:
    """What the ledger keeps of a case; plain JSON values."""
    found: dict[str, Any] = {"window": case.card["window"], "files": addresses()}
    found |= {name: case.evaluate[name] for name in _FIGURES if name in case.evaluate}
    found |= {name: case.compare[name] for name in _VERDICT if name in case.compare}
    if case.evaluate:
        found["holdout_sha256"] = case.evaluate["holdout_sha256"]
        found["evaluate_sha256"] = files.sha256(case.reports / "evaluate.json")
    if case.compare:
        found["compare_sha256"] = compare_sha256(case)
    return found


def addresses(of: Iterable[str] = STAGES) -> dict[str, str]:
    """Where DVC keeps what the stages ``of`` wrote: path -> MD5, from dvc.lock.

    While `promote` runs, dvc.lock holds the entries of the stages before it.
    """
    if not files.LOCK.is_file():
        return {}
    lock = YAML(typ="safe", pure=True).load(files.LOCK.read_text(encoding="utf-8")) or {}
    stages = lock.get("stages", {})
    outputs = [out for name in of for out in stages.get(name, {}).get("outs", [])]
    return {out["path"]: out["md5"] for out in outputs if "md5" in out}


def addresses_of(digest: str) -> dict[str, str]:
    """The same, if the workspace's candidate is ``digest``; empty if it is another or gone."""
    try:
        return addresses() if candidate.digest(files.CANDIDATE) == digest else {}
    except UserError:
        return {}


def _under(root: Path, path: Path) -> Path:
    return root / path.relative_to(files.ROOT)
