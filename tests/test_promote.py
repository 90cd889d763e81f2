"""The sixth stage: a verdict is carried out if what it rests on still holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import registry_fixtures
from registry_fixtures import REASONS, Shop

from stages import promote
from stages.commands import rollback
from stages.promote import Decision, Facts
from stages.registry import evidence, ledger, store
from stages.shared import files
from stages.shared.errors import UserError

# MLflow warns about its own code.
pytestmark = pytest.mark.filterwarnings("ignore")


def event(
    kind: ledger.Kind, before: int | None, to: int, candidate: str, compare: str = ""
) -> ledger.Move:
    known = {"compare_sha256": compare}
    when = "2026-11-20T10:00:00Z"
    return ledger.Move(kind, before, to, candidate, "Ada", "why", when, False, known)


def chain(*moves: ledger.Move) -> list[ledger.Event]:
    events: list[ledger.Event] = []
    for one in moves:
        events.append(ledger.append(events, one))
    return events


FACTS = Facts(
    candidate="new",
    verdict="promote",
    reasons=REASONS,
    gate_passed=True,
    compared_with=1,
    compare_sha256="this",
    events=chain(event("promote", None, 1, "old")),
)


def test_a_verdict_of_promote_moves_production() -> None:
    assert promote.plan(FACTS, waits=False) == Decision("promoted", REASONS, moves=True)


def test_a_verdict_that_waits_for_a_person_moves_nothing() -> None:
    assert promote.plan(FACTS, waits=True) == Decision("awaiting approval", REASONS)


@pytest.mark.parametrize(
    ("verdict", "outcome"), [("reject", "rejected"), ("undecided", "undecided")]
)
@pytest.mark.parametrize("waits", [True, False])
def test_any_other_verdict_moves_nothing(verdict: str, outcome: str, waits: bool) -> None:
    assert promote.plan(replace(FACTS, verdict=verdict), waits=waits) == Decision(outcome, REASONS)


def test_a_candidate_that_fails_the_gates_is_rejected_whatever_the_verdict_says() -> None:
    facts = replace(FACTS, gate_passed=False)
    assert promote.plan(facts, waits=False) == Decision("rejected", REASONS)


@pytest.mark.parametrize("verdict", ["promote", "reject", "undecided"])
def test_a_verdict_about_another_production_is_refused(verdict: str) -> None:
    facts = replace(FACTS, verdict=verdict, compared_with=3)
    with pytest.raises(UserError) as error:
        promote.plan(facts, waits=False)
    assert str(error.value) == (
        "production is now version 1, but the comparison was with version 3; compare again: "
        "dvc repro --force --single-item compare && dvc repro"
    )


def test_a_verdict_about_no_production_is_refused_once_there_is_one() -> None:
    with pytest.raises(UserError, match="now version 1, but the comparison was with none"):
        promote.plan(replace(FACTS, compared_with=None), waits=False)


def test_what_was_carried_out_before_is_promoted_once_more_without_moving() -> None:
    events = chain(event("promote", None, 1, "old"), event("promote", 1, 2, "new", "this"))
    assert promote.plan(replace(FACTS, events=events), waits=False) == Decision("promoted", REASONS)


def test_a_candidate_that_is_in_production_on_another_comparison_stays_there() -> None:
    events = chain(event("promote", None, 1, "old"), event("promote", 1, 2, "new", "another"))
    found = promote.plan(replace(FACTS, events=events), waits=False)
    assert found == Decision("already in production", REASONS)


@pytest.mark.parametrize("compared_with", [1, 2, 3])
def test_a_quarantined_candidate_is_rejected_whatever_it_was_compared_with(
    compared_with: int,
) -> None:
    events = chain(
        event("promote", None, 1, "old"),
        event("promote", 1, 2, "new", "this"),
        event("rollback", 2, 1, "old"),
    )
    found = promote.plan(replace(FACTS, events=events, compared_with=compared_with), waits=False)
    assert found.outcome == "rejected"
    assert found.reasons[-1] == "quarantined: version 2 was rolled back"
    assert not found.moves


def test_a_person_approves_with_the_reasons_of_the_verdict() -> None:
    assert promote.approve(FACTS, None) == f"approved: {REASONS[0]}"
    assert promote.approve(FACTS, "looked at it") == "looked at it"


def test_nothing_to_approve_is_said_with_the_way_to_promote_all_the_same() -> None:
    facts = replace(FACTS, verdict="undecided", reasons=("too few rows",))
    with pytest.raises(UserError) as error:
        promote.approve(facts, None)
    assert str(error.value) == (
        "nothing awaits approval: the verdict on candidate new is undecided (too few rows); to "
        "promote it all the same: make promote REASON='…'"
    )


@pytest.mark.parametrize("verdict", ["undecided", "reject"])
def test_with_a_reason_a_person_promotes_what_passes_the_gates(verdict: str) -> None:
    assert promote.approve(replace(FACTS, verdict=verdict), "season") == "season"


@pytest.mark.parametrize("reason", [None, "season"])
def test_not_even_a_person_promotes_what_fails_the_gates(reason: str | None) -> None:
    with pytest.raises(UserError, match="does not pass the gates"):
        promote.approve(replace(FACTS, gate_passed=False), reason)


def test_a_person_is_told_how_a_quarantine_is_lifted() -> None:
    events = chain(
        event("promote", None, 1, "old"),
        event("promote", 1, 2, "new"),
        event("rollback", 2, 1, "old"),
    )
    with pytest.raises(UserError, match=r"make rollback VERSION=2 REASON='…'$"):
        promote.approve(replace(FACTS, events=events), "season")


# --- the stage with a real registry -------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shop:
    return registry_fixtures.shop(tmp_path, monkeypatch, capsys)


def events() -> tuple[ledger.Event, ...]:
    return store.read().events


def test_the_first_candidate_becomes_version_1_in_production(shop: Shop) -> None:
    digest = shop.candidate()
    said = shop.stage()
    assert said.out.splitlines() == [
        f"promote: candidate {digest[:12]}, as version 1: promoted",
        f"  {REASONS[0]}",
    ]
    assert shop.clone.receipt() == {
        "outcome": "promoted",
        "version": 1,
        "reasons": list(REASONS),
    }
    now = store.read()
    assert (now.alias, now.standing) == (1, "settled")
    assert (store.production().version, store.production().digest) == (1, digest)


def test_the_ledger_says_what_from_to_who_why_when_and_on_which_evidence(shop: Shop) -> None:
    digest = shop.promoted()
    found = events()[0]
    assert (found.kind, found.from_version, found.to_version) == ("promote", None, 1)
    assert (found.candidate, found.why, found.by_hand) == (digest, REASONS[0], False)
    assert found.who
    assert found.when.endswith("Z")
    assert found.evidence["gain"] == 0.01
    assert found.evidence["auc"] == 0.7
    assert found.evidence["window"] == ["1997-04", "1997-05"]
    assert found.evidence["compare_sha256"] == files.sha256(files.REPORTS / "compare.json")


def test_promoting_twice_is_promoting_once(shop: Shop) -> None:
    shop.given(1)
    receipt = (files.REPORTS / "promote.json").read_bytes()
    before = events()
    shop.stage()
    assert events() == before
    assert list(store.versions()) == [1]
    assert (files.REPORTS / "promote.json").read_bytes() == receipt


def test_the_copy_of_the_ledger_holds_its_very_bytes(shop: Shop) -> None:
    shop.given(1)
    shop.promoted(2.0)
    copy = (files.ROOT / "models" / "ledger.jsonl").read_text().splitlines()
    assert copy == [ledger.to_text(one) for one in events()]


def test_a_candidate_that_is_not_promoted_has_a_run_and_no_version(shop: Shop) -> None:
    digest = shop.candidate(verdict="undecided")
    assert shop.stage().status == 0
    assert shop.clone.receipt()["outcome"] == "undecided"
    assert shop.clone.receipt()["version"] is None
    assert store.versions() == {}
    assert [run.data.tags["digest"] for run in runs()] == [digest]


def test_a_moved_production_stops_the_stage_with_one_line_and_moves_nothing(shop: Shop) -> None:
    shop.given(2)
    digest = shop.clone.candidate(3.0)
    shop.clone.reports(digest, 1)
    said = shop.stage()
    assert said.status == 1
    assert said.err == (
        "error: production is now version 2, but the comparison was with version 1; compare "
        "again: dvc repro --force --single-item compare && dvc repro\n"
    )
    assert store.production().version == 2
    assert list(store.versions()) == [1, 2]


def test_reports_about_another_candidate_are_refused(shop: Shop) -> None:
    shop.candidate()
    digest = shop.clone.candidate(2.0)
    said = shop.stage()
    assert said.status == 1
    assert f"models/candidate is {digest[:12]}: type `dvc repro`" in said.err


def test_after_a_rollback_the_bad_model_does_not_come_back(shop: Shop) -> None:
    shop.given(2)
    assert shop.call(rollback.main).out == (
        "rollback: version 1 is in production again; version 2 is quarantined\n"
    )
    assert shop.stage().status == 0
    assert shop.clone.receipt()["outcome"] == "rejected"
    assert shop.clone.receipt()["version"] == 2
    said = shop.call(promote.main, "--by-hand", "--reason", "I want it")
    assert said.status == 1
    assert "make rollback VERSION=2 REASON='…'" in said.err
    assert store.production().version == 1


def test_under_manual_approval_the_verdict_waits_and_a_person_carries_it_out(shop: Shop) -> None:
    shop.clone.approval("manual")
    digest = shop.candidate()
    said = shop.stage()
    assert said.out.splitlines()[0] == f"promote: candidate {digest[:12]}: awaiting approval"
    assert said.out.splitlines()[-1] == "  to say yes: make promote"
    assert store.production().version is None

    said = shop.call(promote.main, "--by-hand", "--reason", "")
    assert said.out.splitlines()[0] == f"promote: candidate {digest[:12]}, as version 1: promoted"
    assert shop.clone.receipt()["outcome"] == "promoted"
    assert events()[0].by_hand
    assert events()[0].why == f"approved: {REASONS[0]}"


def test_a_person_promotes_an_undecided_candidate_with_a_reason(shop: Shop) -> None:
    shop.given(1)
    shop.candidate(2.0, "undecided")
    shop.stage()
    said = shop.call(promote.main, "--by-hand")
    assert said.status == 1
    assert said.err.startswith("error: nothing awaits approval")
    assert len(events()) == 1
    assert shop.call(promote.main, "--by-hand", "--reason", "the season\nstarts").status == 0
    assert (events()[1].by_hand, events()[1].why) == (True, "the season starts")
    assert events()[1].evidence["verdict"] == "undecided"
    # The stage, forced, says the same.
    receipt = (files.REPORTS / "promote.json").read_bytes()
    shop.stage()
    assert (files.REPORTS / "promote.json").read_bytes() == receipt


def test_approving_twice_says_that_it_is_in_production(shop: Shop) -> None:
    shop.given(1)
    lock = {"stages": {"promote": {"outs": [{"path": "reports/promote.json", "md5": md5()}]}}}
    files.LOCK.write_text(json.dumps(lock))
    said = shop.call(promote.main, "--by-hand")
    assert said.status == 1
    assert said.err.endswith("already is in production, as version 1: nothing to do\n")
    assert len(events()) == 1


def test_an_experiment_moves_nothing_and_its_verdict_waits(shop: Shop) -> None:
    shop.given(1)
    digest = shop.candidate(2.0)
    shop.monkeypatch.setenv("DVC_EXP_NAME", "brave-goat")
    assert shop.stage().status == 0
    assert shop.clone.receipt()["outcome"] == "awaiting approval"
    assert store.production().version == 1
    assert list(store.versions()) == [1]
    assert len(events()) == 1
    assert shop.call(promote.main, "--by-hand").status == 1

    shop.monkeypatch.delenv("DVC_EXP_NAME")  # applied
    assert shop.call(promote.main, "--by-hand").status == 0
    assert store.production().digest == digest


def test_an_alias_that_was_moved_by_hand_stops_the_stage_with_both_ways_out(shop: Shop) -> None:
    shop.given(2)
    store.point(1)
    said = shop.stage()
    assert said.status == 1
    assert said.err == (
        "error: the alias production was moved by hand: it names version 1, the ledger knows "
        "version 2: to adopt it: make rollback VERSION=1 REASON='…'; to put it back: make "
        "rollback VERSION=2 REASON='…'\n"
    )


def test_an_unknown_option_is_one_line(shop: Shop) -> None:
    said = shop.call(promote.main, "--by-hnd")
    assert (said.status, said.err) == (1, "error: unrecognized arguments: --by-hnd\n")


# --- the run and the model in MLflow ------------------------------------------------------------


def runs() -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name("churn_model")
    return list(client.search_runs([found.experiment_id])) if found else []


def md5() -> str:
    import hashlib

    receipt = (files.REPORTS / "promote.json").read_bytes()
    return hashlib.md5(receipt, usedforsecurity=False).hexdigest()


def test_a_run_holds_parameters_metrics_plots_and_the_candidate_s_own_files(shop: Shop) -> None:
    shop.given(1)
    run = runs()[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["window"] == "1997-04, 1997-05"
    assert run.data.params["train_sha256"] == "0" * 64
    assert run.data.params["holdout_sha256"] == "1" * 64
    assert run.data.params["hyperparameters.C"] == "1.0"
    assert run.data.metrics["auc"] == 0.7
    assert run.data.metrics["compare.gain"] == 0.01
    assert run.data.metrics["compare.interval_high"] == 0.02
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "candidate/golden.json",
        "candidate/model.json",
        "candidate/model.skops",
        "candidate/servable.json",
        "reports/compare.json",
        "reports/evaluate.json",
        "reports/plots/roc.json",
        "reports/train.json",
    }


def test_another_comparison_of_the_same_candidate_is_noted_in_its_one_run(shop: Shop) -> None:
    shop.candidate(verdict="undecided")
    shop.stage()
    shop.candidate(gain=0.02)
    shop.stage()
    assert [run.data.metrics["compare.gain"] for run in runs()] == [0.02]
    assert runs()[0].data.tags["verdict"] == "promote"


def test_the_model_is_saved_without_pickle_with_signature_and_input_example(shop: Shop) -> None:
    from mlflow.models import get_model_info

    shop.promoted()
    info = get_model_info("models:/churn_model@production")
    assert info.signature is not None
    assert info.signature.to_dict()["inputs"] == (
        '[{"type": "double", "name": "recency", "required": true}, '
        '{"type": "string", "name": "plan", "required": true}, '
        '{"type": "boolean", "name": "paperless", "required": true}]'
    )
    assert info.saved_input_example_info is not None
    saved = [path.name for path in (files.ROOT / "mlflow").rglob("*")]
    assert "model.skops" in saved
    assert not [name for name in saved if name.endswith((".pkl", ".pickle", ".joblib"))]


@pytest.mark.slow
def test_the_model_loads_outside_the_repository(shop: Shop, tmp_path: Path) -> None:
    shop.given(1)
    code = (
        "import mlflow.sklearn, pandas as pd\n"
        "model = mlflow.sklearn.load_model('models:/churn_model@production')\n"
        "rows = pd.DataFrame({'recency': [1.0, 60.0], 'plan': ['NA', None],\n"
        "                     'paperless': [True, None]})\n"
        "import mlflow.pyfunc\n"
        "print(list(model.predict(rows)))\n"
        "served = mlflow.pyfunc.load_model('models:/churn_model@production')\n"
        "print(list(served.predict(rows[:1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "MLFLOW_TRACKING_URI": f"sqlite:///{files.ROOT}/mlflow/mlflow.db",
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[") == 2


def test_the_evidence_knows_where_dvc_keeps_the_files(shop: Shop) -> None:
    lock = {
        "stages": {
            "train": {"outs": [{"path": "models/candidate", "md5": f"{7:032x}.dir"}]},
            "drift": {"outs": [{"path": "data/train.parquet", "md5": f"{8:032x}"}]},
        }
    }
    files.LOCK.write_text(json.dumps(lock))
    shop.promoted()
    assert events()[0].evidence["files"] == {"models/candidate": f"{7:032x}.dir"}
    assert evidence.addresses(["drift"]) == {"data/train.parquet": f"{8:032x}"}
