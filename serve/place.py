"""The place on disk where the watcher puts the model, and from which every worker takes it.

``current.json`` names the model and the folder with its files; it is replaced as a whole, so that
a reader sees the old model or the new one. ``watcher.json`` is what the watcher last found; it has
one size for good and is written over, so that it can still be written where the disk is full.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

CURRENT, WATCHER = "current.json", "watcher.json"
PAGE = "page.html"  # what `GET /` shows; `make report` writes one into reports
_SIZE = 4096
_LONGEST = 300  # characters of a text in watcher.json; one takes twelve bytes at most


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """What one of the two files says; None if it is not there, or damaged."""
    try:
        found = json.loads((folder / name).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def replace_current(folder: Path, values: dict[str, Any]) -> None:
    """Name another model, whole or not at all, also if the power fails."""
    with (
        files.replacing(folder / CURRENT) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        json.dump(values, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())


def note(folder: Path, values: dict[str, Any]) -> None:
    """Write down what the watcher found, over what it found before."""
    short = {k: v[:_LONGEST] if isinstance(v, str) else v for k, v in values.items()}
    text = json.dumps(short)  # in ASCII, so that characters are bytes
    descriptor = os.open(folder / WATCHER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, text.ljust(_SIZE).encode()[:_SIZE], 0)
    finally:
        os.close(descriptor)
