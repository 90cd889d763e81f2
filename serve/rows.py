"""Customers as JSON against the model's contract: values in its order out, or every fault.

The rules are those of ingest: an empty text of a category is missing, as null is; a number lies
within 1e30; "NA" is a text like any other. What CSV has to guess, JSON says: a number is a number.
"""

from __future__ import annotations

import json
from operator import itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serve.problems import Fault, Problem, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Value = float | str | bool | None

LARGEST = 1e30  # as stages.shared.values has it, which workers do not import
_NUMBERS, _TEXTS = {float, int, NoneType}, {str, NoneType}
_BOOLEANS, _NOTHING = {bool, NoneType}, frozenset({"", None})
_LONGEST_SHOWN = 40  # characters of a value
_WORDS = {"number": "a number", "category": "a text", "boolean": "true or false"}


class Check(NamedTuple):
    """A column of the contract, ready to be held against values."""

    name: str
    type: str
    low: float
    high: float
    values: frozenset[str] | None

    def passes(self, value: Any) -> bool:
        """Whether a value that is not null may stand in this column."""
        kind = type(value)
        if self.type == "number":
            return (kind is float or kind is int) and self.low <= value <= self.high
        if self.type == "boolean":
            return kind is bool
        return kind is str and (self.values is None or not value or value in self.values)

    def column(self, values: Sequence[Any]) -> Any:
        """Many values at once: an array of numbers, or a list; None if any may not stand here."""
        kinds = set(map(type, values))
        if self.type == "number":
            if not kinds <= _NUMBERS:
                return None
            numbers = np.array(values, dtype=np.float64)  # null becomes NaN
            # Neither comparison holds of NaN, which is missing.
            return None if ((numbers < self.low) | (numbers > self.high)).any() else numbers
        if self.type == "boolean":
            return list(values) if kinds <= _BOOLEANS else None
        if not kinds <= _TEXTS:
            return None
        distinct = set(values)
        if self.values and not distinct <= self.values | _NOTHING:
            return None
        return [value or None for value in values] if "" in distinct else list(values)

    def reason(self, value: Any) -> str:
        """Why it may not."""
        if not isinstance(value, str) if self.type == "category" else self._other_type(value):
            return f"is {_said(value)}, not {_WORDS[self.type]} or null"
        if self.values is not None:
            return f"is {_said(value)}, not one of {', '.join(sorted(self.values)[:20])}"
        if abs(value) > LARGEST:
            return f"is beyond {LARGEST:g}"
        if value < self.low:
            return f"is {value}, below min {self.low:.15g}"
        return f"is {value}, above max {self.high:.15g}"

    def _other_type(self, value: Any) -> bool:
        if self.type == "boolean":
            return not isinstance(value, bool)
        return isinstance(value, bool) or not isinstance(value, int | float)


class Contract:
    """The columns that a model takes."""

    def __init__(self, customer: str, features: Mapping[str, Mapping[str, Any]]) -> None:
        """Prepare the checks.

        Args:
            customer: the name of the id column.
            features: the contract as plain values.
        """
        self.customer = customer
        self.checks = tuple(
            Check(
                name,
                feature["type"],
                feature.get("min", -LARGEST),
                feature.get("max", LARGEST),
                frozenset(feature["values"]) if "values" in feature else None,
            )
            for name, feature in features.items()
        )
        self._plan = tuple((c.type, c.low, c.high, c.values) for c in self.checks)
        self.names = frozenset(features)
        pick = itemgetter(*features)
        # Of one name alone, itemgetter gives no tuple.
        self._pick = pick if len(features) > 1 else lambda row: (pick(row),)

    def one(self, row: dict[str, Any]) -> list[Value]:
        """The values of one customer, in the contract's order.

        Raises:
            Problem: 422, with every field that is wrong.
        """
        values = self._values(row)
        if values is None:
            raise self.refused([row], lambda _: "")
        return values

    def many(self, rows: Sequence[Any]) -> list[Any]:
        """The values of many customers: for each column a list, or an array of numbers.

        Raises:
            Problem: 422, with the fields that are wrong.
        """
        try:
            columns = list(zip(*map(self._pick, rows), strict=True))
            found = [check.column(c) for check, c in zip(self.checks, columns, strict=True)]
        except (KeyError, TypeError, OverflowError):  # a field missing, or no object at all
            found = [None]
        if any(column is None for column in found) or not self._are_closed(rows):
            raise self.refused(rows, lambda n: f"instances[{n}]")
        return found

    def _are_closed(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether no row has a field beyond the contract; each has all of its fields."""
        sizes = set(map(len, rows))
        if sizes == {len(self.checks)}:
            return True
        ids = [row[self.customer] for row in rows if self.customer in row]
        return (
            sizes <= {len(self.checks), len(self.checks) + 1}
            and sum(map(len, rows)) == len(self.checks) * len(rows) + len(ids)
            and set(map(type, ids)) <= {str, NoneType}
        )

    def _values(self, row: dict[str, Any]) -> list[Value] | None:
        """The values, or None if anything is wrong: what is, is looked for only then."""
        try:
            values = list(self._pick(row))
        except KeyError:
            return None
        for place, (kind, low, high, allowed) in enumerate(self._plan):
            value = values[place]
            if value is None:
                continue
            its = type(value)
            if kind == "number":
                fits = (its is float or its is int) and low <= value <= high
            elif kind == "boolean":
                fits = its is bool
            else:
                fits = its is str and (not value or allowed is None or value in allowed)
                values[place] = value or None
            if not fits:
                return None
        return values if self._are_closed([row]) else None

    def refused(self, rows: Sequence[Any], place: Callable[[int], str]) -> Problem:
        """The problem with rows of which at least one is wrong."""
        faults = (
            fault for number, row in enumerate(rows) for fault in self.faults(row, place(number))
        )
        return Problem(422, "the request does not fit the contract", faults)

    def faults(self, row: Any, where: str) -> Iterator[Fault]:
        """Everything that is wrong with one customer, one after the other as it is asked for."""
        if not isinstance(row, dict):
            yield Fault(where, f"is {_said(row)}, not an object")
            return
        dot = f"{where}." if where else ""
        for check in self.checks:
            if check.name not in row:
                yield Fault(dot + check.name, "is missing: null says that it is not known")
            elif (value := row[check.name]) is not None and not check.passes(value):
                yield Fault(dot + check.name, check.reason(value))
        for name, value in row.items():
            if name == self.customer:
                if not isinstance(value, str | None):
                    yield Fault(dot + name, f"is {_said(value)}, not a text or null")
            elif name not in self.names:
                yield Fault(dot + name, "is not in the contract")


def refuse_many(number: int, most: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        Problem: 413.
    """
    if number > most:
        raise Problem(413, f"the request has {number:,} rows, at most {most:,} are taken: split it")


def _said(value: Any) -> str:
    """A value as a fault shows it: short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        value = value[:_LONGEST_SHOWN]
    return short(json.dumps(value, ensure_ascii=False), _LONGEST_SHOWN)
