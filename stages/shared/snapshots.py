"""The monthly files as their owners left them: the only place that knows how one is read.

A snapshot is ``YYYY-MM.csv`` (UTF-8, commas, a header) or ``YYYY-MM.parquet``. Reading gives the
columns as they are written: CSV's all as text, Parquet's as numbers, booleans or text. What a value
means is the business of `values`. What is wrong with a file as a whole is a `UserError` that names
the file, the problem and the remedy; what is wrong with a row is not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.shared import csv_text, files
from stages.shared import months as calendar
from stages.shared.csv_text import problem
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SUFFIXES = (".csv", ".parquet")


class Ragged(NamedTuple):
    """A CSV row with more or fewer fields than the header."""

    record: int  # counted from 0, header and empty lines aside
    text: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """One month's file, read.

    A *record* is a row of the file, counted from 0; a *row* is one of ``table``. They differ where
    ragged records were left out.
    """

    path: Path
    header: tuple[str, ...]  # every column of the file, also those that nobody asked for
    table: pa.Table  # the columns that were asked for and are there
    ragged: Sequence[Ragged] = ()  # by record

    @property
    def total(self) -> int:
        """The number of records."""
        return int(self.table.num_rows) + len(self.ragged)

    @property
    def records(self) -> NDArray[np.int64]:
        """The record of each row of ``table``."""
        import numpy as np

        ragged = np.array([row.record for row in self.ragged], dtype=np.int64)
        return np.delete(np.arange(self.total), ragged)


def find(folder: Path) -> dict[str, Path]:
    """The months of a folder in their order, each with its file.

    Hidden files, a README and DVC's own ``.dvc`` files may lie beside them.

    Raises:
        UserError: no such folder, nothing in it, a name that is no month, two files for one.
    """
    if not folder.is_dir():
        raise UserError(f"{files.relative(folder)} is missing: type `make data`, or make it")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "README")) or path.suffix == ".dvc":
            continue
        if path.suffix not in SUFFIXES or not calendar.is_month(path.stem) or path.is_dir():
            raise problem(path, "is no month: name it YYYY-MM.csv or YYYY-MM.parquet, or move it")
        if not path.exists():
            raise problem(path, "is a link to a file that is gone: mend it, or remove it")
        if path.stem in found:
            raise problem(path, f"and {found[path.stem].name} are one month: remove one of them")
        found[path.stem] = path
    if not found:
        where = files.relative(folder)
        raise UserError(f"{where} holds no month: type `make data`, or put YYYY-MM.csv files there")
    return found


def read(path: Path, columns: Collection[str] | None = None) -> Snapshot:
    """Read one file.

    Args:
        path: one that `find` gave.
        columns: those to read; names that the file does not have are left out. None is all.

    Returns:
        Rows in the file's order.

    Raises:
        UserError: the file as a whole is of no use.
    """
    try:
        if path.stat().st_size == 0:
            raise problem(path, "is empty: put the month's rows there, or remove it")
        return _read_csv(path, columns) if path.suffix == ".csv" else _read_parquet(path, columns)
    except OSError as error:
        reason = error.strerror or str(error)
        raise problem(path, f"cannot be read ({reason}): get it again") from None


def lines(snapshot: Snapshot) -> NDArray[np.int64]:
    """Where each record stands in the file; shape (total,).

    For CSV the line, from 1, on which it starts, empty lines and line ends inside quotes counted;
    for Parquet the row, from 1. It takes another pass over the file: ask only if somebody looks.
    """
    import numpy as np

    if snapshot.path.suffix == ".parquet":
        return np.arange(1, snapshot.total + 1)
    return np.array(csv_text.starts(snapshot.path, snapshot.total + 1)[1:], dtype=np.int64)


def _read_parquet(path: Path, columns: Collection[str] | None) -> Snapshot:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            header = tuple(file.schema_arrow.names)
            csv_text.check_names(path, header)
            wanted = _wanted(header, columns)
            table = file.read(columns=wanted).select(wanted)  # its reader takes "a.b" for "a" too
    except (pa.ArrowException, OSError) as error:
        what = " ".join(str(error).split())
        damage = f"is no whole Parquet file, cut off or damaged ({what})"
        raise problem(path, f"{damage}: get it again") from None
    if not table.num_rows:
        raise problem(path, "has no rows: put the month's rows there, or remove it")
    return Snapshot(path, header, pa.table({name: _plain(path, table, name) for name in wanted}))


def _plain(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Numbers and booleans as they are; what else Parquet has as text, where it has a text."""
    import pyarrow as pa

    column, kind = table[name], pa.types
    as_it_is = (kind.is_boolean, kind.is_integer, kind.is_floating, kind.is_decimal)
    if any(is_one(column.type) for is_one in as_it_is):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        what = f"has {column.type} in column {name!r}"
        raise problem(path, f"{what}: make it numbers or text, or remove it") from None


def _read_csv(path: Path, columns: Collection[str] | None) -> Snapshot:
    quotes, ends_in_a_line_end = csv_text.look_through(path)
    if quotes % 2:
        csv_text.check_quotes_close(path)
    header = csv_text.header(path)
    wanted = _wanted(header, columns)
    table, ragged = _rows(path, header, wanted, quotes > 0)
    snapshot = Snapshot(path, header, table, ragged.rows)
    last_is_cut = ragged.last_is_short and ragged.rows[-1].record == snapshot.total - 1
    if last_is_cut and not ends_in_a_line_end:
        raise problem(path, "ends in the middle of a row: it was cut off, get it again")
    return snapshot


def _wanted(header: Sequence[str], columns: Collection[str] | None) -> list[str]:
    return [name for name in header if columns is None or name in columns]


class _LeaveOut:
    """What Arrow asks about each ragged row."""

    def __init__(self) -> None:
        self.rows: list[Ragged] = []
        self.last_is_short = False

    def __call__(self, row: Any) -> str:
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        # Arrow counts from 1, the header too.
        self.rows.append(Ragged(row.number - 2, row.text, sys.intern(reason)))
        self.last_is_short = row.actual_columns < row.expected_columns
        return "skip"


def _rows(
    path: Path, header: Sequence[str], wanted: list[str], quoted: bool
) -> tuple[pa.Table, _LeaveOut]:
    """All regular rows as text, and the ragged ones."""
    import pyarrow as pa

    ragged = _LeaveOut()
    try:
        return _arrow(path, header, wanted, quoted, None), ragged
    except pa.ArrowInvalid:
        pass  # most likely a ragged row, and only a single thread knows where it is
    try:
        return _arrow(path, header, wanted, quoted, ragged), ragged
    except pa.ArrowInvalid as error:
        what = " ".join(str(error).split())
        raise problem(path, f"cannot be read as CSV ({what}): save it again") from None


def _arrow(
    path: Path,
    header: Sequence[str],
    wanted: list[str],
    quoted: bool,
    ragged: Callable[[Any], str] | None,
) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow

    table = arrow.read_csv(
        path,
        arrow.ReadOptions(use_threads=ragged is None),
        arrow.ParseOptions(newlines_in_values=quoted, invalid_row_handler=ragged),
        arrow.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            include_columns=wanted,
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table.select(wanted)  # no column wanted is all of them to Arrow
