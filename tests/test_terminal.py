"""What is printed: names from outside steer no terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.shared import errors, words
from stages.shared.errors import UserError
from stages.shared.terminal import printable, say

# To clear the screen, to go up and write over a line, to set a title, to hide, to turn around.
HOSTILE = "a\x1b[2J\x1b[1A\rb\x1b]0;title\x07\x9b31m\x08\u202ereason\x00\ud800é"
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def steering(text: str) -> list[str]:
    return [one for one in text if one != "\n" and unicodedata.category(one) in STEERING]


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cc", "Cf", "L"])))
def test_nothing_that_steers_a_terminal_is_left_and_plain_text_stays(text: str) -> None:
    shown = printable(text)
    assert steering(shown) == []
    if not steering(text) and text.isprintable():
        assert shown == text
    assert shown.count("\n") == text.count("\n")


def test_a_name_with_line_ends_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "2024-01\nerror: of somebody else\r\nnext: make gc"

    def refuse() -> None:
        raise UserError(f"{name} is no month")

    with pytest.raises(SystemExit):
        errors.run(refuse)
    say(f"by {name}")
    for text in capsys.readouterr():
        assert text.count("\n") == 1
        assert r"2024-01\nerror: of somebody else\r\nnext: make gc" in text


def test_tables_lines_and_errors_show_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    words.table(HOSTILE, (f"[red]{HOSTILE}", "b"), [(HOSTILE, 1)])
    say(HOSTILE)

    def refuse() -> None:
        raise UserError(HOSTILE)

    with pytest.raises(SystemExit):
        errors.run(refuse)
    said = capsys.readouterr()
    for text, times in ((said.out, 4), (said.err, 1)):
        assert steering(text) == []
        assert text.replace("\n", "").count(r"\x1b[1A\rb") == times
        assert "é" in text
    assert "[red]" in said.out
