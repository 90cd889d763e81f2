"""Drift at 1,000,000 rows against Evidently on all rows; peak memory of each stage at that size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
from ruamel.yaml import YAML

from bench import table
from bench.stages import IMPORTS
from stages.shared import files

ROWS, MONTHS = 1_000_000, 3
STAGES = ("ingest", "drift", "train", "evaluate", "compare", "promote")
# The frame that a stage must hold.
FRAMES = {
    "ingest": "data/months/2024-01.parquet",
    "drift": "data/months/2024-01.parquet",
    "train": "data/train.parquet",
    "evaluate": "data/holdout.parquet",
    "compare": "data/holdout.parquet",
}
EVIDENTLY = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import pyarrow.parquet as pq
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
numbers, others, paths = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
start = time.perf_counter()
types = DataDefinition(numerical_columns=numbers, categorical_columns=others)
frames = [pq.read_table(p, columns=numbers + others).to_pandas() for p in paths]
frames = [f.astype({o: str for o in others}) for f in frames]
before, now = (Dataset.from_pandas(f, data_definition=types) for f in frames)
Report([DataDriftPreset()], include_tests=True).run(now, before).dict()
print(time.perf_counter() - start)
"""


def clone(root: Path) -> None:
    """A copy of the repository with `MONTHS` months of ``ROWS`` customers each, all one window."""
    shutil.copytree(files.ROOT / "stages", root / "stages")
    shutil.copy2(files.ROOT / "dvc.yaml", root / "dvc.yaml")
    yaml = YAML()
    values = yaml.load(files.PARAMS)
    values["data"] = table.data_section()
    values["drift"] |= {"window_months": MONTHS, "max_age_months": 1, "columns": {}}
    values["train"]["estimator"] = "logistic_regression"
    values["evaluate"]["gate_f1"] = 0.1
    yaml.dump(values, root / "params.yaml")
    raw = root / "data" / "raw"
    raw.mkdir(parents=True)
    for month in range(1, MONTHS + 1):
        pacsv.write_csv(table.customers(ROWS, seed=month), raw / f"2024-{month:02}.csv")


def change(root: Path, section: str, changes: dict[str, Any]) -> None:
    """Change a section of params.yaml."""
    yaml = YAML()
    values = yaml.load(root / "params.yaml")
    values[section] |= changes
    yaml.dump(values, root / "params.yaml")


def run(root: Path, stage: str) -> float:
    """Peak memory, in megabytes, of a stage in a process of its own."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db"}
    command = [sys.executable, "-m", f"stages.{stage}"]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench: stage {stage} failed")
    return usage.ru_maxrss / 1024


def frame_megabytes(root: Path, path: str) -> float:
    """The rows of a file as the frame that pandas makes of them."""
    code = f"import pyarrow.parquet as pq; frame = pq.read_table({path!r}).to_pandas(); "
    return float(python(root, code + "print(frame.memory_usage(deep=True).sum() / 2**20)"))


def evidently_seconds(root: Path) -> float:
    """Seconds of Evidently's preset on all rows of two months, imports aside."""
    features: dict[str, Any] = table.data_section()["features"]
    others = [name for name, feature in features.items() if feature["type"] != "number"]
    months = [str(root / f"data/months/2024-{month:02}.parquet") for month in (1, 2)]
    return float(python(root, EVIDENTLY, json.dumps(table.NUMBERS), json.dumps(others), *months))


def import_megabytes(root: Path, stage: str) -> float:
    """Peak memory of importing what a stage imports, and nothing else."""
    code = f"import {IMPORTS[stage]}, resource; print(resource.getrusage(0).ru_maxrss)"
    return float(python(root, code)) / 1024


def drift_seconds(root: Path) -> float:
    """Seconds of the drift stage, imports aside."""
    code = f"import {IMPORTS['drift']}, time; t = time.perf_counter(); stages.drift.main(); "
    return float(python(root, code + "print(time.perf_counter() - t)"))


def fresh_seconds(root: Path) -> float:
    """Drift with nothing remembered: every month is compared, and the window is written."""
    shutil.rmtree(root / "data" / "memory")
    for path in ("train", "holdout"):
        (root / "data" / f"{path}.parquet").unlink()
    return drift_seconds(root)


def month_seconds(root: Path) -> float:
    """Drift when the last month arrives after the others: one comparison, the window stays."""
    change(root, "drift", {"window_months": 1, "max_age_months": MONTHS})
    newest, aside = root / f"data/months/2024-{MONTHS:02}.parquet", root / "aside.parquet"
    newest.rename(aside)
    drift_seconds(root)
    aside.rename(newest)
    return drift_seconds(root)


def python(root: Path, code: str, *arguments: str) -> str:
    """The last word that some Python prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.split()[-1]


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        # Elsewhere: a process that is started counts the peak of the one that started it.
        with ProcessPoolExecutor(1) as elsewhere:
            elsewhere.submit(clone, root).result()
        peaks = {stage: run(root, stage) for stage in STAGES}
        # Against the linear model, which is in production now.
        change(root, "train", {"estimator": "hist_gradient_boosting"})
        peaks |= {stage: run(root, stage) for stage in ("train", "evaluate", "compare")}
        of_stages = [of_memory(root, stage, peaks[stage]) for stage in FRAMES]
        return [*of_drift(root), *of_stages]


def of_drift(root: Path) -> list[tuple[str, str, str]]:
    """Drift's time against that of all rows: Evidently compares one month with one other."""
    whole = evidently_seconds(root)
    fresh, month = fresh_seconds(root), month_seconds(root)
    size = "1,000,000 rows, against Evidently's preset on all rows, imports aside"
    return [
        (
            f"drift as a month arrives, {size}",
            f"{month / whole:.3f} ({month:.1f} s against {whole:.1f} s)",
            "0.1",
        ),
        (
            f"the same, nothing remembered: {MONTHS - 1} comparisons, a window of {MONTHS} written",
            f"{fresh / whole:.3f} ({fresh:.1f} s against {whole:.1f} s)",
            "",
        ),
    ]


def of_memory(root: Path, stage: str, peak: float) -> tuple[str, str, str]:
    """A stage's peak memory against the frame that it must hold."""
    frame, imports = frame_megabytes(root, FRAMES[stage]), import_megabytes(root, stage)
    what = f"peak memory of {stage}, 1,000,000 rows a month, window of {MONTHS}, against its frame"
    against = f"{peak:,.0f} MB, imports {imports:,.0f}, against {frame:,.0f} MB"
    return (
        what,
        f"{peak / frame:.1f}, without imports {(peak - imports) / frame:.1f} ({against})",
        "6",
    )
