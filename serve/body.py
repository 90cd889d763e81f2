"""A request's body: bytes in, plain JSON values out, or a problem that says what is wrong."""

from __future__ import annotations

import gc
import json
from typing import Any

import orjson

from serve.problems import Fault, Problem, short

LARGE = 100_000  # bytes


def parse(body: bytes) -> Any:
    """Read JSON (RFC 8259), strictly: UTF-8, no NaN, no infinities.

    Raises:
        Problem: 400, with the place where it went wrong.
    """
    collected = gc.isenabled()
    if len(body) > LARGE:
        gc.disable()  # JSON has no circles, and it would look through millions of lists for some
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is no valid JSON: {error}") from None
    finally:
        if collected:
            gc.enable()


def refuse_repeated(body: bytes, keys: int) -> None:
    """Refuse an object that names a key twice: whoever wrote it meant one of two values.

    The parser keeps the last one, silently. A key is followed by a colon, so a body with as many
    colons as keys were found has no other; only where there are more is it read once again. Its
    numbers are not worked out then: Python refuses those of more than 4,300 digits.

    Args:
        body: valid JSON.
        keys: how many keys the parser found in it, in all its objects.
    """
    if body.count(b":") == keys:
        return
    try:
        json.loads(body, object_pairs_hook=_refuse_repeats, parse_int=len, parse_float=len)
    except RecursionError:  # its limit is below that of the parser above
        raise Problem(400, "the body is nested too deeply") from None


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            said = f"the key {short(name)!r} is there twice"
            raise Problem(400, said, [Fault(name, "is there twice")])
        seen.add(name)
