"""The files in which DVC keeps what belongs to what: read here alone, into typed values.

DVC writes them in place, so a kill may leave one empty or cut; a merge may leave conflict markers;
a person may write anything. Whatever is not whole is a `DamagedError`, which knows the way out.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.shared import files
from stages.shared.errors import UserError
from stages.shared.identifiers import Address, address, shown

Kind = Literal["empty", "damaged", "conflict"]
T = TypeVar("T")

# The stages that registry and ledger rest on: a dvc.yaml without them was cut.
_NEEDED = ("train", "evaluate", "compare", "promote")
_MARKER = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
_SAID = {
    "empty": "is empty, as a kill may leave it",
    "damaged": "is damaged",
    "conflict": "has conflict markers of a merge",
}


class DamagedError(UserError):
    """A file that is not whole: ``kind`` says how, ``remedy`` is what to type."""

    def __init__(self, path: Path, kind: Kind, remedy: str, why: str = "") -> None:
        self.path, self.kind, self.remedy = path, kind, remedy
        detail = f" ({why})" if why else ""
        super().__init__(f"{files.relative(path)} {_SAID[kind]}{detail}: {remedy}")


@dataclass(frozen=True)
class Entry:
    """What dvc.lock knows of a stage.

    ``reads`` and ``writes`` map a path to DVC's MD5; an input that DVC knows in another way has
    None, an output without an MD5 is left out.
    """

    command: object = None
    reads: dict[str, str | None] = field(default_factory=dict)
    writes: dict[str, Address] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


# --- what is read ------------------------------------------------------------------------------


def lock() -> dict[str, Entry]:
    """The stages of dvc.lock; none if there is no such file.

    Raises:
        DamagedError: it is not whole, or names a place outside of the clone.
    """
    path = files.LOCK
    return _parsed(path, _text(path), lock_entries) if path.is_file() else {}


def lock_entries(text: str) -> dict[str, Entry]:
    """The stages of a dvc.lock's text.

    Raises:
        ValueError: it is none.
    """
    found = _mapping(_yaml(text), "stages")
    return {str(name): _entry(_mapping(entry)) for name, entry in found["stages"].items()}


def pointers() -> list[Path]:
    """The files, such as data/raw.dvc, that name what lies in DVC's cache."""
    found = [*files.ROOT.glob("*.dvc"), *(files.ROOT / "data").glob("*.dvc")]
    return sorted(path for path in found if path.is_file())


def pointer(path: Path) -> dict[str, Address]:
    """What such a file names, by its path beside the file.

    Raises:
        DamagedError: it is not whole.
    """
    return _parsed(path, _text(path), pointer_outputs)


def pointer_outputs(text: str) -> dict[str, Address]:
    """The outputs in the text of a ``.dvc`` file.

    Raises:
        ValueError: it is none.
    """
    outputs = _outputs(_mapping(_yaml(text), "outs")["outs"])
    if not outputs:
        raise ValueError("it names nothing")
    return outputs


def wiring() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml.

    Raises:
        DamagedError: it is not whole.
    """
    path = files.ROOT / "dvc.yaml"
    return _parsed(path, _text(path), _wired)


def check() -> None:
    """Refuse to go on where one of DVC's files is not whole: what DVC would then do is no loss.

    Raises:
        DamagedError: the first of them.
    """
    wiring()
    lock()
    for path in pointers():
        pointer(path)
    _check_config(files.ROOT / ".dvc" / "config")


def inner_path(value: object) -> str:
    """A path that stays below the folder that it is joined to, as far as its text can tell.

    Raises:
        ValueError: it does not.
    """
    if isinstance(value, str) and value and "\0" not in value and "\\" not in value:
        path = PurePosixPath(value)
        if not path.is_absolute() and ".." not in path.parts and path.parts:
            return value
    raise ValueError(f"{shown(value)} is not a path inside of the clone")


# --- what is mended ----------------------------------------------------------------------------


def own() -> None:
    """Part what DVC writes in place from a copy by hard links; see `files.own`."""
    for path in (files.LOCK, *pointers()):
        files.own(path)


def mend() -> list[str]:
    """Mend what a kill left empty or cut; nothing that was in place is lost.

    dvc.lock and a pointer become those of the last commit. DVC then compares them with what is
    there: of results that it has in its cache it takes them, and months that are newer than the
    pointer are data that changed. Nothing is checked out.

    Returns:
        What was done, a sentence each.

    Raises:
        DamagedError: a merge was left half done, or a file cannot be mended by itself.
    """
    done = []
    readers: dict[Path, Callable[[str], object]] = {files.LOCK: lock_entries}
    for path, read in (readers | dict.fromkeys(pointers(), pointer_outputs)).items():
        try:
            if path.is_file():
                _parsed(path, _text(path), read)
        except DamagedError as damaged:
            if damaged.kind == "conflict":
                raise
            done.append(_mend(path, read))
    return [*done, *_mend_rwlock(files.ROOT / ".dvc" / "tmp")]


def _mend(path: Path, read: Callable[[str], object]) -> str:
    name = files.relative(path)
    kept = committed(path)
    try:
        read(kept or "")
    except ValueError:
        path.unlink()
        return f"{name} was not whole, and no commit has it: it is made again"
    files.write_bytes(path, (kept or "").encode())
    return f"{name} was not whole: the one of the last commit is back"


def _mend_rwlock(folder: Path) -> list[str]:
    """Remove DVC's note of who reads and writes what, where a kill left it cut.

    Who edits the note holds a lock on the file beside it; the system frees that lock with the
    process.
    """
    import fcntl
    import json

    note, guard = folder / "rwlock", folder / "rwlock.lock"
    try:
        json.loads(note.read_bytes())
    except OSError:
        return []
    except ValueError:
        with guard.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return []  # another DVC is at it
            note.unlink(missing_ok=True)
        return [f"{files.relative(note)} was not whole: removed"]
    return []


def committed(path: Path) -> str | None:
    """The file as the last commit has it, also in a folder of a larger repository."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
        return done.stdout.decode() if done.returncode == 0 else None
    except (OSError, UnicodeDecodeError):
        return None


# --- how ---------------------------------------------------------------------------------------


def yaml(text: str) -> Any:
    """Plain values by YAML 1.2, as DVC reads them (`no` is a text).

    Raises:
        ValueError: it is no YAML, or nothing that Python could hold; in one line.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (YAMLError, ValueError) as error:  # a day that is none, a number of 5,000 digits
        raise ValueError(" ".join(str(error).split())) from None


def has_markers(text: str) -> bool:
    """Whether a merge left conflict markers in a text."""
    return len({line[0] for line in _MARKER.findall(text)}) > 1


def remedy(path: Path, kind: Kind) -> str:
    """What to type about a file that is not whole."""
    name = files.relative(path)
    mended = path == files.LOCK or path.suffix == ".dvc"
    if kind != "conflict":
        return "make repro" if mended else f"git checkout HEAD -- {name}"
    if not _is_unmerged(path):  # the markers were committed: no side is left to choose
        return f"rm {name} && make repro" if mended else "edit it: keep one side, without markers"
    then = "make repro" if mended else f"git add {name}"
    return f"git checkout --ours -- {name} (or --theirs), then: {then}"


def _is_unmerged(path: Path) -> bool:
    command = ["git", "ls-files", "--unmerged", "--", path.name]
    try:
        done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    except OSError:
        return False
    return bool(done.stdout)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DamagedError(path, "damaged", remedy(path, "damaged"), "it is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        why = shown(str(error), 120)
        raise DamagedError(path, "damaged", remedy(path, "damaged"), why) from None


def _parsed(path: Path, text: str, read: Callable[[str], T]) -> T:
    if has_markers(text):
        raise DamagedError(path, "conflict", remedy(path, "conflict"))
    if not text.strip("\0 \t\r\n"):  # a file system may give zeros for what was not written yet
        raise DamagedError(path, "empty", remedy(path, "empty"))
    try:
        return read(text)
    except ValueError as error:
        raise DamagedError(path, "damaged", remedy(path, "damaged"), str(error)) from None


def _yaml(text: str) -> Any:
    try:
        return yaml(text)
    except ValueError as error:
        raise ValueError(shown(str(error), 120)) from None


def _mapping(value: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} stands where names and values should")
    for key in keys:
        if key not in value:
            raise ValueError(f"it has no {key}")
    if "stages" in keys:
        _mapping(value["stages"])
    return value


def _entry(entry: dict[str, Any]) -> Entry:
    reads = [_mapping(item, "path") for item in _list(entry.get("deps"))]
    return Entry(
        command=entry.get("cmd"),
        reads={str(item["path"]): item.get("md5") for item in reads},
        writes=_outputs(entry.get("outs")),
        parameters=_mapping(entry.get("params") or {}),
    )


def _outputs(value: Any) -> dict[str, Address]:
    items = [_mapping(item, "path") for item in _list(value)]
    found = {inner_path(item["path"]): item.get("md5") for item in items}
    return {path: address(md5) for path, md5 in found.items() if md5 is not None}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} stands where a list should")
    return value


def _wired(text: str) -> dict[str, dict[str, Any]]:
    stages = _mapping(_yaml(text), "stages")["stages"]
    missing = [name for name in _NEEDED if name not in stages]
    if missing:
        raise ValueError(f"it has no stage {missing[0]}")
    return {str(name): _mapping(stage) for name, stage in stages.items()}


def _check_config(path: Path) -> None:
    from configobj import ConfigObj, ConfigObjError  # type: ignore[import-untyped]

    if not path.is_file():
        return
    text = _text(path)
    if has_markers(text):
        raise DamagedError(path, "conflict", remedy(path, "conflict"))
    try:
        ConfigObj(text.splitlines())
    except ConfigObjError as error:
        why = shown(str(error), 120)
        raise DamagedError(path, "damaged", remedy(path, "damaged"), why) from None
