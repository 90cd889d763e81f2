"""The connection to MLflow: which registry it is, and how it is asked.

Only the client's API is used, so an SQLite file and a server do alike.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.registry import birthplace
from stages.shared import files
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCAL = "sqlite:///"


def uri() -> str:
    """The registry's address: MLFLOW_TRACKING_URI, or the clone's own.

    A relative SQLite path is taken from the clone's root, wherever a command is run.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{_LOCAL}mlflow/mlflow.db"
    if not given.startswith(_LOCAL):
        return given
    return f"{_LOCAL}{files.home() / given.removeprefix(_LOCAL)}"


def shown() -> str:
    """`uri` as it may be printed: without a password."""
    return re.sub(r"//[^/@]*@", "//", uri())


def database() -> Path | None:
    """The SQLite file, None for a server."""
    path = uri().removeprefix(_LOCAL).partition("?")[0]
    return Path(path) if uri().startswith(_LOCAL) else None


def artifacts() -> Path | None:
    """Where a registry in an SQLite file has its artifacts, None for a server."""
    local = database()
    return local.parent / birthplace.ARTIFACTS if local else None


def is_own() -> bool:
    """Whether the registry is this clone's own: a file in it, which no other clone writes to."""
    local = database()
    return local is not None and local.resolve().is_relative_to(files.home().resolve())


def settle() -> None:
    """Put the addresses of a registry right that was moved or copied, before MLflow opens it."""
    local = database()
    for old in birthplace.settle(local, files.home()) if local else []:
        print(
            f"registry: it was moved or copied from {old}: its addresses are put right",
            file=sys.stderr,
            flush=True,
        )


def exists() -> bool:
    """Whether there is anything to read; asks no server."""
    local = database()
    return local is None or local.is_file()


@contextmanager
def asking() -> Iterator[MlflowClient]:
    """Give the client; what goes wrong in the block is one line about the registry.

    Importing MLflow takes seconds, so only who asks pays for it.
    """
    _quieten()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if mlflow.get_tracking_uri() != uri():
            _aim(uri())
        yield _client(uri())
    except (MlflowException, SQLAlchemyError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"the registry at {shown()} does not do what is asked: {first}") from error


def pages(search: Any, **question: Any) -> list[Any]:
    """All that a search of the client's finds, however many pages that takes."""
    found: list[Any] = []
    token = None
    while True:
        page = search(**question, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _quieten() -> None:
    """Let MLflow neither phone home, nor chat, nor wait minutes for a server that is down."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _aim(address: str) -> None:
    """Tell MLflow's own functions the address; what they write into the environment is undone."""
    import mlflow

    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if given is not None:
        os.environ["MLFLOW_TRACKING_URI"] = given


@cache
def _client(address: str) -> MlflowClient:
    from mlflow import MlflowClient

    local = database()
    if local is not None:
        local.parent.mkdir(parents=True, exist_ok=True)
        if not local.exists():
            _make(local)
        settle()
    return MlflowClient(address, address)


def _make(database: Path) -> None:
    """Let MLflow make its tables in another file, which then comes to its place as a whole.

    MLflow goes through all its migrations, for seconds. Killed between two of them, it would leave
    a file that neither it nor anything of ours could open again.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".new-") as folder:
        made = Path(folder) / database.name
        artifacts = (database.parent / birthplace.ARTIFACTS).as_uri()
        made_by: Any = SqlAlchemyStore  # it has no types
        made_by(f"{_LOCAL}{made}", artifacts).engine.dispose()
        with suppress(FileExistsError):  # another process was faster
            os.link(made, database)  # unlike a rename, it replaces nothing
