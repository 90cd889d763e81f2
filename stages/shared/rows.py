"""Which rows of a month are fit to use: the contract, held against one snapshot.

`values` says what each value means; what it may be (range, allowed values, an id that is there and
there once) is a pandera schema made from the contract.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pr
import pyarrow as pa
import pyarrow.compute as pc
from pandera.config import config_context

from stages.shared import files, snapshots, values
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stages.shared.contract import Feature
    from stages.shared.params import Data
    from stages.shared.snapshots import Snapshot

NO_ID = "id is missing"
SAME_ID = "id already there"

_PANDAS_TYPES = {"number": "float64", "category": "str", "boolean": "boolean"}
_SHOWN = 10  # allowed values that a reason lists


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with some rows of the snapshot's table."""

    column: str
    reason: str
    rows: NDArray[np.int64]  # from 0, ascending


@dataclass(frozen=True)
class Checked:
    """A snapshot's rows, typed, and what is wrong with some of them."""

    table: pa.Table  # all rows: id, features in the contract's order, label
    faults: tuple[Fault, ...]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Which rows are not fit to use; shape (rows,)."""
        found = np.zeros(self.table.num_rows, dtype=np.bool_)
        for fault in self.faults:
            found[fault.rows] = True
        return found


class Rejected(NamedTuple):
    """One fault of one row, for a person to mend."""

    line: int
    column: str  # empty where the row as a whole is wrong
    value: str  # as written
    reason: str


def check(snapshot: Snapshot, data: Data) -> Checked:
    """Hold a snapshot against the contract.

    Raises:
        UserError: a column of the contract is missing. The label may be: not known yet.
    """
    _check_columns(snapshot, data)
    columns, faults = {}, []
    for name, parsed in _parsed(snapshot.table, data):
        columns[name] = parsed.column.combine_chunks()  # pandas then takes it without a copy
        faults += [Fault(name, reason, rows) for reason, rows in parsed.bad.items()]
    table = pa.table(columns)
    return Checked(table, (*faults, *_not_allowed(table, data)))


def schema(data: Data) -> pr.DataFrameSchema:
    """The contract as pandera knows it; a check's ``error`` is the reason that people read."""
    columns = {data.id: pr.Column("str", _id_checks(), nullable=True)}
    for name, feature in data.features.items():
        kind = _PANDAS_TYPES[feature.type]
        columns[name] = pr.Column(kind, _checks(feature), nullable=True)
    return pr.DataFrameSchema(columns)


def rejected(snapshot: Snapshot, checked: Checked, limit: int | None = None) -> list[Rejected]:
    """Every fault of the first ``limit`` rejected rows (None: of all), as the file has them.

    Returns:
        In the order of the file, then of the contract.
    """
    of_row = snapshot.records
    ragged = np.array([row.record for row in snapshot.ragged], dtype=np.int64)
    records = np.union1d(of_row[checked.bad], ragged)[:limit]
    if not len(records):
        return []
    lines, last = snapshots.lines(snapshot), records[-1]
    found = [
        Rejected(int(lines[row.record]), "", row.text, row.reason)
        for row in snapshot.ragged
        if row.record <= last
    ]
    for name in checked.table.column_names:
        for fault in (fault for fault in checked.faults if fault.column == name):
            rows = fault.rows[of_row[fault.rows] <= last]
            written = values.as_text(snapshot.table[name].take(pa.array(rows))).to_pylist()
            reasons = _reasons(fault, rows, checked.table, lines[of_row])
            where = lines[of_row[rows]].tolist()
            found += [
                Rejected(line, name, value or "", reason)
                for line, value, reason in zip(where, written, reasons, strict=True)
            ]
    return sorted(found, key=lambda fault: fault.line)  # stable: the contract's order stays


def _reasons(
    fault: Fault, rows: NDArray[np.int64], table: pa.Table, lines: NDArray[np.int64]
) -> list[str]:
    if fault.reason != SAME_ID:
        return [fault.reason] * len(rows)
    ids = table[fault.column]
    first = pc.index_in(ids.take(pa.array(rows)), value_set=ids).to_numpy()
    return [f"id already on line {line}" for line in lines[first]]


def _check_columns(snapshot: Snapshot, data: Data) -> None:
    missing = [n for n in (data.id, *data.features) if n not in snapshot.header]
    # A month may come without its label, but not because its name is written in another way.
    if data.label not in snapshot.header:
        missing += [data.label for name in snapshot.header if _same(name, data.label)]
    if not missing:
        return
    name, where = missing[0], files.relative(snapshot.path)
    like = [n for n in snapshot.header if _same(n, name)]
    like += difflib.get_close_matches(name, snapshot.header, n=1)
    hint = f" (it has {like[0]!r})" if like else ""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise UserError(
        f"{where} has no column {name!r}{more}{hint}: "
        "add it to the file, or change section data of params.yaml"
    )


def _same(name: str, other: str) -> bool:
    return name.strip().casefold() == other.strip().casefold()


def _parsed(table: pa.Table, data: Data) -> Iterator[tuple[str, values.Parsed]]:
    yield data.id, values.identifier(table[data.id])
    for name, feature in data.features.items():
        yield name, values.feature(table[name], feature.type)
    if data.label in table.column_names:
        yield data.label, values.label(table[data.label], data.positive)
    else:
        unknown = pa.chunked_array([pa.nulls(table.num_rows, pa.int8())])
        yield data.label, values.Parsed(unknown, {})


def _id_checks() -> list[pr.Check]:
    return [
        pr.Check(lambda ids: ids.notna(), error=NO_ID, ignore_na=False, n_failure_cases=1),
        pr.Check(lambda ids: ~ids.duplicated(), error=SAME_ID, n_failure_cases=1),
    ]


def _checks(feature: Feature) -> list[pr.Check]:
    # One failure case each: pandera makes a row of a frame of every case, three microseconds
    # apiece. What we read is the check's own output, which always is whole.
    found = []
    if feature.min is not None:
        below = f"below min {feature.min:.15g}"
        found.append(pr.Check.ge(feature.min, error=below, n_failure_cases=1))
    if feature.max is not None:
        above = f"above max {feature.max:.15g}"
        found.append(pr.Check.le(feature.max, error=above, n_failure_cases=1))
    allowed = feature.values  # noqa: PD011 - the contract's key, nothing of pandas
    if allowed is not None:
        which = ", ".join(allowed) if len(allowed) <= _SHOWN else f"{len(allowed)} allowed values"
        found.append(pr.Check.isin(allowed, error=f"not one of {which}", n_failure_cases=1))
    return found


def _not_allowed(table: pa.Table, data: Data) -> list[Fault]:
    """What pandera finds."""
    frame = table.drop_columns([data.label]).to_pandas(
        types_mapper={pa.bool_(): pd.BooleanDtype()}.get,  # a category becomes str by itself
        split_blocks=True,  # no copies
    )
    try:
        with config_context(validation_enabled=True):  # whatever PANDERA_VALIDATION_ENABLED says
            schema(data).validate(frame, lazy=True, inplace=True)
    except pr.errors.SchemaErrors as errors:
        return [_fault(error) for error in errors.schema_errors]
    return []


def _fault(error: pr.errors.SchemaError) -> Fault:
    passed: Any = error.check_output  # by row, missing values aside
    if not isinstance(error.check, pr.Check) or not isinstance(passed, pd.Series):
        raise error  # a column is not of its type: a defect of ours
    rows = passed.index[~passed.to_numpy(dtype=bool)].to_numpy(dtype=np.int64)
    return Fault(error.schema.name, str(error.check.error), rows)
