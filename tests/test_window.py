"""The window's rows: who is trained on, who is scored, and equal bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.shared import contract, split, window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FEATURES = contract.to_dict({"spend": contract.Feature(type="number")})
IDS = [f"c{i}" for i in range(40)]


def month(
    folder: Path, name: str, ids: list[str], labels: list[int | None], spent: float = 0.0
) -> None:
    table = pa.table(
        {
            "who": pa.array(ids),
            "spend": pa.array([spent + i for i in range(len(ids))]),
            "left": pa.array(labels, pa.int8()),
        }
    )
    pq.write_table(table, folder / f"{name}.parquet")


def facts(*chosen: str) -> dict[str, Any]:
    how = split.definition("salt", 0.4)
    return {"id": "who", "label": "left", "features": FEATURES, "window": chosen, "split": how}


def written(folder: Path, *chosen: str, judging: Sequence[str] = ()) -> tuple[pa.Table, pa.Table]:
    """Train and holdout of the months; the newest of them judges, if nothing else is said."""
    train, holdout = folder / "train", folder / "holdout"
    window.write(chosen, judging or chosen[-1:], folder, train, holdout, facts(*chosen))
    return window.read(train), window.read(holdout)


def test_a_customer_is_never_trained_on_and_scored(tmp_path: Path) -> None:
    for name in ("2024-01", "2024-02"):
        month(tmp_path, name, IDS, [0, 1] * 20)
    train, holdout = written(tmp_path, "2024-01", "2024-02")
    trained, held = set(train["who"].to_pylist()), set(holdout["who"].to_pylist())
    assert trained & held == set()
    assert trained | held == set(IDS)
    assert len(train) == 2 * len(trained)


def test_the_holdout_is_of_the_judging_months_alone(tmp_path: Path) -> None:
    for name, spent in (("2024-01", 100.0), ("2024-02", 200.0), ("2024-03", 300.0)):
        month(tmp_path, name, IDS, [0, 1] * 20, spent)
    for chosen, judging in (
        (("2024-01", "2024-02"), ("2024-02",)),
        (("2024-01", "2024-02", "2024-03"), ("2024-02", "2024-03")),
        (("2024-01", "2024-02"), ("2024-03",)),
    ):
        train, holdout = written(tmp_path, *chosen, judging=judging)
        assert {s // 100 for s in train["spend"].to_pylist()} == {int(m[-2:]) for m in chosen}
        assert {s // 100 for s in holdout["spend"].to_pylist()} == {int(m[-2:]) for m in judging}
        assert set(train["who"].to_pylist()) & set(holdout["who"].to_pylist()) == set()
        assert len(holdout) == len(judging) * len(set(holdout["who"].to_pylist()))


def test_rows_without_a_label_are_neither_trained_on_nor_scored(tmp_path: Path) -> None:
    month(tmp_path, "2024-01", IDS, [None, 1] * 20)
    train, holdout = written(tmp_path, "2024-01")
    assert len(train) + len(holdout) == 20
    assert train["left"].null_count + holdout["left"].null_count == 0


def test_both_files_say_what_they_hold(tmp_path: Path) -> None:
    month(tmp_path, "2024-01", IDS, [0, 1] * 20)
    for table in written(tmp_path, "2024-01"):
        assert contract.facts(table.schema) == facts("2024-01") | {"window": ["2024-01"]}


def test_the_same_months_give_the_same_bytes(tmp_path: Path) -> None:
    month(tmp_path, "2024-01", IDS, [0, 1] * 20)
    written(tmp_path, "2024-01")
    before = [(tmp_path / name).read_bytes() for name in ("train", "holdout")]
    written(tmp_path, "2024-01")
    assert [(tmp_path / name).read_bytes() for name in ("train", "holdout")] == before


def test_a_failure_midway_leaves_the_old_files_whole(tmp_path: Path) -> None:
    month(tmp_path, "2024-01", IDS, [0, 1] * 20)
    written(tmp_path, "2024-01")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FileNotFoundError):
        written(tmp_path, "2024-01", "2024-02")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_share_of_the_customers_has_all_their_rows_of_all_months_and_comes_again(
    tmp_path: Path,
) -> None:
    ids = [f"c{i}" for i in range(2000)]
    month(tmp_path, "2024-01", ids, [0] * 2000)
    month(tmp_path, "2024-02", ids[1000:], [0] * 1000)
    chosen = ["2024-01", "2024-02"]

    def drawn(share: float, *months: str) -> list[str]:
        table = window.with_share(months or chosen, tmp_path, ["who"], "who", share)
        found: list[str] = table["who"].to_pylist()
        return found

    quarter = drawn(0.25)
    assert len(set(quarter)) == pytest.approx(500, abs=80)
    assert drawn(0.25) == quarter
    assert set(drawn(0.25, "2024-02")) == set(quarter) & set(ids[1000:])
    assert set(drawn(0.5)) > set(quarter)
    assert len(drawn(1.0)) == 3000
    assert window.share_of(10_000, 2500) == 0.25
    assert window.share_of(100, 2500) == window.share_of(0, 2500) == 1.0


def test_customers_are_drawn_for_comparisons_independently_of_the_holdout() -> None:
    ids = [f"c{i}" for i in range(10_000)]
    drawn = split.in_holdout(ids, window.SAMPLED, 0.5)
    held = split.in_holdout(ids, "churn", 0.3)
    assert held[drawn].mean() == pytest.approx(0.3, abs=0.03)


def test_rows_are_drawn_evenly_without_replacement_in_their_order_and_come_again() -> None:
    table = pa.table({"at": range(400)})
    found = window.draw(table, 200, seed=1)["at"].to_pylist()
    assert found == sorted(set(found))
    assert len(found) == 200
    assert sum(at < 300 for at in found) == pytest.approx(150, abs=25)
    assert window.draw(table, 200, seed=1)["at"].to_pylist() == found
    assert window.draw(table, 200, seed=2)["at"].to_pylist() != found
    assert window.draw(table, 400, seed=1) is table


def test_labels_that_arrive_leave_the_features_digest_as_it_is(tmp_path: Path) -> None:
    month(tmp_path, "2024-01", IDS, [None] * 40)
    before = window.columns_digest(tmp_path / "2024-01.parquet", ["who", "spend"])
    assert window.count(tmp_path / "2024-01.parquet", "left") == (40, 0)
    month(tmp_path, "2024-01", IDS, [0, 1] * 20)
    assert window.columns_digest(tmp_path / "2024-01.parquet", ["who", "spend"]) == before
    assert window.count(tmp_path / "2024-01.parquet", "left") == (40, 40)
    month(tmp_path, "2024-01", IDS[::-1], [0, 1] * 20)
    assert window.columns_digest(tmp_path / "2024-01.parquet", ["who", "spend"]) != before


def test_the_classes_of_a_month_are_those_outside_the_holdout(tmp_path: Path) -> None:
    held = split.in_holdout(IDS, "salt", 0.4)
    path = tmp_path / "2024-01.parquet"
    for labels, expected in (
        ([0] * 40, {0}),
        ([int(h) for h in held], {0}),
        ([int(not h) for h in held], {1}),
        ([0, 1] * 20, {0, 1}),
        ([None] * 40, set()),
    ):
        month(tmp_path, "2024-01", IDS, list(labels))
        assert window.classes(path, "who", "left", "salt", 0.4) == expected
    many = [f"c{i}" for i in range(5000)]
    month(tmp_path, "2024-01", many, [0, 1] * 2500)
    assert window.classes(path, "who", "left", "salt", 0.4) == {0, 1}
