"""What the text of a CSV file says of the file as a whole, before anybody reads its values.

Python's csv module and Arrow agree on where rows and fields begin and end, odd quotes included: a
test compares them.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.shared import files
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_BLOCK = 1 << 20
# What people save by mistake under the name of a CSV file, by its first bytes.
_NO_CSV = {
    b"\x1f\x8b": "is compressed: unpack it",
    b"PK\x03\x04": "is an Excel or zip file: save it as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "is an Excel file: save it as CSV (UTF-8)",
    b"PAR1": "is a Parquet file: name it .parquet",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}


class Look(NamedTuple):
    """What one pass over the bytes shows."""

    quotes: int
    ends_in_a_line_end: bool


def problem(path: Path, what: str) -> UserError:
    """What is wrong with a file as a whole, and what to do."""
    return UserError(f"{files.relative(path)} {what}")


def look_through(path: Path) -> Look:
    """Make sure that it is a text that we can read.

    Raises:
        UserError: it is another kind of file, or no UTF-8, or damaged.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    quotes, line, block = 0, 1, b""
    with path.open("rb") as file:
        for start in iter(lambda: file.read(_BLOCK), b""):
            if not block:
                _check_is_no_other_kind(path, start)
            block = start
            if b"\0" in block:
                raise problem(path, "has NUL bytes, so it is UTF-16 or damaged: save it as UTF-8")
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                what = f"byte 0x{error.object[error.start]:02x} on line {line}"
                raise problem(path, f"is not UTF-8 ({what}): save it as UTF-8") from None
            quotes += block.count(b'"')
            line += block.count(b"\n")
    if decoder.getstate()[0]:
        raise problem(path, "ends in the middle of a character: it was cut off, get it again")
    return Look(quotes, block.endswith((b"\n", b"\r")))


def _check_is_no_other_kind(path: Path, start: bytes) -> None:
    for magic, what in _NO_CSV.items():
        if start.startswith(magic):
            raise problem(path, what)


def header(path: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        UserError: there are none, or two alike, or no rows below them, or the separator is another.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = (row for row in _reader(file) if row)
        names, below = next(rows, None), next(rows, None)
    if names is None:
        raise problem(path, "is empty: put the month's rows there, or remove it")
    for mark, what in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and mark in names[0]:
            raise problem(path, f"has {what} between its columns: save it with commas")
    if below is None:
        raise problem(path, "has a header and no rows: put the month's rows there, or remove it")
    check_names(path, names)
    return tuple(names)


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name: nobody can tell which is meant."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise problem(path, f"has two columns named {twice[0]!r}: rename or remove one")


def check_quotes_close(path: Path) -> None:
    """For an odd number of quotes: one may be an inch (5" is a text like any other), or left open.

    Raises:
        UserError: the last value of the file opens a quote and does not close it.
    """
    ours, start, last = "the end", 1, 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        # A line of our own follows the last one: inside an open quote it is no row of its own.
        reader = _reader(itertools.chain(file, [ours]))
        for row in reader:
            if row == [ours]:
                return
            last, start = start, reader.line_num + 1
    what = f"has a quote that opens in the row of line {last} and never closes"
    raise problem(path, f"{what}: it was cut off (get it again), or the quote wants doubling")


def starts(path: Path, rows: int) -> list[int]:
    """The line, from 1, on which each of the ``rows`` rows starts, the header first.

    Empty lines are no rows, but count as lines.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = [number for number, line in enumerate(file, 1) if line.strip("\r\n")]
    # More lines than rows: some value has a line end in it, and only slow reading shows which.
    return found if len(found) == rows else _starts(path)


def _starts(path: Path) -> list[int]:
    found, start = [], 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _reader(file)
        for row in reader:
            if row:
                found.append(start)
            start = reader.line_num + 1
    return found


def _reader(lines: Iterable[str]) -> Any:
    csv.field_size_limit(2**31 - 1)  # how long a value may be is Arrow's to say
    return csv.reader(lines)
