"""What a request costs grows no faster than its body, whatever is in it and wherever it goes.

A part of a body is repeated, and then eight times as often. Work that is linear then takes eight
times as long, work that is quadratic 64 times: a bound between the two holds on busy machines too.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import serve_fixtures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_fixtures import GOOD

from serve.bodies import Chunked
from serve.body import LARGE, parse
from serve.problems import Problem

FEW, TIMES = 4_000, 8  # parts; what takes no time at all is too small to be measured
MOST = 3 * TIMES  # times as long
TRIES = 4
ADDRESSES = ("/predict", "/explain", "/invocations")
WAYS = ("application/json", "application/json; charset=utf-8")  # before Flask, and through it

one = json.dumps(GOOD)
names = json.dumps(list(GOOD))
values = json.dumps(list(GOOD.values()))


def repeated(before: str, part: str, after: str = "") -> Callable[[int], bytes]:
    """A body with so many parts; a # in a part is another number in each, behind them the last."""

    def make(number: int) -> bytes:
        parts = (
            (part.replace("#", str(n)) for n in range(number)) if "#" in part else [part] * number
        )
        return (before + ",".join(parts) + after.replace("#", str(number - 1))).encode()

    return make


# What is repeated, in each form that a body has.
BODIES: dict[str, Callable[[int], bytes]] = {
    "a key again and again": repeated("{", '"calls":1', "}"),
    "the last key twice": repeated("{", '"#":1', ',"#":1}'),
    "keys that nobody knows": repeated("{", '"#":1', "}"),
    "the keys of a good customer, again": repeated("{", '"calls":1', "," + one[1:]),
    "good rows": repeated('{"instances":[', one, "]}"),
    "rows with a key twice": repeated('{"instances":[', '{"calls":1,' + one[1:], "]}"),
    "rows with other keys": repeated('{"instances":[', '{"a#":1}', "]}"),
    "rows that are no objects": repeated('{"instances":[', "[]", "]}"),
    "wrong values": repeated('{"instances":[', one.replace("3.5", '"#"'), "]}"),
    "wrong ids": repeated('{"instances":[', '{"customer":#,' + one[1:], "]}"),
    "keys beside the rows": repeated('{"instances":[],', '"#":1', "}"),
    "records": repeated('{"dataframe_records":[', one, "]}"),
    "records without some fields": repeated('{"dataframe_records":[', '{"calls":1}', "]}"),
    "records with other fields": repeated('{"dataframe_records":[', '{"a#":1}', "]}"),
    "columns": repeated('{"dataframe_split":{"columns":[', '"c#"', '],"data":[]}}'),
    "the same column": repeated('{"dataframe_split":{"columns":[', '"calls"', '],"data":[]}}'),
    "columns that are no texts": repeated('{"dataframe_split":{"columns":[', "[]", '],"data":[]}}'),
    "good columns behind many": repeated(
        '{"dataframe_split":{"columns":[', '"c#"', f',{names[1:]},"data":[]}}}}'
    ),
    "rows of data": repeated(f'{{"dataframe_split":{{"columns":{names},"data":[', values, "]}}"),
    "rows of data that are too short": repeated(
        f'{{"dataframe_split":{{"columns":{names},"data":[', "[1]", "]}}"
    ),
    "a long number": lambda number: ('{"calls":' + "1" * number + "}").encode(),
    "a long fraction": lambda number: ('{"calls":0.' + "1" * number + "," + one[1:]).encode(),
    "a number in a text": lambda number: (
        '{"dataframe_records":[' + one.replace("3.5", '"' + "1" * number + '"') + "]}"
    ).encode(),
    "a long key": lambda number: ('{"' + "k" * number + '":1,' + one[1:]).encode(),
    "a long text": lambda number: one.replace('"EU"', '"' + ":" * number + '"').encode(),
    "a text of escapes": lambda number: one.replace("EU", "\\u00e9" * number).encode(),
    "lists in lists": lambda number: b"[" * number + b"]" * number,
    "lists that do not end": lambda number: b"[" * number,
    "objects in an object": repeated('{"a":[', '{"a":{}}', "]}"),
    "no JSON": lambda number: b"{" + b" " * number + b"x",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("growth")
    serve_fixtures.put(folder, 1)
    return serve_fixtures.client(folder)


def refuse_growth(work: Callable[[int], object], what: object) -> None:
    """Refuse work on many parts that takes far longer than on few; the best of some tries counts.

    Seconds are this thread's own, on the processor.
    """
    ratio = 0.0
    for _ in range(TRIES):
        few, many = (seconds(work, number) for number in (FEW, TIMES * FEW))
        ratio = many / few
        if ratio < MOST:
            return
    raise AssertionError(f"{TIMES} times as many parts take {ratio:.0f} times as long: {what}")


def seconds(work: Callable[[int], object], number: int) -> float:
    gc.disable()  # a pass of the collector goes through all that these tests have, too
    try:
        begun = time.thread_time()
        work(number)
        return time.thread_time() - begun
    finally:
        gc.enable()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("name", BODIES)
def test_the_work_of_a_request_is_linear_in_its_body(
    client: Any, name: str, path: str, way: str
) -> None:
    made = {number: BODIES[name](number) for number in (FEW, TIMES * FEW)}
    refuse_growth(lambda number: client.post(path, data=made[number], content_type=way), name)


json_parts = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from(["", "#", "calls", "plan", "customer", "NA", "é", ":"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["#", "a", "calls", "plan", "customer"]), inner)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=False))
WRAPPERS = (
    ('{"instances":[', "{}", "]}"),
    ('{"dataframe_records":[', "{}", "]}"),
    ('{"dataframe_split":{"columns":[', "{}", '],"data":[]}}'),
    (f'{{"dataframe_split":{{"columns":{names},"data":[', "{}", "]}}"),
    ("{", '"#":{}', "}"),
    ("{", '"calls":{}', "}"),
    ("[", "{}", "]"),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(WRAPPERS), json_parts, st.sampled_from(ADDRESSES))
def test_so_it_is_whatever_is_repeated(
    client: Any, wrapper: tuple[str, str, str], part: str, path: str
) -> None:
    before, between, after = wrapper
    body = repeated(before, between.replace("{}", part), after)
    made = {number: body(number) for number in (FEW, TIMES * FEW)}
    refuse_growth(
        lambda number: client.post(path, data=made[number], content_type=WAYS[0]),
        (wrapper, part, path),
    )


@pytest.mark.parametrize("collected", [True, False])
def test_a_large_body_leaves_the_garbage_collector_as_it_was(collected: bool) -> None:
    was = gc.isenabled()
    (gc.enable if collected else gc.disable)()
    try:
        parse(b"[" + b"[]," * LARGE + b"[]]")
        assert gc.isenabled() == collected
    finally:
        (gc.enable if was else gc.disable)()


class Wire:
    """A client that sends in pieces of so many bytes at most; each byte is handed out once."""

    def __init__(self, sent: bytes, pieces: tuple[int, ...]) -> None:
        self._sent, self._pieces, self._at = sent, cycle(pieces), 0

    def take(self, size: int, _free: int = 0) -> bytes:
        begun, self._at = self._at, self._at + min(size, next(self._pieces))
        return self._sent[begun : self._at]

    def give_back(self, rest: bytes) -> None:
        pass

    def end(self) -> None:
        pass


CHUNKS: dict[str, Callable[[int], bytes]] = {
    "of one byte": lambda number: b"1\r\n \r\n" * number + b"0\r\n\r\n",
    "with extensions": lambda number: b"4;a=b\r\nfour\r\n" * number + b"0\r\n\r\n",
    "one": lambda number: b"%x\r\n" % (16 * number) + b" " * (16 * number) + b"\r\n0\r\n\r\n",
    "an extension": lambda number: b"1;" + b"a" * number + b"\r\n",
    "a number": lambda number: b"0" * number,
    "trailers": lambda number: b"0\r\n" + b"A: b\r\n" * number + b"\r\n",
}


@pytest.mark.parametrize("pieces", [(1,), (1, 4096), (4096,), (2**18,)])
@pytest.mark.parametrize("name", CHUNKS)
def test_the_work_on_chunks_is_linear_however_they_come(name: str, pieces: tuple[int, ...]) -> None:
    made = {number: CHUNKS[name](number) for number in (FEW, TIMES * FEW)}

    def read(number: int) -> None:
        chunked = Chunked(Wire(made[number], pieces))  # type: ignore[arg-type]
        with suppress(Problem):
            while chunked.part(2**20):
                pass

    refuse_growth(read, (name, pieces))
