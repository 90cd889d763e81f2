"""`make restore`: rebuild runs, versions, ledger and alias from DVC's files and the ledger's copy.

Versions get their old numbers and events their old bytes. What is there already is left as it is,
so a restore that was killed is simply run again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from stages.registry import cli, connection, dvc, evidence, ledger, ledger_copy, moves, runs, store
from stages.shared import errors, files
from stages.shared.errors import UserError
from stages.shared.identifiers import Address


def wanted(events: Sequence[ledger.Event]) -> dict[int, str]:
    """The versions that the ledger names, with their digests, in the order of their numbers."""
    return dict(sorted(ledger.state(events).digests.items()))


def main() -> None:
    """Restore by the ledger's copy, or register the candidate if there is no copy."""
    cli.parser("rebuild the registry").parse_args()
    copied = ledger_copy.read()
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
    lost = _restore_versions(events)
    for event in events[len(now.events) :]:
        store.append(event)
    store.remove_placeholders()
    now = store.read()
    production = ledger.state(events).production
    if now.head and production in lost:
        ledger_copy.refresh(events)
        store.mark_applied(now.head)  # as far as it can be: the alias has nothing to point to
        there = ", ".join(str(number) for number in wanted(events) if number not in lost)
        raise UserError(
            f"version {production} is in production by the ledger, but its files are nowhere, so "
            f"the alias was not set; to put another one ({there or 'none is left'}) in its place: "
            "make rollback VERSION=n REASON='…'"
        )
    if now.head and now.alias is None:  # nobody moved it by hand: it is not there yet
        moves.follow(now.head)
    else:
        moves.settle(now)
    print(f"restore: {len(events)} events; version {production} is in production")


def _restore_versions(events: Sequence[ledger.Event]) -> set[int]:
    """Make each version that the ledger names; returns those whose files are nowhere."""
    lost: set[int] = set()
    run = None
    for number, digest in wanted(events).items():
        there = store.versions().get(number)
        if there and there.digest == digest:
            print(f"restore: version {number} is there")
            continue
        with _found(ledger.evidence(events, digest).get("files", {}), digest) as case:
            if case is None:
                print(f"restore: version {number}: the files of {digest[:12]} are nowhere")
                lost.add(number)
                continue
            run = runs.ensure(case)
            _restore_version(case, run, number)
        print(f"restore: version {number} is back")
    if run and lost:  # no other model may ever take a lost one's number
        _fill_up(max(lost), run)
    return lost


def _restore_version(case: evidence.Case, run: runs.Run, number: int) -> None:
    """Register a case under its old number; MLflow counts, so gaps are filled first."""
    _fill_up(number - 1, run)
    if max(store.versions(), default=0) < number:
        made = store.add_version(runs.tags(case), run.model_id, run.run_id)
        if made == number:
            return
    raise UserError(
        f"MLflow cannot give number {number} to candidate {case.digest[:12]} any more: move "
        f"{connection.shown()} away and type `make restore`"
    )


def _fill_up(number: int, run: runs.Run) -> None:
    while max(store.versions(), default=0) < number:
        store.add_version({store.PLACEHOLDER: "keeps a number"}, run.model_id, run.run_id)


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
    """A candidate with its reports, from DVC's cache or the workspace; None if it is nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), addresses)
        for root in (Path(folder), files.ROOT):
            with suppress(UserError):
                case = evidence.read(root)
                if case.digest == digest:
                    break
        else:
            case = None
        yield case


def _fill(root: Path, addresses: Mapping[str, str]) -> None:
    """Copy what DVC keeps at ``addresses`` under ``root``; what it has lost is left out.

    So is what no stage of ours wrote: a path that leads elsewhere, an address that is none.
    """
    named = evidence.addresses_in(addresses)
    cache = cache_folder() if named else root
    for path, md5 in named.items():
        for below, source in contents(cache, md5).items():
            target = files.inside(root, path, *filter(None, [below]))
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copyfile(source, target)


def contents(cache: Path, md5: Address) -> dict[str, Path]:
    """The files behind an address of DVC's: path below it -> object in the cache."""
    if not md5.endswith(".dir"):
        return {"": address(cache, md5)}
    try:
        listed = json.loads(address(cache, md5).read_bytes())
        named = {entry["relpath"]: entry["md5"] for entry in listed}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = evidence.addresses_in(named)
    return {path: address(cache, each) for path, each in found.items()}


def address(cache: Path, md5: Address) -> Path:
    """Where DVC keeps an object."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


@cache
def cache_folder() -> Path:
    """DVC's cache, wherever the configuration puts it."""
    return Path(dvc.run(files.home(), "cache", "dir").strip())


if __name__ == "__main__":
    errors.run(main)
