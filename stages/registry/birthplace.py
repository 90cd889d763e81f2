"""A registry in an SQLite file that was moved or copied: its addresses are put right.

MLflow notes in full where files lie, so a database that was moved names places that are gone, and
one that was copied those of the original. All that this pipeline makes lies in ``artifacts`` beside
the database; where experiments of ours name another folder, that is where the database was before.
Nothing else is remembered, so nothing else can be wrong.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

from stages.shared import files
from stages.shared.errors import UserError

ARTIFACTS = "artifacts"

_OURS = """
    SELECT DISTINCT artifact_location FROM experiments
    WHERE name = 'churn_model' OR name LIKE 'churn_model/ledger/%'
"""
# What people and the ledger wrote: texts that stay to the letter, whatever they begin with.
_RECORDS = {
    "experiment_tags", "tags", "params", "metrics", "latest_metrics",
    "logged_model_tags", "logged_model_params", "registered_model_tags", "model_version_tags",
}  # fmt: skip
_TEXTS = ("CHAR", "TEXT", "CLOB")
_PATIENCE = 30.0  # seconds that another process may take for the same


def settle(database: Path, home: Path) -> list[Path]:
    """Let every address that leads to a former folder of ``database`` lead to its present one.

    A database that may only be read is left as it is: who reads needs no addresses.

    Args:
        database: the SQLite file.
        home: the clone's root: if the database is in it, the clone's other addresses move along.

    Returns:
        The former folders, of the clone or else of the database; empty where all was right.

    Raises:
        UserError: the database is busy for long, or damaged.
    """
    if not database.is_file():
        return []
    try:
        own(database)
        with closing(sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)) as opened:
            if not _former(opened, database):
                return []
            opened.execute("BEGIN IMMEDIATE")
            moves = [_roots(old, database.parent, home) for old in _former(opened, database)]
            for old, new in moves:  # none if another process was faster
                _rewrite(opened, old, new)
            opened.execute("COMMIT")
            return [old for old, _ in moves]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            return []
        raise UserError(
            f"the registry {database} was moved or copied, and its addresses cannot be put right "
            f"({error}): end what else uses it, then type the same again"
        ) from None
    except sqlite3.DatabaseError:
        return []  # MLflow says what is wrong with it


def own(database: Path) -> None:
    """Part a database from those that are the same by a hard link; see `files.own`.

    Raises:
        sqlite3.DatabaseError: it is busy for long, damaged, or may not be written to.
    """
    if database.is_file() and database.stat().st_nlink > 1:
        with closing(sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)) as opened:
            opened.execute("BEGIN IMMEDIATE")  # nobody writes while it is copied
            files.own(database)


def path_of(address: str) -> Path | None:
    """The path that an artifact's address means, None if it is none of this disk's."""
    if address.startswith("file:"):
        rest = address.removeprefix("file:")
        rest = rest.removeprefix("//") if rest.startswith("///") else rest
        address = os.fsdecode(unquote_to_bytes(rest))
    path = PurePosixPath(address)
    plain = address.startswith("/") and not address.startswith("//") and "\0" not in address
    return Path(path) if plain and ".." not in path.parts else None


def moved(address: str, old: Path, new: Path) -> str:
    """The address after the folder ``old`` has become ``new``, in the form that it had."""
    path = path_of(address)
    if path is None or not path.is_relative_to(old):
        return address
    now = new / path.relative_to(old)
    return now.as_uri() if address.startswith("file:") else str(now)


def _former(opened: sqlite3.Connection, database: Path) -> list[Path]:
    """The folders in which the database was before."""
    try:
        places = [path_of(str(place)) for (place,) in opened.execute(_OURS)]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            return []  # no such table: MLflow has not made its tables yet
        raise
    folders = {place.parent for place in places if place and place.name == ARTIFACTS}
    return sorted(old for old in folders if _was_here(old, database))


def _was_here(old: Path, database: Path) -> bool:
    """Whether the database was in the folder ``old``, and is not seen through another path now."""
    here = database.parent
    if old == here:
        return False
    try:
        if (old / database.name).samefile(database):
            return False
    except OSError:
        pass  # moved
    if (here / ARTIFACTS).is_dir():
        return True
    # Without files of its own it lost them on the way, unless a person put them elsewhere.
    elsewhere = (old / ARTIFACTS).is_dir() and not (old / database.name).is_file()
    return old.name == here.name and not elsewhere


def _roots(old: Path, here: Path, home: Path) -> tuple[Path, Path]:
    """The folders that correspond: of the clones, if the database lies in them alike."""
    if here.is_relative_to(home):
        inside = here.relative_to(home).parts
        depth = len(old.parts) - len(inside)
        if depth > 1 and old.parts[depth:] == inside:
            return Path(*old.parts[:depth]), home
    return old, here


def _rewrite(opened: sqlite3.Connection, old: Path, new: Path) -> None:
    """Rewrite the addresses in all tables, whichever this version of MLflow has."""
    opened.create_function("moved", 1, lambda text: moved(text, old, new), deterministic=True)
    tables = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        if table in _RECORDS or table.startswith("sqlite_"):
            continue
        for column in _text_columns(opened, table):
            name = f'"{table}"', f'"{column}"'
            opened.execute(
                "UPDATE {0} SET {1} = moved({1}) WHERE typeof({1}) = 'text' "  # noqa: S608
                "AND ({1} LIKE 'file:%' OR {1} LIKE '/%')".format(*name)
            )


def _text_columns(opened: sqlite3.Connection, table: str) -> list[str]:
    columns = opened.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
    return [name for name, kind in columns if any(text in kind.upper() for text in _TEXTS)]
