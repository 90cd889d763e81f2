"""What the page says, in words and plain values: facts in, a view out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page import challenger, form, heat, line, now, placing, record, words
from stages.registry import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from page.facts import Facts


def view(facts: Facts) -> dict[str, Any]:
    """Everything that the template shows, by section."""
    events = [_event(values) for values in facts.events]
    state = ledger.state(events)
    left = production_left(facts, state)
    return {
        "as_of": words.moment(facts.as_of),
        "as_of_iso": facts.as_of,
        "now": now.now(facts, events, state, left),
        "world": line.world(facts, state, left),
        "time_line": line.time_line(facts, state),
        "heat": heat.heat(facts),
        "distributions": heat.distributions(facts),
        "candidate": challenger.candidate(facts),
        "ledger": record.events_table(facts, events),
        "runs": record.runs_table(facts, state),
        "form": form.fields(facts),
        "production": state.production,
        "unknown": facts.trouble is not None,
        "next_month": now.commands(facts.next_month),
        "evidently": facts.evidently,
    }


def production_left(facts: Facts, state: ledger.State) -> list[str] | None:
    """The months that drifted since production was trained; see `placing.left`."""
    if state.digest is None:
        return []
    return placing.left(facts.drift, facts.runs, facts.events, state.digest)


def _event(values: Mapping[str, Any]) -> ledger.Event:
    return ledger.Event(**{name: value for name, value in values.items() if name != "month"})
