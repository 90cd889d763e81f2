"""One clone of two that promote as often as they can: `python promote_often.py CLONE TIMES`.

It promotes two candidates of its own in turn, each time compared with what is in production just
then, through the sixth stage; where the other clone was faster, it compares again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import by_hand
import pytest
import registry_fixtures

from stages import promote
from stages.registry import store
from stages.shared import files
from stages.shared.errors import UserError

FASTER = ("somebody else moved production", "production is now")


def main() -> None:
    """Promote so many times, and say how often the other clone was faster."""
    root, times = Path(sys.argv[1]), int(sys.argv[2])
    clone = registry_fixtures.Clone(root)
    registry_fixtures.enter(clone, pytest.MonkeyPatch(), keep=["MLFLOW_TRACKING_URI"])
    candidates = [candidate(clone, slope) for slope in (1.0, 2.0)]
    done = again = 0
    while done < times:
        take(clone, candidates[done % 2])
        digest = files.read_json(files.REPORTS / "train.json")["digest"]
        clone.reports(digest, store.production().version)
        try:
            promote.stage()
        except UserError as error:
            if not str(error).startswith(FASTER):
                raise
            print(f"again: {error}", flush=True)
            again += 1
        else:
            done += clone.receipt()["outcome"] == "promoted"
    print(f"{done} promoted, {again} times again")


def candidate(clone: registry_fixtures.Clone, slope: float) -> Path:
    """Make a candidate of this clone's own and put it aside; returns where."""
    own = 0.01 * sum(clone.root.name.encode())  # no other clone makes the same
    by_hand.put(clone, slope + own, None)
    aside = clone.root / f"candidate-{slope:g}"
    shutil.copytree(clone.root / "models" / "candidate", aside / "candidate")
    shutil.copy(clone.root / "reports" / "train.json", aside / "train.json")
    return aside


def take(clone: registry_fixtures.Clone, aside: Path) -> None:
    """Put a candidate into the workspace."""
    shutil.copytree(aside / "candidate", clone.root / "models" / "candidate", dirs_exist_ok=True)
    shutil.copy(aside / "train.json", clone.root / "reports" / "train.json")


if __name__ == "__main__":
    main()
