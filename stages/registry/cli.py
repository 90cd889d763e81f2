"""The command line that the registry's commands share: what make passes on, checked once."""

from __future__ import annotations

import argparse
from typing import NoReturn

from stages.shared.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        """Raise the refusal instead of printing usage."""
        raise UserError(message)


def parser(description: str) -> Parser:
    """A parser without abbreviations: a misspelt option is an error, not another option."""
    return Parser(description=description, allow_abbrev=False)


def text(value: str) -> str | None:
    """A text that make may pass on empty: then it was not given."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{value!r} is no valid text: write it in UTF-8") from None
    return " ".join(value.split()) or None


def version(value: str) -> int | None:
    """A version's number that make may pass on empty."""
    given = value.strip()
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and int(given) > 0):
        raise UserError(f"VERSION={value} is no version: give a number that `make history` shows")
    return int(given)


def port(value: str) -> int:
    """A port's number."""
    if not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
        raise UserError(f"PORT={value} is no port: give a number from 1 to 65535")
    return int(value)
