"""The snapshots of a window's months, read and written one month at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.shared import contract, files, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BATCH = 100_000  # rows in memory at a time
# So many customers are never all in the holdout; only with fewer must each be looked at.
SURELY = 1000
SAMPLED = "sampled"  # the salt by which customers are drawn for comparisons


def month_path(month: str, folder: Path) -> Path:
    """Where ingest put a month."""
    return folder / f"{month}.parquet"


def share_of(rows: int, most: int) -> float:
    """The share of the customers that gives about ``most`` of ``rows``."""
    return min(1.0, most / rows) if rows else 1.0


def with_share(
    chosen: Sequence[str], folder: Path, columns: list[str], customer: str, share: float
) -> pa.Table:
    """All rows of a share of the customers, drawn by their ids."""
    parts = []
    for batch in batches(chosen, folder, columns):
        drawn = split.in_holdout(batch[customer].to_numpy(), SAMPLED, share) if share < 1 else None
        parts.append(batch if drawn is None else batch.filter(pa.array(drawn)))
    return pa.concat_tables(parts).combine_chunks()


def draw(table: pa.Table, most: int, seed: int) -> pa.Table:
    """At most ``most`` of the rows, drawn evenly without replacement, in their order."""
    if len(table) <= most:
        return table
    drawn = np.random.default_rng(seed).choice(len(table), size=most, replace=False)
    return table.take(pa.array(np.sort(drawn)))


def batches(chosen: Sequence[str], folder: Path, columns: list[str] | None) -> Iterator[pa.Table]:
    """The rows of the months, in order, some at a time; without their metadata."""
    for month in chosen:
        yield from rows(month_path(month, folder), columns)


def rows(path: Path, columns: list[str] | None = None, at_once: int = BATCH) -> Iterator[pa.Table]:
    """The rows of one file, some at a time; without their metadata."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(at_once, columns=columns):
            yield pa.Table.from_batches([batch]).replace_schema_metadata()


def read(path: Path) -> pa.Table:
    """All rows of a file at once, with what it says of itself.

    In batches, and in memory that goes back to the system: decoding the whole file at once takes
    three times what it holds, and Arrow's own allocator keeps that.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with pq.ParquetFile(path) as file:
        parts = list(file.iter_batches(BATCH))
        return pa.Table.from_batches(parts, file.schema_arrow)


def write(
    window: Sequence[str],
    judging: Sequence[str],
    folder: Path,
    train: Path,
    holdout: Path,
    facts: dict[str, Any],
) -> None:
    """Write the rows to train on and the rows to score on.

    ``train`` gets the labelled rows of all the window's months, of the customers outside the
    holdout; ``holdout`` those of the judging months, of the customers inside it. Both bear
    ``facts``.

    Args:
        window: the months, oldest first.
        judging: the months of the holdout, in the window or after it.
        folder: where ingest put them.
        train: file to write.
        holdout: file to write.
        facts: id, label, features, window and split, as later stages and models read them.
    """
    how = facts["split"]
    schema = pq.read_schema(month_path(window[-1], folder))
    schema = contract.stamp(schema.empty_table(), facts).schema
    with (
        files.replacing(train) as train_file,
        files.replacing(holdout) as holdout_file,
        pq.ParquetWriter(train_file, schema) as train_rows,
        pq.ParquetWriter(holdout_file, schema) as holdout_rows,
    ):
        for month in sorted({*window, *judging}):
            for batch in batches([month], folder, None):
                labelled = batch.filter(pc.is_valid(batch[facts["label"]])).cast(schema)
                ids = labelled[facts["id"]].to_numpy()
                held = pa.array(split.in_holdout(ids, how["salt"], how["holdout_share"]))
                if month in window:
                    train_rows.write_table(labelled.filter(pc.invert(held)))
                if month in judging:
                    holdout_rows.write_table(labelled.filter(held))


def count_rows(path: Path) -> int:
    """Rows of a month; the file's own word, nothing is read."""
    return int(pq.read_metadata(path).num_rows)


def count(path: Path, label: str) -> tuple[int, int]:
    """Rows of a month, and rows with a label."""
    labels = pq.read_table(path, columns=[label])[label]
    return len(labels), len(labels) - labels.null_count


def classes(path: Path, customer: str, label: str, salt: str, share: float) -> frozenset[int]:
    """The labels that a month has outside the holdout: what a model could learn from it."""
    labels = pq.read_table(path, columns=[label])[label].to_numpy()
    few = [value for value in (0, 1) if 0 < np.count_nonzero(labels == value) < SURELY]
    found = {value for value in (0, 1) if np.count_nonzero(labels == value) >= SURELY}
    if few:
        ids = pq.read_table(path, columns=[customer])[customer].to_numpy()
        outside = labels[~split.in_holdout(ids, salt, share)]
        found |= {value for value in few if value in outside}
    return frozenset(found)


def columns_digest(path: Path, columns: list[str]) -> str:
    """SHA-256 of some columns as they lie in the file, whatever its other columns hold."""
    digest = hashlib.sha256()
    facts = pq.read_metadata(path)
    with path.open("rb") as file:
        for group in (facts.row_group(i) for i in range(facts.num_row_groups)):
            chunks = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
            for name in columns:
                chunk = chunks[name]
                first = (chunk.dictionary_page_offset, chunk.data_page_offset)
                file.seek(min(offset for offset in first if offset is not None))
                digest.update(file.read(chunk.total_compressed_size))
    return digest.hexdigest()
