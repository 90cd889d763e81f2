"""Putting months and parameters in place: all of it or nothing, whenever it is interrupted.

What is new is made beside what is there (`*.tmp`, which git and DVC leave alone) and then renamed.
A kill between two renames is made good by the next run, which begins with `recover`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from stages.shared import files
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def place(
    months: list[Path],
    text: str,
    raw: Path,
    params: Path,
    bring: Callable[[Path, Path], object] = shutil.copyfile,
) -> str | None:
    """Make ``raw`` hold these months and no others, and ``params`` this text.

    Args:
        months: the files; if they are those of ``raw`` already, it stays as it is.
        text: the new parameters.
        raw: the folder of snapshots; it may be missing.
        params: the file of parameters, at the root of the repository.
        bring: puts a file into the folder; it may stay where it was.

    Returns:
        What became of other months that were in ``raw``, in a sentence for a person.

    Raises:
        UserError: the disk is full, or the like; nothing was changed.
    """
    written = params.with_name(f".{params.name}.adopt.tmp")
    try:
        written.write_text(text, encoding="utf-8")
        if _holds(raw, months):
            written.replace(params)
        else:
            _swap(months, raw, bring, lambda: written.replace(params))
    except OSError as error:
        raise UserError(f"nothing was changed, for this went wrong: {error}") from None
    finally:
        written.unlink(missing_ok=True)
    return recover(raw)


def _swap(
    months: list[Path],
    raw: Path,
    bring: Callable[[Path, Path], object],
    and_then: Callable[[], object],
) -> None:
    """Put the months into ``raw``, what was there into the workshop, and do the rest."""
    new, old = _workshop(raw) / "new", _workshop(raw) / "old"
    placed = False
    try:
        new.mkdir(parents=True)
        for path in months:
            bring(path, new / path.name)
        if raw.exists():
            raw.rename(old)
        new.rename(raw)
        placed = True
        and_then()
    except BaseException:  # Ctrl-C too: undo, and let it go on
        if placed:
            raw.rename(new)
        recover(raw)
        raise


def recover(raw: Path) -> str | None:
    """Make good what an interrupted run left: nothing that was in ``raw`` is lost.

    Returns:
        What became of other months that were in ``raw``, if there were any.
    """
    workshop = _workshop(raw)
    old, said = workshop / "old", None
    if old.exists():
        if raw.exists():
            said = _let_go(old, raw)
        else:
            old.rename(raw)
    if workshop.exists():
        shutil.rmtree(workshop)
    return said


def _workshop(raw: Path) -> Path:
    return raw.with_name(f".{raw.name}.adopt.tmp")


def _holds(raw: Path, months: list[Path]) -> bool:
    """Whether the folder holds these files and no others."""
    if not raw.is_dir() or {p.name for p in raw.iterdir()} != {p.name for p in months}:
        return all(path.parent.resolve() == raw.resolve() for path in months)
    return all(_equal(path, raw / path.name) for path in months)


def _equal(one: Path, other: Path) -> bool:
    return one.samefile(other) or (
        one.stat().st_size == other.stat().st_size and files.sha256(one) == files.sha256(other)
    )


def _let_go(old: Path, raw: Path) -> str:
    """Remove months that git and DVC can bring back; keep others aside."""
    count = sum(1 for path in old.iterdir() if not path.name.startswith("."))
    held = f"{files.relative(raw)} held {count:,} other {'file' if count == 1 else 'files'}"
    pointer = raw.with_name(f"{raw.name}.dvc")
    if _can_come_back(old, pointer):
        old.rename(old.with_name("gone"))  # half removed it would look like other months
        where = files.relative(pointer)
        back = f"git checkout params.yaml {where} && dvc checkout --force {where}"
        return f"{held}: `{back}` brings them back"
    aside = _free(raw)
    old.rename(aside)
    return (
        f"{held}, which git and DVC could not bring back: they are in {files.relative(aside)} now"
    )


def _free(raw: Path) -> Path:
    number = 1
    while (aside := raw.with_name(f"{raw.name}.before-{number}.tmp")).exists():
        number += 1
    return aside


def _can_come_back(folder: Path, pointer: Path) -> bool:
    """Whether the last commit's ``pointer`` names these files, and DVC's cache has them all."""
    try:
        digest = YAML(typ="safe", pure=True).load(_committed(pointer))["outs"][0]["md5"]
        listed: list[dict[str, Any]] = json.loads(_cached(digest, pointer).read_bytes())
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError, TypeError):
        return False  # whatever is unusual: the files are kept
    known = {entry["relpath"]: entry["md5"] for entry in listed}
    there = {p.relative_to(folder).as_posix(): _md5(p) for p in folder.rglob("*") if p.is_file()}
    has_all = all(_cached(digest, pointer).is_file() for digest in known.values())
    return not folder.is_symlink() and known == there and has_all


def _committed(path: Path) -> bytes:
    command = ["git", "show", f"HEAD:./{path.name}"]
    return subprocess.run(command, cwd=path.parent, capture_output=True, check=True).stdout


def _cached(digest: str, pointer: Path) -> Path:
    """Where DVC keeps what has this digest, unless somebody told it to keep it elsewhere."""
    root = next(parent for parent in pointer.parents if (parent / ".dvc").is_dir())
    return root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
