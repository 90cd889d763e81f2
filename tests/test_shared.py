"""Parameters, files, months, the split, the contract and a candidate's bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.shared import candidate, contract, errors, files, months, params, scoring, split
from stages.shared.contract import Feature
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

DATA: dict[str, Any] = {
    "id": "customer",
    "label": "churned",
    "label_delay": 0,
    "features": {"spend": {"type": "number", "min": 0}},
}


def refused(kind: type[Any], name: str, value: object) -> str:
    with pytest.raises(UserError) as caught:
        params.parse(kind, name, value)
    return str(caught.value)


def test_the_parameters_of_the_repository_are_valid() -> None:
    whole = params.read()
    for name, kind in params.SECTIONS.items():
        assert params.parse(kind, name, whole[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lable": "x"}, "data.lable is no key that anything reads: take it out (known: snapshots"),
        ({"label_delay": -1}, "data.label_delay is -1: input should be greater than or equal to 0"),
        ({"label_delay": "soon"}, "data.label_delay is 'soon': input should be a valid integer"),
        ({"features": {}}, "data.features is {}"),
        ({"features": {"x": {"type": "text"}}}, "data.features.x.type is 'text'"),
        ({"features": {"x": {"typ": "number"}}}, "data.features.x.typ is no key"),
        ({"features": {"x": {"type": "category", "min": 1}}}, "min and max belong to a number"),
        ({"features": {"x": {"type": "number", "min": 2, "max": 1}}}, "min 2 is above max 1"),
        ({"features": {"x": {"type": "category", "values": []}}}, "values is empty"),
        ({"features": {"churned": {"type": "number"}}}, "'churned' is the label"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_in_one_line(
    change: dict[str, Any], said: str
) -> None:
    line = refused(params.Data, "data", DATA | change)
    assert line.startswith("params.yaml: ")
    assert said in line
    assert "\n" not in line


def test_a_missing_key_and_a_missing_section_are_named() -> None:
    assert "data.id is missing: write it" in refused(
        params.Data, "data", {k: v for k, v in DATA.items() if k != "id"}
    )
    assert "section 'data' is missing" in refused(params.Data, "data", None)


def test_yaml_is_read_as_dvc_reads_it_so_that_no_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("data: {positive: no, id: 007x}\n")
    assert params.read(path) == {"data": {"positive": "no", "id": "007x"}}


def test_the_environment_goes_before_the_section_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in (
        ("HOST", "127.0.0.2"),
        ("WORKERS", "4"),
        ("FOLDER", ""),
        ("ONLINE_STORE", "1"),
    ):
        monkeypatch.setenv(f"SERVE_{name}", text)
    found, file = params.serve(), params.read()["serve"]
    assert (found.host, found.workers, found.online_store) == ("127.0.0.2", 4, "1")
    assert (found.folder, found.interval_seconds) == (file["folder"], file["interval_seconds"])
    monkeypatch.setenv("SERVE_WORKERS", "two: {")
    with pytest.raises(UserError, match=r"serve\.workers is 'two: \{'"):
        params.serve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datta: {}\n", "unknown section 'datta'; known are data, ingest"),
        ("data: [unclosed\n", "is no valid YAML"),
        ("data: " + "[" * 500, "is no valid YAML: it is nested too deeply"),
        ("data: 2020-13-45\n", "is no valid YAML: month must be in 1..12"),
        ("data: " + "1" * 5000, "is no valid YAML: Exceeds the limit"),
        ("", "has no sections"),
    ],
)
def test_a_broken_params_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        params.read(tmp_path / "params.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_error_is_one_line_and_exit_1_and_traceback_brings_the_traceback_back() -> None:
    code = (
        "from stages.shared import errors\n"
        "def main(): raise errors.UserError('what, which, remedy')\n"
        "errors.run(main)"
    )
    plain, full = (
        subprocess.run(
            [sys.executable, "-c", code, *more],
            cwd=files.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        for more in ([], ["--traceback"])
    )
    assert (plain.returncode, plain.stderr) == (1, "error: what, which, remedy\n")
    assert full.returncode == 1
    assert "Traceback" in full.stderr


def test_a_defect_of_ours_is_not_swallowed() -> None:
    def main() -> None:
        raise KeyError("defect")

    with pytest.raises(KeyError):
        errors.run(main)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    files.write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})

    def fail_midway() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_missing_or_damaged_report_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is missing: type `dvc repro`"):
        files.read_json(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"cannot be read .* delete it"):
        files.read_json(tmp_path / "half.json")


def test_home_is_the_clone_also_from_dvcs_temporary_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    monkeypatch.setattr(files, "ROOT", clone / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx1")
    assert files.home() == clone
    monkeypatch.setattr(files, "ROOT", clone)
    assert files.home() == clone


def test_months_are_calendar_months() -> None:
    assert [months.is_month(m) for m in ("2024-02", "2024-13", "2024-2", "2024-00", "0000-01")] == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert months.apart("2023-11", "2024-02") == 3
    assert months.span(["2024-01"]) == "2024-01"
    assert months.span(["2024-01", "2024-02", "2024-05"]) == "2024-01..2024-05"


def test_a_customer_is_in_the_holdout_in_every_month_or_in_none() -> None:
    january, march = ["a", "b", "c"], ["c", "x", "a"]
    one, other = (
        dict(zip(ids, split.in_holdout(ids, "s", 0.5), strict=True)) for ids in (january, march)
    )
    assert (one["a"], one["c"]) == (other["a"], other["c"])


def test_the_split_never_changes_between_versions_of_anything() -> None:
    ids = ["00001", "00002", "00003", "é", "", "customer 4", "5", "6", "7", "8"]
    held = split.in_holdout(ids, "churn", 0.3)
    assert "".join("x" if h else "." for h in held) == PINNED


PINNED = "xxx..xx..."


def test_the_holdout_has_its_share_and_another_salt_draws_another() -> None:
    ids = [str(i) for i in range(20_000)]
    one, other = split.in_holdout(ids, "a", 0.3), split.in_holdout(ids, "b", 0.3)
    assert one.mean() == pytest.approx(0.3, abs=0.01)
    assert (one & other).mean() == pytest.approx(0.09, abs=0.01)


FEATURES = {
    "spend": Feature(type="number", min=0),
    "region": Feature(type="category", values=("NA", "EU")),
    "paperless": Feature(type="boolean"),
}


def test_a_frame_has_the_contracts_columns_order_and_types_and_keeps_na_as_a_value() -> None:
    table = pa.table(
        {
            "paperless": pa.array([True, None]),
            "extra": pa.array([1, 2]),
            "region": pa.array(["NA", None]),
            "spend": pa.array([None, 2.5]),
        }
    )
    frame = contract.to_frame(table, FEATURES)
    assert list(frame) == ["spend", "region", "paperless"]
    assert frame["paperless"].tolist() == [True, None]
    assert frame["region"].isna().tolist() == [False, True]
    assert frame["region"][0] == "NA"
    assert np.isnan(frame["spend"][0])
    with pytest.raises(UserError, match="column 'spend' is missing"):
        contract.to_frame(table.drop_columns("spend"), FEATURES)


def test_the_contract_travels_with_a_table_and_comes_back_equal() -> None:
    plain = contract.to_dict(FEATURES)
    table = contract.stamp(pa.table({"x": [1]}), {"features": plain})
    assert contract.from_dict(contract.facts(table.schema)["features"]) == FEATURES
    assert contract.facts(pa.schema([])) == {}


def test_a_holdout_is_scored_batch_by_batch_as_it_is_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    of_rows = np.arange(10.0)
    table = pa.table({"spend": of_rows, "left": pa.array([0, 1] * 5, pa.int8())})
    features = {"spend": contract.Feature(type="number")}
    facts = {"label": "left", "features": contract.to_dict(features)}
    pq.write_table(contract.stamp(table, facts), tmp_path / "holdout", row_group_size=4)
    pq.write_table(contract.stamp(table[:0], facts), tmp_path / "nobody")
    models = []
    for sign in (1, -1):
        model = make_pipeline(FunctionTransformer(), LogisticRegression())
        model.fit(pd.DataFrame({"spend": sign * of_rows}), [0] * 5 + [1] * 5)
        models.append(candidate.Candidate("", facts, model))
    whole = [one.probabilities(table) for one in models]
    monkeypatch.setattr(scoring, "BATCH", 3)
    found = scoring.scores(tmp_path / "holdout", models)
    assert [part.tolist() for part in found] == [part.tolist() for part in whole]
    assert found[0][-1] > found[1][-1]
    assert scoring.labels(tmp_path / "holdout").tolist() == [0, 1] * 5
    assert [len(part) for part in scoring.scores(tmp_path / "nobody", models)] == [0, 0]
    assert len(scoring.labels(tmp_path / "nobody")) == 0


def test_a_damaged_candidate_is_refused_in_one_line(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    digest = candidate.save(tmp_path, model, {"features": {}}, {"rows": []})
    assert candidate.load(tmp_path).digest == digest
    whole = (tmp_path / "model.skops").read_bytes()
    (tmp_path / "model.skops").write_bytes(whole[: len(whole) // 2])
    assert candidate.digest(tmp_path) != digest
    with pytest.raises(UserError, match=r"model.skops cannot be loaded"):
        candidate.load(tmp_path)
    (tmp_path / "model.skops").unlink()
    with pytest.raises(UserError, match=r"model.skops is missing"):
        candidate.load(tmp_path)


def test_a_model_that_names_a_foreign_type_is_not_loaded(tmp_path: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    files.write_bytes(tmp_path / "model.skops", skops.io.dumps(FunctionTransformer(print)))
    files.write_json(tmp_path / "model.json", {})
    files.write_json(tmp_path / "golden.json", {})
    with pytest.raises(UserError, match="cannot be loaded"):
        candidate.load(tmp_path)


def test_a_canonical_archive_has_no_time_and_no_address_in_it(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    candidate.save(tmp_path, LogisticRegression().fit([[0.0], [1.0]], [0, 1]), {}, {})
    with zipfile.ZipFile(tmp_path / "model.skops") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        schema = json.loads(archive.read("schema.json"))
    assert schema["__id__"] == 0
