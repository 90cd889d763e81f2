"""The judge that reads months from files: what it remembers, and when it asks anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import simulate
from data.simulate import World
from stages.shared import contract, params
from stages.shared.comparisons import Comparisons
from stages.shared.contract import Names

NAMES = Names(simulate.ID, simulate.LABEL, contract.from_dict(simulate.FEATURES))
DRIFT = params.read()["drift"]
WINDOW, MONTH = ("2024-01", "2024-02"), "2024-03"


@pytest.fixture(scope="module")
def simulated() -> dict[str, pa.Table]:
    return {m.name: m.table for m in simulate.months(World(rows=400, months=3))}


@pytest.fixture
def folder(tmp_path: Path, simulated: dict[str, pa.Table]) -> Path:
    """Months, of which the newest has no labels yet."""
    months = tmp_path / "months"
    months.mkdir()
    for name, table in simulated.items():
        write(months, name, without_labels(table) if name == MONTH else table)
    return months


def write(folder: Path, name: str, table: pa.Table) -> None:
    pq.write_table(table, folder / f"{name}.parquet")


def without_labels(table: pa.Table) -> pa.Table:
    place = table.column_names.index(simulate.LABEL)
    return table.set_column(place, simulate.LABEL, pa.nulls(len(table), pa.int8()))


def judge(folder: Path, page: bool = False, **changes: Any) -> Comparisons:
    section = params.parse(params.Drift, "drift", DRIFT | changes)
    memory = folder.parent / "answers.json"
    return Comparisons(
        NAMES, section, MONTH, folder, memory, folder.parent / "drift.html" if page else None
    )


def asked(of: Comparisons) -> dict[str, dict[str, Any]]:
    found = of.columns(WINDOW, MONTH)
    of.keep()
    return found


def mark(folder: Path) -> None:
    """Change every remembered answer about columns: who gives it, has it from memory."""
    path = folder.parent / "answers.json"
    remembered = json.loads(path.read_bytes())
    for value in remembered.values():
        answer = value["answer"] if isinstance(value, dict) else None
        for column in (answer or {}).values():
            if isinstance(column, dict):
                column["marked"] = True
    path.write_text(json.dumps(remembered))


def from_memory(found: dict[str, dict[str, Any]]) -> bool:
    return all("marked" in column for column in found.values())


def test_an_answer_is_worked_out_once(folder: Path) -> None:
    first = asked(judge(folder))
    assert set(first) == set(NAMES.features)
    assert not from_memory(first)
    mark(folder)
    assert from_memory(asked(judge(folder)))


def test_without_its_memory_or_with_a_damaged_one_it_says_the_same(folder: Path) -> None:
    first = asked(judge(folder))
    (folder.parent / "answers.json").write_text('{"cut off')
    assert asked(judge(folder)) == first
    (folder.parent / "answers.json").unlink()
    assert asked(judge(folder)) == first


def test_labels_that_arrive_later_leave_the_months_own_answer(
    folder: Path, simulated: dict[str, pa.Table]
) -> None:
    asked(judge(folder))
    mark(folder)
    write(folder, MONTH, simulated[MONTH])
    assert from_memory(asked(judge(folder)))


def test_other_labels_of_the_window_are_asked_anew_for_they_say_which_columns_matter(
    folder: Path, simulated: dict[str, pa.Table]
) -> None:
    asked(judge(folder))
    mark(folder)
    write(folder, WINDOW[-1], without_labels(simulated[WINDOW[-1]]))
    assert not from_memory(asked(judge(folder)))


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"growth": 5}, True),
        ({"max_age_months": 20}, True),
        ({"false_alarm_rate": 0.05}, False),
        ({"category_threshold": 0.3}, False),
    ],
)
def test_only_parameters_that_an_answer_depends_on_make_it_be_asked_anew(
    folder: Path, changes: dict[str, Any], kept: bool
) -> None:
    asked(judge(folder))
    mark(folder)
    assert from_memory(asked(judge(folder, **changes))) == kept


def test_what_a_run_did_not_use_is_forgotten(folder: Path) -> None:
    asked(judge(folder))
    other = judge(folder)
    other.labels(WINDOW[:1], WINDOW[1])
    other.keep()
    mark(folder)
    assert not from_memory(asked(judge(folder)))


def test_a_broken_feed_is_named_by_its_column(folder: Path, simulated: dict[str, pa.Table]) -> None:
    assert judge(folder).broken(WINDOW[-1], MONTH) == {}
    table = simulated[MONTH]
    place = table.column_names.index("monthly_fee")
    cents = pa.compute.multiply(table["monthly_fee"], 100)
    write(folder, MONTH, table.set_column(place, "monthly_fee", cents))
    found = judge(folder).broken(WINDOW[-1], MONTH)
    assert set(found) == {"monthly_fee"}
    assert "another unit" in found["monthly_fee"]


def test_the_page_is_the_newest_months_and_made_once(folder: Path) -> None:
    page = folder.parent / "drift.html"
    of = judge(folder, page=True)
    of.columns(WINDOW[:1], WINDOW[1])
    assert not page.exists()
    asked(of)
    first = page.read_bytes()  # Evidently's is never the same twice
    asked(judge(folder, page=True))
    assert page.read_bytes() == first
    page.unlink()
    asked(judge(folder, page=True))
    assert page.read_bytes() != first
