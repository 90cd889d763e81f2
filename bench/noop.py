"""`dvc repro` with nothing to do, against DVC's own time for six empty stages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.pairs import row
from stages.shared import files

RUNS = 15
EMPTY = "stages:\n" + "".join(
    f"  stage{i}:\n    cmd: touch out{i}\n    deps: [{f'out{i - 1}' if i else 'in'}]\n"
    f"    outs: [out{i}]\n"
    for i in range(6)
)


def seconds(folder: Path) -> float:
    """Wall seconds of one `dvc repro` that must have nothing to do."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    if "Running stage" in done.stdout:
        raise SystemExit("bench: the pipeline is not up to date: type `make run` first")
    return time.perf_counter() - start


def empty_pipeline(folder: Path) -> None:
    """Six stages that do nothing, run once."""
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (folder / "in").write_text("in\n")
    (folder / "dvc.yaml").write_text(EMPTY)
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=folder, check=True, capture_output=True
    )


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    dry = [sys.executable, "-m", "dvc", "repro", "--dry"]
    said = subprocess.run(dry, cwd=files.ROOT, capture_output=True, text=True, check=True).stdout
    if "Running stage" in said:  # measuring must not train
        raise SystemExit("bench: the pipeline is not up to date: type `make run` first")
    with tempfile.TemporaryDirectory() as name:
        empty = Path(name)
        empty_pipeline(empty)
        pairs = [(seconds(files.ROOT), seconds(empty)) for _ in range(RUNS)]
    return [row("dvc repro with nothing to do, against six empty stages", pairs, "1.15")]
