"""Seconds of each stage on the default data, and how many of them are imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stages.shared import files

# What each stage imports when it has something to do.
IMPORTS = {
    "ingest": "stages.ingest, stages.shared.rows",
    "drift": "stages.drift, evidently.presets",
    "train": "stages.train",
    "evaluate": "stages.evaluate",
    "compare": "stages.compare, mlflow.tracking, skops.io",
    "promote": "stages.promote, mlflow.sklearn, skops.io",
}


def seconds(arguments: list[str], root: Path) -> float:
    """Wall seconds of this Python with some arguments."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow/mlflow.db"}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in ("stages", "data/raw"):
            shutil.copytree(files.ROOT / part, root / part)
        for part in ("params.yaml", "dvc.yaml", "dvc.lock"):
            shutil.copy2(files.ROOT / part, root / part)
        for stage, modules in IMPORTS.items():
            whole = seconds(["-m", f"stages.{stage}"], root)
            imports = seconds(["-c", f"import {modules}"], root)
            rows.append(
                (
                    f"{stage} on the default data, all months new",
                    f"{whole:.1f} s, {imports:.1f} s of them imports ({imports / whole:.0%})",
                    "",
                )
            )
    return rows
