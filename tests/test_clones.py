"""A clone is moved, copied and shared as people do it; what its registry and DVC's files become."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import clone as clones
import pytest
from clone import Clone, ran

from stages.registry import birthplace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own code


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models by the pipeline, the second in production."""
    clone = clones.small(tmp_path_factory.mktemp("made") / "clone")
    clone.make("repro")
    clone.set(train={"estimator": "hist_gradient_boosting"})
    clone.make("repro")
    assert clone.outcome() == ("promoted", 2)
    clone.commit("two models")
    return clone.root


@pytest.fixture
def clone(made: Path, tmp_path: Path) -> Clone:
    """A clone of one's own, which was moved here from where it was made."""
    return copied(made, tmp_path / "clone")


def copied(source: Path, target: Path) -> Clone:
    """What `cp -a` makes."""
    shutil.copytree(source, target, symlinks=True)
    return Clone(target)


def tree(root: Path) -> dict[str, str]:
    """All files of a clone but for git's, by their bytes."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in found
        if not {"__pycache__", ".git", "tmp"} & set(path.relative_to(root).parts)
    }


def places(root: Path) -> set[Path]:
    """Where MLflow says that runs, experiments and versions of models lie."""
    questions = (
        "SELECT artifact_location FROM experiments",
        "SELECT artifact_uri FROM runs",
        "SELECT source FROM model_versions",
        "SELECT storage_location FROM model_versions WHERE storage_location IS NOT NULL",
    )
    with closing(sqlite3.connect(root / "mlflow" / "mlflow.db")) as database:
        found = [birthplace.path_of(row[0]) for ask in questions for row in database.execute(ask)]
    return {path for path in found if path}  # some are addresses of models, not of files


def lives(clone: Clone, versions: tuple[int, ...] = (1, 2)) -> None:
    """Assert that production stays, history is whole, nothing runs again, and all commands work."""
    said = clone.make("status")
    assert f"version {versions[-1]} (" in said
    assert "chain verified" in said
    assert "agrees with the ledger" in said
    assert ran(clone.make("repro")) == set()
    before = clone.registry()
    if len(versions) > 1:
        clone.make("rollback", REASON="a test", VERSION=str(versions[0]))
        assert clone.registry()["alias"] == {"production": versions[0]}
        assert len(clone.registry()["events"]) == len(before["events"]) + 1
    assert all(path.is_relative_to(clone.root) for path in places(clone.root))
    clone.make("gc")
    assert "is in production" in clone.make("restore")


def test_a_clone_that_was_moved_stays_what_it_was(clone: Clone, tmp_path: Path) -> None:
    before = clone.registry()
    moved = Clone(clone.root.rename(tmp_path / "Kündigungen & more (2024)'s"))
    assert "it was moved or copied from" in moved.make("status")
    assert moved.registry() == before
    lives(moved)


def test_a_copy_and_its_original_are_apart_from_the_first_command_on(
    clone: Clone, tmp_path: Path
) -> None:
    clone.make("status")  # it has settled where it is
    before = tree(clone.root)
    copy = copied(clone.root, tmp_path / "copy")
    clones.put(copy, "2024-03", labelled=True, shift=0.5)
    copy.make("repro")
    copy.make("rollback", REASON="a test", VERSION="1")
    copy.make("gc")
    assert tree(clone.root) == before
    copy.make("restore")
    assert tree(clone.root) == before
    assert all(path.is_relative_to(copy.root) for path in places(copy.root))
    lives(clone)
    assert copy.registry()["alias"] == {"production": 1}


def test_a_copy_by_hard_links_is_apart_too(clone: Clone, tmp_path: Path) -> None:
    clone.make("features")
    before = tree(clone.root)
    shutil.copytree(clone.root, tmp_path / "copy", symlinks=True, copy_function=os.link)
    copy = Clone(tmp_path / "copy")
    copy.make("rollback", REASON="a test", VERSION="1")
    (copy.root / "data" / "raw" / "2024-03.csv").unlink()  # a new file comes, as `mv` brings it
    clones.put(copy, "2024-03", labelled=True, shift=0.5)
    copy.make("repro")
    copy.make("gc")
    assert tree(clone.root) == before
    lives(clone)


def test_a_copy_does_without_its_original(clone: Clone, tmp_path: Path) -> None:
    copy = copied(clone.root, tmp_path / "copy")
    shutil.rmtree(clone.root)
    lives(copy)
    assert not clone.root.exists()  # nothing was made where it was


def test_a_clone_seen_through_a_link_is_itself(clone: Clone, tmp_path: Path) -> None:
    clone.make("status")
    before = places(clone.root)
    link = tmp_path / "link"
    link.symlink_to(clone.root)
    assert "moved or copied" not in Clone(link).make("status")
    assert places(clone.root) == before


def colleagues_months(clone: Clone, source: Clone) -> None:
    """What git does not bring."""
    shutil.copytree(source.root / "data" / "raw", clone.root / "data" / "raw")


def worktree(clone: Clone, root: Path) -> None:
    clone.run("git", "worktree", "add", "--quiet", "-b", "mine", str(root))


def shallow(clone: Clone, root: Path) -> None:
    clone.run("git", "clone", "--quiet", "--depth=1", f"file://{clone.root}", str(root))


def part_of_a_larger_repository(clone: Clone, root: Path) -> None:
    larger = Clone(root.parent)
    larger.root.mkdir()
    larger.run("git", "init", "--quiet", "--initial-branch=main")
    larger.run("git", "config", "user.name", "A Person")
    larger.run("git", "config", "user.email", "a@example.org")
    larger.run("git", "clone", "--quiet", str(clone.root), str(root))
    shutil.rmtree(root / ".git")
    larger.commit("churn, among other things")


@pytest.mark.parametrize("bring", [worktree, shallow, part_of_a_larger_repository])
def test_what_git_brings_becomes_a_clone_of_its_own(
    clone: Clone, tmp_path: Path, bring: Callable[[Clone, Path], None]
) -> None:
    clone.make("status")
    before = tree(clone.root)
    other = Clone(tmp_path / "large" / "churn")
    bring(clone, other.root)
    (other.root / ".venv").symlink_to(clone.root / ".venv")
    os.utime(other.root / "requirements.txt", (0, 0))  # older than that environment
    assert "Traceback" not in other.make("status")
    colleagues_months(other, clone)
    said = other.make("repro")
    assert other.outcome() == ("promoted", 1), said
    assert other.run("git", "status", "--porcelain", "--untracked-files=no") in (
        "", " M dvc.lock\n", " M churn/dvc.lock\n",
    )  # fmt: skip
    (other.root / "dvc.lock").write_text("")
    assert "dvc.lock was not whole: the one of the last commit is back" in other.make("repro")
    lives(other, (1,))
    assert tree(clone.root) == before


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _text: "",
    "of zeros": lambda text: "\0" * len(text),
    "cut": lambda text: text[: text.rindex("md5: ") + 10],
    "cut in its first line": lambda text: text[:5],
    "a list": lambda _text: "- a\n- b\n",
}


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw.dvc"])
@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_kill_leaves_of_a_file_of_dvc_s_is_mended(clone: Clone, name: str, how: str) -> None:
    path, before = clone.root / name, clone.registry()
    whole = path.read_text()
    path.write_text(DAMAGES[how](whole))
    one_line(clone, "status", "make repro")
    said = clone.make("repro")
    assert f"{name} was not whole: the one of the last commit is back" in said
    assert path.read_text() == whole
    assert clone.registry() == before
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw.dvc", "dvc.yaml"])
def test_a_merge_that_was_left_half_done_is_one_line_and_the_way_out_works(
    clone: Clone, name: str
) -> None:
    path = clone.root / name
    whole = path.read_text()
    clone.run("git", "checkout", "--quiet", "-b", "theirs")
    path.write_text(f"# theirs\n{whole}")
    clone.commit("theirs")
    clone.run("git", "checkout", "--quiet", "main")
    path.write_text(f"# ours\n{whole}")
    clone.commit("ours")
    ours, before = path.read_text(), clone.registry()
    clone.run("git", "merge", "theirs", status=1)
    assert "<<<<<<<" in path.read_text()
    # Not rollback and restore, which need none of these: production can always be put right.
    for command in ("repro", "status", "promote", "gc"):
        one_line(clone, command, f"git checkout --ours -- {name}")
    assert clone.registry() == before
    clone.run("git", "checkout", "--ours", "--", name)
    assert path.read_text() == ours
    clone.make("repro")
    assert clone.registry() == before


def one_line(clone: Clone, command: str, remedy: str) -> None:
    """Assert that a command says in one line what to type."""
    done = subprocess.run(
        ["make", "--no-print-directory", command], cwd=clone.root, env=clone.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout
    said = [line for line in done.stdout.splitlines() if remedy in " ".join(line.split())]
    assert said, f"{command}: {done.stdout}"


def test_gc_leaves_a_cache_alone_that_is_not_its_own(clone: Clone, tmp_path: Path) -> None:
    shared: Any = tmp_path / "shared"
    (clone.root / ".dvc" / "cache").rename(shared)
    canary = shared / "files" / "md5" / "ab" / ("0" * 30)
    canary.parent.mkdir(parents=True, exist_ok=True)
    canary.write_text("another clone's")
    (clone.root / ".dvc" / "cache").symlink_to(shared)
    before = tree(shared)
    assert "stays" in clone.make("gc")
    assert tree(shared) == before
