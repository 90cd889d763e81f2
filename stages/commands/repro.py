"""`make repro`: run `dvc repro`, then say in a table what ran, what was skipped, and why."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from stages.shared import dvc_files, errors, files, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.shared.dvc_files import Entry

STAGES = ("ingest", "drift", "train", "evaluate", "compare", "promote")

_RUNNING = re.compile(r"Running stage '(\w+)'")
_SKIPPED = re.compile(r"Stage '(\w+)' didn't change, skipping")
_RESTORED = re.compile(r"Stage '(\w+)' is cached - skipping run")
_FAILED = re.compile(r"ERROR: failed to reproduce '(\w+)'")
# What DVC says to people who drive it by hand; the table at the end says what matters of it.
_NOISE = re.compile(
    r"$|> python -m|(Updat|Generat)ing lock file|To track the changes|\tgit add|To enable auto|"
    r"\tdvc config|Use `dvc push`|Stage '\w+' (didn't|is cached)|'.*\.dvc' didn't change|"
    r"Verifying data sources|Running stage|ERROR: failed to reproduce|Data and pipelines are up|"
    r"WARNING: 'data/rejected' is empty|Having any troubles\?"
)


def outcomes(lines: Iterable[str]) -> dict[str, str]:
    """What became of each stage, from DVC's own words: ran, skipped, restored or failed."""
    found = {}
    for line in lines:
        for pattern, outcome in (
            (_RUNNING, "ran"),
            (_SKIPPED, "skipped"),
            (_RESTORED, "restored"),
            (_FAILED, "failed"),
        ):
            match = pattern.search(line)
            if match:
                found[match.group(1)] = outcome
    return found


def why(stage: str, before: dict[str, Entry], after: dict[str, Entry]) -> str:
    """Why DVC ran a stage: what differs between its entries in dvc.lock.

    Args:
        stage: its name.
        before: the stages of dvc.lock before the run.
        after: the same after the run.
    """
    old, new = before.get(stage), after.get(stage)
    if old is None:
        return "never ran before"
    if new is None:
        return "its entry in dvc.lock is gone"
    changed = ["its command"] if old.command != new.command else []
    changed += _changed(old.reads, new.reads)
    changed += _changed(_parameters(old), _parameters(new))
    if not changed:
        return "what it wrote was missing or changed"
    code = [name for name in changed if name.endswith(".py")]
    rest = [name for name in changed if name not in code]
    if len(code) > 1:
        code = [f"{len(code)} files of its code"]
    return f"changed: {', '.join(rest + code)}"


def _parameters(entry: Entry) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, values in entry.parameters.get("params.yaml", {}).items():
        keys = values.items() if isinstance(values, dict) else [("", values)]
        flat |= {f"{section}.{key}".rstrip("."): value for key, value in keys}
    return flat


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def unchanged(stage: str) -> str:
    """Why DVC skipped a stage."""
    return {"compare": "nothing to compare anew", "promote": "no new verdict"}.get(
        stage, "nothing that it reads has changed"
    )


def rows(
    found: dict[str, str], before: dict[str, Entry], after: dict[str, Entry]
) -> list[tuple[str, str, str]]:
    """The table: stage, what became of it, why. What DVC did not speak of was not reached."""
    table = []
    for stage in STAGES:
        outcome = found.get(stage, "not reached")
        reason = {
            "failed": "see the error above",
            "not reached": "DVC stopped before it, or was not asked for it",
            "restored": "DVC had this result already",
            "skipped": unchanged(stage),
        }.get(outcome) or why(stage, before, after)
        table.append((stage, outcome, reason))
    return table


def run_dvc(arguments: list[str]) -> tuple[int, list[str]]:
    """Run ``dvc repro`` and pass on what its stages say, as they say it."""
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    lines = []
    with subprocess.Popen(
        command, cwd=files.ROOT, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line)
            if not _NOISE.match(line):
                print(line, end="", flush=True)
    return process.returncode, lines


def main() -> None:
    """Mend what a kill left, run DVC, then print the table."""
    dvc_files.own()
    for done in dvc_files.mend():
        print(f"repro: {done}", flush=True)
    dvc_files.check()
    before = dvc_files.lock()
    status, lines = run_dvc(sys.argv[1:])
    words.table(
        "dvc repro",
        ("stage", "", "why"),
        rows(outcomes(lines), before, dvc_files.lock()),
    )
    if status:
        raise SystemExit(1)


if __name__ == "__main__":
    errors.run(main)
