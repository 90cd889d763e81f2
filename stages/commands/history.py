"""`make history [AS_OF=YYYY-MM-DD]`: the ledger as a table, or what was in production on a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from stages.registry import cli, ledger, ledger_copy, store
from stages.shared import errors, words
from stages.shared.errors import UserError
from stages.shared.terminal import say

HEADS = ("n", "when (UTC)", "what", "version", "who", "why", "gain", "AUC")


def rows(events: Sequence[ledger.Event]) -> list[tuple[str, ...]]:
    """A row for each event, as people read it."""
    return [_row(event) for event in events]


def _row(event: ledger.Event) -> tuple[str, ...]:
    return (
        str(event.n),
        event.when.replace("T", " ").rstrip("Z")[:16],
        ledger.what(event),
        f"{event.from_version or 'none'} → {event.to_version}",
        event.who,
        event.why,
        _figure(event.evidence.get("gain"), "+.4f"),
        _figure(event.evidence.get("auc"), ".3f"),
    )


def _figure(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""


def sentence(events: Sequence[ledger.Event], day: date) -> str:
    """What was in production at the end of ``day``, and why."""
    event = ledger.as_of(events, day)
    if event is None:
        return f"on {day} nothing was in production"
    return (
        f"on {day} version {event.to_version} was in production: {ledger.what(event)} by "
        f"{event.who} on {event.when[:10]}: {event.why}"
    )


def day(value: str) -> date | None:
    """A day that make may pass on empty."""
    if not value.strip():
        return None
    try:
        return date.fromisoformat(value.strip())
    except ValueError:
        raise UserError(f"AS_OF={value} is no day: write it as YYYY-MM-DD") from None


def main() -> None:
    """Print the ledger, and whether its chain is whole."""
    parser = cli.parser("show every move of the alias production")
    parser.add_argument("--as-of", type=day)
    given = parser.parse_args()
    copied = ledger_copy.read()
    now = store.read()
    if given.as_of:
        store.check(now, copied)
        say(sentence(now.events, given.as_of))
        return
    if now.events:
        words.table("every move of the alias production", HEADS, rows(now.events))
    store.check(now, copied)
    ledger_copy.refresh(now.events)
    count = len(now.events)
    print(f"{count} event{'s' * (count != 1)}, chain verified" if count else "no event yet")
    for number, code in store.distrusted(ledger.state(now.events), store.versions()).items():
        say(store.why_distrusted(number, code))
    if now.contradicts:
        say(f"{store.by_hand(now)}; {'; '.join(store.remedies(now))}")


if __name__ == "__main__":
    errors.run(main)
