"""Data schema: months against the contract that they are meant for, by ingest's own judgement.

All months of the default data, against their frozen contract, whatever data this clone is of; and
the months that lie in this clone's folder of snapshots, against the contract in params.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from contracts import CDNOW, OWN

from data import cdnow
from stages import ingest
from stages.shared import files, params, snapshots
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stages.shared.contract import Feature

    Change = Callable[[pd.DataFrame], pd.DataFrame]

MONTHS = [cdnow._shift(cdnow.FIRST, n) for n in range(15)]
MOST = params.ingest().max_rejected_share
CONTRACTS = {"the default data": CDNOW, "this clone's data": OWN}
ROWS = 40  # of a month that is made up


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    return cdnow.load_orders()


def faults(path: Path, data: params.Data) -> list[str]:
    """What of a month does not fit the contract: no row may be rejected, no column unknown."""
    judged = ingest.judge(path, data, MOST)
    found = [f"line {fault.line}: {fault.column} {fault.reason}" for fault in judged.rejected]
    found += [f"unknown column {name}" for name in judged.report["unknown_columns"]]
    return found + ([judged.refusal] if judged.refusal else [])


def refusal(path: Path, data: params.Data) -> str | None:
    """Why ingest would not take a month; it bears a few bad rows, and columns that it ignores."""
    try:
        return ingest.judge(path, data, MOST).refusal
    except UserError as error:
        return str(error)


# --- the months --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MONTHS)
def test_every_month_of_the_default_data_fits_its_contract(
    orders: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_bytes(cdnow.to_csv(cdnow.month_file(orders, name, newest=cdnow.LAST)))
    assert faults(path, CDNOW) == []


def test_the_months_of_the_default_data_are_all_there_are() -> None:
    assert (MONTHS[0], MONTHS[-1]) == (cdnow.FIRST, cdnow.LAST)


@pytest.mark.skipif(OWN.source != "cdnow", reason="params.yaml is of other data: `make adopt`")
def test_the_frozen_contract_is_that_of_the_default_data() -> None:
    assert OWN == CDNOW, "write the change into tests/cdnow.yaml too"


def test_every_month_that_lies_here_is_fit_to_use() -> None:
    folder = files.ROOT / OWN.snapshots
    if not cdnow._present(folder):
        pytest.skip(f"{OWN.snapshots} holds no month: `make data` or `make adopt` puts them there")
    refused = {name: refusal(path, OWN) for name, path in snapshots.find(folder).items()}
    assert {name: why for name, why in refused.items() if why} == {}


# --- planted faults ----------------------------------------------------------------------------


def month(data: params.Data, orders: pd.DataFrame, path: Path) -> None:
    """Write a month that fits: a real one of the default data; of other data one is made up."""
    if data is CDNOW:
        frame = cdnow.month_file(orders, "1997-06", newest=cdnow.LAST).iloc[:1000]
        path.write_bytes(cdnow.to_csv(frame))
        return
    stays = "0" if data.positive is None else f"not {data.positive}"
    columns = {data.id: [f"{n:05}" for n in range(ROWS)]}
    columns |= {name: allowed(feature) for name, feature in data.features.items()}
    columns[data.label] = [data.positive or "1", stays] * (ROWS // 2)
    pd.DataFrame(columns).to_csv(path, index=False)


def allowed(feature: Feature) -> list[str]:
    """Texts that are values of a column, the ends of its range among them."""
    if feature.type == "number":
        ends = [end for end in (feature.min, feature.max) if end is not None] or [0.0, 1.5]
        found = [repr(end) for end in ends]
    elif feature.type == "boolean":
        found = ["true", "false"]
    else:
        found = list(feature.values or ("a", "b"))  # noqa: PD011 - no frame
    return (found * ROWS)[:ROWS]


def put(name: str, value: str) -> Change:
    """The change that gives all rows one value in a column, which may be a new one."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.copy()
        changed[name] = value
        return changed

    return change


def planted(data: params.Data) -> dict[str, tuple[Change, str]]:
    """A fault of each kind that a month of this contract can have, and the column it names."""
    found = {
        "no id": (put(data.id, ""), data.id),
        "an id twice": (put(data.id, "00004"), data.id),
        "a new column": (put("surprise", "1"), "unknown column surprise"),
    }
    if data.positive is None:  # else all other texts are those of customers who stay
        found["another label"] = (put(data.label, "2"), data.label)
    for name, feature in data.features.items():
        for kind, change in planted_in(name, feature).items():
            found.setdefault(kind, (change, name))
    return found


def planted_in(name: str, feature: Feature) -> dict[str, Change]:
    """The same of one column."""
    found: dict[str, Change] = {
        "a column renamed": lambda frame: frame.rename(columns={name: f"new {name}"}),
        "a column gone": lambda frame: frame.drop(columns=name),
    }
    if feature.max is not None:
        found["out of range"] = put(name, repr(feature.max + abs(feature.max) + 1.0))
    if feature.min is not None:
        found["below its least"] = put(name, repr(feature.min - abs(feature.min) - 1.0))
    if feature.type != "category":
        found[f"no {feature.type}"] = put(name, "perhaps")
    elif feature.values is not None:  # noqa: PD011 - no frame
        found["another value"] = put(name, "".join(feature.values) + "!")
    return found


PLANTED = [(of, kind) for of, data in CONTRACTS.items() for kind in planted(data)]


@pytest.mark.parametrize(("of", "kind"), PLANTED)
def test_a_planted_fault_is_found_and_named(
    orders: pd.DataFrame, tmp_path: Path, of: str, kind: str
) -> None:
    data, path = CONTRACTS[of], tmp_path / "1997-06.csv"
    change, named = planted(data)[kind]
    month(data, orders, path)
    assert faults(path, data) == []
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    try:
        said = "\n".join(faults(path, data))
    except UserError as error:  # a column that is missing: no row can be judged
        said = str(error)
    assert named in said


def test_the_default_data_can_have_a_fault_of_every_kind() -> None:
    assert len(planted(CDNOW)) == 11
