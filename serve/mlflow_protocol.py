"""MLflow's scoring protocol: what `mlflow models serve` answers for the same version and rows.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from importlib import metadata
from operator import itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any

from serve.parallel import scored
from serve.problems import Fault, Problem
from serve.rows import refuse_many

if TYPE_CHECKING:
    from serve.current import Model

FORMS = ("dataframe_split", "dataframe_records")


def version() -> str:
    """MLflow's version here, or that it is not here."""
    try:
        return metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        return metadata.version("mlflow-skinny")


def answer(model: Model, given: Any, most: int) -> list[int]:
    """1 for each row that churns, 0 for each that stays.

    Columns beyond the contract are left out and ranges are not looked at, as MLflow has it.

    Args:
        model: answers.
        given: the body.
        most: rows that it may have.

    Raises:
        Problem: 400, where MLflow answers 400 too; 413, there are too many rows.
    """
    checks = model.contract.checks
    columns = _columns(given, [check.name for check in checks], most)
    if not columns[0]:
        return []
    read = [_READ[c.type](c.name, column) for c, column in zip(checks, columns, strict=True)]
    churns: list[int] = (scored(model.servable, read) >= model.threshold).astype(int).tolist()
    return churns


# A field that a record does not have. Null and a missing field are not the same to MLflow: pandas
# makes None of one and NaN of the other, and what becomes of these is in the functions below.
_ABSENT: Any = object()
# A value that is in no list of categories.
_UNSEEN: Any = object()
# What needs no closer look: the servable takes such a column as it is.
_PLAIN_NUMBERS = {float, int, bool, NoneType}


def _numbers(name: str, values: list[Any]) -> list[float | None]:
    if {*map(type, values)} <= _PLAIN_NUMBERS:
        return values
    try:
        numbers = [None if v is None or v is _ABSENT else float(v) for v in values]
    except (TypeError, ValueError, OverflowError):
        raise _unfit(name, "no number") from None
    if not {math.inf, -math.inf}.isdisjoint(numbers):
        raise _unfit(name, "infinite")
    return numbers


def _categories(name: str, values: list[Any]) -> list[Any]:
    kinds = {*map(type, values)}
    if kinds == {str}:
        return values
    if not {list, dict}.isdisjoint(kinds):
        raise _unfit(name, "no text")
    return [v if type(v) is str else None if v is _ABSENT else _UNSEEN for v in values]


def _booleans(_name: str, values: list[Any]) -> list[bool]:
    return list(map(bool, values))


def _unfit(name: str, what: str) -> Problem:
    fault = Fault(name, f"has a value that is {what}")
    return Problem(400, "the rows do not fit the model's signature", [fault])


_READ = {"number": _numbers, "category": _categories, "boolean": _booleans}


def _columns(given: Any, names: list[str], most: int) -> list[list[Any]]:
    form = [name for name in FORMS if type(given) is dict and name in given]
    if len(form) != 1:
        raise Problem(400, f"the body must be an object with one of {', '.join(FORMS)}")
    if form[0] == "dataframe_records":
        return _of_records(given["dataframe_records"], names, most)
    return _of_split(given["dataframe_split"], names, most)


def _of_records(rows: Any, names: list[str], most: int) -> list[list[Any]]:
    if type(rows) is not list or not {*map(type, rows)} <= {dict}:
        raise Problem(400, "dataframe_records must be a list of objects")
    refuse_many(len(rows), most)
    with suppress(KeyError):  # as a rule every row has every field
        if rows:
            return [list(map(itemgetter(name), rows)) for name in names]
    there = {name for row in rows for name in row}
    _refuse_missing([name for name in names if name not in there])
    return [[row.get(name, _ABSENT) for row in rows] for name in names]


def _of_split(split: Any, names: list[str], most: int) -> list[list[Any]]:
    given = split.get("columns") if type(split) is dict else None
    rows = split.get("data") if type(split) is dict else None
    if type(given) is not list or type(rows) is not list:
        raise Problem(400, "dataframe_split must have the lists columns and data")
    refuse_many(len(rows), most)
    if not all(type(row) is list and len(row) == len(given) for row in rows):
        raise Problem(400, "dataframe_split: every row of data has a value for each of columns")
    texts = [name for name in given if type(name) is str]
    number = Counter(texts)
    _refuse_missing([name for name in names if number[name] != 1])
    place = {name: at for at, name in enumerate(given) if type(name) is str}
    return [[row[at] for row in rows] for at in map(place.__getitem__, names)]


def _refuse_missing(missing: list[str]) -> None:
    if missing:
        faults = [Fault(name, "is missing, or there twice") for name in missing]
        raise Problem(400, "the rows do not have the model's columns", faults)
