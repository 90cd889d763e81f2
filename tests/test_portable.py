"""What goes into a committed hash is the same on every processor, with any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import processors
import pytest
from clone import small

from stages.shared import files

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@cache
def computed(name: str) -> list[str]:
    """What `portable_worker` prints on a processor, line by line."""
    tests = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(files.ROOT), tests])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "portable_worker"],
        env=environment | processors.all_of_them()[name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", processors.FEW[1:])
def test_all_that_computes_gives_the_same_on_every_processor(name: str) -> None:
    assert computed(name) == computed("this one")


def test_the_processors_that_are_played_do_differ() -> None:
    """Else equal results would say nothing."""
    asks = (
        "import math, numpy as np; a = np.random.default_rng(1).random((300, 300));"
        "print(hash((np.exp(a).tobytes(), (a @ a).tobytes())), sum(map(math.exp, a.ravel())))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", asks],
            env=os.environ | {"PYTHONHASHSEED": "0"} | processors.all_of_them()[name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in processors.FEW
    }
    assert len(said) == len(processors.FEW)


def test_the_loop_leaves_the_same_dvc_lock_on_every_processor(tmp_path: Path) -> None:
    locks = {}
    for place, name in enumerate(processors.FEW):
        clone = small(tmp_path / str(place))
        played: Any = processors.all_of_them()[name]
        clone.run("dvc", "repro", "--quiet", "compare", **played)
        locks[name] = (clone.root / "dvc.lock").read_text()
    first, *others = locks.values()
    assert all(other == first for other in others)
