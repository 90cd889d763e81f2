"""Feature consistency: one customer gives one vector, offline, from the online store, over HTTP.

The vector is what the model's trees or coefficients are given: it is recorded where the server
hands it over. Offline is the frame that training and comparison see; the pipeline's own probability
must come out too, so that the recorded vector means what it meant in training.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import serve_fixtures
from pyarrow import parquet

from serve import features as online_features
from serve import online, place
from stages import train
from stages.ingest import Folders, ingest
from stages.shared import candidate, contract, export, files, params, servable

if TYPE_CHECKING:
    from pathlib import Path

DATA = params.parse(
    params.Data,
    "data",
    {
        "id": "id",
        "label": "churned",
        "label_delay": 0,
        "features": {
            "spend": {"type": "number", "min": -1000},
            "calls": {"type": "number"},
            "plan": {"type": "category", "values": ["NA", "basic", "premium"]},
            "région x.": {"type": "category"},
            "paperless": {"type": "boolean"},
        },
    },
)
# What has come out otherwise elsewhere: zeros of an id, "NA", empty, long decimals, minus zero.
MONTH = """id,spend,calls,plan,région x.,paperless,churned
00123,0.1,3,NA,EU,true,1
7,0.30000000000000004,,basic,None,no,0
008,-0.0,1e5,,NA,,1
9,,2.5,premium,été,yes,0
10,1e-17,0,NA,,false,1
11,-999.5,7,basic,EU,TRUE,0
"""
ESTIMATORS = ("hist_gradient_boosting", "logistic_regression", "random_forest")


class Recorder(servable.Servable):
    """A servable that keeps the vectors that its scorer is given."""

    seen: list[list[float]] = []  # noqa: RUF012 - of all of them, on purpose

    def _row(self, values: Any) -> list[float]:
        row = super()._row(values)
        self.seen.append(list(row))
        return row

    def _rows(self, columns: Any) -> Any:
        rows = super()._rows(columns)
        self.seen += rows.tolist()
        return rows


@pytest.fixture(params=ESTIMATORS)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "2020-01.csv").write_text(MONTH)
    out = Folders(tmp_path / "months", tmp_path / "rejected")
    ingest(raw, out, tmp_path / "memory.json", DATA, 0.0)
    monkeypatch.setattr(servable, "Servable", Recorder)
    Recorder.seen.clear()
    return Shop(tmp_path, str(request.param))


class Shop:
    """A model of the month, served, with the month's customers in the online store."""

    def __init__(self, root: Path, estimator: str) -> None:
        self.month = root / "months" / "2020-01.parquet"
        table = parquet.read_table(self.month)
        self.frame = contract.to_frame(table, DATA.features)
        self.ids: list[str] = table["id"].to_pylist()
        section = {"estimator": estimator, "seed": 1, "random_forest": {"n_estimators": 5}}
        self.model = train.pipeline(
            DATA.features, params.parse(params.Train, "train", section)
        ).fit(self.frame, table["churned"].to_numpy().astype(np.int8))
        self.url = f"sqlite:///{root}/online.db"
        online.replace(online.engine(self.url), online_features.newest([self.month], DATA), "key")
        self._put(root / "serving", estimator)
        self.client = serve_fixtures.client(root / "serving", online_store=self.url)

    def _put(self, folder: Path, estimator: str) -> None:
        plan, trees = export.servable(self.model, DATA.features)
        files.write_json(folder / "1" / servable.PLAN, servable.to_json(plan))
        if trees:
            files.write_bytes(folder / "1" / servable.TREES, trees)
        facts = {"version": 1, "digest": "0" * 64, "folder": "1", "since": "now", "id": DATA.id}
        facts |= {"features": contract.to_dict(DATA.features), "estimator": estimator}
        facts |= {"files": servable.hashes(folder / "1")}
        place.replace_current(folder, facts | {"decision_threshold": 0.5})
        self.offline = servable.load(folder / "1")

    def values(self) -> list[dict[str, Any]]:
        """The frame's rows as JSON says them."""
        rows = self.frame.to_dict(orient="records")
        return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]

    def vectors(self, ask: Any) -> list[list[float]]:
        """The vectors that ``ask`` makes, in the order of the customers."""
        Recorder.seen.clear()
        ask()
        return [list(vector) for vector in Recorder.seen]

    def from_frame(self) -> None:
        self.offline.many([[row[name] for row in self.values()] for name in DATA.features])

    def by_id(self) -> None:
        self.probabilities = [self._predict({"id": customer}) for customer in self.ids]

    def over_http(self) -> None:
        self.probabilities = [self._predict(row) for row in self.values()]

    def many_over_http(self) -> None:
        self.client.post("/predict", json={"instances": self.values()})

    def _predict(self, body: dict[str, Any]) -> float:
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return float(answer.json["churn_probability"])


def same(left: list[list[float]], right: list[list[float]]) -> bool:
    """Whether vectors are the same to the last bit, but for the sign of zero."""
    return len(left) == len(right) and all(
        a == b or (math.isnan(a) and math.isnan(b))
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_a_customer_has_one_vector_offline_by_id_and_over_http(shop: Shop) -> None:
    offline = shop.vectors(shop.from_frame)
    assert len(offline) == len(shop.ids)
    assert same(offline, shop.vectors(shop.by_id))
    by_id = shop.probabilities
    assert same(offline, shop.vectors(shop.over_http))
    assert same(offline, shop.vectors(shop.many_over_http))
    expected = candidate.churn_probability(shop.model, shop.frame)
    rounded = 10.0**-files.SCORE_DIGITS
    assert by_id == pytest.approx(expected.tolist(), rel=0, abs=rounded)
    assert shop.probabilities == by_id


def test_the_vector_tells_customers_apart(shop: Shop) -> None:
    assert len({tuple(vector) for vector in shop.vectors(shop.by_id)}) == len(shop.ids)


def test_a_store_that_rounds_is_found(shop: Shop) -> None:
    """Planted: the online store keeps six digits."""
    rows = [
        {**row, "features": row["features"].replace("0.30000000000000004", "0.3")}
        for row in online_features.newest([shop.month], DATA)
    ]
    assert online.replace(online.engine(shop.url), rows, "other") == len(shop.ids)
    assert not same(shop.vectors(shop.from_frame), shop.vectors(shop.by_id))


def test_a_request_in_which_na_is_missing_is_found(shop: Shop) -> None:
    """Planted: a client that reads "NA" as a missing value, as pandas does."""
    offline, rows = shop.vectors(shop.from_frame), shop.values()
    shop.values = lambda: [{**r, "plan": None if r["plan"] == "NA" else r["plan"]} for r in rows]  # type: ignore[method-assign]
    assert not same(offline, shop.vectors(shop.over_http))


def test_a_frame_in_another_order_of_columns_is_found(shop: Shop) -> None:
    """Planted: offline rows whose columns are swapped."""
    columns = [[row[name] for row in shop.values()] for name in DATA.features]
    columns[0], columns[1] = columns[1], columns[0]
    swapped = shop.vectors(lambda: shop.offline.many(columns))
    assert not same(swapped, shop.vectors(shop.over_http))
