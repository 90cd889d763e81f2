from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from stages.shared import snapshots
from stages.shared.errors import UserError

HEADER = "id,age,plan\n"


def put(folder: Path, content: str | bytes, name: str = "2020-01.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_parquet(folder: Path, columns: dict[str, object]) -> Path:
    path = folder / "2020-01.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def problem(path: Path) -> str:
    """What people are told of a file, without where it lies."""
    with pytest.raises(UserError) as caught:
        snapshots.read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line.removeprefix(f"{path} ")


def test_months_are_found_in_order_and_what_may_lie_beside_them_is_not(tmp_path: Path) -> None:
    for name in ("2020-02.csv", "2019-12.parquet", "2020-01.csv"):
        put(tmp_path, "", name)
    for name in (".gitignore", ".2020-03.csv.tmp", "README.md", "2020-01.csv.dvc"):
        put(tmp_path, "", name)
    assert {month: path.name for month, path in snapshots.find(tmp_path).items()} == {
        "2019-12": "2019-12.parquet",
        "2020-01": "2020-01.csv",
        "2020-02": "2020-02.csv",
    }


@pytest.mark.parametrize(
    "name", ["2020-13.csv", "2020-1.csv", "january.csv", "2020-01.xlsx", "2020-01.csv.gz"]
)
def test_a_name_that_is_no_month_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, "", name)
    with pytest.raises(UserError, match=f"{name} is no month: name it YYYY-MM.csv or YYYY-MM.parq"):
        snapshots.find(tmp_path)


def test_two_files_for_one_month_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "", "2020-01.csv")
    put(tmp_path, "", "2020-01.parquet")
    with pytest.raises(
        UserError, match=r"2020-01\.parquet and 2020-01\.csv are one month: remove one of them"
    ):
        snapshots.find(tmp_path)


def test_no_folder_and_an_empty_one_say_how_to_get_months(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is missing: type `make data`"):
        snapshots.find(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no month: type `make data`"):
        snapshots.find(tmp_path)


def test_csv_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = snapshots.read(put(tmp_path, '\ufeffid,age é,a.b\r\n007, 1.50,NA\r\n"8","",None\r\n'))
    assert found.header == ("id", "age é", "a.b")
    assert found.table.to_pydict() == {
        "id": ["007", "8"],
        "age é": [" 1.50", None],
        "a.b": ["NA", "None"],
    }


def test_only_the_columns_that_were_asked_for_are_read(tmp_path: Path) -> None:
    found = snapshots.read(put(tmp_path, HEADER + "1,2,x\n"), {"plan", "id", "unheard of"})
    assert found.table.to_pydict() == {"id": ["1"], "plan": ["x"]}
    assert found.header == ("id", "age", "plan")


def test_parquet_keeps_its_numbers_and_has_the_rest_as_text(tmp_path: Path) -> None:
    plan = pa.array(["a", "b"]).dictionary_encode()
    columns = {"a": [1, 2], "a.b": [0.5, None], "plan": plan, "ok": [True, None], "z": pa.nulls(2)}
    found = snapshots.read(put_parquet(tmp_path, columns))
    assert [str(field.type) for field in found.table.schema] == [
        *("int64", "double", "string", "bool", "string")
    ]
    assert found.table["plan"].to_pylist() == ["a", "b"]
    assert snapshots.lines(found).tolist() == [1, 2]


def test_rows_with_more_or_fewer_fields_are_set_aside_and_their_neighbours_go_on(
    tmp_path: Path,
) -> None:
    found = snapshots.read(put(tmp_path, HEADER + "1,2,x\n3\n\n4,5,y,6\n7,8,z\n"))
    assert found.table["id"].to_pylist() == ["1", "7"]
    assert [(row.text, row.reason) for row in found.ragged] == [
        ("3", "1 fields where the header has 3"),
        ("4,5,y,6", "4 fields where the header has 3"),
    ]
    assert found.records.tolist() == [0, 3]
    assert snapshots.lines(found).tolist() == [2, 3, 5, 6]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    found = snapshots.read(put(tmp_path, HEADER + '\n1,2,"x\n\ny"\n\n\n3,4,"5"" pipe"\n5,6,z'))
    assert found.table["plan"].to_pylist() == ["x\n\ny", '5" pipe', "z"]
    assert snapshots.lines(found).tolist() == [3, 8, 9]


PIECES = st.sampled_from(["a", "b", ",", ",", "\n", "\n", "\r\n", "\r", '"', '""', " "])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PIECES, min_size=1, max_size=25).map("".join))
def test_the_two_readers_of_csv_agree_on_every_row_and_its_line(tmp_path: Path, body: str) -> None:
    text = f"a,b\n{body}\n"
    try:
        found = snapshots.read(put(tmp_path, text))
    except UserError:
        assume(False)
    reader = csv.reader(io.StringIO(text, newline=""))
    rows, start = [], 1
    for row in reader:
        if row:
            rows.append((start, row))
        start = reader.line_num + 1
    regular = [row for _, row in rows[1:] if len(row) == 2]
    assert [[value or "" for value in row.values()] for row in found.table.to_pylist()] == regular
    assert snapshots.lines(found).tolist() == [line for line, _ in rows[1:]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: put the month's rows there, or remove it"),
        (b"\n\n", "is empty: put the month's rows there, or remove it"),
        (HEADER, "has a header and no rows: put the month's rows there, or remove it"),
        (b"id,age", "has a header and no rows: put the month's rows there, or remove it"),
        ("id;age\n1;2\n", "has semicolons between its columns: save it with commas"),
        ("id\tage\n1\t2\n", "has tabs between its columns: save it with commas"),
        ("id,age,id\n1,2,3\n", "has two columns named 'id': rename or remove one"),
        ((HEADER + "1,2,x\n").encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (
            (HEADER + "1,2,x\n").encode("utf-16-le"),
            "has NUL bytes, so it is UTF-16 or damaged: save it as UTF-8",
        ),
        (
            (HEADER + "1,2,x\n3,4,é\n").encode("latin-1"),
            "is not UTF-8 (byte 0xe9 on line 3): save it as UTF-8",
        ),
        (gzip.compress(HEADER.encode(), mtime=0), "is compressed: unpack it"),
        (b"PK\x03\x04...", "is an Excel or zip file: save it as CSV (UTF-8)"),
        (b"PAR1...", "is a Parquet file: name it .parquet"),
        (HEADER + "1,2,x\n3,4", "ends in the middle of a row: it was cut off, get it again"),
        (
            (HEADER + "1,2,x\n3,4,é").encode()[:-1],
            "ends in the middle of a character: it was cut off, get it again",
        ),
        (
            HEADER + '1,2,x\n\n3,4,"y\n5,6,z\n',
            (
                "has a quote that opens in the row of line 4 and never closes: "
                "it was cut off (get it again), or the quote wants doubling"
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_csv_file_as_a_whole_is_one_line(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    assert problem(put(tmp_path, content)) == told


def test_an_inch_in_a_text_is_no_open_quote(tmp_path: Path) -> None:
    found = snapshots.read(put(tmp_path, HEADER + '1,2,5" pipe\n'))
    assert found.table["plan"].to_pylist() == ['5" pipe']


def test_a_last_row_that_is_short_but_whole_is_a_bad_row_and_no_cut_off_file(
    tmp_path: Path,
) -> None:
    found = snapshots.read(put(tmp_path, HEADER + "1,2,x\n3,4\n"))
    assert [row.text for row in found.ragged] == ["3,4"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_parquet_file_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = put_parquet(tmp_path, {"id": [str(n) for n in range(1000)]})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    told = problem(path)
    assert told.startswith("is no whole Parquet file, cut off or damaged (")
    assert told.endswith("): get it again")


def test_a_parquet_file_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, {"id": [str(n) for n in range(1000)]})
    whole = bytearray(path.read_bytes())
    whole[4:400] = b"\xff" * 396
    path.write_bytes(whole)
    assert problem(path).startswith("is no whole Parquet file, cut off or damaged (")


def test_a_parquet_file_without_rows_or_with_lists_in_it_is_refused(tmp_path: Path) -> None:
    path = put_parquet(tmp_path, {"id": pa.array([], pa.string())})
    assert problem(path) == "has no rows: put the month's rows there, or remove it"
    path = put_parquet(tmp_path, {"id": ["1"], "tags": [["a", "b"]]})
    told = problem(path)
    assert told.startswith("has list<")
    assert told.endswith("> in column 'tags': make it numbers or text, or remove it")


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2020-01.csv"
    path.symlink_to(tmp_path / "gone.csv")
    assert problem(path) == "cannot be read (No such file or directory): get it again"
    with pytest.raises(UserError, match=r"2020-01\.csv is a link to a file that is gone: mend it"):
        snapshots.find(tmp_path)
