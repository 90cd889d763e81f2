"""What comes from outside becomes a path only if it stays below its root."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.shared import files, identifiers
from stages.shared.errors import UserError

HOSTILE = (
    "", ".", "..", "../..", "../../..", "/", "/etc", "a/../..", "a/../../b", "\0", "a\0b", "~",
    "..\\..", "a\n", "\u202e", "%2e%2e", "." * 300, "a" * 5000, "./.", "b/.", "b/..",
)  # fmt: skip


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A root between things that must stay."""
    for name in ("kept.txt", "root/below/file.txt", "beside/kept.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "root" / "out").symlink_to(tmp_path / "beside")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root" / "loop")
    return tmp_path


def outside(canary: Path) -> list[str]:
    return sorted(str(p) for p in canary.rglob("*") if not p.is_relative_to(canary / "root"))


@given(st.text() | st.integers() | st.none() | st.binary() | st.sampled_from(HOSTILE))
def test_a_digest_is_hexadecimal_digits_and_nothing_else(value: object) -> None:
    try:
        found = identifiers.digest(value)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
        assert len(found) == 64
        assert set(found) <= set("0123456789abcdef")
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize("value", ["a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", "a" * 65])
def test_what_is_nearly_a_digest_is_none(value: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        identifiers.digest(value)


@pytest.mark.parametrize("value", ["a" * 32, "0" * 32 + ".dir"])
def test_an_address_of_dvc_is_taken(value: str) -> None:
    assert identifiers.address(value) == value


@pytest.mark.parametrize("value", [None, "a" * 31, "../" + "a" * 29, "a" * 32 + ".dirs", 7])
def test_no_other_address_is_taken(value: object) -> None:
    with pytest.raises(ValueError, match="not an MD5"):
        identifiers.address(value)


@pytest.mark.parametrize(
    "value", [0, -1, True, 2**31, "0", "01", "1.0", " 1", "٣", None, 1.0, "9" * 10]
)
def test_no_other_version_is_taken_than_a_positive_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="not a version"):
        identifiers.version(value)


@pytest.mark.parametrize(("value", "number"), [(1, 1), ("17", 17), (2**31 - 1, 2**31 - 1)])
def test_a_version_is_taken_as_number_or_text(value: object, number: int) -> None:
    assert identifiers.version(value) == number


@pytest.mark.parametrize("name", [*HOSTILE, "out/kept.txt", "loop/x"])
def test_what_leaves_its_root_is_neither_given_nor_removed(canary: Path, name: str) -> None:
    before = outside(canary)
    try:
        found = files.inside(canary / "root", name)
        files.remove(canary / "root", name)
    except (UserError, OSError):
        pass
    else:
        assert found.parent.resolve().is_relative_to((canary / "root").resolve())
        assert found != canary / "root"
    assert (canary / "root").is_dir()
    assert outside(canary) == before


@given(st.lists(st.sampled_from(["..", "a", "below", "out", "/", ".", "loop"]), max_size=6))
def test_no_walk_of_folders_and_links_leaves_its_root(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    root = tmp_path_factory.mktemp("walk") / "root"
    (root / "a" / "below").mkdir(parents=True)
    (root.parent / "beside").mkdir()
    (root / "out").symlink_to(root.parent / "beside")
    (root / "loop").symlink_to(root / "loop")
    try:
        found = files.inside(root, *parts)
    except UserError:
        return
    assert found.parent.resolve().is_relative_to(root.resolve())
    assert found.parent != root.parent


def test_a_link_is_removed_and_what_it_points_to_stays(canary: Path) -> None:
    files.remove(canary / "root", "out")
    assert not (canary / "root" / "out").exists()
    assert (canary / "beside" / "kept.txt").is_file()


def test_what_is_not_there_may_be_removed(canary: Path) -> None:
    files.remove(canary / "root", "nothing", "here")


def test_a_folder_is_removed_with_all_that_is_in_it(canary: Path) -> None:
    files.remove(canary / "root", "below")
    assert not (canary / "root" / "below").exists()
