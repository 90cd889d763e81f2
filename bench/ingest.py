"""Ingest of a CSV month of 1,000,000 rows, against pyarrow reading it and writing Parquet."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench import table
from bench.pairs import row
from stages import ingest
from stages.shared import params, rows  # noqa: F401 (imports are not what is measured here)

ROWS, RUNS = 1_000_000, 5


def ours(raw: Path, out: Path) -> float:
    """Seconds of our ingest of one month, with nothing remembered."""
    data = params.parse(params.Data, "data", table.data_section())
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        folders = ingest.Folders(out / "months", out / "rejected")
        ingest.ingest(raw, folders, out / "memory.json", data, 0.05)
    return time.perf_counter() - start


def theirs(raw: Path, out: Path) -> float:
    """Seconds of pyarrow alone."""
    start = time.perf_counter()
    pq.write_table(pacsv.read_csv(raw / "2024-01.csv"), out / "plain.parquet")
    return time.perf_counter() - start


def main() -> list[tuple[str, str, str]]:
    """Rows of the table: what, reached, asked."""
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw"
        raw.mkdir()
        pacsv.write_csv(table.customers(ROWS), raw / "2024-01.csv")
        pairs = []
        for run in range(RUNS + 1):
            out = Path(name) / str(run)
            out.mkdir()
            pairs.append((ours(raw, out), theirs(raw, out)))
    what = "ingest of 1,000,000 rows by 15 columns, against pyarrow CSV to Parquet"
    return [row(what, pairs[1:], "4")]  # the first is for warming up
