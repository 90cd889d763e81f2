"""Data schema: every raw month against the contract of params.yaml, through ingest's own judgement.

The months are those that lie in the folder of snapshots, and all of the default data.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from data import cdnow
from stages import ingest
from stages.shared import files, params, snapshots
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = params.parse(params.Data, "data", params.read()["data"])
MONTHS = [cdnow._shift(cdnow.FIRST, n) for n in range(15)]
MOST = params.parse(params.Ingest, "ingest", params.read()["ingest"]).max_rejected_share


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    return cdnow.load_orders()


@pytest.fixture
def month(orders: pd.DataFrame, tmp_path: Path) -> Path:
    """A month with labels, of as many customers as a test needs."""
    path = tmp_path / "1997-06.csv"
    frame = cdnow.month_file(orders, "1997-06", newest=cdnow.LAST).iloc[:1000]
    path.write_bytes(cdnow.to_csv(frame))
    return path


def faults(path: Path) -> list[str]:
    """What of a month does not fit the contract: no row may be rejected, no column unknown."""
    judged = ingest.judge(path, DATA, MOST)
    found = [f"line {fault.line}: {fault.column} {fault.reason}" for fault in judged.rejected]
    found += [f"unknown column {name}" for name in judged.report["unknown_columns"]]
    return found + ([judged.refusal] if judged.refusal else [])


@pytest.mark.parametrize("name", MONTHS)
def test_every_month_of_the_default_data_fits_the_contract(
    orders: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_bytes(cdnow.to_csv(cdnow.month_file(orders, name, newest=cdnow.LAST)))
    assert faults(path) == []


def test_the_months_of_the_default_data_are_all_there_are() -> None:
    assert (MONTHS[0], MONTHS[-1]) == (cdnow.FIRST, cdnow.LAST)


def test_every_month_that_lies_here_fits_the_contract() -> None:
    folder = files.ROOT / DATA.snapshots
    months = snapshots.find(folder) if folder.is_dir() else {}
    assert {name: found for name, path in months.items() if (found := faults(path))} == {}


PLANTED: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("out of range", lambda f: f.assign(weekend_share=1.5), "weekend_share"),
    ("below its least", lambda f: f.assign(recency_days=-1), "recency_days"),
    ("another type", lambda f: f.assign(orders_30d="many"), "orders_30d"),
    ("another value", lambda f: f.assign(basket="huge"), "basket"),
    ("no id", lambda f: f.assign(customer_id=""), "customer_id"),
    ("an id twice", lambda f: f.assign(customer_id="00004"), "customer_id"),
    ("another label", lambda f: f.assign(churned=2), "churned"),
    ("a new column", lambda f: f.assign(surprise=1), "unknown column surprise"),
    ("a column renamed", lambda f: f.rename(columns={"basket": "baskets"}), "basket"),
    ("a column gone", lambda f: f.drop(columns="spend_90d"), "spend_90d"),
]


@pytest.mark.parametrize(("change", "named"), [p[1:] for p in PLANTED], ids=[p[0] for p in PLANTED])
def test_a_planted_fault_is_found_and_named(
    month: Path, change: Callable[[pd.DataFrame], pd.DataFrame], named: str
) -> None:
    assert faults(month) == []
    text = {"customer_id": "str", "cohort": "str"}
    broken = change(pd.read_csv(io.BytesIO(month.read_bytes()), dtype=text))
    month.write_bytes(cdnow.to_csv(broken))
    try:
        said = "\n".join(faults(month))
    except UserError as error:  # a column that is missing: no row can be judged
        said = str(error)
    assert named in said
