"""The snapshots of a window's months, read and written one month at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.shared import contract, files, months, split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def month_path(month: str, folder: Path) -> Path:
    """Where ingest put a month."""
    return folder / f"{month}.parquet"


def sample(
    chosen: Sequence[str], folder: Path, columns: list[str], rows: int, seed: int
) -> pa.Table:
    """At most ``rows`` rows of the months together, drawn evenly without replacement.

    The draw depends on the seed, the months and how many rows they have, and on nothing else.
    Months are read one after the other, so that memory holds one of them and the sample.
    """
    sizes = [pq.read_metadata(month_path(month, folder)).num_rows for month in chosen]
    total = sum(sizes)
    rng = np.random.default_rng([seed, *(months.number(month) for month in chosen)])
    drawn = np.arange(total)
    if total > rows:
        drawn = np.sort(rng.choice(total, size=rows, replace=False))
    starts = np.cumsum([0, *sizes])
    parts = []
    for index, month in enumerate(chosen):
        here = drawn[(drawn >= starts[index]) & (drawn < starts[index + 1])] - starts[index]
        table = pq.read_table(month_path(month, folder), columns=columns)
        parts.append(table.take(pa.array(here)).replace_schema_metadata())
    return pa.concat_tables(parts)


def write(
    window: Sequence[str], folder: Path, train: Path, holdout: Path, facts: dict[str, Any]
) -> None:
    """Write the rows to train on and the rows to score on.

    ``train`` gets the labelled rows of all the window's months, of the customers outside the
    holdout; ``holdout`` those of the newest month, of the customers inside it. Both bear ``facts``.

    Args:
        window: the months, oldest first.
        folder: where ingest put them.
        train: file to write.
        holdout: file to write.
        facts: id, label, features, window and split, as later stages and models read them.
    """
    how = facts["split"]
    writer = None
    try:
        with files.replacing(train) as train_file, files.replacing(holdout) as holdout_file:
            for month in window:
                rows = pq.read_table(month_path(month, folder))
                rows = contract.stamp(rows.filter(pc.is_valid(rows[facts["label"]])), facts)
                ids = rows[facts["id"]].to_numpy(zero_copy_only=False)
                held = pa.array(split.in_holdout(ids, how["salt"], how["holdout_share"]))
                del ids
                writer = writer or pq.ParquetWriter(train_file, rows.schema)
                writer.write_table(rows.filter(pc.invert(held)))
                if month == window[-1]:
                    pq.write_table(rows.filter(held), holdout_file)
            if writer is not None:
                writer.close()
    finally:
        if writer is not None and writer.is_open:
            writer.close()


def count(path: Path, label: str) -> tuple[int, int]:
    """Rows of a month, and rows with a label."""
    labels = pq.read_table(path, columns=[label])[label]
    return len(labels), len(labels) - labels.null_count


def columns_digest(path: Path, columns: list[str]) -> str:
    """SHA-256 of the values of some columns, whatever else is in the file."""
    digest = hashlib.sha256()
    for name in columns:  # one at a time: a column in memory, not a month
        table = pq.read_table(path, columns=[name]).replace_schema_metadata().combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        digest.update(sink.getvalue())
    return digest.hexdigest()
