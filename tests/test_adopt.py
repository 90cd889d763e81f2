from __future__ import annotations

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from ruamel.yaml import YAML

from data import adopt
from data.adoption import columns, labels, leaks, placing
from stages import ingest
from stages.shared import files, params
from stages.shared.errors import UserError

Frame = dict[str, list[Any]]

# Ten customers a month: an id, a label, a column that says a little.
PLAIN: Frame = {
    "id": [f"{n:03}" for n in range(10)],
    "churn": [0, 0, 0, 1, 0, 1, 0, 1, 0, 0],
    "spend": [1.5, 2, 8, 3, 1, 4, 2, 9, 2, 7],
}


class Place:
    """A repository of one's own: params.yaml, data/raw, and a folder with months elsewhere."""

    def __init__(self, root: Path) -> None:
        self.params, self.raw, self.folder = root / "params.yaml", root / "data/raw", root / "mine"
        shutil.copy(files.PARAMS, self.params)
        self.raw.parent.mkdir()
        self.folder.mkdir()

    def put(self, month: str, frame: Frame, *, folder: Path | None = None) -> None:
        """Write a month; the label is missing if the frame has none."""
        where = folder or self.folder
        where.mkdir(exist_ok=True)
        if month.endswith(".parquet"):
            parquet.write_table(pa.table(frame), where / month)
        else:
            pd.DataFrame(frame).to_csv(where / f"{month}.csv", index=False)

    def adopt(
        self, label: str = "churn", keep: str = "", *, folder: Path | None = None, id_: str = "id"
    ) -> params.Data:
        """What the section says afterwards."""
        adopt.adopt(folder or self.folder, id_, label, keep, self.params, self.raw)
        return self.data()

    def data(self) -> params.Data:
        return params.parse(params.Data, "data", params.read(self.params)["data"])

    def kinds(self, label: str = "churn", keep: str = "") -> dict[str, str]:
        return {name: f.type for name, f in self.adopt(label, keep).features.items()}

    def state(self) -> dict[str, bytes]:
        """All files of the repository; the folder with the months elsewhere is none of it."""
        root = self.params.parent
        there = [p for p in root.rglob("*") if p.is_file() and self.folder not in p.parents]
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in there}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def row(capsys: pytest.CaptureFixture[str], name: str) -> str:
    """The table's row of a column: type, what it holds, whether it is used."""
    lines = capsys.readouterr().out.splitlines()
    heads = next(text for text in lines if text.split()[:2] == ["column", "type"])
    starts = [heads.index(head) for head in ("column", "type", "what it holds", "used")]
    found: list[list[str]] = []
    for text in lines[lines.index(heads) + 2 :]:
        cells = [text[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        if found and cells[0]:
            break
        if found or cells[0] == name:
            found.append(cells)
    assert found, f"no row for {name!r}"
    return "; ".join(" ".join(filter(None, cell)) for cell in zip(*found, strict=True))


# --- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 9], "number"),
        ([0, 1] * 5, "number"),
        (["0.5", "-1e3", " 7 ", "", "NA", "nan", "None", "2", "3", "4"], "number"),
        (["true", "false"] * 5, "boolean"),
        (["Yes", "no", "", "NO", "yes", "no", "yes", "no", "NA", "t"], "boolean"),
        (["true", "0", "1", "false", "1", "0", "1", "0", "1", "0"], "boolean"),
        (["y", "n"] * 5, "category"),
        (["NA", "None", "EU", "EU", "NA", "None", "EU", "NA", "EU", "EU"], "category"),
        (["1", "2", "3", "4", "?", "x", "7", "8", "9", "10"], "category"),
        (["00501", "02139", "10001", "00501", "10001"] * 2, "category"),
        (["0", "10", "20", "5", "7"] * 2, "number"),
        (["1,5", "2,5"] * 5, "category"),
        (["inf", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "category"),
        (["12:30", "7:15"] * 5, "category"),
        (["2024-01", "2024-02"] * 5, "category"),
    ],
)
def test_the_type_is_the_one_under_which_every_value_has_a_meaning(
    place: Place, values: list[Any], kind: str
) -> None:
    place.put("2024-01", PLAIN | {"x": values})
    assert place.kinds() == {"spend": "number", "x": kind}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([True, False] * 5), "boolean"),
        (pa.array([True, None] * 5), "boolean"),
        (pa.array([1, None] * 5, pa.int8()), "number"),
        (pa.array([2**63, 1] * 5, pa.uint64()), "number"),
        (pa.array([1.5, float("nan")] * 5, pa.float32()), "number"),
        (pa.array(["1.25", "2.50"] * 5).cast(pa.decimal128(5, 2)), "number"),
        (pa.array(["a", "b"] * 5).dictionary_encode(), "category"),
        (pa.array(["a", "b"] * 5, pa.large_string()), "category"),
    ],
)
def test_parquet_says_more_of_a_column_than_its_texts_do(
    place: Place, values: pa.Array, kind: str
) -> None:
    place.put("2024-01.parquet", PLAIN | {"x": values})
    assert place.kinds() == {"spend": "number", "x": kind}


def test_the_type_is_that_of_all_months_together(place: Place) -> None:
    place.put("2024-01", PLAIN | {"x": [1, 2] * 5, "flag": [0, 1] * 5})
    place.put("2024-02.parquet", PLAIN | {"x": ["A", "B"] * 5, "flag": [True, False] * 5})
    assert place.kinds() == {"spend": "number", "x": "category", "flag": "boolean"}


def test_ranges_and_categories_are_left_open(place: Place) -> None:
    place.put("2024-01", PLAIN | {"plan": ["NA", "basic"] * 5})
    features = place.adopt().features
    assert features["spend"].model_dump(exclude_none=True) == {"type": "number"}
    assert features["plan"].model_dump(exclude_none=True) == {"type": "category"}


def many(rows: int, **more: Any) -> Frame:
    """A month of so many customers; every third of them leaves."""
    plain = {"id": list(range(rows)), "churn": [int(n % 3 == 0) for n in range(rows)]}
    return plain | {"spend": [n % 7 for n in range(rows)]} | more


def test_a_number_bears_a_few_other_values_and_they_are_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", many(1000, x=["?", "n.a."] + [str(n % 50) for n in range(998)]))
    assert place.kinds() == {"spend": "number", "x": "number"}
    assert "2 rows will be rejected, for they are no number (such as '?')" in row(capsys, "x")


def test_other_values_that_would_have_one_month_refused_make_a_category(place: Place) -> None:
    place.put("2024-01", many(1000, x=[n % 50 for n in range(1000)]))
    place.put("2024-02", many(1000, x=["?"] * 26 + [str(n % 50) for n in range(974)]))
    assert place.kinds() == {"spend": "number", "x": "category"}


def test_columns_that_together_would_have_a_month_refused_become_categories(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [str(n % 50) for n in range(1000)]
    odd: Frame = {
        f"x{i}": numbers[: 30 * i] + ["?"] * (20 + i) + numbers[30 * i + 20 + i :]
        for i in (1, 2, 3)
    }
    place.put("2024-01", many(1000, **odd))
    kinds = place.kinds()
    assert kinds == {"spend": "number", "x1": "number", "x2": "number", "x3": "category"}
    assert "no number, or 2024-01 would be refused" in row(capsys, "x3")


# --- columns that are left out -----------------------------------------------------------------


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-31", "2023-02-01"],
        ["2024-01-31 23:59:00", "2023-02-01T00:00:00.000Z"],
        ["31/01/2024", "1/2/2024"],
        ["01/31/24", "2/1/23"],
        ["31.1.2024", "01.02.2023"],
        ["31-Jan-2024", "1 February 2023"],
        ["Jan 31, 2024", "Feb 1 2023"],
        ["20240131", "20230201"],
        ["2024-01-31", ""],
        ["2024/01/31", "NA"],
    ],
)
def test_dates_are_left_out_and_named(
    place: Place, capsys: pytest.CaptureFixture[str], dates: list[str]
) -> None:
    place.put("2024-01", PLAIN | {"since": dates * 5})
    assert place.kinds() == {"spend": "number"}
    assert "no: it is a date" in row(capsys, "since")


@pytest.mark.parametrize(
    "dates",
    [
        [datetime.date(2024, 1, 31), datetime.date(2023, 1, 31)],
        [datetime.datetime(2024, 1, 31, 12), None],
    ],
)
def test_parquet_dates_are_left_out(place: Place, dates: list[Any]) -> None:
    place.put("2024-01.parquet", PLAIN | {"since": dates * 5})
    assert place.kinds() == {"spend": "number"}


@pytest.mark.parametrize(
    "numbers", [[20240131, 20241331], [19991231, 99999999], [20240131.5, 20240101]]
)
def test_numbers_of_which_one_is_no_date_are_numbers(place: Place, numbers: list[float]) -> None:
    place.put("2024-01", PLAIN | {"amount": numbers * 5})
    assert place.kinds() == {"spend": "number", "amount": "number"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["x"] * 10, "is constant: it tells nothing"),
        ([7] * 10, "is constant: it tells nothing"),
        ([""] * 10, "is empty"),
        (["NA", "", "None", "nan", ""] * 2, "is empty but for NA and the like"),
        (list(range(100, 110)), "counts the rows"),
    ],
)
def test_columns_that_tell_nothing_are_left_out(
    place: Place, capsys: pytest.CaptureFixture[str], values: list[Any], reason: str
) -> None:
    place.put("2024-01", PLAIN | {"x": values})
    assert place.kinds() == {"spend": "number"}
    assert f"no: it {reason}" in row(capsys, "x")


@pytest.mark.parametrize("values", [[""] * 9 + ["1"], ["x"] * 9 + [""], [0] * 9 + [1]])
def test_nearly_empty_and_nearly_constant_columns_stay(place: Place, values: list[Any]) -> None:
    place.put("2024-01", PLAIN | {"x": values})
    assert list(place.kinds()) == ["spend", "x"]


def test_what_is_the_same_for_all_in_a_month_is_left_out_though_months_differ(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, month in enumerate(("2024-01", "2024-02", "2024-03")):
        place.put(month, PLAIN | {"run": [number] * 10})
    assert place.kinds() == {"spend": "number"}
    assert "it is the same in all rows of a month" in row(capsys, "run")


def test_a_column_that_some_month_lacks_is_left_out_and_the_month_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", PLAIN | {"old": [1, 2] * 5})
    place.put("2024-02", PLAIN)
    place.put("2024-03", PLAIN)
    assert place.kinds() == {"spend": "number"}
    assert "no: it is not in 2024-02 and 1 more" in row(capsys, "old")


def test_lists_and_bytes_are_left_out_and_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    odd: Frame = {
        "list": [[1], [2]] * 5,
        "bytes": [b"a", b"b"] * 5,
        "struct": [{"a": 1}, {"a": 2}] * 5,
    }
    place.put("2024-01.parquet", PLAIN | odd)
    assert place.kinds() == {"spend": "number"}
    assert "no: it holds list" in row(capsys, "list")


def test_names_and_addresses_are_left_out_whether_customers_come_again_or_not(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for month in range(3):
        mails = [f"{n}@mail.example" for n in range(200)]
        notes = [f"note {n} of {month}" for n in range(200)]
        place.put(f"2024-0{month + 1}", many(200, mail=mails, note=notes))
    assert place.kinds() == {"spend": "number"}
    assert "it names rows or customers one by one" in row(capsys, "mail")
    assert place.kinds(keep="mail") == {"spend": "number", "mail": "category"}


@pytest.mark.parametrize(("rows", "months"), [(10, 24), (100, 6), (2000, 2)])
@pytest.mark.parametrize("again", [True, False])
def test_a_category_of_300_values_is_used_in_months_of_any_size(
    place: Place, rows: int, months: int, again: bool
) -> None:
    rng = np.random.default_rng(5)
    names = ["NA", "None", *(f"region {n}" for n in range(298))]
    for number in range(months):
        ids = list(range(rows)) if again else [number * rows + n for n in range(rows)]
        churn = rng.integers(0, 2, rows).tolist()
        frame = {"id": ids, "churn": churn, "region": rng.choice(names, rows).tolist()}
        place.put(f"{2020 + number // 12}-{number % 12 + 1:02}", frame)
    assert place.kinds() == {"region": "category"}


def test_numbers_that_are_written_with_signs_are_left_out_with_the_remedy(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", many(1000, pay=[f"$1,{n:03}.50" for n in range(1000)]))
    assert place.kinds() == {"spend": "number"}
    assert "it has numbers with signs around them ($1,000.50): write them without" in row(
        capsys, "pay"
    )


def test_pandas_row_numbers_are_left_out(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame(PLAIN | {"Unnamed: 0": [1, 5, 3, 9, 7, 0, 2, 4, 6, 8]})
    frame.to_csv(place.folder / "2024-01.csv")
    assert place.kinds() == {"spend": "number"}
    assert "no: it has no name" in row(capsys, "(no name)")


# --- leaks -------------------------------------------------------------------------------------


def world(rows: int = 2000, rate: float = 0.3, **more: Any) -> Frame:
    """Customers who leave by chance."""
    rng = np.random.default_rng(3)
    churn = (rng.random(rows) < rate).astype(int).tolist()
    return {"id": list(range(rows)), "churn": churn, "noise": rng.normal(size=rows).tolist()} | more


CHURN = np.array(world()["churn"])


@pytest.mark.parametrize("rate", [0.03, 0.6])
@pytest.mark.parametrize(
    "leak",
    [
        lambda churn: np.where(churn, "left", "here"),
        lambda churn: np.where(churn, 5.0, 50) + np.arange(len(churn)) % 40,
        lambda churn: -churn * 3 + np.arange(len(churn)) % 3 / 2,
        lambda churn: np.where(churn, np.arange(len(churn)) % 9, np.nan),
        lambda churn: np.where(
            churn, 5, np.arange(len(churn)) % 5 + 6 * (np.arange(len(churn)) % 2)
        ),
        lambda churn: np.where(churn, "true", ""),
    ],
    ids=["text", "number", "falling", "only there for churn", "in the middle", "boolean"],
)
def test_a_column_that_predicts_the_label_alone_is_left_out_unless_it_is_kept(
    place: Place, capsys: pytest.CaptureFixture[str], leak: Any, rate: float
) -> None:
    frame = world(rate=rate)
    place.put("2024-01", frame | {"reason": leak(np.array(frame["churn"])).tolist()})
    assert list(place.kinds()) == ["noise"]
    said = row(capsys, "reason")
    assert "predicts the label alone (AUC " in said
    assert "likely leak" in said
    assert list(place.kinds(keep="reason")) == ["noise", "reason"]
    assert "kept by KEEP, though it predicts the label alone" in row(capsys, "reason")


@pytest.mark.parametrize("values", [300, 1500])
def test_a_random_category_is_no_leak_though_each_value_has_a_few_rows(
    place: Place, values: int
) -> None:
    rng = np.random.default_rng(8)
    place.put("2024-01", world(region=[f"r{n}" for n in rng.integers(0, values, 2000)]))
    assert list(place.kinds()) == ["noise", "region"]


def test_what_stands_for_a_customer_is_no_leak_though_it_comes_again_with_the_same_label(
    place: Place,
) -> None:
    rng = np.random.default_rng(8)
    names = [f"name {n}" for n in rng.permutation(90)]
    account = rng.permutation(90).tolist()
    for month in range(12):
        more = {"name": names, "account": account}
        place.put(f"2024-{month + 1:02}", world(90) | more)
    assert set(place.kinds()) == {"noise", "name", "account"}


def test_a_good_column_is_no_leak() -> None:
    rng = np.random.default_rng(1)
    churned = (rng.random(5000) < 0.3).astype(np.int8)
    scores = pa.chunked_array([rng.normal(size=5000) + 2 * churned])
    assert 0.9 < leaks.alone(scores, churned, np.arange(5000) % 5) < leaks.LEAK


def test_with_a_few_rows_nothing_is_called_a_leak(place: Place) -> None:
    place.put("2024-01", PLAIN | {"same": PLAIN["churn"]})
    assert set(place.kinds()) == {"spend", "same"}


# --- the label ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("no", "yes", "positive"),
    [
        ("0", "1", None),
        ("0.0", "1.0", None),
        ("False", "True", None),
        ("no", "yes", "yes"),
        ("N", "Y", "Y"),
        ("Existing Customer", "Attrited Customer", "Attrited Customer"),
        ("not churned", "churned", "churned"),
        ("active", "inactive", "inactive"),
        ("Active", "dormant", "dormant"),
        ("-1", "1", "1"),
        ("blue", "cancelled 2024", "cancelled 2024"),
    ],
)
def test_who_left_is_guessed_and_said(
    place: Place, capsys: pytest.CaptureFixture[str], no: str, yes: str, positive: str | None
) -> None:
    place.put("2024-01", PLAIN | {"churn": [yes if c else no for c in PLAIN["churn"]]})
    assert place.adopt().positive == positive
    out = capsys.readouterr().out
    assert "30.0% of 10 labelled rows left" in out
    if positive is not None:
        assert f"GUESSED: churn {positive!r} means that a customer left" in out
        assert f"LABEL='churn={no}'" in out


def test_a_person_may_say_which_value_means_left(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", PLAIN | {"churn": ["no", "yes", "no", "maybe", "no"] * 2})
    assert place.adopt("churn=no").positive == "no"
    out = capsys.readouterr().out
    assert "'no' means left; 60.0% of 10 labelled rows left" in out
    assert "GUESSED" not in out


def test_a_label_of_0_may_be_the_one_that_means_left(place: Place) -> None:
    place.put("2024-01", PLAIN)
    assert place.adopt("churn=0").positive == "0"
    assert place.adopt("churn=1").positive is None


def test_a_column_may_be_called_like_a_column_and_its_value(place: Place) -> None:
    place.put("2024-01", PLAIN | {"churn=1": [0, 1] * 5})
    assert place.adopt("churn=1").label == "churn=1"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["1", "2"] * 5, "cannot be guessed; name it: LABEL=churn=1, for example"),
        (["a", "b", "c", "d", "e"] * 2, "has 5 values ('a', 'b', 'c', 'd', 'e'): make them two"),
        (["Yes", "No", "yes", "no", "no"] * 2, "is written 'Yes' and 'yes': make them one"),
        (["0"] * 10, "has one class only ('0')"),
        (["yes"] * 9 + [""], "has 1 values ('yes')"),
        ([""] * 10, "no month has a label for more than half of its rows: fill column 'churn'"),
        (["1"] * 2 + ["0"] * 3 + [""] * 5, "no month has a label for more than half"),
    ],
)
def test_labels_of_no_use_are_refused_and_the_values_named(
    place: Place, values: list[str], said: str
) -> None:
    place.put("2024-01", PLAIN | {"churn": values})
    with pytest.raises(UserError) as error:
        place.adopt()
    assert said in str(error.value)


def test_a_value_that_no_label_has_is_refused(place: Place) -> None:
    place.put("2024-01", PLAIN)
    with pytest.raises(UserError, match="label 'churn' is never 'left': it is '0', '1'"):
        place.adopt("churn=left")


@pytest.mark.parametrize(
    ("labelled", "delay"),
    [
        (["2024-01", "2024-02", "2024-04", "2024-07"], 0),
        (["2024-01", "2024-02", "2024-04"], 3),
        (["2024-01"], 6),
    ],
)
def test_label_delay_is_in_calendar_months_and_gaps_count(
    place: Place, capsys: pytest.CaptureFixture[str], labelled: list[str], delay: int
) -> None:
    for month in ("2024-01", "2024-02", "2024-04", "2024-07"):
        churn = PLAIN["churn"] if month in labelled else [""] * 10
        place.put(month, PLAIN | {"churn": churn})
    assert place.adopt().label_delay == delay
    out = capsys.readouterr().out
    assert "4 months, 2024-01..2024-07, 40 rows; no file for 1 month after 2024-02, 2 months" in out


def test_the_newest_months_may_lack_the_labels_column(place: Place) -> None:
    place.put("2024-01", PLAIN)
    place.put("2024-02", {name: PLAIN[name] for name in ("id", "spend")})
    assert place.adopt().label_delay == 1


def test_a_month_with_a_few_labels_counts_as_unlabelled(place: Place) -> None:
    place.put("2024-01", PLAIN)
    place.put("2024-02", PLAIN | {"churn": ["1", "0"] + [""] * 8})
    assert place.adopt().label_delay == 1


@pytest.mark.parametrize(("rate", "gate"), [(0.03, 0.05), (0.6, 0.75)])
def test_the_gate_is_the_f1_of_saying_yes_to_everybody(
    place: Place, rate: float, gate: float
) -> None:
    churn = [int(n % 100 < 100 * rate) for n in range(1000)]
    place.put("2024-01", many(1000) | {"churn": churn})
    place.adopt()
    assert params.read(place.params)["evaluate"]["gate_f1"] == gate


def test_the_gate_is_within_reach_where_churn_is_rarest(place: Place) -> None:
    for month, rate in (("2024-01", 80), ("2024-02", 60)):
        place.put(month, many(5000) | {"churn": [int(n % 100 < rate) for n in range(5000)]})
    place.adopt()
    of_the_rarest = 2 * 0.6 / 1.6
    gate = params.read(place.params)["evaluate"]["gate_f1"]
    assert of_the_rarest - 0.01 < gate < of_the_rarest + 0.015


def test_a_month_too_small_to_prove_anything_does_not_lower_the_gate(place: Place) -> None:
    place.put("2024-01", many(1000))
    place.put("2024-02", PLAIN | {"churn": [0] * 9 + [1]})
    place.adopt()
    assert params.read(place.params)["evaluate"]["gate_f1"] == 0.49


def test_guessing_needs_a_word_of_either_side() -> None:
    assert labels.guess_positive("red", "blue") is None
    assert labels.guess_positive("0", "2") == "2"
    assert labels.guess_positive("left", "lost") is None


# --- what is asked for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "label", "keep", "said"),
    [
        ("ID", "churn", "", "ID=ID: there is no such column; there is 'id'"),
        ("id", "Churned", "", "LABEL=Churned: there is no such column; there is 'churn'"),
        ("id", "id", "", "ID and LABEL both name 'id'"),
        ("id", "churn", "spent", "KEEP=spent: there is no such column; there is 'spend'"),
        ("id", "churn", "id", "KEEP names 'id', which is the id or the label"),
        ("id", "churn", "gone", "KEEP names 'gone', which is not in 2024-02: it cannot be kept"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_one_that_is(
    place: Place, id_: str, label: str, keep: str, said: str
) -> None:
    place.put("2024-01", PLAIN | {"gone": [1, 2] * 5})
    place.put("2024-02", PLAIN)
    with pytest.raises(UserError) as error:
        place.adopt(label, keep, id_=id_)
    assert said in str(error.value)


def test_accents_may_be_typed_in_the_other_of_two_ways(place: Place) -> None:
    place.put("2024-01", PLAIN | {"parti\u0301": PLAIN["churn"]})
    assert place.adopt("part\u00ed").label == "parti\u0301"


def test_columns_with_commas_can_be_kept(place: Place) -> None:
    place.put("2024-01", PLAIN | {"a,b": ["x"] * 10, "c": [1] * 10})
    assert set(place.kinds(keep='"a,b", c')) == {"spend", "a,b", "c"}
    assert set(place.kinds(keep="a,b")) == {"spend", "a,b"}


def test_a_label_of_the_same_name_but_for_case_is_refused_as_ingest_would(place: Place) -> None:
    place.put("2024-01", PLAIN | {"Churn ": PLAIN["churn"]})
    with pytest.raises(UserError, match="2024-01 has a column 'Churn ' that could be the label"):
        place.adopt()


def test_an_id_that_is_not_one_is_refused_with_the_month(place: Place) -> None:
    place.put("2024-01", PLAIN | {"plan": ["a", "b"] * 5})
    with pytest.raises(UserError) as error:
        place.adopt(id_="plan")
    assert "2024-01 would be refused" in str(error.value)
    assert "8 of 10 rows have an id that is missing or there before" in str(error.value)


def test_ids_are_counted_over_the_months(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.put("2024-01", PLAIN)
    place.put("2024-02", PLAIN)
    place.put("2024-03", PLAIN | {"id": [f"new {n}" for n in range(10)]})
    place.adopt()
    assert "20 customers" in row(capsys, "id")


def test_no_column_left_is_said_with_the_reasons(place: Place) -> None:
    place.put("2024-01", PLAIN | {"spend": [1] * 10})
    with pytest.raises(UserError, match=r"no column is left to learn from: 'spend' is constant"):
        place.adopt()


def test_tiny_months_are_adopted_and_it_is_said_what_they_are_not_good_for(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", PLAIN)
    place.adopt()
    out = capsys.readouterr().out
    assert "1 of 1 month have fewer than 200 rows (drift.min_rows)" in out
    assert "about 3 customers will be held out, 1 of the rarer class" in out


# --- params.yaml -------------------------------------------------------------------------------

NASTY = [
    "a b", "a.b", "é", "Âge moyen", "no", "Yes", "null", "~", "1.5", "0x1F", "2024-01-01", "a: b",
    "#x", "'", '"q"', "\\", "[x]", "{y}", "*", "&a", "!t", "?", "- z", "%", "@", "`", "<<", "=",
    "line\nend", "tab\t", " lead", "a,b", "x" * 150, "target", "prediction", "snapshots", "🙂",
    "a\u2028b",
]  # fmt: skip


def test_any_name_of_a_column_comes_back_from_params_yaml_and_is_ingested(
    place: Place, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    frame = PLAIN | {name: rng.normal(size=10).tolist() for name in NASTY}
    place.put("2024-01", frame)
    place.put("2024-02.parquet", frame)
    data = place.adopt()
    assert set(data.features) == {"spend", *NASTY}
    as_dvc_reads_it = YAML(typ="safe").load(place.params.read_text(encoding="utf-8"))
    assert set(as_dvc_reads_it["data"]["features"]) == {"spend", *NASTY}
    report = ingest_all(place, tmp_path)
    assert [(m["rows"], m["rejected"], m["labelled"]) for m in report] == [(10, 0, 10)] * 2


def ingest_all(place: Place, folder: Path) -> list[dict[str, Any]]:
    out = ingest.Folders(folder / "months", folder / "rejected")
    report = ingest.ingest(place.raw, out, folder / "known.json", place.data(), 0.05)
    months: list[dict[str, Any]] = report["months"]
    return months


def test_a_mixed_bag_is_ingested_with_all_its_rows(place: Place, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for number in range(4):
        rows = 300
        frame = {
            "Kunde Nr.": [f"{n:05}" for n in rng.choice(900, rows, replace=False)],
            "Büro": rng.choice(["NA", "None", "Nörd,lich", '5" Rohr', ""], rows).tolist(),
            "gekündigt?": rng.choice(["ja", "nein"], rows).tolist() if number < 3 else [""] * rows,
            "umsatz": [f"{x:.2f}" if x > -1 else "NA" for x in rng.normal(size=rows)],
            "mixed": rng.choice(["1", "2", "x", "true", "2024-01-01", ""], rows).tolist(),
            "ja/nein": rng.choice(["yes", "NO", "T", ""], rows).tolist(),
            "seit": [f"2020-01-{n % 28 + 1:02}" for n in range(rows)],
            "leer": [""] * rows,
            "selten": [""] * (rows - 1) + ["1"],
        }
        place.put(f"2023-{11 + number}" if number < 2 else f"2024-0{number}", frame)
    data = place.adopt("gekündigt?", id_="Kunde Nr.")
    assert {name: f.type for name, f in data.features.items()} == {
        "Büro": "category", "umsatz": "number", "mixed": "category", "ja/nein": "boolean",
        "selten": "number",
    }  # fmt: skip
    assert (data.positive, data.label_delay) == ("ja", 1)
    report = ingest_all(place, tmp_path)
    assert [(m["rows"], m["rejected"]) for m in report] == [(300, 0)] * 4
    assert [m["labelled"] for m in report] == [300, 300, 300, 0]


VALUES = [
    "", "NA", "None", "nan", "0", "1", "1.0", "-2.5", "007", "1e400", "inf", "yes", "NO", "true",
    "F", "2024-01-31", "20240131", "31/12/99", "EU", "é", " ", "x,y", '"', "1,5", "$3", "a\nb",
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(data=st.data())
def test_whatever_the_columns_hold_ingest_takes_what_was_adopted(data: st.DataObject) -> None:
    pools = [data.draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5)) for _ in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for month in ("2023-11", "2024-01.parquet", "2024-02"):
            rows = data.draw(st.integers(2, 40))
            frame = many(rows)
            for number, pool in enumerate(pools):
                column = st.lists(st.sampled_from(pool), min_size=rows, max_size=rows)
                frame[f"x{number}"] = data.draw(column)
            place.put(month, frame)
        adopted = place.adopt(keep="spend")
        for found in ingest_all(place, Path(folder)):
            assert found["rejected"] <= 0.05 * (found["rows"] + found["rejected"])
        assert place.adopt(folder=place.raw, keep="spend") == adopted


def test_rows_that_ingest_will_reject_are_those_that_were_foretold(
    place: Place, tmp_path: Path
) -> None:
    frame = many(200, x=["?", "inf", *map(str, range(198))])
    frame["id"] = ["", *frame["id"][1:-1], frame["id"][5]]
    place.put("2024-01", frame)
    place.adopt()
    assert [m["rejected"] for m in ingest_all(place, tmp_path)] == [3]


def test_all_else_in_params_yaml_stays_as_people_wrote_it(place: Place) -> None:
    place.put("2024-01", PLAIN)
    before = place.params.read_text()
    place.adopt()
    after = place.params.read_text()
    start, end = before.index("data:"), before.index("ingest:")
    rest = after[after.index("ingest:") :]
    assert after[: after.index("data:")] == before[:start]
    assert rest == re.sub(r"gate_f1: [\d.]+ #", "gate_f1: 0.46 #", before[end:])
    assert "source" not in after[: after.index("ingest:")]


def test_comments_and_order_of_a_file_of_ones_own_stay(place: Place) -> None:
    sections = YAML(typ="safe").load(place.params.read_text())
    evaluate = sections.pop("evaluate")
    sections.pop("data")
    yaml = YAML()
    with place.params.open("w") as file:
        file.write("# mine\nevaluate:\n  # why\n")
        file.writelines(f"  {key}: {value} # {key}!\n" for key, value in evaluate.items())
        file.write("\ndata: {id: a, label: b, label_delay: 0, features: {x: {type: number}}}\n\n")
        file.write("# the rest,\n# and why\n")
        yaml.dump(sections, file)
    before = place.params.read_text()
    place.put("2024-01", PLAIN)
    assert list(place.adopt().features) == ["spend"]
    after = place.params.read_text()
    assert after.startswith("# mine\nevaluate:\n  # why\n  gate_f1: 0.46 # gate_f1!\n")
    assert after.endswith(before[before.index("\n# the rest,") :])


def test_a_params_yaml_without_the_section_gets_one(place: Place) -> None:
    text = place.params.read_text()
    place.params.write_text(text[text.index("ingest:") :])
    place.put("2024-01", PLAIN)
    assert list(place.adopt().features) == ["spend"]


def test_adopting_twice_is_adopting_once(place: Place) -> None:
    place.put("2024-01", PLAIN)
    place.adopt()
    before = place.state()
    place.adopt()
    assert place.state() == before


def test_tests_for_columns_of_other_data_are_taken_out_and_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "columns: {recency_days: {threshold: 0.2}, spend: {threshold: 0.3}} # mine"
    text = place.params.read_text()
    place.params.write_text(text.replace("columns: {} #", f"{ours} #"))
    place.put("2024-01", PLAIN)
    place.adopt()
    assert params.read(place.params)["drift"]["columns"] == {"spend": {"threshold": 0.3}}
    assert "# mine" in place.params.read_text()
    assert "drift.columns named recency_days" in capsys.readouterr().out


# --- months in place ---------------------------------------------------------------------------


def test_months_of_other_data_go_and_are_kept_where_dvc_does_not_have_them(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("1999-12", {"other": [1]}, folder=place.raw)
    place.put("2024-01", PLAIN)
    place.put("2024-02.parquet", PLAIN)
    place.adopt()
    assert sorted(p.name for p in place.raw.iterdir()) == ["2024-01.csv", "2024-02.parquet"]
    aside = place.raw.with_name("raw.before-1.tmp")
    assert (aside / "1999-12.csv").read_text() == "other\n1\n"
    assert "data/raw.before-1.tmp now" in capsys.readouterr().out
    assert sorted(p.name for p in place.raw.parent.iterdir()) == ["raw", "raw.before-1.tmp"]


@pytest.mark.slow
def test_months_that_git_and_dvc_have_are_brought_back_by_the_command_that_is_printed(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    root = place.params.parent

    def run(*command: str) -> None:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(command, cwd=root, check=True, capture_output=True, env=environment)

    place.put("1999-12", {"other": [1]}, folder=place.raw)
    place.put("2024-01", PLAIN)
    shutil.copy(files.ROOT / ".gitignore", root)
    for command in ("git init", "dvc init", "dvc add data/raw", "git add --all"):
        run(*command.split())
    run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-m", "before")
    before = place.params.read_bytes()
    place.adopt()
    command = "git checkout params.yaml data/raw.dvc && dvc checkout --force data/raw.dvc"
    assert f"`{command}` brings them back" in capsys.readouterr().out.replace(f"{root}/", "")
    assert not list(place.raw.parent.glob("*.tmp"))
    run("sh", "-c", command)
    assert place.params.read_bytes() == before
    assert [p.name for p in place.raw.iterdir()] == ["1999-12.csv"]


def test_the_folder_may_be_data_raw_itself(place: Place) -> None:
    place.put("2024-01", PLAIN, folder=place.raw)
    (place.raw / "README.md").write_text("mine")
    before = {p.name: p.stat().st_ino for p in place.raw.iterdir()}
    assert list(place.adopt(folder=place.raw).features) == ["spend"]
    assert {p.name: p.stat().st_ino for p in place.raw.iterdir()} == before


@pytest.mark.parametrize("how", ["label", "id", "month", "params", "folder", "empty"])
def test_an_error_leaves_everything_as_it_was(place: Place, how: str) -> None:
    place.put("1999-12", {"other": [1]}, folder=place.raw)
    place.put("2024-01", PLAIN)
    asked: dict[str, Any] = {}
    if how == "label":
        asked["label"] = "churn=never"
    elif how == "id":
        place.put("2024-02", PLAIN | {"id": ["same"] * 10})
    elif how == "month":
        (place.folder / "2024-02.csv").write_text('id,churn,spend\n1,0,"2')
    elif how == "params":
        place.params.write_text(place.params.read_text().replace("min_rows: 200", "min_rows: x"))
    else:
        asked["folder"] = place.params.parent / how
        if how == "empty":
            asked["folder"].mkdir()
    before = place.state()
    with pytest.raises(UserError):
        place.adopt(**asked)
    assert place.state() == before


def test_months_that_cannot_be_copied_leave_everything_as_it_was(place: Place) -> None:
    place.put("1999-12", {"other": [1]}, folder=place.raw)
    place.put("2024-01", PLAIN)
    before = place.state()
    months = [place.folder / "2024-01.csv", place.folder / "gone.csv"]
    with pytest.raises(UserError, match="nothing was changed"):
        placing.place(months, "text", place.raw, place.params)
    assert place.state() == before
    with pytest.raises(UserError, match="nothing was changed"):
        placing.place(months[:1], "text", place.raw, place.params.parent)
    assert place.state() == before


# Places the months of a folder; at the n-th change of the disk the process is killed.
KILLED = """
import os, signal, sys
from pathlib import Path
from data.adoption import placing
from stages.shared import files
number, folder, raw, params = int(sys.argv[1]), *map(Path, sys.argv[2:])
changes = 0
def watch(event, args):
    global changes
    opened = event == "open" and set(str(args[1])) & set("wax+")
    if opened or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile"):
        changes += 1
        if changes == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
placing.place(sorted(folder.iterdir()), "text", raw, params)
"""


@pytest.mark.slow
def test_a_kill_at_any_change_of_the_disk_is_mended_by_the_next_run(tmp_path: Path) -> None:
    killed = 0
    while True:
        root = tmp_path / str(killed)
        root.mkdir()
        place = Place(root)
        place.put("1999-12", {"other": [1]}, folder=place.raw)
        place.put("2024-01", PLAIN)
        place.put("2024-02", PLAIN)
        paths = [str(p) for p in (place.folder, place.raw, place.params)]
        command = [sys.executable, "-c", KILLED, str(killed + 1), *paths]
        done = subprocess.run(command, cwd=files.ROOT, check=False)
        known = placed(place)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        if known == "old":
            assert place.params.read_text() == files.PARAMS.read_text()
        shutil.copy(files.PARAMS, place.params)
        place.adopt()
        assert placed(place) == "new"
        assert sorted(p.name for p in place.raw.parent.iterdir()) == ["raw", "raw.before-1.tmp"]
        assert (place.raw.with_name("raw.before-1.tmp") / "1999-12.csv").is_file()
        assert sorted(p.name for p in root.iterdir()) == ["data", "mine", "params.yaml"]
    assert killed >= 8


def placed(place: Place) -> str:
    names = sorted(p.name for p in place.raw.iterdir()) if place.raw.is_dir() else []
    return {("1999-12.csv",): "old", ("2024-01.csv", "2024-02.csv"): "new", (): "between"}[
        tuple(names)
    ]


# --- the command -------------------------------------------------------------------------------


def test_what_was_not_named_is_one_line_with_the_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "data.adopt", "--data", "x"],
        cwd=files.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"error: ID and LABEL must be named: {adopt.USAGE}\n"


def test_the_figures_in_the_table_are_those_of_the_data(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("2024-01", PLAIN | {"plan": ["NA", "NA", "b", "", "b", "NA", "c", "d", "NA", "b"]})
    place.adopt()
    out = capsys.readouterr().out
    assert "1..9" in out
    assert "4 values: NA, b, c, …; 10% empty" in out
    assert "next: make repro" in out


def test_a_sketch_counts_within_some_percent() -> None:
    from data.adoption.survey import Distinct

    seen = Distinct()
    for start in range(0, 100_000, 10_000):
        seen.add(pa.array([str(n) for n in range(start, start + 15_000)]))
    assert not seen.exact
    assert abs(seen.count - 105_000) < 0.05 * 105_000


def test_percentages_do_not_hide_the_last_row() -> None:
    assert columns._percent(0.001) == "under 1%"
    assert columns._percent(0.999) == "over 99%"
