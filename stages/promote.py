"""Stage 6: carry out the verdict.

Reads the candidate and the reports about it; writes a receipt; the alias `production` moves. It
decides nothing about the model: a verdict is carried out if what it rests on still holds. As a
person, ``--by-hand``, it carries out a verdict that awaits approval, or promotes with a reason.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.registry import cli, dvc, evidence, ledger, moves, runs, store
from stages.shared import dvc_files, errors, files, params
from stages.shared.errors import UserError
from stages.shared.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

RECEIPT = "promote.json"
_PAST = {"reject": "rejected", "undecided": "undecided"}


@dataclass(frozen=True)
class Facts:
    """All that a decision rests on."""

    candidate: str  # digest
    verdict: str
    reasons: tuple[str, ...]
    gate_passed: bool
    compared_with: int | None  # the production version that the verdict is about
    compare_sha256: str
    events: Sequence[ledger.Event]

    @property
    def carried_out(self) -> ledger.Event | None:
        """The newest event, if it is the promotion of this candidate on this very verdict."""
        head = self.events[-1] if self.events else None
        if head is None or head.kind != "promote" or head.candidate != self.candidate:
            return None
        return head if head.evidence.get("compare_sha256") == self.compare_sha256 else None


@dataclass(frozen=True)
class Decision:
    """What becomes of the candidate; ``moves`` if production has to move for it."""

    outcome: str
    reasons: tuple[str, ...]
    moves: bool = False


def plan(facts: Facts, *, waits: bool) -> Decision:
    """What the stage does with a verdict.

    Args:
        facts: what it rests on.
        waits: a person has to say yes (manual approval, or an experiment).

    Raises:
        UserError: production is not what the verdict is about any more.
    """
    state = ledger.state(facts.events)
    settled = _settled(facts, state)
    if settled:
        return settled
    _refuse_stale(facts, state)
    if facts.verdict in _PAST:
        return Decision(_PAST[facts.verdict], facts.reasons)
    if waits:
        return Decision("awaiting approval", facts.reasons)
    return Decision("promoted", facts.reasons, moves=True)


def _settled(facts: Facts, state: ledger.State) -> Decision | None:
    """The decision where it does not matter what the candidate was compared with."""
    if facts.carried_out:
        return Decision("promoted", facts.reasons)
    if facts.candidate == state.digest:
        return Decision("already in production", facts.reasons)
    if facts.candidate in state.quarantined:
        quarantine = f"quarantined: version {_version_of(facts, state)} was rolled back"
        return Decision("rejected", (*facts.reasons, quarantine))
    return None if facts.gate_passed else Decision("rejected", facts.reasons)


def approve(facts: Facts, reason: str | None) -> str:
    """Why a person may promote the candidate, in the words that go into the ledger.

    Raises:
        UserError: there is nothing to approve, or what it rests on does not hold any more.
    """
    state, name = ledger.state(facts.events), facts.candidate[:12]
    if facts.candidate == state.digest:
        raise UserError(
            f"candidate {name} already is in production, as version {state.production}: "
            "nothing to do"
        )
    if facts.candidate in state.quarantined:
        version = _version_of(facts, state)
        raise UserError(
            f"candidate {name} is quarantined: it was rolled back as version {version}; to put it "
            f"back all the same: make rollback VERSION={version} REASON='…'"
        )
    if not facts.gate_passed:
        raise UserError(
            f"candidate {name} does not pass the gates ({_joined(facts)}): not even a person can "
            "promote it"
        )
    _refuse_stale(facts, state)
    if reason is None and facts.verdict != "promote":
        raise UserError(
            f"nothing awaits approval: the verdict on candidate {name} is {facts.verdict} "
            f"({_joined(facts)}); to promote it all the same: make promote REASON='…'"
        )
    return reason or f"approved: {_joined(facts)}"


def _refuse_stale(facts: Facts, state: ledger.State) -> None:
    if state.production != facts.compared_with:
        raise UserError(
            f"production is now {_named(state.production)}, but the comparison was with "
            f"{_named(facts.compared_with)}; compare again: "
            "dvc repro --force --single-item compare && dvc repro"
        )


def _named(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def _version_of(facts: Facts, state: ledger.State) -> int:
    return next(v for v, digest in state.digests.items() if digest == facts.candidate)


def _joined(facts: Facts) -> str:
    return "; ".join(facts.reasons)


# --- gather and apply --------------------------------------------------------------------------


def main() -> None:
    """Run the stage, or with ``--by-hand`` do what a person says."""
    parser = cli.parser("carry out the verdict on the candidate")
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--reason", type=cli.text)
    given = parser.parse_args()
    if given.by_hand:
        by_hand(given.reason)
    else:
        stage()


def stage() -> None:
    """Carry out the verdict as `dvc repro` asks for it."""
    case, now = evidence.required(), moves.gather()
    # DVC sets this where it runs an experiment: those never touch production.
    experiment = bool(os.environ.get("DVC_EXP_NAME"))
    if experiment:
        store.refuse_moved_by_hand(now)
    else:
        now = moves.settle(now)
    run = runs.ensure(case)
    facts = _facts(case, now)
    decision = plan(facts, waits=experiment or params.promote().approval == "manual")
    if decision.moves:
        _promote(case, now, run, _joined(facts), by_hand=False)
    _finish(_receipt(decision, case.digest), case.digest)


def by_hand(reason: str | None) -> None:
    """Approve what awaits, or promote with a reason; a kill in between is taken up again."""
    if os.environ.get("DVC_EXP_NAME"):
        raise UserError("an experiment cannot promote: apply it, then type `make promote`")
    dvc_files.check()  # before anything moves: the receipt goes into dvc.lock at the end
    case, before = evidence.required(), moves.gather()
    now = moves.settle(before)
    facts = _facts(case, now)
    done = Decision("promoted", facts.reasons)
    if not facts.carried_out:
        why = approve(facts, reason)
        _promote(case, now, runs.ensure(case), why, by_hand=True)
    elif before.standing == "settled" and _recorded(_receipt(done, case.digest)):
        approve(facts, reason)  # refuses: it is in production already
    _finish(_receipt(done, case.digest), case.digest)
    _record()


def _facts(case: evidence.Case, now: store.Registry) -> Facts:
    return Facts(
        candidate=case.digest,
        verdict=case.compare["verdict"],
        reasons=tuple(case.compare["reasons"]),
        gate_passed=case.evaluate["gate_passed"],
        compared_with=case.compare["production_version"],
        compare_sha256=evidence.compare_sha256(case),
        events=now.events,
    )


def _promote(
    case: evidence.Case, now: store.Registry, run: runs.Run, why: str, *, by_hand: bool
) -> None:
    version = store.register(runs.tags(case), run.model_id, run.run_id)
    found = evidence.gather(case)
    moves.carry_out(
        now,
        moves.new("promote", now, version, case.digest, why, by_hand=by_hand, evidence=found),
    )


def _receipt(decision: Decision, digest: str) -> dict[str, Any]:
    return {
        "outcome": decision.outcome,
        "version": store.version_of(digest),
        "reasons": list(decision.reasons),
    }


def _finish(receipt: dict[str, Any], digest: str) -> None:
    files.write_json(files.REPORTS / RECEIPT, receipt)
    as_version = f", as version {receipt['version']}" if receipt["version"] else ""
    print(f"promote: candidate {digest[:12]}{as_version}: {receipt['outcome']}")
    for reason in receipt["reasons"]:
        say(f"  {reason}")
    if receipt["outcome"] == "awaiting approval":
        print("  to say yes: make promote")


def _recorded(receipt: dict[str, Any]) -> bool:
    """Whether the receipt is in place, and dvc.lock knows it."""
    path = files.REPORTS / RECEIPT
    if not path.is_file() or files.read_json(path) != receipt:
        return False
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return evidence.addresses(["promote"]).get(files.relative(path)) == md5


def _record() -> None:
    """Tell DVC about the new receipt, so that `dvc repro` has nothing to do."""
    dvc_files.own()
    try:
        dvc.run(files.ROOT, "commit", "--force", "promote")
    except UserError as error:
        raise UserError(f"it is promoted, but not in dvc.lock ({error}): make promote") from None


if __name__ == "__main__":
    errors.run(main)
