"""The audit: what was not looked at is not clean."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ops import audit
from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

FLAW = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}
CLEAN: dict[str, Any] = {"name": "flask", "version": "3", "vulns": []}
FLAWED: dict[str, Any] = {"name": "Some.Name", "version": "2", "vulns": [FLAW]}
SKIPPED: dict[str, Any] = {"name": "numpy", "skip_reason": "not found"}


def judged(*dependencies: dict[str, Any], **accepted: str) -> list[str]:
    reasons = {name.replace("_", "-"): why for name, why in accepted.items()}
    return audit.judge({"dependencies": dependencies}, ["flask", "some-name"], reasons)


def test_all_looked_at_and_nothing_found_is_clean() -> None:
    assert judged(CLEAN, {**FLAWED, "vulns": []}) == []


def test_a_vulnerability_is_named_with_what_mends_it() -> None:
    assert judged(CLEAN, FLAWED) == ["Some.Name has PYSEC-1; mended in: 2.1"]


@pytest.mark.parametrize("name", ["PYSEC_1", "CVE_1"])
def test_what_cannot_be_mended_has_a_line_of_reason(name: str) -> None:
    assert judged(CLEAN, FLAWED, **{name: "we never call it"}) == []
    assert judged(CLEAN, FLAWED, **{name: ""}) != []


def test_a_reason_without_a_flaw_is_taken_out() -> None:
    (found,) = judged(CLEAN, {**FLAWED, "vulns": []}, CVE_1="we never call it")
    assert "no package has CVE-1 any more" in found


@pytest.mark.parametrize("report", [[], [CLEAN], [CLEAN, SKIPPED]])
def test_what_was_not_looked_at_is_not_clean(report: list[dict[str, Any]]) -> None:
    (found,) = judged(*report)
    assert found.startswith("nothing is known of ")


def test_names_are_compared_as_package_indexes_do() -> None:
    lock = (
        "A_b.C==1.0 \\\n  --hash=x\n"
        "d==2 ; python_version > '3' \\\n  --hash=y\n"
        "e==3 ; sys_platform == 'another' \\\n  --hash=z\n"
    )
    assert audit.locked(lock) == {"a-b-c": "1.0", "d": "2"}
    assert set(audit.locked(lock, everywhere=True)) == {"a-b-c", "d", "e"}


# --- secrets -----------------------------------------------------------------------------------

KEY = "AKIA" + "ZQ7WKRTY" * 2  # in one piece it would be found here


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, which is no repository yet."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def git(tree: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["settings.py", "Schlüssel für S3.txt"])
def test_a_secret_in_the_tree_is_found_and_named(tree: Path, name: str) -> None:
    (tree / name).write_text(f"# where backups go\nkey = '{KEY}'\n")
    (tree / "untracked.py").write_text(f"key = '{KEY}'\n")
    git(tree, "init")
    git(tree, "add", name)
    assert audit.secrets() == [f"{name}, line 2: AWS Access Key"]


def test_what_looks_like_a_secret_and_is_none_is_said_so_in_its_line(tree: Path) -> None:
    (tree / "settings.py").write_text(f"key = '{KEY}'  # pragma: allowlist secret\n")
    git(tree, "init")
    git(tree, "add", "settings.py")
    assert audit.secrets() == []


@pytest.mark.parametrize("repository", [False, True])
def test_a_tree_that_git_does_not_list_is_not_clean(tree: Path, repository: bool) -> None:
    (tree / "settings.py").write_text(f"key = '{KEY}'\n")
    if repository:
        git(tree, "init")
    (found,) = audit.secrets()
    assert found.startswith("git lists no file here: ")
