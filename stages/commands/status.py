"""`make status`: where everything stands, in one table, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.registry import evidence, ledger, ledger_copy, store
from stages.shared import dvc_files, errors, files, months, params, words
from stages.shared.errors import UserError
from stages.shared.terminal import say

COMPARE_AGAIN = "dvc repro --force --single-item compare && make repro"


@dataclass(frozen=True)
class Facts:
    """All that is known; what is not there yet is empty or None.

    ``events`` are the registry's, or the copy's where the registry has lost them or does not
    answer; ``trouble`` says why. ``next_month`` is how the next month arrives; ``damaged`` is the
    first of DVC's files that is not whole.
    """

    drift: dict[str, Any]
    case: evidence.Case | None
    receipt: dict[str, Any]
    events: Sequence[ledger.Event]
    registry: store.Registry
    registered: Mapping[int, store.Version]
    trouble: str | None
    next_month: str
    damaged: dvc_files.DamagedError | None = None

    @property
    def from_copy(self) -> bool:
        """Whether the events are those of the clone's copy, not of the registry."""
        return self.events is not self.registry.events

    @property
    def state(self) -> ledger.State:
        """What the events add up to."""
        return ledger.state(self.events)

    @property
    def distrusted(self) -> Mapping[int, store.Distrust]:
        """The versions of the ledger that the registry has lost, or shows with another digest."""
        return {} if self.trouble else store.distrusted(self.state, self.registered)

    @property
    def production_window(self) -> list[str]:
        """The months that production was trained on; empty if nobody knows."""
        found: list[str] = ledger.evidence(self.events, self.state.digest).get("window", [])
        return found

    @property
    def stale(self) -> bool:
        """Whether the verdict is about a production that is gone, and would matter."""
        case, state = self.case, self.state
        if not case or not case.compare or not case.compare["gates_passed"]:
            return False
        if case.digest == state.digest or case.digest in state.quarantined:
            return False
        return bool(case.compare["production_version"] != state.production)

    @property
    def awaits(self) -> bool:
        """Whether there is a verdict that a person may carry out.

        The receipt alone does not tell: `dvc exp apply` brings a verdict, and leaves the receipt.
        """
        case, state = self.case, self.state
        if not case or not case.compare or case.compare["verdict"] != "promote":
            return False
        settled = case.digest == state.digest or case.digest in state.quarantined
        return bool(self.receipt) and not settled and not self.stale

    @property
    def outcome(self) -> str | None:
        """What the sixth stage last said of this candidate, None if that was about another."""
        version = self.receipt.get("version")
        if self.awaits:
            return "awaiting approval"
        if version is not None and self.case:
            return self.receipt["outcome"] if self._is(version, self.case.digest) else None
        return self.receipt.get("outcome")

    def _is(self, version: int, digest: str) -> bool:
        return self.state.digests.get(version, digest) == digest


def rows(facts: Facts) -> list[tuple[str, str]]:
    """The table: what, and how it stands."""
    return [
        *([("files", str(facts.damaged))] if facts.damaged else []),
        *_data(facts.drift),
        *_candidate(facts),
        *_production(facts),
        *_lag(facts),
        *_registry(facts),
    ]


def _data(drift: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not drift:
        yield "data", "no reports: nothing has run yet, or they were deleted"
        return
    steps = drift["months"]
    waiting = [step["month"] for step in steps if step.get("labels") == "not due yet"]
    missing = [step["month"] for step in steps if step.get("labels") == "missing, though due"]
    said = f"{months.span([step['month'] for step in steps])}, newest {steps[-1]['month']}"
    said += f"; waiting for labels: {', '.join(waiting)}" if waiting else ""
    said += f"; labels missing though due: {', '.join(missing)}" if missing else ""
    yield "data", said
    share = steps[-1]["share"]
    limit = f", limit {steps[-1]['threshold']:g}" if drift.get("trigger") == "share" else ""
    measured = "" if share is None else f" (share {share:.2f}{limit})"
    yield "drift", f"{steps[-1]['month']}: {steps[-1]['reason']}{measured}"
    yield "window", months.span(drift["window"]) if drift["window"] else "none yet"


def _candidate(facts: Facts) -> Iterator[tuple[str, str]]:
    case = facts.case
    if case is None:
        yield "candidate", "none yet"
        return
    found = case.evaluate
    said = f"{case.digest[:12]}, {case.card['estimator']}, trained on "
    said += months.span(case.card["window"])
    for name, label in (("auc", "AUC"), ("f1", "F1")):
        if found.get(name) is not None:
            said += f", {label} {found[name]:.3f}"
    yield "candidate", said if found else f"{said}, not evaluated yet"
    if case.compare:
        with_what = _named(case.compare["production_version"])
        reasons = "; ".join(case.compare["reasons"])
        yield "verdict", f"{case.compare['verdict']}, compared with {with_what}: {reasons}"
    if facts.stale:
        yield "", f"but production is {_named(facts.state.production)} by now"
    if facts.outcome and case.compare:
        since = ", and rolled back since" if case.digest in facts.state.quarantined else ""
        yield "outcome", facts.outcome + since


def _production(facts: Facts) -> Iterator[tuple[str, str]]:
    state = facts.state
    if state.since is None or state.digest is None:
        yield "production", "not known" if facts.trouble else "nothing"
        return
    since = state.since
    said = f"version {state.production} ({state.digest[:12]}), since {since.when[:10]}"
    auc = ledger.evidence(facts.events, state.digest).get("auc")
    said += f", AUC {auc:.3f} then" if auc is not None else ""
    yield "production", said
    yield "why", f"{ledger.what(since)} by {since.who}: {since.why}"
    if facts.production_window:
        yield "trained on", months.span(facts.production_window)
    quarantined = sorted({v for v in state.productions if state.is_quarantined(v)})
    if quarantined:
        yield "quarantined", ", ".join(f"version {version}" for version in quarantined)


def _lag(facts: Facts) -> Iterator[tuple[str, str]]:
    ours = facts.production_window
    theirs = list(facts.case.card["window"]) if facts.case else []
    if not ours or not theirs or ours == theirs:
        return
    said = f"production was trained on {months.span(ours)}, the last candidate on "
    yield "lag", said + months.span(theirs) + _for_how_long(facts.drift, ours)


def _for_how_long(drift: dict[str, Any], ours: list[str]) -> str:
    """For how many months production's window has not been the training window."""
    steps = drift.get("months", [])
    if not steps:
        return ""
    # The window after a month is the one that the next month is held against.
    after = [step["window"] for step in steps[1:]] + [drift["window"]]
    others = 0
    while others < len(after) and after[-1 - others] != ours:
        others += 1
    if others in (0, len(after)):
        return ""  # production's window is none of this data's
    count = months.apart(steps[-others]["month"], steps[-1]["month"])
    return f", for {count} month{'s' * (count != 1)} now" if count else ", since this month"


def _registry(facts: Facts) -> Iterator[tuple[str, str]]:
    count, broken = len(facts.events), ledger.broken_at(facts.events)
    said = f"{count} event{'s' * (count != 1)}" + " in the clone's copy" * facts.from_copy
    said += f", chain broken at event {broken}" if broken else ", chain verified"
    yield "ledger", said if count else "not known" if facts.trouble else "empty"
    if facts.trouble:
        yield "registry", facts.trouble
    elif facts.registry.contradicts:
        yield "alias", store.by_hand(facts.registry)
    elif facts.registry.standing == "interrupted":
        yield "alias", "a command was interrupted before the alias had followed the ledger"
    elif count:
        yield "alias", "agrees with the ledger"
    for number, code in facts.distrusted.items():
        yield "version", store.why_distrusted(number, code)


def next_step(facts: Facts) -> str:
    """The one thing to do now."""
    if facts.damaged:
        return facts.damaged.remedy
    return _mend(facts) or _go_on(facts)


def _mend(facts: Facts) -> str | None:
    """What to do about a registry that is not sound; None if it is."""
    head = facts.registry.head
    if facts.trouble:
        lost = len(facts.events) > len(facts.registry.events)
        if lost and "make restore" in facts.trouble:
            return "make restore"
        return "mend the registry, then: make status"
    if facts.registry.contradicts:
        return "; ".join(store.remedies(facts.registry))
    if head and facts.registry.standing == "interrupted":
        if head.kind != "promote":
            return f"make rollback VERSION={head.to_version}"
        return "make promote" if head.by_hand else "make repro"
    return "make restore" if facts.distrusted else None


def _go_on(facts: Facts) -> str:
    """What to do where the registry is sound."""
    outcome, all_the_same = facts.outcome, "make promote REASON='…'"
    found = facts.next_month
    if not facts.drift:
        found = "make repro" if facts.events else "make run"
    elif facts.case is None or not facts.case.compare or outcome is None:
        found = "make repro"
    elif not facts.events and facts.registered:  # restored without the ledger's copy
        version = max(facts.registered)
        found = (
            f"to put version {version} into production: make rollback VERSION={version} REASON='…'"
        )
    elif facts.stale:
        found = COMPARE_AGAIN
    elif outcome == "awaiting approval":
        found = "make promote"
    elif outcome == "undecided":
        found = f"{facts.next_month}; or, to promote all the same: {all_the_same}"
    return found


def _named(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"


def gather() -> Facts:
    """Read all that there is; a registry that does not answer is trouble, no error."""
    data = params.data()
    next_month = (
        "make month && make repro"
        if data.source
        else f"put the next month's file into {data.snapshots}, then: make repro"
    )
    try:
        case = evidence.read(files.ROOT)
    except UserError:
        case = None
    copied = ledger_copy.read()
    registry, trouble = store.Registry(), None
    registered: Mapping[int, store.Version] = {}
    try:
        registry = store.read()
        registered = store.versions()
        store.check(registry, copied)
        ledger_copy.refresh(registry.events)
    except UserError as error:
        trouble = str(error)
    broken = ledger.broken_at(registry.events) is not None
    use_copy = len(copied) > len(registry.events) or (broken and bool(copied))
    return Facts(
        drift=files.report(files.REPORTS / "drift.json"),
        case=case,
        receipt=files.report(files.REPORTS / "promote.json"),
        events=copied if use_copy else registry.events,
        registry=registry,
        registered=registered,
        trouble=trouble,
        next_month=next_month,
        damaged=_damaged(),
    )


def _damaged() -> dvc_files.DamagedError | None:
    """The first of DVC's files that is not whole."""
    try:
        dvc_files.check()
    except dvc_files.DamagedError as damaged:
        return damaged
    return None


def main() -> None:
    """Print the table and the next step."""
    facts = gather()
    words.table("where everything stands", ("", ""), rows(facts))
    say(f"next: {next_step(facts)}")


if __name__ == "__main__":
    errors.run(main)
