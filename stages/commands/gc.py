"""`make gc`: free disk of what can be made again; never of what the ledger names.

Goes: what DVC keeps of neither the workspace, nor an experiment, nor the ledger; MLflow's runs of
candidates that never were registered; what data/memory remembers.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from stages.commands import restore
from stages.registry import birthplace, cli, connection, dvc, evidence, ledger, moves, store
from stages.shared import dvc_files, errors, files
from stages.shared.errors import UserError
from stages.shared.identifiers import Address

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def kept_addresses(events: Sequence[ledger.Event]) -> list[Address]:
    """What `make restore` would look for in DVC's cache, whichever event names it."""
    named = [evidence.addresses_in(event.evidence.get("files")) for event in events]
    return sorted({md5 for addresses in named for md5 in addresses.values()})


def main() -> None:
    """Free what may go, and say how much that was."""
    cli.parser("free disk").parse_args()
    dvc_files.check()  # of what a damaged file does not name, DVC would take all away
    now = moves.gather()  # refuses where the ledger cannot be relied on
    cache = restore.cache_folder()
    folders = [files.MEMORY, *_artifacts()]
    if own := is_own(cache):
        folders.append(cache)
    before = sum(map(size, folders))
    if own:
        _collect_cache(cache, kept_addresses(now.events))
    else:
        print(f"gc: DVC's cache is outside of this clone, others may need it: {cache} stays")
    runs = _delete_runs(_kept_digests(now.events))
    files.remove(files.ROOT, "data", "memory")
    freed = before - sum(map(size, folders))
    print(f"gc: {freed / 1e6:.1f} MB are free; {runs} MLflow run{'s' * (runs != 1)} deleted")


def size(folder: Path) -> int:
    """Bytes of the files in a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_own(cache: Path) -> bool:
    """Whether all that DVC deletes from lies in this clone, whatever its folders link to."""
    home = files.home().resolve()
    return all(path.resolve().is_relative_to(home) for path in (cache, cache / "files" / "md5"))


def _artifacts() -> list[Path]:
    """MLflow's files, where they are this clone's own."""
    place = connection.artifacts()
    return [place] if place and connection.is_own() else []


def _collect_cache(cache: Path, keep: Iterable[Address]) -> None:
    """Let DVC collect its cache, as if a second project with the same cache needed ``keep``."""
    there = [md5 for md5 in keep if restore.address(cache, md5).is_file()]
    # Every commit's files stay: an older data/raw.dvc may be the only way back to its months.
    collect = ["gc", "--force", "--workspace", "--all-commits", "--all-experiments"]
    with tempfile.TemporaryDirectory() as folder:
        if there:
            _project(Path(folder), cache, there)
            collect += ["--projects", folder]
        dvc.run(files.home(), *collect)


def _project(folder: Path, cache: Path, addresses: Iterable[Address]) -> None:
    """A project of DVC's that needs ``addresses``; DVC looks for experiments in its git, too."""
    # Nothing of the git around it: neither its hooks, nor the repository that a hook is run in.
    git = ["git", "-c", "user.name=gc", "-c", "user.email=gc@localhost", "-c", "core.hooksPath="]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    commit = ["commit", "--quiet", "--no-gpg-sign", "--allow-empty", "--message=gc"]
    for command in (["init", "--quiet", "--template="], commit):
        subprocess.run([*git, *command], cwd=folder, env=environment, check=True)
    dvc.run(folder, "init")
    # A link: DVC's configuration cannot hold a path with accents.
    (folder / ".dvc" / "cache").symlink_to(cache)
    outs = [{"md5": md5, "hash": "md5", "path": str(i)} for i, md5 in enumerate(addresses)]
    YAML(typ="safe").dump({"outs": outs}, folder / "ledger.dvc")


def _kept_digests(events: Sequence[ledger.Event]) -> set[str]:
    """The candidates whose runs stay: the ledger's, the registered ones, the workspace's."""
    kept = set(ledger.state(events).digests.values())
    kept |= {version.digest for version in store.versions().values() if version.digest}
    with suppress(UserError):  # there may be none just now
        kept.add(evidence.read(files.ROOT).digest)
    return kept


def _delete_runs(keep: Collection[str]) -> int:
    """Delete the runs of other candidates, and those that a kill left half done."""
    from mlflow.entities import ViewType

    # Of a shared registry other people's candidates are not ours to judge.
    if not connection.is_own() or not connection.exists():
        return 0
    with connection.asking() as client:
        ours: dict[str, Any] = {"experiment_ids": [store.experiment()]}
        for run in connection.pages(client.search_runs, run_view_type=ViewType.ACTIVE_ONLY, **ours):
            status = run.info.status
            spare = run.data.tags.get("digest") not in keep or status in ("KILLED", "FAILED")
            if spare and status != "RUNNING":
                client.delete_run(run.info.run_id)
        # Marked as deleted first, so that a kill from here on leaves nothing that looks whole.
        deleted = connection.pages(client.search_runs, run_view_type=ViewType.DELETED_ONLY, **ours)
        return sum(_delete_files(client, run) for run in deleted)


def _delete_files(client: MlflowClient, run: Run) -> bool:
    """Delete the files of a deleted run and of its model; whether there were any."""
    from mlflow.exceptions import MlflowException

    found = False
    for output in run.outputs.model_outputs if run.outputs else []:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException:
            continue  # an earlier gc has deleted it
        found |= _delete(model.artifact_location)
        client.delete_logged_model(model.model_id)
    return _delete(run.info.artifact_uri) or found


def _is_ours(place: str | None) -> bool:
    """Whether a place lies in the folder of the registry's own artifacts, links followed."""
    path, own = birthplace.path_of(place or ""), connection.artifacts()
    if path is None or own is None:
        return False
    home = own.resolve()
    return path.resolve().is_relative_to(home) and path.resolve() != home


def _delete(place: str | None) -> bool:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if not _is_ours(place):
        return False
    repository: Any = get_artifact_repository(place or "")
    if not repository.list_artifacts():
        return False
    repository.delete_artifacts()
    return True


if __name__ == "__main__":
    errors.run(main)
