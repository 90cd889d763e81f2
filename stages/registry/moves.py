"""Carry out a move: the event first, then the alias, the copy, and last the mark that all is done.

A kill between two of these leaves an event that is not marked; whoever writes next completes it.
"""

from __future__ import annotations

import getpass
import subprocess
from datetime import UTC, datetime
from typing import Any

from stages.registry import ledger, ledger_copy, store
from stages.shared import files
from stages.shared.errors import UserError
from stages.shared.terminal import printable


def gather() -> store.Registry:
    """Read the registry, checked against the copy of its ledger.

    Raises:
        UserError: the ledger was changed, or lost what its copy still knows.
    """
    copied = ledger_copy.read()  # first: what is copied was in the registry before
    now = store.read()
    store.check(now, copied)
    return now


def settle(now: store.Registry) -> store.Registry:
    """Complete what a kill interrupted, and bring the copy up to date.

    Raises:
        UserError: somebody moved the alias by hand.
    """
    store.refuse_moved_by_hand(now)
    if now.head and now.standing == "interrupted":
        return follow(now.head)
    ledger_copy.refresh(now.events)
    return now


def carry_out(now: store.Registry, move: ledger.Move) -> store.Registry:
    """Write the event for ``move`` behind those of ``now``, and let the alias follow.

    Raises:
        UserError: somebody else was faster; nothing was changed.
    """
    event = ledger.append(now.events, move)
    if not store.append(event):
        faster = gather().head
        found = f"version {faster.to_version}, by {faster.who}" if faster else "unknown"
        raise UserError(
            f"somebody else moved production at the same moment (it is now {found}): nothing was "
            "changed; `make status` says what to do"
        )
    return follow(event)


def follow(event: ledger.Event) -> store.Registry:
    """Complete an event: alias, copy, mark; and the next one too, if it came meanwhile."""
    while True:
        store.point(event.to_version)
        ledger_copy.refresh(gather().events)
        store.mark_applied(event)
        now = store.read()
        if now.head is None or now.head.n == event.n:
            return now
        event = now.head


def new(
    kind: ledger.Kind,
    now: store.Registry,
    to_version: int,
    candidate: str,
    why: str,
    *,
    by_hand: bool,
    evidence: dict[str, Any],
) -> ledger.Move:
    """A move away from what ``now`` says is in production, by whoever runs this, at this moment."""
    return ledger.Move(
        kind=kind,
        from_version=now.alias if kind == "put back" else ledger.state(now.events).production,
        to_version=to_version,
        candidate=candidate,
        who=who(),
        why=why,
        when=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        by_hand=by_hand,
        evidence=evidence | newest_month(),
    )


def newest_month() -> dict[str, str]:
    """The newest month that was there: the clock does not tell it where months are replayed."""
    months = sorted(path.stem for path in files.MONTHS.glob("*.parquet"))
    return {"month": months[-1]} if months else {}


def who() -> str:
    """The name that git knows, or else the login name; on one line, whatever is in it."""
    try:
        asked = ["git", "config", "user.name"]
        named = subprocess.run(asked, cwd=files.ROOT, capture_output=True, check=False).stdout
        return printable(" ".join(named.decode(errors="replace").split()) or getpass.getuser())
    except (OSError, KeyError):  # no git; a container may run as a user without a name
        return "unknown"
