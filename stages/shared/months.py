"""Calendar months, written ``YYYY-MM``."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MONTH = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])", re.ASCII)


def is_month(text: str) -> bool:
    """Whether ``text`` names a calendar month as ``YYYY-MM``."""
    return _MONTH.fullmatch(text) is not None


def number(month: str) -> int:
    """Months since year 0, so that months can be subtracted: gaps count, files do not."""
    year, month_of_year = month.split("-")
    return int(year) * 12 + int(month_of_year) - 1


def apart(earlier: str, later: str) -> int:
    """Calendar months from ``earlier`` to ``later`` (negative if it is the other way round)."""
    return number(later) - number(earlier)


def span(months: Sequence[str]) -> str:
    """Months in order, as people say them: ``1997-04`` or ``1997-04..1997-09``."""
    return months[0] if len(months) == 1 else f"{months[0]}..{months[-1]}"


def year_before(month: str) -> str:
    """The same month of the year before."""
    year, of_year = month.split("-")
    return f"{int(year) - 1:04d}-{of_year}"
