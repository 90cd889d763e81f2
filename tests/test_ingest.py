from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from stages.ingest import Folders, ingest
from stages.shared import contract, files, params
from stages.shared.errors import UserError

DATA: dict[str, Any] = {
    "id": "id",
    "label": "churned",
    "label_delay": 3,
    "features": {
        "age": {"type": "number", "min": 18, "max": 120},
        "plan": {"type": "category", "values": ["basic", "premium", "NA"]},
        "région n.": {"type": "category"},
        "paperless": {"type": "boolean"},
    },
}
HEADER = "id,age,plan,région n.,paperless,churned\n"
GOOD = HEADER + "00123,30,basic,NA,true,1\n7,,premium,None,no,0\n8,41.5,NA,,,\n"


@dataclass(frozen=True)
class Place:
    """A folder with raw months in it, and what ingest makes of them."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    def put(self, content: str, month: str = "2020-01") -> Path:
        self.raw.mkdir(exist_ok=True)
        path = self.raw / f"{month}.csv"
        path.write_bytes(content.encode())
        return path

    def ingest(self, max_share: float = 1.0, **other: Any) -> dict[str, Any]:
        data = params.parse(params.Data, "data", DATA | other)
        out = Folders(self.root / "months", self.root / "rejected")
        return ingest(self.raw, out, self.root / "memory.json", data, max_share)

    def refused(self, max_share: float = 1.0, **other: Any) -> str:
        with pytest.raises(UserError) as caught:
            self.ingest(max_share, **other)
        line = str(caught.value)
        assert "\n" not in line
        return line.replace(f"{self.root}/", "")

    def month(self, month: str = "2020-01") -> pa.Table:
        return parquet.read_table(self.root / "months" / f"{month}.parquet")

    def rejected(self, month: str = "2020-01") -> list[tuple[str, ...]]:
        """Line, column, value, reason of each fault."""
        path = self.root / "rejected" / f"{month}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)]
        assert rows[0] == ("file", "line", "column", "value", "reason")
        assert {row[0] for row in rows[1:]} == {f"{month}.csv"}
        return [row[1:] for row in rows[1:]]

    def outputs(self) -> dict[str, str]:
        """The SHA-256 of every file but the raw ones and the memory."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.parent != self.raw and path.name != "memory.json"
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_month_becomes_typed_parquet_with_the_contract_in_it(place: Place) -> None:
    place.put(GOOD)
    place.ingest()
    table = place.month()
    assert table.to_pydict() == {
        "id": ["00123", "7", "8"],
        "age": [30.0, None, 41.5],
        "paperless": [True, False, None],
        "plan": ["basic", "premium", "NA"],
        "région n.": ["NA", "None", None],
        "churned": [1, 0, None],
    }
    types = ["string", "double", "bool", "string", "string", "int8"]
    assert [str(field.type) for field in table.schema] == types
    facts = contract.facts(table.schema)
    assert (facts["id"], facts["label"], facts["features"]) == ("id", "churned", DATA["features"])


def test_the_report_counts_rows_labels_and_rejected_rows(place: Place) -> None:
    place.put(GOOD + "9,1,basic,,,1\n")
    place.put(HEADER.replace("churned", "colour") + "1,20,basic,,,red\n", "2020-02")
    assert place.ingest() == {
        "months": [
            {
                "month": "2020-01",
                "file": "2020-01.csv",
                "rows": 3,
                "rejected": 1,
                "labelled": 2,
                "unknown_columns": [],
            },
            {
                "month": "2020-02",
                "file": "2020-02.csv",
                "rows": 1,
                "rejected": 0,
                "labelled": 0,
                "unknown_columns": ["colour"],
            },
        ]
    }


def test_a_bad_row_is_rejected_with_the_reason_and_its_neighbours_go_on(place: Place) -> None:
    place.put(
        HEADER
        + "1,30,basic,x,yes,1\n"
        + "2,thirty,basic,x,yes,1\n"
        + "3,1e400,basic,x,yes,1\n"
        + "4,17.5,basic,x,yes,1\n"
        + "5,0121,basic,x,yes,1\n"
        + "6,30, basic,x,yes,1\n"
        + "7,30,basic,x,perhaps,1\n"
        + "8,30,basic,x,yes,left\n"
        + "9,30,basic\n"
        + ",30,basic,x,yes,1\n"
        + "1,31,basic,x,yes,1\n"
        + "2,200,gold,x,yes,1\n"
        + "12,30,premium,x,no,0\n"
    )
    place.ingest()
    assert place.month()["id"].to_pylist() == ["1", "12"]
    label = "not a label (0, 1, true, false): name the positive value in data.positive"
    assert place.rejected() == [
        ("3", "age", "thirty", "not a number"),
        ("4", "age", "1e400", "not a finite number"),
        ("5", "age", "17.5", "below min 18"),
        ("6", "age", "0121", "above max 120"),
        ("7", "plan", " basic", "not one of basic, premium, NA"),
        ("8", "paperless", "perhaps", "not a boolean (true, false, yes, no, 1, 0)"),
        ("9", "churned", "left", label),
        ("10", "", "9,30,basic", "3 fields where the header has 6"),
        ("11", "id", "", "id is missing"),
        ("12", "id", "1", "id already on line 2"),
        ("13", "id", "2", "id already on line 3"),
        ("13", "age", "200", "above max 120"),
        ("13", "plan", "gold", "not one of basic, premium, NA"),
    ]


def test_lines_are_exact_also_below_a_value_with_a_line_end(place: Place) -> None:
    place.put(HEADER + '1,30,basic,"a\nb",yes,1\n\n2,x,basic,c,yes,1\n1,30,basic,,,\n')
    place.ingest()
    assert place.rejected() == [
        ("5", "age", "x", "not a number"),
        ("6", "id", "1", "id already on line 2"),
    ]


def test_a_parquet_month_gives_the_same_table_and_its_rows_are_counted_from_1(place: Place) -> None:
    place.raw.mkdir()
    columns = {
        "id": [123, 7, 7],
        "age": [30, None, 200],
        "plan": pa.array(["basic", "NA", "gold"]).dictionary_encode(),
        "région n.": [3.0, None, 2.5],
        "paperless": [True, None, False],
        "churned": [True, None, False],
    }
    parquet.write_table(pa.table(columns), place.raw / "2020-01.parquet")
    place.ingest()
    assert place.month().to_pydict() == {
        "id": ["123", "7"],
        "age": [30.0, None],
        "plan": ["basic", "NA"],
        "région n.": ["3", None],
        "paperless": [True, None],
        "churned": [1, None],
    }
    text = (place.root / "rejected" / "2020-01.csv").read_text()
    assert text.splitlines()[1:] == [
        "2020-01.parquet,3,id,7,id already on line 2",
        "2020-01.parquet,3,age,200,above max 120",
        '2020-01.parquet,3,plan,gold,"not one of basic, premium, NA"',
    ]


def test_columns_with_no_value_at_all_keep_their_types(place: Place) -> None:
    place.put(HEADER + "1,,,,,\n2,NA,,,NA,\n")
    place.ingest()
    types = ["string", "double", "bool", "string", "string", "int8"]
    assert [str(field.type) for field in place.month().schema] == types
    assert place.month().drop_columns(["id"]).to_pydict() == {
        name: [None, None] for name in ("age", "plan", "région n.", "paperless", "churned")
    }


def test_a_long_list_of_allowed_values_is_not_read_out(place: Place) -> None:
    place.put("id,town\n1,t7\n2,t700\n")
    towns = {"town": {"type": "category", "values": [f"t{n}" for n in range(300)]}}
    place.ingest(features=towns)
    assert place.rejected() == [("3", "town", "t700", "not one of 300 allowed values")]


def test_the_positive_value_of_the_label_may_be_named(place: Place) -> None:
    place.put("id,age,status\n1,30,gone\n2,30,here\n3,30,\n")
    place.ingest(label="status", positive="gone", features={"age": {"type": "number"}})
    assert place.month()["status"].to_pylist() == [1, 0, None]


def test_a_month_may_land_without_its_label_column(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put("id,age,plan,région n.,paperless\n1,30,basic,,\n")
    place.ingest()
    assert place.month()["churned"].to_pylist() == [None]
    assert "2020-01.csv: 1 row, labels known for 0\n" in capsys.readouterr().out


def test_a_label_column_of_nearly_the_same_name_is_no_month_without_labels(place: Place) -> None:
    place.put(GOOD.replace("churned", "Churned"))
    assert place.refused() == (
        "raw/2020-01.csv has no column 'churned' (it has 'Churned'): "
        "add it to the file, or change section data of params.yaml"
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("age", "Age ", "has no column 'age' (it has 'Age ')"),
        ("id,", "customer,", "has no column 'id'"),
        ("paperless", "paper_less", "has no column 'paperless' (it has 'paper_less')"),
        ("age,plan", "x,y", "has no column 'age' and 1 more"),
    ],
)
def test_a_missing_column_is_named_with_what_is_like_it(
    place: Place, old: str, new: str, told: str
) -> None:
    place.put(GOOD.replace(old, new))
    remedy = "add it to the file, or change section data of params.yaml"
    assert place.refused() == f"raw/2020-01.csv {told}: {remedy}"


def test_more_bad_rows_than_allowed_and_the_month_is_refused(place: Place) -> None:
    place.put(GOOD)
    place.ingest()
    before = place.outputs()
    place.put(HEADER + "1,5,basic,,,\n2,6,basic,,,\n3,30,gold,,,\n4,30,basic,,,\n", "2020-02")
    assert place.refused(max_share=0.5) == (
        "raw/2020-02.csv is refused: 3 of 4 rows (0.75) are not fit to use, where "
        "ingest.max_rejected_share is 0.5; most often 'age' below min 18 (2): "
        "look at rejected/2020-02.csv, then mend the file or data in params.yaml"
    )
    assert place.rejected("2020-02") == [
        ("2", "age", "5", "below min 18"),
        ("3", "age", "6", "below min 18"),
        ("4", "plan", "gold", "not one of basic, premium, NA"),
    ]
    after = place.outputs()
    assert after.pop("rejected/2020-02.csv")
    assert after == before


def test_as_many_bad_rows_as_allowed_are_no_reason_to_refuse(place: Place) -> None:
    place.put(HEADER + "1,5,basic,,,\n2,30,basic,,,\n")
    assert place.ingest(max_share=0.5)["months"][0]["rejected"] == 1


def test_a_month_in_which_no_row_is_fit_is_refused_whatever_is_allowed(place: Place) -> None:
    place.put("id,age,plan,région n.,paperless\n1\n2\n")
    assert "2 of 2 rows (1) are not fit to use" in place.refused(max_share=1)
    assert "most often more or fewer fields than the header (2)" in place.refused(max_share=1)


def test_of_a_refused_month_the_first_ten_thousand_bad_rows_are_shown(place: Place) -> None:
    place.put(HEADER + "".join(f"{n},1,gold,,,\n" for n in range(10_050)))
    assert "10,050 of 10,050 rows" in place.refused()
    shown = place.rejected()
    assert len(shown) == 20_000
    assert shown[-1] == ("10001", "plan", "gold", "not one of basic, premium, NA")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("2020-02.csv", ""),
        ("2020-02.csv", HEADER),
        ("2020-02.csv", HEADER + "1,30,ba"),
        ("2020-02.csv", GOOD.replace("plan", "plans")),
        ("2020-02.parquet", "PAR1 and no more"),
        ("2020-01.parquet", "another file for January"),
        ("february.csv", GOOD),
    ],
)
def test_what_is_wrong_with_a_file_leaves_all_that_was_there_as_it_was(
    place: Place, name: str, content: str
) -> None:
    place.put(GOOD + "9,1,basic,,,1\n")
    place.ingest()
    before = place.outputs()
    place.put(GOOD.replace("41.5", "42"))  # fit, and read before the other: it must wait as well
    (place.raw / name).write_text(content)
    assert place.refused().startswith(f"raw/{name} ")
    assert place.outputs() == before
    (place.raw / name).unlink()
    place.ingest()
    assert place.month()["age"].to_pylist() == [30.0, None, 42.0]


def test_only_new_and_changed_months_are_read(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for month in ("2020-01", "2020-02", "2020-03"):
        place.put(GOOD, month)
    place.ingest()
    capsys.readouterr()
    assert place.ingest() == place.ingest()
    assert capsys.readouterr().out == "ingest: 0 months read, 3 unchanged\n" * 2
    untouched = (place.root / "months/2020-01.parquet").stat()
    place.put(GOOD.replace(",1\n", ",0\n"), "2020-02")
    place.put(GOOD, "2020-04")
    place.ingest()
    assert capsys.readouterr().out == (
        "2020-02.csv: 3 rows, labels known for 2\n"
        "2020-04.csv: 3 rows, labels known for 2\n"
        "ingest: 2 months read, 2 unchanged\n"
    )
    assert place.month("2020-02")["churned"].to_pylist() == [0, 0, None]
    assert (place.root / "months/2020-01.parquet").stat().st_mtime_ns == untouched.st_mtime_ns


def test_with_nothing_new_neither_pandas_nor_pyarrow_is_imported(place: Place) -> None:
    place.put(GOOD)
    place.ingest()
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from stages.ingest import Folders, ingest\n"
        "from stages.shared import params\n"
        "root, data = Path(sys.argv[1]), json.loads(sys.argv[2])\n"
        "ingest(root / 'raw', Folders(root / 'months', root / 'rejected'), root / 'memory.json',\n"
        "       params.parse(params.Data, 'data', data), 1.0)\n"
        "print({'numpy', 'pandas', 'pandera', 'pyarrow'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(place.root), json.dumps(DATA)],
        cwd=files.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "ingest: 0 months read, 1 unchanged\nset()\n"


@pytest.mark.parametrize(
    "other",
    [
        {"features": DATA["features"] | {"age": {"type": "number", "min": 31}}},
        {"positive": "0"},
        {"max_share": 0.9},
    ],
)
def test_another_contract_reads_every_month_again(
    place: Place, capsys: pytest.CaptureFixture[str], other: dict[str, Any]
) -> None:
    place.put(GOOD)
    place.ingest()
    capsys.readouterr()
    place.ingest(**other)
    assert "ingest: 1 month read, 0 unchanged\n" in capsys.readouterr().out


def test_forgetting_what_was_read_changes_no_byte(place: Place) -> None:
    for month in ("2020-01", "2020-02"):
        place.put(GOOD + "9,1,basic,,,1\n", month)
    report, before = place.ingest(), place.outputs()
    (place.root / "memory.json").unlink()
    assert (place.ingest(), place.outputs()) == (report, before)
    (place.root / "memory.json").write_text('{"2020-01": {}, "20')
    assert (place.ingest(), place.outputs()) == (report, before)


@pytest.mark.parametrize("name", ["months/2020-01.parquet", "rejected/2020-01.csv"])
def test_an_output_that_was_lost_or_changed_is_made_anew(place: Place, name: str) -> None:
    place.put(GOOD + "9,1,basic,,,1\n")
    place.ingest()
    before = place.outputs()
    (place.root / name).write_text("changed")
    place.ingest()
    assert place.outputs() == before
    (place.root / name).unlink()
    place.ingest()
    assert place.outputs() == before


def test_what_has_no_month_or_no_fault_any_more_is_removed(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put(GOOD + "9,1,basic,,,1\n")
    gone = place.put(GOOD + "9,1,basic,,,1\n", "2020-02")
    place.ingest()
    place.put(GOOD)
    gone.unlink()
    place.ingest()
    assert list(place.outputs()) == ["months/2020-01.parquet"]
    assert capsys.readouterr().out.endswith("ingest: 1 month read, 0 unchanged, 1 removed\n")


def test_what_a_killed_run_left_is_cleaned_up_and_no_part_of_the_outcome(place: Place) -> None:
    place.put(GOOD)
    place.ingest()
    before = place.outputs()
    left = place.root / ".ingest.tmp" / "months"
    left.mkdir(parents=True)
    (left / "2020-01.parquet").write_text("half a mon")
    (place.root / "months" / ".2020-01.parquet.99.tmp").write_text("half a mon")
    place.ingest()
    assert place.outputs() == before
    assert not left.parent.exists()


def test_each_month_says_what_became_of_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = HEADER.replace("id,", "id,colour,")
    place.put(wide + "1,red,5,basic,,,1\n" + "2,red,30,basic,,,1\n")
    place.ingest()
    assert capsys.readouterr().out.replace(f"{place.root}/", "") == (
        "2020-01.csv: 1 row, 1 rejected (rejected/2020-01.csv), labels known for 1\n"
        "ingest: 1 month read, 0 unchanged, 1 column not in the contract (colour)\n"
    )


def test_a_column_that_the_contract_does_not_know_is_not_used(place: Place) -> None:
    place.put("id,age,age.1,id \n1,30,x,y\n")
    report = place.ingest(features={"age": {"type": "number"}})
    assert place.month().column_names == ["id", "age", "churned"]
    assert report["months"][0]["unknown_columns"] == ["age.1", "id "]


def test_a_column_without_a_name_is_told_as_one(place: Place, capsys: Any) -> None:
    place.put("id,age,\n1,30,x\n")
    place.ingest(features={"age": {"type": "number"}})
    assert "1 column not in the contract (one without a name)" in capsys.readouterr().out


def test_one_row_is_a_month(place: Place) -> None:
    place.put(HEADER + "1,30,basic,x,yes,1")
    assert place.ingest()["months"][0]["rows"] == 1


def test_the_stage_reads_params_yaml_and_leaves_its_report(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(files.ROOT / "stages", clone / "stages")
    shutil.copy(files.ROOT / "dvc.yaml", clone / "dvc.yaml")
    (clone / "params.yaml").write_text(
        "data: {id: id, label: left, label_delay: 1, features: {age: {type: number, min: 0}}}\n"
        "ingest: {max_rejected_share: 0.5}\n"
    )
    (clone / "data/raw").mkdir(parents=True)
    month = clone / "data/raw/1997-10.csv"

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.ingest"]
        return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)

    month.write_text("id,age\n1,20\n2,-3\n")
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "1997-10.csv: 1 row, 1 rejected (data/rejected/1997-10.csv), labels known for 0\n"
        "ingest: 1 month read, 0 unchanged\n"
    )
    report = (clone / "reports/ingest.json").read_bytes()
    assert json.loads(report)["months"][0]["rejected"] == 1
    month.write_text("id;age\n1;20\n")
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: data/raw/1997-10.csv has semicolons between its columns: save it with commas\n"
    )
    assert (clone / "reports/ingest.json").read_bytes() == report
