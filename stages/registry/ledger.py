"""The ledger: every move of the alias `production` as an event in a hash chain. Pure.

An event's text is its canonical JSON; its hash covers that text without the hash, and the hash of
the event before. Who changes, drops or slips in an event breaks the chain at that place; who drops
the newest ones, or writes a whole new chain, is found out by the copy beside DVC's files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stages.shared import identifiers, months

# "restore": the files of what is in production came back under another number.
Kind = Literal["promote", "rollback", "adopt", "put back", "restore"]

# What the first event has in place of a predecessor's hash.
START = "0" * 64


@dataclass(frozen=True)
class Move:
    """What moves and why, before it has its place in the chain.

    ``candidate`` is the digest of the model that goes into production; ``when`` is UTC, ISO 8601
    with seconds; ``evidence`` holds plain JSON values.
    """

    kind: Kind
    from_version: int | None
    to_version: int
    candidate: str
    who: str
    why: str
    when: str
    by_hand: bool
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Event(Move):
    """A move in its place: ``n`` counts from 1 without gaps, ``prev`` is the hash before."""

    n: int
    prev: str
    hash: str


def _is_moment(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


def _is_month(text: str) -> str:
    if not months.is_month(text):
        raise ValueError("is not a month: YYYY-MM")
    return text


_Digest = Annotated[str, AfterValidator(identifiers.digest)]
_Month = Annotated[str, AfterValidator(_is_month)]
_Version = Annotated[int, Field(gt=0, le=identifiers.LARGEST_VERSION)]
_Figure = Annotated[float, Field(allow_inf_nan=False)]


class _Evidence(BaseModel):
    """What the evidence of an event may be, where anything reads it."""

    model_config = ConfigDict(extra="allow", strict=True)

    window: list[_Month] = []
    month: _Month | None = None
    files: dict[str, Annotated[str, AfterValidator(identifiers.address)]] = {}
    auc: _Figure | None = None
    f1: _Figure | None = None
    log_loss: _Figure | None = None
    gain: _Figure | None = None
    interval: Annotated[list[_Figure], Field(min_length=2, max_length=2)] | None = None
    verdict: str | None = None
    production_version: _Version | None = None
    compare_sha256: _Digest | None = None
    evaluate_sha256: _Digest | None = None
    holdout_sha256: _Digest | None = None


class _Shape(BaseModel):
    """What an event may be: whoever reads one can rely on it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n: Annotated[int, Field(gt=0)]
    prev: _Digest
    hash: _Digest
    kind: Kind
    from_version: _Version | None
    to_version: _Version
    candidate: _Digest
    who: str
    why: str
    when: Annotated[str, AfterValidator(_is_moment)]
    by_hand: bool
    evidence: _Evidence


@dataclass(frozen=True)
class State:
    """What the events add up to.

    ``since`` is the event that put production where it is; ``productions`` are the versions that
    have been in production, in the order of time, the present one last; ``quarantined`` maps the
    digests that may not come back to the rollback that they were left by; ``digests`` is the
    digest of each version that the ledger names.
    """

    since: Event | None = None
    productions: tuple[int, ...] = ()
    quarantined: Mapping[str, Event] = field(default_factory=dict)
    digests: Mapping[int, str] = field(default_factory=dict)

    @property
    def production(self) -> int | None:
        """The version in production, None for none."""
        return self.productions[-1] if self.productions else None

    @property
    def digest(self) -> str | None:
        """The digest of what is in production, None for none."""
        return self.digests[self.productions[-1]] if self.productions else None

    def is_quarantined(self, version: int) -> bool:
        """Whether ``version`` was rolled back, and nobody has lifted that since."""
        return self.digests.get(version) in self.quarantined

    @property
    def rollback_target(self) -> int | None:
        """The most recent earlier production model that is not quarantined, None for none."""
        return next(iter(self.rollback_targets), None)

    @property
    def rollback_targets(self) -> tuple[int, ...]:
        """All earlier production models that are not quarantined, the most recent first."""
        found = dict.fromkeys(reversed(self.productions))
        others = (version for version in found if self.digests[version] != self.digest)
        return tuple(version for version in others if not self.is_quarantined(version))


def append(events: Sequence[Event], move: Move) -> Event:
    """Give ``move`` the next place in the chain."""
    place = {"n": len(events) + 1, "prev": events[-1].hash if events else START}
    content = {**asdict(move), **place}
    return Event(**content, hash=_hash(content))


def to_text(event: Event) -> str:
    """One line of canonical JSON, the same for equal events."""
    return _canonical(asdict(event))


def from_text(text: str) -> Event:
    """Read what `to_text` wrote.

    Raises:
        ValueError: it is no event, in one line.
    """
    try:
        content = json.loads(text)
        _Shape.model_validate(content)
        event = Event(**content)  # as it was written: its hash covers 1 and 1.0 as two texts
        same = to_text(event) == text
    except ValidationError as error:
        raise ValueError(_what_is_wrong(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not same:
        raise ValueError("it is not written as this pipeline writes events")
    return event


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "it"
    found = identifiers.shown(first["input"])
    return f"{identifiers.shown(where)[1:-1]} is {found}: {first['msg']}"


def broken_at(events: Sequence[Event]) -> int | None:
    """Verify the chain: the place (from 1) of the first event that breaks it, None if none."""
    before = START
    for n, event in enumerate(events, start=1):
        content = asdict(event)
        del content["hash"]
        if event.n != n or event.prev != before or event.hash != _hash(content):
            return n
        before = event.hash
    return None


def state(events: Sequence[Event]) -> State:
    """Fold the events into what they add up to."""
    now = State()
    for event in events:
        now = _after(now, event)
    return now


def as_of(events: Sequence[Event], day: date) -> Event | None:
    """The event that put in place what was in production at the end of ``day`` (UTC)."""
    return state([event for event in events if event.when[:10] <= day.isoformat()]).since


def what(event: Event) -> str:
    """The kind of an event, and whether a person approved the verdict or promoted without one."""
    if event.kind != "promote" or not event.by_hand:
        return event.kind
    return "promote, approved" if event.evidence.get("verdict") == "promote" else "promote, by hand"


def evidence(events: Sequence[Event], digest: str | None) -> dict[str, Any]:
    """The newest evidence about the model ``digest``, piece by piece; empty if there is none."""
    known = [event.evidence for event in events if event.candidate == digest]
    return {name: value for one in known for name, value in one.items()}


def standing(
    head: Event | None, applied: bool, alias: int | None
) -> Literal["settled", "interrupted", "moved by hand"]:
    """What the alias says about the ledger's newest event.

    The event is written first, then the alias moves, then the event is marked as applied. So an
    alias that contradicts an applied event was moved by somebody else; one that still is where an
    unapplied event found it waits for the rest of an interrupted command.
    """
    if head is None:
        return "settled" if alias is None else "moved by hand"
    if applied:
        return "settled" if alias == head.to_version else "moved by hand"
    at_home = alias in (None, head.from_version, head.to_version)
    return "interrupted" if at_home else "moved by hand"


def _after(now: State, event: Event) -> State:
    digests = {**now.digests, event.to_version: event.candidate}
    if event.kind == "put back":  # the alias came back to what the ledger said all the time
        return State(now.since, now.productions, now.quarantined, digests)
    if event.kind == "restore":  # the same model under another number: since when does not change
        productions = (*now.productions, event.to_version)
        return State(now.since or event, productions, now.quarantined, digests)
    quarantined = {d: by for d, by in now.quarantined.items() if d != event.candidate}
    takes_back = event.candidate in now.quarantined
    if event.kind == "rollback" and not takes_back and now.digest:
        quarantined[now.digest] = event
    return State(event, (*now.productions, event.to_version), quarantined, digests)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
