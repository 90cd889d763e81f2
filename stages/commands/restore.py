"""`make restore`: rebuild runs, versions, ledger and alias from DVC's files and the ledger's copy.

Versions get their old numbers and events their old bytes. What is there already is left as it is,
so a restore that was killed is simply run again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from stages.registry import cli, dvc, evidence, ledger, ledger_copy, moves, runs, store
from stages.shared import candidate, errors, files, params
from stages.shared.errors import UserError


def wanted(events: Sequence[ledger.Event]) -> dict[int, str]:
    """The versions that the ledger names, with their digests, in the order of their numbers."""
    return dict(sorted(ledger.state(events).digests.items()))


def main() -> None:
    """Restore by the ledger's copy, or register the candidate if there is no copy."""
    cli.parser("rebuild the registry").parse_args()
    copied = ledger_copy.read()
    store.undelete()
    now = store.read()
    events = _longer(copied, now)
    if events:
        _by_ledger(events, now)
    else:
        _candidate_alone(now)


def _longer(copied: Sequence[ledger.Event], now: store.Registry) -> Sequence[ledger.Event]:
    """The events to restore: the copy's, unless the registry has them all."""
    if len(now.events) >= len(copied):
        store.check(now, copied)
        return now.events
    store.check(now, copied[: len(now.events)])  # what is there must be the copy's beginning
    return copied


def _by_ledger(events: Sequence[ledger.Event], now: store.Registry) -> None:
    numbers = _restore_versions(events)
    for event in events[len(now.events) :]:
        store.append(event)
    store.remove_placeholders()
    _restore_production(events, store.read(), numbers)


def _restore_production(
    events: Sequence[ledger.Event], now: store.Registry, numbers: Mapping[int, int]
) -> None:
    """Let the alias name what is in production by the ledger, under the number that it has now."""
    state, head = ledger.state(events), now.head
    if head is None or state.production is None:
        return
    number = numbers.get(state.production)
    if number is None:
        ledger_copy.refresh(events)
        store.mark_applied(head)  # as far as it can be: the alias has nothing to point to
        there = ", ".join(map(str, sorted(numbers))) or "none is left"
        raise UserError(
            f"version {state.production} is in production by the ledger, but its files are "
            f"nowhere, so the alias was not set; to put another one ({there}) in its place: "
            "make rollback VERSION=n REASON='…'"
        )
    if now.standing == "moved by hand" and now.alias is not None:
        store.refuse_moved_by_hand(now)
    if number != state.production:
        _renumber(now, state, number)
    elif now.alias is None:  # nobody moved it by hand: it is not there yet
        moves.follow(head)
    else:
        moves.settle(now)
    print(f"restore: {len(store.read().events)} events; version {number} is in production")


def _renumber(now: store.Registry, state: ledger.State, number: int) -> None:
    """Note that what is in production has another number now; MLflow gives none twice."""
    why = f"version {state.production} was lost in the registry: its files are back as {number}"
    digest = state.digests[state.production or number]
    found: dict[str, Any] = {}  # the event that first put it into production has it all
    moves.carry_out(
        now, moves.new("restore", now, number, digest, why, by_hand=True, evidence=found)
    )


def _restore_versions(events: Sequence[ledger.Event]) -> dict[int, int]:
    """Make each version that the ledger names; returns the number that each has now.

    What is missing there has its files nowhere.
    """
    numbers: dict[int, int] = {}
    run = None
    named = wanted(events)
    for number, digest in named.items():
        there = _registered(number, digest)
        if there is not None:
            numbers[number] = there
            print(f"restore: version {number} is there{_as(number, there)}")
            continue
        with _found(ledger.evidence(events, digest).get("files", {}), digest) as case:
            if case is None:
                print(f"restore: version {number}: the files of {digest[:12]} are nowhere")
                continue
            run = _whole_run(case)
            numbers[number] = _restore_version(case, run, number, named)
        print(f"restore: version {number} is back{_as(number, numbers[number])}")
    lost = named.keys() - numbers.keys()
    if run and lost:  # no other model may ever take a lost one's number
        _fill_up(max(lost), run)
    return numbers


def _as(number: int, now: int) -> str:
    return "" if number == now else f", as version {now}"


def _registered(number: int, digest: str) -> int | None:
    """The version that the registry has of a digest, files and all; its tag is put right."""
    known = store.versions()
    others = [v for v in reversed(known.values()) if v.digest == digest and v.number != number]
    for version in [*([known[number]] if number in known else []), *others]:
        if not version.placeholder and store.holds(version, digest):
            if version.digest != digest:
                store.put_right(version.number, digest)
            return version.number
    return None


def _whole_run(case: evidence.Case) -> runs.Run:
    """The candidate's run, made again where its files are gone."""
    found = runs.ensure(case)
    if store.run_holds(found.run_id, case.digest):
        return found
    runs.give_up(found)
    return runs.ensure(case)


def _restore_version(
    case: evidence.Case, run: runs.Run, number: int, named: Collection[int]
) -> int:
    """Register a case under its old number, or, where MLflow has given that before, another one.

    MLflow counts, and says a number only by making the version: each is made as a placeholder.
    """
    while True:
        made = _placeholder(run)
        if made == number or (made > number and made not in named):
            store.name(made, runs.tags(case))
            return made


def _placeholder(run: runs.Run) -> int:
    return store.add_version({store.PLACEHOLDER: "keeps a number"}, run.model_id, run.run_id)


def _fill_up(number: int, run: runs.Run) -> None:
    while max(store.versions(), default=0) < number:
        _placeholder(run)


def _candidate_alone(now: store.Registry) -> None:
    store.refuse_moved_by_hand(now)
    case = evidence.read(files.ROOT)
    run = runs.ensure(case)
    version = store.register(runs.tags(case), run.model_id, run.run_id)
    print(
        f"restore: there is no copy of the ledger; candidate {case.digest[:12]} is version "
        f"{version}, and nothing is in production; if it should be:\n"
        f"  make rollback VERSION={version} REASON='…'"
    )


@contextmanager
def _found(addresses: Mapping[str, str], digest: str) -> Iterator[evidence.Case | None]:
    """A candidate, from wherever its files still are; None if they are nowhere.

    DVC's cache and the workspace have its reports too; what was fetched for a comparison, and what
    the server of this clone answers with, are its files alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        cached = Path(folder) / "cached"
        _fill(cached, addresses)
        for root in (cached, files.ROOT):
            if (case := _case(root, digest)) is not None:
                yield case
                return
        yield _from_others(Path(folder), digest)


def _case(root: Path, digest: str) -> evidence.Case | None:
    try:
        case = evidence.read(root)
    except UserError:
        return None
    return case if case.digest == digest else None


def _from_others(folder: Path, digest: str) -> evidence.Case | None:
    """A candidate without reports, copied into ``folder`` from where it is kept by its digest."""
    alone = folder / "alone"
    for place in _kept_by_digest():
        with suppress(UserError, OSError):
            kept = candidate.keep(place / digest, folder / "kept", digest)
            shutil.copytree(kept, alone / files.CANDIDATE.relative_to(files.ROOT))
            return _case(alone, digest)
    return None


def _kept_by_digest() -> list[Path]:
    """What was fetched for a comparison, and what the server of this clone answers with."""
    found = [store.candidates()]
    with suppress(UserError):
        found.append(files.home() / params.serve().folder)
    return found


def _fill(root: Path, addresses: Mapping[str, str]) -> None:
    """Copy what DVC keeps at ``addresses`` under ``root``; what it has lost is left out."""
    cache = cache_folder() if addresses else root
    for path, md5 in addresses.items():
        for below, source in contents(cache, md5).items():
            target = root / path / below
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copyfile(source, target)


def contents(cache: Path, md5: str) -> dict[str, Path]:
    """The files behind an address of DVC's: path below it -> object in the cache."""
    if not md5.endswith(".dir"):
        return {"": address(cache, md5)}
    try:
        listed = json.loads(address(cache, md5).read_bytes())
    except (OSError, ValueError):
        return {}
    return {entry["relpath"]: address(cache, entry["md5"]) for entry in listed}


def address(cache: Path, md5: str) -> Path:
    """Where DVC keeps an object."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


@cache
def cache_folder() -> Path:
    """DVC's cache, wherever the configuration puts it."""
    return Path(dvc.run(files.home(), "cache", "dir").strip())


if __name__ == "__main__":
    errors.run(main)
