"""The table at the end of `make repro`."""

from __future__ import annotations

from stages.commands import repro
from stages.shared.dvc_files import Entry

LINES = [
    "'data/raw.dvc' didn't change, skipping\n",
    "Running stage 'ingest':\n",
    "> python -m stages.ingest\n",
    "Running stage 'drift':\n",
    "Stage 'train' didn't change, skipping\n",
    "Stage 'evaluate' is cached - skipping run, checking out outputs\n",
    "Running stage 'compare':\n",
    "ERROR: failed to reproduce 'compare': failed to run: python -m stages.compare\n",
]


def entry(raw: str = "1", code: str = "a", threshold: float = 0.3) -> Entry:
    return Entry(
        command="python",
        reads={"data/raw": raw, "stages/drift.py": code},
        parameters={"params.yaml": {"drift": {"threshold": threshold, "salt": "s"}}},
    )


def test_what_became_of_each_stage_is_read_from_dvcs_words() -> None:
    assert repro.outcomes(LINES) == {
        "ingest": "ran",
        "drift": "ran",
        "train": "skipped",
        "evaluate": "restored",
        "compare": "failed",
    }


def test_the_table_has_all_six_stages_and_says_what_was_not_reached() -> None:
    table = repro.rows(repro.outcomes(LINES), {}, {})
    assert [row[0] for row in table] == list(repro.STAGES)
    assert table[-1] == ("promote", "not reached", "DVC stopped before it, or was not asked for it")


def test_a_run_with_nothing_to_do_skips_all_six() -> None:
    lines = [f"Stage '{stage}' didn't change, skipping\n" for stage in repro.STAGES]
    assert {row[1] for row in repro.rows(repro.outcomes(lines), {}, {})} == {"skipped"}


def test_a_dvc_that_did_not_start_reached_no_stage() -> None:
    lines = ["ERROR: Unable to acquire lock.\n"]
    assert {row[1] for row in repro.rows(repro.outcomes(lines), {}, {})} == {"not reached"}


def test_why_a_stage_ran_is_what_differs_in_its_lock() -> None:
    for after, said in (
        (entry(raw="2"), "changed: data/raw"),
        (entry(code="b"), "changed: stages/drift.py"),
        (entry(threshold=0.4), "changed: drift.threshold"),
        (entry(raw="2", threshold=0.4), "changed: data/raw, drift.threshold"),
        (entry(), "what it wrote was missing or changed"),
    ):
        assert repro.why("drift", {"drift": entry()}, {"drift": after}) == said
    assert repro.why("drift", {}, {"drift": entry()}) == "never ran before"


def test_what_stages_say_is_passed_on_and_dvcs_own_talk_is_not() -> None:
    passed = [line for line in LINES if not repro._NOISE.match(line)]
    assert passed == []
    said = ["drift: 15 months, 1997-04..1998-06\n", "  1997-10 against 1997-04\n", "error: no\n"]
    assert [line for line in said if not repro._NOISE.match(line)] == said
