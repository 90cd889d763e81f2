"""Texts for a terminal: a name from outside may hold what moves the cursor, or hides a line."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text in which whatever is no visible character is written as an escape, as ``\x1b``.

    That is control characters, those that turn the direction of writing, and halves of surrogate
    pairs. Line ends stay: a message of ours may have some.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def line(text: str) -> str:
    """The same on one line: a line end is written as an escape, too."""
    return printable(text).replace("\n", "\\n")


def say(text: str, *, flush: bool = False) -> None:
    """Print a line that may have names from outside in it: one line, whatever is in them."""
    print(line(text), flush=flush)
