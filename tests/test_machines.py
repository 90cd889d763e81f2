"""Machines as people have them: users without a name, odd rights, a clock set back, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import clone as clones
import pytest
from clone import Clone, ran

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code

NOBODY = 54321  # a user id that /etc/passwd does not have
IS_ROOT = os.geteuid() == 0 and shutil.which("setpriv") is not None
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user, or mount")
STEPS = (0, 8, 64, 256, 512, 1024, 2048, 4096, 8192)  # KB that a disk has left
# Who may not write, but read all: a home of root's may be where Python is.
BECOME = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
BECOME += [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]


class Other(Clone):
    """A clone whose commands somebody without a name, a home and a name for git types."""

    umask = "077"

    def environment(self) -> dict[str, str]:
        kept = super().environment()
        return {k: v for k, v in kept.items() if k not in {"HOME", "USER", "LOGNAME", "USERNAME"}}

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        line = ["bash", "-c", f'umask {self.umask}; exec "$@"', "-", *command]
        return super().run(*BECOME, *line, status=status, **environment)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run."""
    return clones.small(tmp_path_factory.mktemp("start") / "clone")


@pytest.fixture(scope="module")
def whole(start: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The same after `make repro`, on a machine like any."""
    clone = copied(start, tmp_path_factory.mktemp("whole") / "clone")
    clone.make("repro")
    assert clone.outcome() == ("promoted", 1)
    return clone


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody gets into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def typed(clone: Clone, command: str) -> tuple[int, str]:
    """Status and words of a `make` command, whatever comes of it."""
    become = BECOME if isinstance(clone, Other) else []
    done = subprocess.run(
        [*become, "make", "--no-print-directory", command], cwd=clone.root, check=False,
        env=clone.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def copied(source: Clone, target: Path, kind: type[Clone] = Clone) -> Clone:
    shutil.copytree(source.root, target, symlinks=True)
    return kind(target)


def lock(clone: Clone) -> bytes:
    return (clone.root / "dvc.lock").read_bytes()


@as_root
def test_a_user_without_a_name_and_a_home_goes_through_the_whole_loop(
    start: Clone, whole: Clone, public: Path
) -> None:
    clone = copied(start, public / "clone", Other)
    for path in (clone.root, *clone.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    clone.run("git", "config", "--unset", "user.name")
    clone.make("repro")
    assert lock(clone) == lock(whole)
    assert str(NOBODY) in clone.make("history")
    for command in ("status", "report", "gc", "restore"):
        clone.make(command)
    assert not [path for path in clone.root.rglob("*") if path.lstat().st_uid == 0]


@as_root
def test_who_may_only_read_a_clone_sees_all_and_changes_nothing(whole: Clone, public: Path) -> None:
    clone = copied(whole, public / "clone", Other)
    before = listed(clone.root)
    assert "version 1" in clone.make("status")
    assert "1 event" in clone.make("history")
    for command in ("repro", "restore", "gc", "report", "features"):
        status, said = typed(clone, command)
        errors = [line for line in said.splitlines() if line.lower().startswith("error: ")]
        assert (status, len(errors)) == (2, 1), said
        assert "Permission denied" in errors[0] or "readonly" in errors[0], said
        assert "Traceback" not in said, said
    assert listed(clone.root) == before


def listed(root: Path) -> list[tuple[str, int, int, int]]:
    """All that is in a folder, with rights, size and time."""
    stats = [(path, path.lstat()) for path in sorted(root.rglob("*"))]
    return [(str(path), s.st_mode, s.st_size, s.st_mtime_ns) for path, s in stats]


@pytest.mark.parametrize("umask", ["000", "077"])
def test_no_umask_changes_a_result(start: Clone, whole: Clone, tmp_path: Path, umask: str) -> None:
    clone = copied(start, tmp_path / "clone")
    clone.run("bash", "-c", f"umask {umask}; make repro")
    assert lock(clone) == lock(whole)
    others = (clone.root / "mlflow" / "mlflow.db").stat().st_mode & 0o077
    assert others == (0o044 if umask == "000" else 0)  # SQLite lets nobody else write


def test_files_from_the_future_are_files(whole: Clone, tmp_path: Path) -> None:
    """The clock was set back by ten years."""
    clone = copied(whole, tmp_path / "clone")
    later = whole.root.stat().st_mtime + 10 * 365 * 86_400
    for path in clone.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (later, later))
    os.utime(clone.root / "requirements.txt", (0, 0))  # pip is not asked again
    assert ran(clone.make("repro")) == set()
    clones.put(clone, "2024-03", labelled=True, shift=1.0)
    assert "ingest" in ran(clone.make("repro"))
    for command in ("status", "features", "report", "gc", "restore"):
        clone.make(command)


HOSTILE = ("A\nB\x1b[2J\x9b<script>alert(1)</script>", "\udcff\udcfe", "\u202eolleh")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_of_git_s_that_is_hostile_is_shown_and_does_nothing(
    whole: Clone, tmp_path: Path, name: str
) -> None:
    clone = copied(whole, tmp_path / "clone")
    clone.run("git", "config", "user.name", name)
    (clone.root / "mlflow").rename(tmp_path / "gone")
    (clone.root / "models" / "ledger.jsonl").unlink()
    clone.make("restore")  # the candidate is registered, and promoted, by this name
    for command in ("restore", "history", "status", "report"):
        said = clone.make(command)
        assert not set(said) & set("\x1b\x9b\u202e"), said
    page = (clone.root / "reports" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "\x1b" not in page


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A small disk at a folder."""
    folder.mkdir()
    size = f"size={megabytes}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@as_root
def test_on_a_full_disk_nothing_half_written_is_taken_for_whole(
    start: Clone, whole: Clone, tmp_path: Path
) -> None:
    """The disk has a little more left each time; what failed is gone on with."""
    with disk(tmp_path / "disk", 64):
        clone = copied(start, tmp_path / "disk" / "clone")
        filler, failed = tmp_path / "disk" / "filler", 0
        for step in STEPS:
            fill(filler, step * 1024)
            status, said = typed(clone, "repro")
            if not status:
                break
            failed += 1
            assert "Traceback" not in said, said
            assert "No space left" in said or "disk is full" in said, said
            filler.unlink()
            assert "Traceback" not in typed(clone, "status")[1]
        assert failed > 3
        filler.unlink(missing_ok=True)
        clone.make("repro")
        assert lock(clone) == lock(whole)
        assert clone.outcome() == ("promoted", 1)
        registry = clone.registry()
        assert registry["alias"] == {"production": 1}
        assert len(registry["events"]) == 1
        assert "chain verified" in clone.make("status")


def fill(filler: Path, left: int) -> None:
    """Fill the filler's disk up, but for so many bytes."""
    filler.unlink(missing_ok=True)
    disk = os.statvfs(filler.parent)
    with filler.open("wb") as file, suppress(OSError):
        file.write(bytes(max(disk.f_bavail * disk.f_frsize - left, 0)))
