from __future__ import annotations

import hashlib
import subprocess
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from data import cdnow
from stages.shared import files, params
from stages.shared.contract import Feature
from stages.shared.errors import UserError

JUNE = date(1997, 6, 30)

Order = tuple[str, str, int, int]  # customer_id, day, CDs, cents


def make(*orders: Order) -> pd.DataFrame:
    frame = pd.DataFrame(orders, columns=["customer_id", "date", "cds", "cents"])
    return frame.assign(date=pd.to_datetime(frame["date"]))


def only_row(*orders: Order, as_of: date = JUNE) -> pd.Series:
    frame = cdnow.snapshot(make(*orders), as_of)
    assert len(frame) == 1
    return frame.iloc[0]


def churned(*orders: Order, month: str = "1997-06", newest: str = "1997-09") -> dict[str, int]:
    frame = cdnow.month_file(make(*orders), month, newest)
    return dict(zip(frame["customer_id"], frame["churned"], strict=True))


def test_an_order_after_the_day_changes_no_feature() -> None:
    known = [("00001", "1997-02-03", 1, 1177), ("00002", "1997-06-30", 5, 7700)]
    later = [("00001", "1997-07-01", 9, 9900), ("00003", "1997-07-01", 1, 1000)]
    pd.testing.assert_frame_equal(
        cdnow.snapshot(make(*known, *later), JUNE), cdnow.snapshot(make(*known), JUNE)
    )


def test_a_customer_is_in_the_snapshot_for_180_days_the_day_itself_included() -> None:
    frame = cdnow.snapshot(
        make(("00001", "1997-01-01", 1, 100), ("00002", "1997-01-02", 1, 100)), JUNE
    )
    assert frame["customer_id"].tolist() == ["00002"]
    assert frame["recency_days"].tolist() == [179]


@pytest.mark.parametrize(
    ("day", "in_30", "in_90"),
    [("1997-06-01", 1, 1), ("1997-05-31", 0, 1), ("1997-04-02", 0, 1), ("1997-04-01", 0, 0)],
)
def test_windows_of_30_and_90_days_end_with_the_day_itself(
    day: str, in_30: int, in_90: int
) -> None:
    row = only_row(("00001", day, 2, 3000))
    assert (row["orders_30d"], row["orders_90d"], row["orders_180d"]) == (in_30, in_90, 1)
    assert (row["spend_90d"], row["cds_90d"]) == (30.0 * in_90, 2 * in_90)


def test_means_are_over_the_orders_of_180_days_and_no_older_ones() -> None:
    row = only_row(
        ("00001", "1997-01-01", 50, 99900),
        ("00001", "1997-03-03", 1, 1000),
        ("00001", "1997-05-03", 3, 5000),
    )
    assert row["mean_order_value"] == 30.0
    assert row["dollars_per_cd"] == 15.0
    assert row["weekend_share"] == 0.5  # a Monday and a Saturday
    assert row["mean_gap_days"] == 61.0


def test_the_gap_is_missing_for_one_day_of_orders_and_then_nobody_is_a_repeat_buyer() -> None:
    row = only_row(("00001", "1997-05-05", 1, 1000), ("00001", "1997-05-05", 1, 2000))
    assert pd.isna(row["mean_gap_days"])
    assert not row["repeat_buyer"]
    assert row["orders_180d"] == 2


def test_the_gap_is_between_days_with_orders_not_between_orders() -> None:
    days = ["1997-05-01", "1997-05-01", "1997-05-11", "1997-05-21"]
    row = only_row(*[("00001", day, 1, 1000) for day in days])
    assert row["mean_gap_days"] == 10.0
    assert row["repeat_buyer"]


@pytest.mark.parametrize(
    ("sizes", "basket"),
    [([1], "one"), ([2], "few"), ([3], "few"), ([4], "many"), ([1, 1, 9], "one"), ([1, 3], "few")],
)
def test_the_basket_is_the_most_frequent_size_and_the_larger_of_two(
    sizes: list[int], basket: str
) -> None:
    assert only_row(*[("00001", "1997-05-05", size, 1000) for size in sizes])["basket"] == basket


def test_the_cohort_is_the_month_of_the_first_order_however_long_ago() -> None:
    row = only_row(
        ("00001", "1997-01-31", 1, 1), ("00001", "1998-06-01", 1, 1), as_of=date(1998, 6, 30)
    )
    assert row["cohort"] == "1997-01"


def test_an_order_on_day_90_is_a_stay_and_on_day_91_is_churn() -> None:
    assert churned(
        ("00001", "1997-06-30", 1, 100), ("00001", "1997-09-28", 1, 100),
        ("00002", "1997-06-30", 1, 100), ("00002", "1997-09-29", 1, 100),
        ("00003", "1997-06-29", 1, 100), ("00003", "1997-06-30", 1, 100),
    ) == {"00001": 0, "00002": 1, "00003": 1}  # fmt: skip


def test_labels_are_missing_until_the_third_month_after() -> None:
    orders = make(("00001", "1997-06-30", 1, 100), ("00001", "1997-07-01", 1, 100))
    assert cdnow.month_file(orders, "1997-06", "1997-08")["churned"].isna().all()
    assert cdnow.month_file(orders, "1997-06", "1997-09")["churned"].tolist() == [0]


def test_the_file_of_a_month_is_these_bytes_whatever_the_order_of_the_rows() -> None:
    orders = make(
        ("00002", "1997-04-01", 3, 4407),
        ("00001", "1997-06-28", 1, 1177),
        ("00002", "1997-05-12", 1, 1000),
        ("00002", "1997-06-30", 1, 1000),
        ("00002", "1997-07-30", 1, 1000),
    )
    expected = (
        b"customer_id,recency_days,orders_30d,orders_90d,orders_180d,spend_90d,cds_90d,"
        b"mean_order_value,dollars_per_cd,mean_gap_days,weekend_share,basket,cohort,"
        b"repeat_buyer,churned\n"
        b"00001,2,1,1,1,11.77,1,11.77,11.77,,1.00,one,1997-06,false,%b\n"
        b"00002,0,1,2,3,20.00,2,21.36,12.81,45.00,0.00,one,1997-04,true,%b\n"
    )
    landed = cdnow.month_file(orders, "1997-06", "1997-06")
    labelled = cdnow.month_file(orders.iloc[::-1], "1997-06", "1997-09")
    assert cdnow.to_csv(landed) == expected % (b"", b"")
    assert cdnow.to_csv(labelled) == expected % (b"1", b"0")


# --- the two commands, on one customer who orders on the first of every month


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    firsts = pd.period_range("1997-01", "1998-06", freq="M").strftime("%Y-%m-01")
    orders = make(*[("00001", day, 1, 1000) for day in firsts])
    monkeypatch.setattr(cdnow, "load_orders", lambda: orders)
    monkeypatch.setattr(cdnow, "START", "1997-10")
    return tmp_path / "raw"


def section(raw: Path, **changes: object) -> params.Data:
    values = {"source": "cdnow", "id": "customer_id", "label": "churned", "label_delay": 3}
    features = {"recency_days": Feature(type="number")}
    return params.Data.model_validate(
        {**values, "snapshots": str(raw), "features": features, **changes}
    )


def label(raw: Path, month: str) -> str:
    return (raw / f"{month}.csv").read_text().splitlines()[1].rpartition(",")[2]


def test_start_writes_the_months_with_the_labels_known_when_the_last_of_them_is_the_newest(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdnow, "START", "1997-08")
    cdnow.start(section(raw))
    assert {path.name: label(raw, path.stem) for path in raw.iterdir()} == {
        "1997-04.csv": "0",
        "1997-05.csv": "0",
        "1997-06.csv": "",
        "1997-07.csv": "",
        "1997-08.csv": "",
    }


@pytest.mark.parametrize("source", ["cdnow", None])
def test_start_leaves_months_that_are_there(
    raw: Path, source: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_bytes(raw / "1997-05.csv", b"mine")
    cdnow.start(section(raw, source=source))
    assert [path.read_bytes() for path in raw.iterdir()] == [b"mine"]
    assert "has months up to 1997-05: left as they are" in capsys.readouterr().out


def test_the_next_month_arrives_without_labels_and_brings_those_of_three_months_before(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cdnow.start(section(raw))
    assert label(raw, "1997-08") == ""
    capsys.readouterr()
    cdnow.arrive(section(raw))
    assert label(raw, "1997-11") == ""
    assert label(raw, "1997-08") == "0"
    assert capsys.readouterr().out.splitlines() == [
        "1997-11 arrived: 1 customers, no labels yet",
        "1997-08 got its labels: 0.0% churned",
        "next: make repro",
    ]


def test_a_month_taken_away_stays_away_and_the_next_one_follows_the_newest(raw: Path) -> None:
    cdnow.start(section(raw))
    (raw / "1997-08.csv").unlink()
    cdnow.arrive(section(raw))
    assert (raw / "1997-11.csv").exists()
    assert not (raw / "1997-08.csv").exists()


def test_a_kill_between_the_two_files_is_mended_by_the_same_command(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cdnow.start(section(raw))
    write = files.write_bytes

    def write_one_then_die(path: Path, content: bytes) -> None:
        write(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", write_one_then_die)
        with pytest.raises(KeyboardInterrupt):
            cdnow.arrive(section(raw))
    cdnow.arrive(section(raw))
    assert max(path.stem for path in raw.iterdir()) == "1997-11"
    assert label(raw, "1997-08") == "0"


def test_after_the_last_month_there_is_none(raw: Path) -> None:
    files.write_bytes(raw / "1998-06.csv", b"")
    with pytest.raises(UserError, match="there is no 1998-07: the CDNOW months go from 1997-04"):
        cdnow.arrive(section(raw))


def test_before_the_first_month_the_error_says_what_to_type(raw: Path) -> None:
    with pytest.raises(UserError, match="make data"):
        cdnow.arrive(section(raw))


def test_the_next_month_of_ones_own_data_is_a_file(raw: Path) -> None:
    files.write_bytes(raw / "2024-01.csv", b"")
    with pytest.raises(UserError, match=r"YYYY-MM.csv\), then: make repro"):
        cdnow.arrive(section(raw, source=None))


# --- getting the orders

TEXT = b" customer_id  date number_of_cds  dollar_value\r\n 00001 19970101  1   11.77\r\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cdnow, "CACHE", tmp_path / "cache" / "orders.txt")
    monkeypatch.setattr(cdnow, "SHA256", hashlib.sha256(TEXT).hexdigest())
    return cdnow.CACHE


def pip_that_brings(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "lifetimes.whl", "w") as archive:
            archive.writestr(cdnow.MEMBER, text)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def pip_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retry\nERROR: no host\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)


def test_ids_keep_their_zeros_and_dollars_become_whole_cents() -> None:
    assert cdnow.parse(TEXT).to_dict("records") == [
        {"customer_id": "00001", "date": pd.Timestamp("1997-01-01"), "cds": 1, "cents": 1177}
    ]


@pytest.mark.parametrize("before", [None, b"", TEXT[:-20]])
def test_a_missing_or_truncated_cache_is_downloaded_again(
    before: bytes | None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        files.write_bytes(cache, before)
    pip_that_brings(TEXT, monkeypatch)
    assert len(cdnow.load_orders()) == 1
    assert cache.read_bytes() == TEXT


def test_a_cache_that_is_whole_needs_no_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_bytes(cache, TEXT)
    pip_that_fails(monkeypatch)
    assert len(cdnow.load_orders()) == 1


def test_without_a_network_one_line_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_fails(monkeypatch)
    with pytest.raises(UserError, match=r"\(no host\): check the network") as caught:
        cdnow.load_orders()
    assert "\n" not in str(caught.value)
    assert not cache.exists()


def test_a_wheel_with_other_orders_in_it_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that_brings(TEXT.replace(b"11.77", b"11.78"), monkeypatch)
    with pytest.raises(UserError, match="SHA-256"):
        cdnow.load_orders()
    assert not cache.exists()


@pytest.mark.slow
def test_the_real_orders_give_the_table_of_the_readme() -> None:
    """Takes data/cache, or downloads it."""
    orders = cdnow.load_orders()
    assert (len(orders), orders["customer_id"].nunique()) == (69_659, 23_570)
    lines = (files.ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| 199")]
    assert table == [readme_row(orders, month) for month in months_of_the_data()]


def months_of_the_data() -> list[str]:
    span = pd.period_range(cdnow.FIRST, cdnow.LAST, freq="M")
    return [str(month) for month in span]


def readme_row(orders: pd.DataFrame, month: str) -> str:
    frame = cdnow.month_file(orders, month, cdnow.LAST)
    rate = "never known" if frame["churned"].isna().any() else f"{frame['churned'].mean():.1%}"
    return f"| {month} | {len(frame):,} | {frame['repeat_buyer'].mean():.0%} | {rate} |"
