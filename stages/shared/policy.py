"""What a browser may do with a page: a Content-Security-Policy, written at the page's very start.

It names the page's own scripts by their digests, so that what a name brought in does not run. Who
serves such a page as a file sends the same policy as a header; it stands before all that comes from
data, so nothing in the data can change it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NONE = "'none'"
INLINE = "'unsafe-inline'"  # for styles alone, where a page's own library writes them
NOTHING = "default-src 'none'"
HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_META = '<meta http-equiv="Content-Security-Policy" content="{}">'
_START = re.compile(re.escape(HEAD + _META).replace(r"\{\}", r"([\w '+/=;:-]+)"), re.ASCII)
LONGEST = 2000  # characters of a page in which its policy stands


def source(text: str) -> str:
    """A script or a style as a policy names it: by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(scripts: Iterable[str], styles: Iterable[str], *more: str) -> str:
    """The policy of a page that loads nothing from elsewhere.

    Args:
        scripts: sources of its scripts: see `source`.
        styles: those of its styles.
        more: further directives.
    """
    return "; ".join(
        [
            NOTHING,
            f"script-src {' '.join(scripts) or _NONE}",
            f"style-src {' '.join(styles) or _NONE}",
            "base-uri 'none'",
            "form-action 'none'",
            *more,
        ]
    )


def meta(said: str) -> str:
    """The tag that has a policy; it stands right behind `HEAD`."""
    return _META.format(said)


def of(page: str) -> str | None:
    """The policy at a page's start; None where there is none that `meta` wrote."""
    found = _START.match(page)
    return found[1] if found else None
