"""Results that were worked out before, kept only to save time.

What is remembered is found by a key over all that the result depends on, the source code
included, and may be deleted at any time: no byte of any output changes.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path


def code_key(modules: list[str], packages: list[str]) -> str:
    """A key over the source of our ``modules`` and the versions of the ``packages`` they call."""
    sources = [files.sha256(files.ROOT / f"{name.replace('.', '/')}.py") for name in modules]
    versions = [metadata.version(package) for package in packages]
    return files.key(sources, versions, sys.platform)


def recall(path: Path) -> dict[str, Any]:
    """What is remembered in ``path``; nothing if it is gone or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(path: Path, values: dict[str, Any]) -> None:
    """Keep ``values`` for the next run."""
    files.write_json(path, values)
