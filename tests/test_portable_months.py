"""Every month of the default data, on every processor that this one can play: the same bytes.

Half an hour: `make test-portable`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import processors
import pytest
from clone import Clone
from contracts import CDNOW

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = 9  # that are left after `make run`
NAMES = ("this one", "of 2008", "of 2013", "of another make", "three threads")


def months(root: Path, played: Any) -> list[dict[str, str]]:
    """What is left to git and to readers after `make run`, and after each `make month`."""
    clone, left = Clone.new(root), []
    clone.give(CDNOW.model_dump(mode="json", exclude_none=True))
    for step in ("start", *["next"] * MONTHS):
        clone.run(sys.executable, "-m", "data.cdnow", step, **played)
        clone.run("dvc", "repro", "--quiet", **played)
        reports = sorted((root / "reports").rglob("*.json"))
        left.append(
            {str(p.relative_to(root)): p.read_text() for p in [root / "dvc.lock", *reports]}
        )
    return left


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return months(tmp_path_factory.mktemp("here"), {})


@pytest.mark.parametrize("name", [n for n in NAMES[1:] if n in processors.all_of_them()])
def test_every_month_gives_the_same_bytes(
    name: str, here: list[dict[str, str]], tmp_path: Path
) -> None:
    found = months(tmp_path / "clone", processors.all_of_them()[name])
    for month, (ours, theirs) in enumerate(zip(here, found, strict=True)):
        differ = [path for path in ours | theirs if ours.get(path) != theirs.get(path)]
        assert not differ, f"after {month} months: {differ}"
