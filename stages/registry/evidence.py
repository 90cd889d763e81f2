"""What a move rests on: the reports about a candidate, and where DVC keeps its files.

Everything is read under a root: the workspace, or a folder that `make restore` filled from DVC's
cache. The evidence that goes into the ledger is small: figures, digests, and DVC's addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.shared import candidate, dvc_files, files, identifiers
from stages.shared.errors import UserError
from stages.shared.identifiers import Address

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


def addresses(of: Iterable[str] = STAGES) -> dict[str, Address]:
    """Where DVC keeps what the stages ``of`` wrote: path -> MD5, from dvc.lock.

    While `promote` runs, dvc.lock holds the entries of the stages before it.

    Raises:
        UserError: dvc.lock is not whole.
    """
    known = dvc_files.lock()
    entries = [known[name] for name in of if name in known]
    return {path: md5 for entry in entries for path, md5 in entry.writes.items()}


def addresses_in(found: object) -> dict[str, Address]:
    """The same from a ledger's event or from DVC's cache, which may say anything.

    What is not a path inside of the clone, or not an address, is left out.
    """
    named = {}
    for path, md5 in found.items() if isinstance(found, Mapping) else ():
        with suppress(ValueError):
            named[dvc_files.inner_path(path)] = identifiers.address(md5)
    return named


def addresses_of(digest: str) -> dict[str, Address]:
    """The same, if the workspace's candidate is ``digest``; empty if it is another or gone."""
    try:
        found = candidate.digest(files.CANDIDATE)
    except UserError:
        return {}
    return addresses() if found == digest else {}


def _under(root: Path, path: Path) -> Path:
    return root / path.relative_to(files.ROOT)
