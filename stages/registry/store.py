"""What the registry holds: versions, the alias, the ledger's events, the files of a version.

An event of the ledger is an experiment without runs, ``churn_model/ledger/000001``: names of
experiments are unique and the tags, which hold the event's text, come with the creation, so
appending is one atomic step that of two racers one wins. The tag ``applied`` comes later: it says
that the alias has followed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.registry import ledger, ledger_copy
from stages.registry.connection import asking, database, exists, pages, shown
from stages.shared import candidate, files
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
_APPLIED = "applied"
_PART = 4000  # characters of an event in one tag: servers take 5,000 at least


@dataclass(frozen=True)
class Version:
    """A registered version; a placeholder only keeps a number that nothing else may take."""

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

    @property
    def head(self) -> ledger.Event | None:
        """The newest event."""
        return self.events[-1] if self.events else None

    @property
    def standing(self) -> str:
        """Settled, interrupted or moved by hand: see `ledger.standing`."""
        return ledger.standing(self.head, self.applied, self.alias)


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
        raise UserError(f"MLflow's experiment {EXPERIMENT!r} was deleted: restore it in MLflow")
    return str(found.experiment_id)


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
            return now
        events, applied = again  # somebody moved production between the two questions


def append(event: ledger.Event) -> bool:
    """Write an event in its place; False if that place is taken."""
    text = ledger.to_text(event)
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
            "move that registry away and type `make restore`"
        )
    ledger_copy.check(copied, now.events)


def refuse_moved_by_hand(now: Registry) -> None:
    """Ask for adoption of an alias that somebody moved by hand.

    Raises:
        UserError: names the commands that settle it.
    """
    if now.standing == "moved by hand":
        raise UserError(f"{by_hand(now)}: {'; '.join(remedies(now))}")


def by_hand(now: Registry) -> str:
    """What an alias that was moved by hand looks like, in words."""
    says = "nothing" if now.alias is None else f"version {now.alias}"
    knows = f"version {now.head.to_version}" if now.head else "of no production at all"
    return f"the alias production was moved by hand: it names {says}, the ledger knows {knows}"


def remedies(now: Registry) -> list[str]:
    """The commands that settle an alias that was moved by hand."""
    found = []
    if now.alias is not None:
        found.append(f"to adopt it: make rollback VERSION={now.alias} REASON='…'")
    if now.head:
        found.append(f"to put it back: make rollback VERSION={now.head.to_version} REASON='…'")
    return found


def fetch(version: int) -> Path:
    """The folder with a version's candidate, checked; kept in data/memory.

    Raises:
        UserError: there is no such version, it has no digest, or its files are gone or changed.
    """
    expected = versions().get(version, Version(version, None, None, placeholder=False))
    if expected.digest is None or expected.run_id is None:
        raise UserError(f"version {version} of {MODEL} was not made by this pipeline, or is gone")
    kept = _kept(expected.digest)
    if not _is(kept, expected.digest):
        _download(expected.run_id, kept)
    if not _is(kept, expected.digest):
        raise UserError(
            f"the files of version {version} are gone or damaged in {shown()}, or of a newer code "
            "than this: `git pull`; else move that registry away and type `make restore`"
        )
    return kept


def at_hand(version: int, digest: str) -> Path:
    """The same folder for those who know the digest: the registry is asked if it is not kept yet.

    Raises:
        UserError: as `fetch`.
    """
    kept = _kept(digest)
    return kept if _is(kept, digest) else fetch(version)


def _kept(digest: str) -> Path:
    return files.MEMORY / "candidates" / digest


def _download(run_id: str, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as folder,
        suppress(UserError, OSError),  # the digest tells what is missing
        asking() as client,
    ):
        client.download_artifacts(run_id, CANDIDATE, folder)
        shutil.rmtree(kept, ignore_errors=True)
        (Path(folder) / CANDIDATE).replace(kept)


def _is(folder: Path, digest: str) -> bool:
    try:
        return candidate.digest(folder) == digest
    except UserError:
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
    tags = [experiment.tags for experiment in sorted(found, key=lambda e: str(e.name))]
    events = tuple(_event(n, one) for n, one in enumerate(tags, start=1))
    return events, bool(tags) and _APPLIED in tags[-1]


def _event(n: int, tags: Mapping[str, str]) -> ledger.Event:
    text = "".join(tags[f"event.{i}"] for i in range(len(tags)) if f"event.{i}" in tags)
    try:
        return ledger.from_text(text)
    except ValueError:
        raise UserError(
            f"the ledger's event {n} cannot be read: somebody changed it in {shown()}; move that "
            "registry away and type `make restore`"
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
    return int(aliases[ALIAS]) if ALIAS in aliases else None


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
    return Version(int(version.version), tags.get("digest"), version.run_id, PLACEHOLDER in tags)


def _number(version: Version) -> int:
    return version.number


def _name(n: int) -> str:
    return f"{_LEDGER}{n:06d}"
