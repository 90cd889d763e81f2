"""Values from outside that become paths, queries or names: parsed here into what they may be.

A registry, a ledger, a DVC file or a file's name may say anything. What passes these functions
holds nothing but hexadecimal digits or a positive number, so it cannot leave a folder, end a
query's text or start another header.
"""

from __future__ import annotations

import re
from typing import NewType

Digest = NewType("Digest", str)  # SHA-256 of a candidate: 64 hexadecimal digits
Address = NewType("Address", str)  # DVC's MD5 of a file: 32 of them; of a folder: `.dir` behind

LARGEST_VERSION = 2**31 - 1  # what MLflow's databases hold

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ADDRESS = re.compile(r"[0-9a-f]{32}(\.dir)?", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


def digest(value: object) -> Digest:
    """A candidate's digest.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return Digest(value)
    raise ValueError(f"{shown(value)} is not a digest: 64 hexadecimal digits")


def address(value: object) -> Address:
    """An address in DVC's cache.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return Address(value)
    raise ValueError(f"{shown(value)} is not an MD5 of DVC: 32 hexadecimal digits")


def version(value: object) -> int:
    """The number of a model version, from a whole number or a text of digits.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _VERSION.fullmatch(value):
        number = int(value)
    else:
        raise ValueError(f"{shown(value)} is not a version: a positive whole number")
    if not 0 < number <= LARGEST_VERSION:
        raise ValueError(f"{shown(value)} is not a version: a positive whole number")
    return number


def shown(value: object, longest: int = 60) -> str:
    """A value from outside as a message shows it: on one line, in printable characters, short."""
    text = ascii(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
