"""The ledger as a value: the chain, and what its events add up to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.registry import ledger
from stages.registry.ledger import Event, Kind, Move


def digest(number: int) -> str:
    return f"{number:064x}"


def move(kind: Kind, before: int | None, to: int, **other: Any) -> Move:
    values: dict[str, Any] = {
        "candidate": digest(to),
        "who": "Ada",
        "why": "it is better",
        "when": "2026-11-20T10:00:00Z",
        "by_hand": False,
        "evidence": {"gain": 0.01},
    }
    return Move(kind, before, to, **{**values, **other})


def chain(*moves: Move) -> list[Event]:
    events: list[Event] = []
    for one in moves:
        events.append(ledger.append(events, one))
    return events


def promotions(count: int) -> list[Move]:
    return [move("promote", n - 1 or None, n) for n in range(1, count + 1)]


def test_events_are_numbered_from_one_and_each_bears_the_hash_of_the_one_before() -> None:
    events = chain(*promotions(3))
    assert [event.n for event in events] == [1, 2, 3]
    assert [event.prev for event in events] == [ledger.START, events[0].hash, events[1].hash]
    assert ledger.broken_at(events) is None


@given(
    why=st.text(),
    evidence=st.dictionaries(
        st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.none()
    ),
)
def test_an_event_is_read_back_as_it_was_written(why: str, evidence: dict[str, Any]) -> None:
    event = chain(move("promote", None, 1, why=why, evidence=evidence))[0]
    text = ledger.to_text(event)
    assert "\n" not in text
    assert ledger.from_text(text) == event
    assert ledger.to_text(ledger.from_text(text)) == text


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "change",
    [{"who": "Eve"}, {"to_version": 9}, {"evidence": {}}, {"when": "2020-01-01T00:00:00Z"}],
)
def test_a_changed_event_breaks_the_chain_where_it_stands(at: int, change: dict[str, Any]) -> None:
    events = chain(*promotions(3))
    events[at - 1] = replace(events[at - 1], **change)
    assert ledger.broken_at(events) == at


def test_a_dropped_event_breaks_the_chain_where_it_was() -> None:
    events = chain(*promotions(4))
    assert ledger.broken_at([events[0], *events[2:]]) == 2


def test_an_event_that_was_written_anew_with_its_hash_breaks_the_chain_behind_it() -> None:
    events = chain(*promotions(3))
    forged = ledger.append(events[:1], move("promote", 1, 2, who="Eve"))
    assert ledger.broken_at([events[0], forged, events[2]]) == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"n": 1}', "null"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ledger.from_text(text)


def test_nothing_is_in_production_before_the_first_event() -> None:
    state = ledger.state([])
    assert (state.production, state.digest, state.rollback_target) == (None, None, None)


def test_a_rollback_goes_to_the_model_that_was_there_before_and_quarantines_what_it_left() -> None:
    state = ledger.state(chain(*promotions(3), move("rollback", 3, 2)))
    assert (state.production, state.digest) == (2, digest(2))
    assert set(state.quarantined) == {digest(3)}
    assert state.rollback_target == 1


def test_a_rollback_skips_what_is_quarantined_and_is_not_version_minus_one() -> None:
    events = chain(*promotions(3), move("rollback", 3, 2), move("promote", 2, 4))
    assert ledger.state(events).rollback_target == 2


def test_the_second_rollback_goes_further_back_and_not_forth_again() -> None:
    events = chain(*promotions(3), move("rollback", 3, 2), move("rollback", 2, 1))
    state = ledger.state(events)
    assert set(state.quarantined) == {digest(2), digest(3)}
    assert state.rollback_target is None


def test_naming_a_quarantined_version_lifts_its_quarantine_and_puts_nothing_else_into_one() -> None:
    events = chain(*promotions(3), move("rollback", 3, 2), move("rollback", 2, 3, by_hand=True))
    state = ledger.state(events)
    assert (state.production, dict(state.quarantined), state.rollback_target) == (3, {}, 2)


def test_an_adopted_model_is_production_and_quarantines_nothing() -> None:
    state = ledger.state(chain(*promotions(1), move("adopt", 1, 7)))
    assert (state.production, dict(state.quarantined), state.rollback_target) == (7, {}, 1)


def test_putting_the_alias_back_changes_nothing_but_the_record() -> None:
    before = ledger.state(chain(*promotions(2)))
    after = ledger.state(chain(*promotions(2), move("put back", 7, 2)))
    assert (after.production, after.since, after.productions) == (
        before.production,
        before.since,
        before.productions,
    )


@pytest.mark.parametrize(
    ("day", "version"),
    [("2026-11-01", None), ("2026-11-02", 1), ("2026-11-03", 1), ("2026-11-05", 2)],
)
def test_what_was_in_production_on_a_day_is_what_was_there_at_its_end(
    day: str, version: int | None
) -> None:
    events = chain(
        move("promote", None, 1, when="2026-11-02T23:59:59Z"),
        move("promote", 1, 2, when="2026-11-05T00:00:00Z"),
    )
    found = ledger.as_of(events, date.fromisoformat(day))
    assert (found.to_version if found else None) == version


def test_the_evidence_about_a_model_survives_moves_that_bring_none() -> None:
    events = chain(*promotions(2), move("rollback", 2, 1, evidence={}))
    assert ledger.evidence(events, digest(1)) == {"gain": 0.01}
    assert ledger.evidence(events, digest(9)) == {}


@pytest.mark.parametrize(
    ("applied", "alias", "expected"),
    [
        (True, 2, "settled"),
        (True, 1, "moved by hand"),
        (True, None, "moved by hand"),
        (False, 2, "interrupted"),
        (False, 1, "interrupted"),
        (False, None, "interrupted"),
        (False, 3, "moved by hand"),
    ],
)
def test_the_mark_tells_an_interrupted_move_from_an_alias_that_was_moved_by_hand(
    applied: bool, alias: int | None, expected: str
) -> None:
    assert ledger.standing(chain(*promotions(2))[-1], applied, alias) == expected


def test_an_alias_without_a_ledger_was_moved_by_hand() -> None:
    assert ledger.standing(None, False, 1) == "moved by hand"
    assert ledger.standing(None, False, None) == "settled"


@pytest.mark.parametrize(
    ("by_hand", "verdict", "expected"),
    [
        (False, "promote", "promote"),
        (True, "promote", "promote, approved"),
        (True, "undecided", "promote, by hand"),
    ],
)
def test_a_promotion_by_hand_is_told_from_an_approved_verdict(
    by_hand: bool, verdict: str, expected: str
) -> None:
    event = chain(move("promote", None, 1, by_hand=by_hand, evidence={"verdict": verdict}))[0]
    assert ledger.what(event) == expected
