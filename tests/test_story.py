"""The loop on real DVC, MLflow and Evidently: each test goes on from the one before."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import clone as clones
import pytest
from clone import ran
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from clone import Clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return clones.small(tmp_path_factory.mktemp("story"))


def lock(clone: Clone) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((clone.root / "dvc.lock").read_text())["stages"]
    return found


def test_the_first_model_that_passes_the_gates_goes_into_production(clone: Clone) -> None:
    said = clone.make("repro")
    assert ran(said) == {"ingest", "drift", "train", "evaluate", "compare", "promote"}
    assert clone.outcome() == ("promoted", 1)
    assert clone.report("drift")["window"] == ["2024-01"]
    assert clone.registry()["alias"] == {"production": 1}
    clone.commit("first model")


def test_with_nothing_to_do_nothing_runs(clone: Clone) -> None:
    before = clone.registry()
    assert ran(clone.make("repro")) == set()
    assert clone.run("git", "status", "--porcelain") == ""
    assert clone.registry() == before


def test_a_month_without_drift_runs_ingest_and_drift_alone(clone: Clone) -> None:
    before = lock(clone)
    clones.put(clone, "2024-03")
    clones.put(clone, "2024-04", labelled=False)
    said = clone.make("repro")
    assert ran(said) == {"ingest", "drift"}
    assert "2024-04.csv" in said
    assert "2024-02.csv" not in said  # only what is new or changed is read
    for stage in ("train", "evaluate", "compare", "promote"):
        assert lock(clone)[stage] == before[stage]


def test_what_is_remembered_may_be_deleted_and_no_byte_changes(clone: Clone) -> None:
    before = (clone.root / "dvc.lock").read_bytes()
    shutil.rmtree(clone.root / "data" / "memory")
    clone.run("dvc", "repro", "--force", "--single-item", "ingest", "drift")
    assert (clone.root / "dvc.lock").read_bytes() == before


def test_a_month_with_drift_waits_for_its_labels(clone: Clone) -> None:
    clones.put(clone, "2024-04")
    clones.put(clone, "2024-05", labelled=False, shift=2, turned=True)
    assert ran(clone.make("repro")) == {"ingest", "drift"}
    drift = clone.report("drift")
    assert drift["pending"] == "2024-05"
    assert drift["window"] == ["2024-01"]
    assert drift["months"][-1]["triggered"] is True
    assert drift["months"][-1]["columns"]["spend"]["alarm"] is True


def test_once_its_labels_are_known_the_candidate_is_trained_and_earns_its_place(
    clone: Clone,
) -> None:
    clones.put(clone, "2024-05", shift=2, turned=True)
    clones.put(clone, "2024-06", labelled=False, shift=2, turned=True)
    said = clone.make("repro")
    assert ran(said) == {"ingest", "drift", "train", "evaluate", "compare", "promote"}
    assert clone.report("drift")["window"] == ["2024-05"]
    assert clone.report("drift")["pending"] is None
    assert clone.report("compare")["production_version"] == 1
    assert clone.report("compare")["interval"][0] > 0
    assert clone.outcome() == ("promoted", 2)
    clone.commit("the world turned")


def test_a_broken_feed_stops_the_month_in_one_line_and_nothing_downstream_runs(
    clone: Clone,
) -> None:
    before, registry = lock(clone), clone.registry()
    clones.put(clone, "2024-06", shift=2, turned=True)
    clones.put(clone, "2024-07", labelled=False, shift=2, turned=True, stuck=True)
    said = clone.make("repro", status=1)
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: 2024-07: the feed of column 'calls' looks broken: ")
    assert "2024-07: [calls] into drift.accepted" in error
    assert "Traceback" not in said
    for stage in ("drift", "train", "evaluate", "compare", "promote"):
        assert lock(clone)[stage] == before[stage]
    assert clone.registry() == registry


def test_what_looks_broken_and_is_not_goes_on_once_it_is_accepted(clone: Clone) -> None:
    clone.set(drift={"accepted": {"2024-07": ["calls"]}})
    assert ran(clone.make("repro")) == {"drift"}
    drift = clone.report("drift")
    assert drift["months"][-1]["broken"] == {}
    assert drift["months"][-1]["columns"]["calls"]["alarm"] is True
    assert drift["pending"] == "2024-07"  # customers are like that now: it is a changed world


def test_a_mended_file_goes_on_too_and_leaves_no_trace(clone: Clone) -> None:
    clone.set(drift={"accepted": {}})
    clones.put(clone, "2024-07", labelled=False, shift=2, turned=True)
    assert ran(clone.make("repro")) == {"ingest", "drift"}
    assert clone.report("drift")["pending"] is None
    assert clone.report("drift")["window"] == ["2024-05"]
    clone.commit("the feed is mended")


def test_the_model_is_loaded_by_mlflow_outside_the_repository(clone: Clone, tmp_path: Any) -> None:
    code = (
        "import mlflow, pandas as pd;"
        f"mlflow.set_tracking_uri('sqlite:///{clone.root}/mlflow/mlflow.db');"
        "m = mlflow.sklearn.load_model('models:/churn_model@production');"
        "x = pd.DataFrame({'spend': [2.0, None], 'calls': [-1.0, 9.0], 'plan': ['NA', 'new'],"
        "'paperless': pd.Series([True, None], dtype=object)});"
        "print('LOADED', m.predict(x).tolist())"
    )
    said = clone.run("bash", "-c", f'cd "{tmp_path}" && python -c "$1"', "-", code)
    assert "LOADED [" in said


def test_a_candidate_that_cannot_gain_enough_is_rejected(clone: Clone) -> None:
    before = clone.registry()
    clone.set(train={"logistic_regression": {"C": 0.01}}, compare={"delta": 0.2})
    assert ran(clone.make("repro")) == {"train", "evaluate", "compare", "promote"}
    assert clone.report("compare")["verdict"] == "reject"
    assert clone.outcome() == ("rejected", None)
    assert clone.registry() == before


def test_a_candidate_of_which_too_little_is_known_stays_undecided(clone: Clone) -> None:
    before = clone.registry()
    clone.set(compare={"delta": 0.0})
    assert ran(clone.make("repro")) == {"compare", "promote"}
    report = clone.report("compare")
    assert report["verdict"] == "undecided"
    assert report["interval"][0] <= 0 <= report["interval"][1]
    assert clone.outcome() == ("undecided", None)
    assert clone.registry() == before


def test_what_does_not_await_is_not_promoted_without_a_reason(clone: Clone) -> None:
    before = clone.registry()
    said = clone.make("promote", status=1)
    assert "error: " in said
    assert "REASON" in said
    assert "Traceback" not in said
    assert clone.registry() == before


def test_a_person_promotes_by_hand_and_the_ledger_says_so(clone: Clone) -> None:
    clone.make("promote", REASON='it\'s "calmer" & cheaper')
    assert clone.outcome() == ("promoted", 3)
    assert 'it\'s "calmer" & cheaper' in " ".join(clone.make("history").split())
    assert ran(clone.make("repro")) == set()
    clone.commit("by hand")


def test_rollback_puts_the_previous_model_back_and_repro_leaves_it_there(clone: Clone) -> None:
    clone.make("rollback", REASON="support is flooded")
    after = clone.registry()
    assert after["alias"] == {"production": 2}
    clone.make("repro")
    clone.run("dvc", "repro", "--force", "--single-item", "compare")
    clone.make("repro")
    assert clone.outcome()[0] == "rejected"
    assert "rolled back" in clone.report("compare")["reasons"][0]
    assert clone.registry() == after


def test_the_registry_can_be_deleted_and_restored(clone: Clone) -> None:
    before, history = clone.registry(), clone.make("history")
    shutil.rmtree(clone.root / "mlflow")
    assert "make restore" in clone.make("status")
    clone.make("restore")
    assert clone.registry() == before
    assert clone.make("history") == history
