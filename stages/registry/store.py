"""What the registry holds: versions, the alias, the ledger's events, the files of a version.

An event of the ledger is an experiment without runs, ``churn_model/ledger/000001``: names of
experiments are unique and the tags, which hold the event's text, come with the creation, so
appending is one atomic step that of two racers one wins. The tag ``applied`` comes later: it says
that the alias has followed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.registry import ledger, ledger_copy
from stages.registry.connection import asking, database, exists, pages, shown
from stages.shared import candidate, files, identifiers
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL, ALIAS, EXPERIMENT = "churn_model", "production", "churn_model"
# Where a run keeps the candidate's own files, beside the model in MLflow's form.
CANDIDATE = "candidate"
# The tag of a version that only keeps a number.
PLACEHOLDER = "placeholder"

_LEDGER = f"{MODEL}/ledger/"
_PLACE = re.compile(re.escape(_LEDGER) + r"([0-9]{6,9})", re.ASCII)
_APPLIED = "applied"
_PART = 4000  # characters of an event in one tag: servers take 5,000 at least


Distrust = Literal["not_in_ledger", "digest_differs", "deleted"]
Standing = Literal["settled", "interrupted", "moved by hand", "deleted"]


@dataclass(frozen=True)
class Version:
    """A registered version; a placeholder only keeps a number that nothing else may take.

    ``digest`` is what its tag says, None where that is no digest.
    """

    number: int
    digest: str | None
    run_id: str | None
    placeholder: bool


@dataclass(frozen=True)
class Registry:
    """What the registry says at one moment."""

    events: tuple[ledger.Event, ...] = ()
    applied: bool = False  # the newest event: the alias has followed it
    alias: int | None = None
    deleted: bool = False  # the version that the newest event put into production

    @property
    def head(self) -> ledger.Event | None:
        """The newest event."""
        return self.events[-1] if self.events else None

    @property
    def standing(self) -> Standing:
        """See `ledger.standing`; or deleted: MLflow takes a version's aliases away with it."""
        found = ledger.standing(self.head, self.applied, self.alias)
        return "deleted" if self.deleted and found == "moved by hand" else found

    @property
    def contradicts(self) -> bool:
        """Whether the alias says something else than the ledger, and no command will mend it."""
        return self.standing in ("moved by hand", "deleted")


@dataclass(frozen=True)
class Production:
    """What `compare` measures against; ``quarantined`` maps digests to their versions."""

    version: int | None
    digest: str | None
    quarantined: Mapping[str, int]


def experiment() -> str:
    """The id of the experiment that the runs lie in, made if need be."""
    with asking() as client:
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            _create(client, EXPERIMENT, {})
            found = client.get_experiment_by_name(EXPERIMENT)
    if found is None or found.lifecycle_stage != "active":
        raise UserError(
            f"MLflow's experiment {EXPERIMENT!r} was deleted: type `make restore`",
            "experiment_deleted",
        )
    return str(found.experiment_id)


def undelete() -> None:
    """Bring back what somebody deleted of our experiments in MLflow: it only hides them."""
    from mlflow.entities import ViewType

    if not exists():
        return
    with asking() as client:
        for one in pages(client.search_experiments, view_type=ViewType.DELETED_ONLY):
            if one.name == EXPERIMENT or _PLACE.fullmatch(str(one.name)):
                client.restore_experiment(one.experiment_id)


def read() -> Registry:
    """Read events and alias so that they belong together; creates nothing."""
    if not exists():
        return Registry()
    events, applied = _events()
    while True:
        now = Registry(events, applied, _alias())
        if now.standing == "settled":
            return now
        again = _events()
        if again == (events, applied):
            return replace(now, deleted=_is_deleted(now))
        events, applied = again  # somebody moved production between the two questions


def _is_deleted(now: Registry) -> bool:
    """Whether the version in production was deleted in the registry, and the alias with it."""
    return bool(now.head and now.alias is None and now.head.to_version not in versions())


def append(event: ledger.Event) -> bool:
    """Write an event in its place; False if that place is taken.

    Raises:
        UserError: nobody could read it again; nothing was written.
    """
    text = ledger.to_text(event)
    try:
        ledger.from_text(text)
    except ValueError as error:
        raise UserError(f"the ledger takes no such event: {error}", "event_refused") from None
    parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    with asking() as client:
        return _create(client, _name(event.n), {f"event.{i}": p for i, p in enumerate(parts)})


def mark_applied(event: ledger.Event) -> None:
    """Note that the alias has followed ``event``."""
    with asking() as client:
        found = client.get_experiment_by_name(_name(event.n))
        if found is not None and found.lifecycle_stage == "active":
            client.set_experiment_tag(found.experiment_id, _APPLIED, "yes")


def point(version: int) -> None:
    """Move the alias `production`; for `moves` alone, which writes the event first."""
    with asking() as client:
        client.set_registered_model_alias(MODEL, ALIAS, str(version))


def named() -> Version | None:
    """The version that the alias names at this moment, whatever the ledger says."""
    from mlflow.exceptions import MlflowException

    if not exists():
        raise UserError(f"there is no registry at {shown()}: type `make run`")
    with asking() as client:
        try:
            return _version(client.get_model_version_by_alias(MODEL, ALIAS))
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise


def metrics(run_id: str) -> dict[str, float]:
    """A run's metrics, by name."""
    with asking() as client:
        return dict(client.get_run(run_id).data.metrics)


def versions() -> dict[int, Version]:
    """All registered versions by their number."""
    if not exists():
        return {}
    with asking() as client:
        found = pages(client.search_model_versions, filter_string=f"name='{MODEL}'")
    return {version.number: version for version in sorted(map(_version, found), key=_number)}


def version_of(digest: str) -> int | None:
    """The version that a candidate is registered as, None if it is not."""
    return next((v.number for v in versions().values() if v.digest == digest), None)


def register(tags: Mapping[str, str], model_id: str, run_id: str) -> int:
    """The version that bears the digest among ``tags``, made if there is none.

    Two racers may both make one; the lower number is the candidate's, for both of them.
    """
    found = version_of(tags["digest"])
    if found is not None:
        return found
    made = add_version(tags, model_id, run_id)
    first = version_of(tags["digest"])
    if first is not None and first < made:
        with asking() as client:
            client.delete_model_version(MODEL, str(made))
    return made if first is None else first


def add_version(tags: Mapping[str, str], model_id: str, run_id: str) -> int:
    """Make the next version of a run's model, whatever is there; returns its number."""
    with asking() as client:
        _create_model(client)
        made = client.create_model_version(
            MODEL, f"models:/{model_id}", run_id=run_id, tags=dict(tags), model_id=model_id
        )
    return int(made.version)


def name(number: int, tags: Mapping[str, str]) -> None:
    """Make a version of a placeholder."""
    with asking() as client:
        for key, value in tags.items():
            client.set_model_version_tag(MODEL, str(number), key, value)
        client.delete_model_version_tag(MODEL, str(number), PLACEHOLDER)


def put_right(number: int, digest: str) -> None:
    """Let a version's tag say the digest that the ledger knows; for who has seen its bytes."""
    with asking() as client:
        client.set_model_version_tag(MODEL, str(number), "digest", digest)


def remove_placeholders() -> None:
    """Drop the versions that only kept a number; MLflow never gives that number again."""
    with asking() as client:
        for version in versions().values():
            if version.placeholder:
                client.delete_model_version(MODEL, str(version.number))


def production() -> Production:
    """What is in production, by the ledger's head; creates nothing.

    Raises:
        UserError: somebody moved the alias by hand, or the registry has lost its ledger.
    """
    copied = ledger_copy.read()
    now = read()
    check(now, copied)
    refuse_moved_by_hand(now)
    state = ledger.state(now.events)
    rolled_back = {digest: event.from_version for digest, event in state.quarantined.items()}
    quarantined = {d: version for d, version in rolled_back.items() if version is not None}
    return Production(state.production, state.digest, quarantined)


def check(now: Registry, copied: Sequence[ledger.Event]) -> None:
    """Refuse a ledger that was changed, or that lost what its copy still knows.

    Raises:
        UserError: says which event, and what to do.
    """
    if broken := ledger.broken_at(now.events):
        raise UserError(
            f"the ledger's chain is broken at event {broken}: somebody changed it in {shown()}; "
            "move that registry away and type `make restore`",
            "ledger_broken",
        )
    ledger_copy.check(copied, now.events)


def refuse_moved_by_hand(now: Registry) -> None:
    """Ask for adoption of an alias that somebody moved by hand.

    Raises:
        UserError: names the commands that settle it.
    """
    if now.contradicts:
        code = now.standing.replace(" ", "_")
        raise UserError(f"{by_hand(now)}: {'; '.join(remedies(now))}", code)


def by_hand(now: Registry) -> str:
    """What an alias looks like that somebody moved by hand, or deleted with its version."""
    if now.head and now.standing == "deleted":
        return (
            f"version {now.head.to_version} is in production by the ledger, and was deleted in "
            "the registry"
        )
    says = "nothing" if now.alias is None else f"version {now.alias}"
    knows = f"version {now.head.to_version}" if now.head else "of no production at all"
    return f"the alias production was moved by hand: it names {says}, the ledger knows {knows}"


def remedies(now: Registry) -> list[str]:
    """The commands that settle an alias that was moved by hand."""
    if now.standing == "deleted":
        return ["to bring it back: make restore"]
    found = []
    if now.alias is not None:
        found.append(f"to adopt it: make rollback VERSION={now.alias} REASON='…'")
    if now.head:
        found.append(f"to put it back: make rollback VERSION={now.head.to_version} REASON='…'")
    return found


def distrust(state: ledger.State, version: Version) -> Distrust | None:
    """Why a version is not what the ledger says, None if it is; `fetch` looks at its bytes."""
    known = state.digests.get(version.number)
    if known is None:
        return "not_in_ledger"
    return None if known == version.digest else "digest_differs"


def distrusted(state: ledger.State, known: Mapping[int, Version]) -> dict[int, Distrust]:
    """The versions of the ledger that the registry has lost, or shows with another digest."""
    found: dict[int, Distrust] = {}
    for number in sorted(state.digests):
        why = distrust(state, known[number]) if number in known else "deleted"
        if why and not _is_back(state, number, known):
            found[number] = why
    return found


def _is_back(state: ledger.State, number: int, known: Mapping[int, Version]) -> bool:
    """Whether the model of a version that is gone is registered under another number."""
    others = (v for v in known.values() if v.number != number)
    return number not in known and any(v.digest == state.digests[number] for v in others)


def why_distrusted(number: int, code: Distrust) -> str:
    """What is wrong with a version, and what to do."""
    what = {
        "not_in_ledger": "is not in the ledger",
        "digest_differs": "bears a tag with another digest than the ledger's",
        "deleted": "is gone from the registry",
    }[code]
    return f"version {number} of {MODEL} {what}: type `make restore`"


def fetch(version: Version) -> Path:
    """The folder with a version's candidate, whose bytes have the digest of its tag.

    Raises:
        UserError: it has no digest, or its files are gone or changed.
    """
    if version.digest is None:
        raise UserError(
            f"version {version.number} of {MODEL} was not made by this pipeline: it has no digest",
            "no_digest",
        )
    kept = files.inside(candidates(), version.digest)
    if not _is(kept, version.digest) and version.run_id is not None:
        _download(version.run_id, version.digest)
    if not _is(kept, version.digest):
        raise UserError(
            f"the files of version {version.number} are gone or damaged in {shown()}: type "
            "`make restore` (or, if they are of a newer code than this: `git pull`)",
            "bytes_differ",
        )
    return kept


def at_hand(number: int, digest: str) -> Path:
    """The folder of the ledger's ``digest``: the registry is asked only if it is not kept yet.

    Raises:
        UserError: there is no such version, its tag says otherwise, or see `fetch`.
    """
    kept = files.inside(candidates(), identifiers.digest(digest))
    if _is(kept, digest):
        return kept
    version = versions().get(number)
    if version is None or version.digest != digest:
        raise UserError(why_distrusted(number, "digest_differs" if version else "deleted"))
    return fetch(version)


def candidates() -> Path:
    """Where fetched candidates lie, each under its digest."""
    return files.MEMORY / "candidates"


def _download(run_id: str, digest: str) -> None:
    """Fetch a candidate into a scratch folder, and move it to its place if it is what it should be.

    Only the files that the digest covers are moved. Whatever goes wrong, the place is as it was.
    """
    with _downloaded(run_id) as folder, suppress(UserError):  # the digest tells what is missing
        candidate.keep(folder, candidates(), digest)


@contextmanager
def _downloaded(run_id: str) -> Iterator[Path]:
    """A scratch folder with what a run keeps of its candidate; empty if that is nothing."""
    candidates().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=candidates(), prefix=candidate.SCRATCH) as folder:
        with suppress(UserError), asking() as client:
            client.download_artifacts(run_id, CANDIDATE, folder)
        yield Path(folder) / CANDIDATE


def holds(version: Version, digest: str) -> bool:
    """Whether the registry itself still has the files of a version, with that digest."""
    return version.run_id is not None and run_holds(version.run_id, digest)


def run_holds(run_id: str, digest: str) -> bool:
    """Whether the registry has a run's candidate, with that digest."""
    with _downloaded(run_id) as folder:
        return _is(folder, digest)


def _is(folder: Path, digest: str) -> bool:
    try:
        return candidate.digest(folder) == digest
    except (UserError, OSError):
        return False


def _events() -> tuple[tuple[ledger.Event, ...], bool]:
    """The events in order, and whether the newest one was applied."""
    from mlflow.entities import ViewType

    with asking() as client:
        found = pages(
            client.search_experiments,
            view_type=ViewType.ALL,  # who deletes an event in MLflow's pages only hides it there
            filter_string=f"name LIKE '{_LEDGER}%'",
        )
    return _in_order({str(one.name): one.tags for one in found})


def _in_order(tags: Mapping[str, Mapping[str, str]]) -> tuple[tuple[ledger.Event, ...], bool]:
    """The events of experiments' tags, by name, and whether the newest one was applied.

    Raises:
        UserError: one is missing, or is no event.
    """
    places = {int(at[1]): one for name, one in tags.items() if (at := _PLACE.fullmatch(name))}
    for n in range(1, max(places, default=0) + 1):
        if n not in places:
            raise UserError(
                f"the ledger's event {n} is missing in {shown()}, though event {max(places)} is "
                "there: move that registry away and type `make restore`",
                "ledger_broken",
            )
    events = tuple(_event(n, places[n]) for n in sorted(places))
    return events, bool(places) and _APPLIED in places[max(places)]


def _event(n: int, tags: Mapping[str, str]) -> ledger.Event:
    text = "".join(tags[f"event.{i}"] for i in range(len(tags)) if f"event.{i}" in tags)
    try:
        return ledger.from_text(text)
    except ValueError as error:
        raise UserError(
            f"the ledger's event {n} cannot be read ({error}): somebody changed it in {shown()}; "
            "move that registry away and type `make restore`",
            "ledger_broken",
        ) from None


def _alias() -> int | None:
    from mlflow.exceptions import MlflowException

    with asking() as client:
        try:
            aliases = client.get_registered_model(MODEL).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
    return _parsed(aliases[ALIAS]) if ALIAS in aliases else None


def _create(client: MlflowClient, name: str, tags: dict[str, Any]) -> bool:
    """Create an experiment; False if the name is taken."""
    from mlflow.exceptions import MlflowException

    local = database()
    # A server knows where its files go; a bare database would put them where the command was run.
    place = (local.parent / "artifacts").as_uri() if local else None
    try:
        client.create_experiment(name, artifact_location=place, tags=tags)
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            return False
        raise
    return True


def _create_model(client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(version: ModelVersion) -> Version:
    tags = version.tags
    try:
        digest: str | None = identifiers.digest(tags.get("digest"))
    except ValueError:
        digest = None
    return Version(_parsed(version.version), digest, version.run_id, PLACEHOLDER in tags)


def _parsed(number: object) -> int:
    try:
        return identifiers.version(number)
    except ValueError as error:
        raise UserError(f"the registry at {shown()} names a version, but {error}") from None


def _number(version: Version) -> int:
    return version.number


def _name(n: int) -> str:
    return f"{_LEDGER}{n:06d}"
