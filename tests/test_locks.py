"""The locked packages of environment and images: the same versions, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from stages.shared import files

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = ("serve/requirements.txt", "ops/mlflow/requirements.txt")
LOCKS = ("requirements.txt", *IMAGES)
RENEW = "type `make lock`"


def locked(path: Path) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_versions_that_are_tested(image: str) -> None:
    tested, here = locked(files.ROOT / "requirements.txt"), locked(files.ROOT / image)
    assert {n: v for n, v in here.items() if tested.get(n) != v} == {}, RENEW


@pytest.mark.parametrize(
    ("lock", "group"),
    [("serve/requirements.txt", "serve"), ("ops/mlflow/requirements.txt", "tracking")],
)
def test_an_image_has_what_pyproject_names(lock: str, group: str) -> None:
    groups = tomllib.loads((files.ROOT / "pyproject.toml").read_text())["dependency-groups"]
    named = {name.replace(".", "-") for name in groups[group]}
    assert named - set(locked(files.ROOT / lock)) == set(), RENEW


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_lock_names_a_registry(lock: str) -> None:
    text = (files.ROOT / lock).read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
