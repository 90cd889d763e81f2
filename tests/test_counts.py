"""The folders in which servers count: real processes that are killed, live on, or start beside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.shared import files

# Says its folder, and ends at the end of its input; with an argument, its child does so instead.
COUNTER = """
import os, sys
from serve import counts
print(counts.make(), flush=True)
if sys.argv[1:] and os.fork():
    os.kill(os.getpid(), 9)
sys.stdin.read()
"""


class Starter:
    """Starts processes that have a folder each, below one folder for temporary files."""

    def __init__(self, below: Path) -> None:
        self.below, self.started = below, list[subprocess.Popen[str]]()

    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTER, *arguments],
            cwd=files.ROOT, env=os.environ | {"TMPDIR": str(self.below)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    def folders(self) -> set[Path]:
        return set(self.below.iterdir())


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    made = Starter(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        with process:  # which closes its pipes
            process.wait(30)


def test_a_folder_goes_with_its_process(starter: Starter) -> None:
    process, folder = starter.start()
    assert starter.folders() == {folder}
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert starter.folders() == set()


def test_the_folder_of_a_killed_process_goes_at_the_next_start_and_no_other(
    starter: Starter,
) -> None:
    alive, kept = starter.start()
    killed, left = starter.start()
    killed.kill()
    killed.wait(30)
    (starter.below / "churn-metrics-file").touch()
    (starter.below / "churn-metrics-link").symlink_to(kept)
    _, new = starter.start()
    assert left not in starter.folders()
    assert starter.folders() >= {kept, new}
    assert alive.poll() is None


def test_a_child_that_outlives_its_parent_keeps_the_folder(starter: Starter) -> None:
    parent, folder = starter.start("child")
    parent.wait(30)
    assert parent.returncode == -signal.SIGKILL
    starter.start()
    assert folder.is_dir()
    parent.communicate(timeout=30)  # the child ends, and leaves the folder: it is not the child's
    assert folder.is_dir()
    starter.start()
    assert not folder.exists()


def test_many_that_start_at_once_have_a_folder_each(starter: Starter) -> None:
    command = 'for n in $(seq 20); do python -c "$CODE" < /dev/null & done; wait'
    code = "import os; from serve import counts; os.write(1, f'{counts.make()} '.encode())"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60,
        cwd=files.ROOT,
        env=os.environ | {"CODE": code, "TMPDIR": str(starter.below), "PATH": path},
    )  # fmt: skip
    assert done.stderr == ""
    assert len(set(done.stdout.split())) == 20
    assert starter.folders() == set()
