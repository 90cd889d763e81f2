"""`make rollback [VERSION=n] [REASON=…]`: put an earlier model back, or settle a moved alias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.registry import cli, evidence, ledger, moves, store
from stages.shared import candidate, errors, files
from stages.shared.errors import UserError
from stages.shared.terminal import say


@dataclass(frozen=True)
class Choice:
    """What a rollback amounts to."""

    kind: ledger.Kind
    version: int


def choose(
    now: store.Registry,
    known: Mapping[int, store.Version],
    version: int | None,
    reason: str | None,
) -> Choice:
    """Which version comes back, and as what.

    Args:
        now: the registry.
        known: the versions that are registered.
        version: what the person named.
        reason: why; needed for all but the way back to the version before.

    Raises:
        UserError: there is no way back, or the named one needs a reason, or is no way back.
    """
    state = ledger.state(now.events)
    if version is None:
        store.refuse_moved_by_hand(now)
        version = _target(state, known)
    there = _present(state, known, version)
    if there is None:
        names = ", ".join(map(str, known)) or "none"
        lost = ": it was there once; to rebuild a registry: make restore"
        raise UserError(
            f"there is no version {version} of {store.MODEL} (there is: {names})"
            f"{lost if version in state.digests else ''}"
        )
    digest = state.digests.get(version, known[there].digest)
    kind = _kind(now, state, version, digest)
    plain = kind == "rollback" and now.standing == "settled"
    if reason is None and (not plain or digest in state.quarantined):
        raise UserError(f"{_why_reason(state, version, digest)} REASON='…'")
    return Choice(kind, there)


def _present(state: ledger.State, known: Mapping[int, store.Version], version: int) -> int | None:
    """The number under which the registry has a version: another one after `make restore`."""
    digest = state.digests.get(version)
    if digest is None:
        return version if version in known else None
    same = [v.number for v in known.values() if v.digest == digest]
    return max(same, default=version if version in known else None)


def _target(state: ledger.State, known: Mapping[int, store.Version]) -> int:
    if state.production is None:
        raise UserError("nothing is in production: there is nothing to roll back")
    for version in state.rollback_targets:
        if _present(state, known, version) is not None:
            return version
    if state.rollback_target is not None:
        return state.rollback_target  # which is not there: that is said
    quarantined = sorted({v for v in state.productions if state.is_quarantined(v)})
    if quarantined:
        raise UserError(
            f"what was in production before version {state.production} is quarantined; to put it "
            f"back all the same: make rollback VERSION={quarantined[-1]} REASON='…'"
        )
    raise UserError(f"nothing was in production before version {state.production}: no way back")


def _kind(
    now: store.Registry, state: ledger.State, version: int, digest: str | None
) -> ledger.Kind:
    was_in_production = digest in {state.digests[v] for v in state.productions}
    if now.contradicts:
        if version == now.alias:
            return "adopt"
        if version == state.production:
            return "put back"
        if now.alias is not None or not was_in_production:
            store.refuse_moved_by_hand(now)
        return "rollback"  # production itself may be gone: then this is the only way on
    if state.production is None:
        return "adopt"
    if digest == state.digest:
        raise UserError(f"version {version} is in production already: nothing to do")
    if not was_in_production:
        raise UserError(
            f"version {version} never was in production, so there is no way back to it; "
            "`make promote` is the way forward"
        )
    return "rollback"


def _why_reason(state: ledger.State, version: int, digest: str | None) -> str:
    command = f"make rollback VERSION={version}"
    by = state.quarantined.get(digest or "")
    if by is not None:
        return (
            f"version {version} is quarantined ({by.who} rolled it back on {by.when[:10]}: "
            f"{by.why}); to put it back all the same: {command}"
        )
    return f"to put version {version} into production without a comparison, say why: {command}"


def taken_up(before: store.Registry, version: int | None) -> bool:
    """Whether the command asks again for what a kill interrupted: then completing it is all."""
    head = before.head
    if head is None or head.kind == "promote" or before.standing != "interrupted":
        return False
    return version is None or version == head.to_version


def main() -> None:
    """Roll back, adopt or put back, and say what is in production now."""
    parser = cli.parser("put back the previous production model")
    parser.add_argument("--version", type=cli.version)
    parser.add_argument("--reason", type=cli.text)
    given = parser.parse_args()
    before = moves.gather()
    now = moves.settle(before) if before.standing == "interrupted" else before
    if now.head and taken_up(before, given.version):
        say(f"rollback: completed what was interrupted: {sentence(now.events)}")
        return
    known = store.versions()
    choice = choose(now, known, given.version, given.reason)
    move = _move(now, choice, known, given.reason)
    done = moves.carry_out(now, move)
    say(f"rollback: {sentence(done.events)}")


def _move(
    now: store.Registry, choice: Choice, known: Mapping[int, store.Version], reason: str | None
) -> ledger.Move:
    version = known[choice.version]
    state = ledger.state(now.events)
    # A version that the ledger does not know yet is adopted, or is one of its models come back.
    code = store.distrust(state, version)
    if code not in (None, "not_in_ledger"):
        raise UserError(store.why_distrusted(version.number, code), code)
    folder = store.fetch(version)  # so its files are sound
    card = files.read_json(folder / candidate.CARD)
    digest = folder.name
    found: dict[str, Any] = {}  # the event that first put it into production has it all
    if choice.kind == "adopt":
        found = {"window": card["window"], "files": evidence.addresses_of(digest)}
    why = reason or "rolled back"
    return moves.new(choice.kind, now, choice.version, digest, why, by_hand=True, evidence=found)


def sentence(events: Sequence[ledger.Event]) -> str:
    """What the newest event did, for who typed the command."""
    head, state = events[-1], ledger.state(events)
    said = f"version {head.to_version} is in production"
    if head.kind == "adopt":
        return f"{said}, adopted"
    if head.kind == "put back":
        return f"{said} again: the alias is back"
    left = head.from_version
    if left is not None and state.is_quarantined(left):
        return f"{said} again; version {left} is quarantined"
    return f"{said} again: its quarantine is lifted; version {left} was left"


if __name__ == "__main__":
    errors.run(main)
