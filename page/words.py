"""Months, times and numbers as the page says them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def span(window: Sequence[str]) -> str:
    """Months as the page says them."""
    if not window:
        return "no month"
    return window[0] if len(window) == 1 else f"{window[0]} to {window[-1]}"


def moment(iso: str) -> str:
    """A time in UTC as people read it."""
    at = datetime.fromisoformat(iso)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def count(number: int, what: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{number} {what}{'s' * (number != 1)}"
