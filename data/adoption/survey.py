"""What is in a folder of months: facts about each column, gathered one month at a time.

Nothing is decided here, and nothing but summaries and a sample of rows is kept, so that memory
holds one month whatever their number. `columns` makes a contract of the facts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.adoption import looks
from data.adoption.looks import Look
from stages.shared import csv_text, snapshots, values
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SAMPLE_ROWS = 50_000  # labelled rows, of all months together: a leak shows in far fewer
SAMPLE_CELLS = 5_000_000  # fewer rows where there are hundreds of columns
SEED = 1
MOST_LABELS = 1_000  # different values in a month
FOLDS = 5  # of customers

# Names in the sample that no column can have: a CSV file with NUL bytes is refused.
_FOLD, _LABEL = "\0fold", "\0label"


class Header(NamedTuple):
    """The columns of one month's file."""

    names: tuple[str, ...]
    types: dict[str, pa.DataType]  # Parquet's; empty for CSV


class Month(NamedTuple):
    """One month's file."""

    name: str
    rows: int
    ragged: int  # rows with more or fewer fields than the header
    bad_ids: int  # rows whose id is missing, or is there a second time
    labels: Counter[str]  # as written, without the spaces around; missing ones are not counted


class Distinct:
    """How many different texts there are: exact up to `KEPT`, within some percent above.

    The smallest hashes stand for all of them (a bottom-k sketch: Bar-Yossef et al., Counting
    distinct elements in a data stream, RANDOM 2002).
    """

    KEPT = 4096

    def __init__(self) -> None:
        self._smallest: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._full = False

    def add(self, texts: pa.Array) -> None:
        """Count ``texts`` in; there is no null among them."""
        if not len(texts):
            return
        hashes = _hashes(texts)
        if self._full:
            hashes = hashes[hashes < self._smallest[-1]]
        found = np.union1d(self._smallest, hashes)
        self._full = self._full or len(found) > self.KEPT
        self._smallest = found[: self.KEPT]

    @property
    def exact(self) -> bool:
        """Whether `count` is no estimate."""
        return not self._full

    @property
    def count(self) -> int:
        """How many different texts were added."""
        if self.exact:
            return len(self._smallest)
        return round((self.KEPT - 1) * 2.0**64 / float(self._smallest[-1]))


@dataclass
class Column:
    """What is known of one column."""

    name: str
    months: list[str] = field(default_factory=list)  # that have it
    types: list[str] = field(default_factory=list)  # Parquet's that ingest cannot read
    temporal: bool = False  # a date or a time by its Parquet type
    looks: list[Look] = field(default_factory=list)  # one for each month that can be read
    texts: Distinct = field(default_factory=Distinct)

    def total(self, what: str) -> int:
        """The sum of a count (``rows``, ``empty``, ``missing``, ``odd``, ``dates``)."""
        return sum(getattr(look, what) for look in self.looks)

    def every(self, claim: str) -> bool:
        """Whether something (``truths``, ``compact_dates``, …) holds in every month."""
        return all(getattr(look, claim) for look in self.looks)

    @property
    def numbers(self) -> int:
        """Rows with a number."""
        return self.total("rows") - self.total("missing") - self.total("odd")

    @property
    def lowest(self) -> float:
        """The lowest number."""
        return min(look.lowest for look in self.looks)

    @property
    def highest(self) -> float:
        """The highest number."""
        return max(look.highest for look in self.looks)


class Survey(NamedTuple):
    """All that was found."""

    months: list[Month]
    columns: dict[str, Column]
    customers: Distinct
    sample: pa.Table  # labelled rows: the columns as text, and what the two functions below give

    def sampled_labels(self) -> list[str]:
        """The label of each row of ``sample``, without the spaces around."""
        found: list[str] = self.sample[_LABEL].to_pylist()
        return found

    def sampled_folds(self) -> NDArray[np.int64]:
        """For each row of ``sample`` the fold of its customer, from 0 to `FOLDS` - 1."""
        folds: NDArray[np.int64] = self.sample[_FOLD].to_numpy()
        return folds


def header(path: Path) -> Header:
    """The columns of a month's file, without its rows.

    Raises:
        UserError: the file as a whole is of no use.
    """
    if path.suffix == ".parquet":
        from pyarrow import parquet

        names = snapshots.read(path, ()).header
        schema = parquet.read_schema(path)
        return Header(names, {name: schema.field(name).type for name in names})
    try:
        csv_text.look_through(path)
        return Header(csv_text.header(path), {})
    except OSError as error:
        reason = error.strerror or str(error)
        raise csv_text.problem(path, f"cannot be read ({reason}): get it again") from None


def survey(
    found: dict[str, Path],
    headers: dict[str, Header],
    id_column: str,
    label: str,
    positive: str | None,
    tolerance: float,
) -> Survey:
    """Read all months.

    Args:
        found: each month's file.
        headers: each month's columns; every one has ``id_column``.
        id_column: its name.
        label: its name; months may lack it.
        positive: the label of those who left, if a person named it.
        tolerance: a column with a greater share of other values in a month is no number.

    Raises:
        UserError: a file as a whole is of no use, or the label is none.
    """
    names = dict.fromkeys(name for found_here in headers.values() for name in found_here.names)
    columns = {name: Column(name) for name in names if name not in (id_column, label)}
    rows_each = min(SAMPLE_ROWS, SAMPLE_CELLS // (len(columns) + 2)) // len(found) + 1
    months, parts, customers = [], [], Distinct()
    for index, (name, path) in enumerate(found.items()):
        readable = _note_types(name, headers[name], columns)
        snapshot = snapshots.read(path, {id_column, label, *readable})
        features = snapshot.table.select(readable)
        ids = values.identifier(snapshot.table[id_column]).column
        different = pc.unique(ids.drop_null())
        customers.add(different)
        labels = known_labels(snapshot.table, label, positive)
        repeated = len(ids) - len(different)
        counts = _counted(labels, f"{label!r} in {path.name}")
        months.append(Month(name, snapshot.total, len(snapshot.ragged), repeated, counts))
        for each in readable:
            look, texts = looks.look(features[each], tolerance)
            columns[each].looks.append(look)
            columns[each].texts.add(texts)
        parts.append(_sample(features, ids, labels, rows_each, [SEED, index]))
    sample = pa.concat_tables(parts, promote_options="default")
    return Survey(months, columns, customers, sample)


def known_labels(table: pa.Table, label: str, positive: str | None) -> pa.ChunkedArray:
    """The labels as text without the spaces around, null where nothing is known."""
    if label not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    text = pc.utf8_trim_whitespace(values.as_text(table[label]))
    unknown = pc.is_in(pc.utf8_lower(text), value_set=pa.array([*values.MISSING, None]))
    if positive is not None:  # somebody may call those who left "none"
        unknown = pc.and_(unknown, pc.fill_null(pc.not_equal(text, positive), True))
    return pc.if_else(unknown, pa.scalar(None, pa.string()), text)


def _counted(labels: pa.ChunkedArray, where: str) -> Counter[str]:
    counted = labels.drop_null().value_counts()
    if len(counted) > MOST_LABELS:
        raise UserError(f"{where} has {len(counted):,} different values: it is no label")
    pairs = zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
    return Counter(dict(pairs))


def _note_types(month: str, found: Header, columns: dict[str, Column]) -> list[str]:
    """Note what a file says of its columns; return those that can be read."""
    readable = []
    for name in found.names:
        if name in columns:
            kind = found.types.get(name, pa.string())
            columns[name].months.append(month)
            columns[name].temporal |= pa.types.is_temporal(kind)
            if _is_plain(kind):
                readable.append(name)
            else:
                columns[name].types.append(str(kind))
    return readable


def _is_plain(kind: pa.DataType) -> bool:
    """Whether ingest reads this type, whatever the values are."""
    kinds = pa.types
    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind):
        return False
    try:
        pa.array([], kind).cast(pa.string())
    except pa.ArrowException:
        return False
    return True


def _sample(
    features: pa.Table, ids: pa.ChunkedArray, labels: pa.ChunkedArray, rows: int, seed: list[int]
) -> pa.Table:
    """At most ``rows`` labelled rows of a month."""
    labelled = np.flatnonzero(pc.and_(pc.is_valid(labels), pc.is_valid(ids)).to_numpy())
    if len(labelled) > rows:
        drawn = np.random.default_rng(seed).choice(len(labelled), rows, replace=False)
        labelled = labelled[np.sort(drawn)]
    chosen = pa.array(labelled)
    taken = features.take(chosen)
    columns = {name: values.as_text(taken[name]) for name in taken.column_names}
    folds = _hashes(ids.take(chosen).combine_chunks()) % np.uint64(FOLDS)
    columns |= {_FOLD: pa.array(folds.astype(np.int64)), _LABEL: labels.take(chosen)}
    return pa.table(columns)


def _hashes(texts: pa.Array) -> NDArray[np.uint64]:
    from pandas.util import hash_array

    written = np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)
    hashes: NDArray[np.uint64] = hash_array(written, categorize=False)
    return hashes
