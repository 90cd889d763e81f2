"""gunicorn with our worker on a real socket: what is no HTTP, and who does not end what he says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ports import free_port

from serve.bodies import Chunked
from serve.connections import HELD
from serve.problems import MIMETYPE, Problem
from stages.shared import files

PATIENCE = 3  # seconds that a request has here
ENDS = 30.0  # seconds in which the server must have hung up
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


STARTED: dict[int, int] = {}  # process ids of gunicorn, by port


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("counts")) as port:
        yield port


@contextmanager
def serving(folder: Path, *options: str, **changes: str) -> Iterator[int]:
    """gunicorn with one worker on a port."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--config", str(files.ROOT / "serve/gunicorn.conf.py"),
        "--workers", "1", *options,
    ]  # fmt: skip
    environment = os.environ | {
        "PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": str(folder), "SERVE_PATIENCE": str(PATIENCE),
        "SERVE_FOLDER": str(folder / "serving"),  # where there is no model
        "SERVE_ALLOWED_HOSTS": "x",
    } | changes  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=files.ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait(port, folder / "log")
        STARTED[port] = process.pid
        yield port
    finally:
        process.terminate()
        process.wait(ENDS)


def wait(port: int, log: Path) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


def test_of_too_many_connections_the_one_that_waited_longest_is_closed(tmp_path: Path) -> None:
    most = 20
    with serving(tmp_path, "--worker-connections", str(2 * most)) as port, ExitStack() as stack:

        def connect() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", port), timeout=ENDS)
            return stack.enter_context(closing(made))

        first = [connect() for _ in range(5)]
        first[1].sendall(HEAD)  # half a request is none
        answered = first.pop(2)
        last = [connect() for _ in range(most - 5)][-1]
        for one in (last, answered):  # the last is answered: so all are known to the worker
            one.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert receive(one, 1) == [200]
        for _ in range(4):
            connect().sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [one.recv(1) for one in first] == [b""] * 4
        answered.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(answered, 1) == [200]


def test_half_sent_bodies_have_a_bound_together(tmp_path: Path) -> None:
    size, number = 19_000_000, 20
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % (size + 1) + b" " * size
    with serving(tmp_path, SERVE_PATIENCE="60") as port, ExitStack() as stack:
        (pid,) = children(port)
        before, held = resident(pid), []
        for _ in range(number):
            one = socket.create_connection(("127.0.0.1", port), timeout=ENDS)
            held.append(stack.enter_context(closing(one)))
            with suppress(ConnectionError):
                one.sendall(sent)
        for one in held[: number - HELD // size - 1]:  # the oldest had to go
            with suppress(ConnectionError):
                assert one.recv(1) == b""
        assert resident(pid) - before < 1.3 * HELD
        (answer,) = until_closed(port, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert answer.status == 200


def children(port: int) -> list[int]:
    """The workers of the gunicorn that listens on a port; started by this process."""
    done = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [pid for pid, parent in rows if parent == STARTED[port]]


def resident(pid: int) -> int:
    """Bytes of a process's memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_the_limit_of_open_files_is_raised_and_named_where_it_is_too_low() -> None:
    code = (
        "import resource; from serve import openfiles; "
        "print(openfiles.connections(4000), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    def ask(soft: int, hard: int) -> tuple[str, str]:
        limits = f"ulimit -Sn {soft} && ulimit -Hn {hard} && exec {sys.executable} -c '{code}'"
        done = subprocess.run(
            ["bash", "-c", limits], cwd=files.ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip(), done.stderr.strip()

    assert ask(512, 6000) == ("4000 4200 6000", "")
    assert ask(5000, 6000) == ("4000 5000 6000", "")
    room, said = ask(512, 1000)
    assert room == "800 1000 1000"
    assert said == (
        "serve: a process may open 1,000 files here, so a worker takes 800 connections, "
        "not 4,000: raise the hard limit (ulimit -Hn)"
    )


PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


@settings(deadline=None, max_examples=300)
@given(PIECES, st.booleans(), st.booleans(), st.lists(st.integers(1, 9), min_size=1), st.data())
def test_a_body_in_chunks_is_read_as_it_was_sent_however_it_comes(
    pieces: list[bytes], extended: bool, trailed: bool, cuts: list[int], data: st.DataObject
) -> None:
    extension, trailer = b" ;a=b" * extended, b"A: b\r\nC: d\r\n" * trailed
    wire = b"".join(b"%x%s\r\n%s\r\n" % (len(one), extension, one) for one in pieces)
    wire += b"0%s\r\n%s\r\n" % (extension, trailer)
    rest = data.draw(st.binary(max_size=5))
    source = Source(wire + rest, cuts)
    chunked, found = Chunked(source), []  # type: ignore[arg-type]
    while part := chunked.part(data.draw(st.integers(1, 30))):
        found.append(part)
    assert b"".join(found) == b"".join(pieces)
    assert source.left() == rest


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1))
def test_what_is_no_body_in_chunks_is_a_400_or_ends(sent: bytes, cuts: list[int]) -> None:
    source = Source(sent, cuts)
    chunked = Chunked(source)  # type: ignore[arg-type]
    with suppress(Problem):  # any other error is a defect
        while chunked.part(7):
            pass
        assert chunked.ended
        assert sent.endswith(source.left())


class Source:
    """Bytes that come in pieces of given sizes, and then no more."""

    def __init__(self, sent: bytes, cuts: list[int]) -> None:
        self._sent, self._cuts, self._back = sent, cycle(cuts), b""

    def take(self, size: int) -> bytes:
        size = min(size, next(self._cuts))
        found, self._sent = self._sent[:size], self._sent[size:]
        return found

    def give_back(self, rest: bytes) -> None:
        self._sent = rest + self._sent

    def end(self) -> None:
        pass

    def left(self) -> bytes:
        return self._sent


def until_closed(port: int, sent: bytes, *, ends: bool = False) -> list[Answer]:
    """All answers to what is sent, until the server hangs up."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=ENDS)) as connection:
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        said = b""
        while part := connection.recv(65536):
            said += part
    return answers(said)


def answers(said: bytes) -> list[Answer]:
    found = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = int(headers["content-length"])
        found.append(Answer(int(first.split()[1]), headers, json.loads(rest[:size])))
        said = rest[size:]
    return found


def refused(port: int, sent: bytes, status: int) -> Answer:
    """The one answer to what is sent: a problem, after which the server hangs up."""
    (answer,) = until_closed(port, sent)
    assert answer.status == status, answer
    assert answer.headers["content-type"] == MIMETYPE
    assert answer.headers["connection"] == "close"
    assert answer.body["status"] == status
    assert answer.body.keys() >= {"type", "title", "status", "detail"}
    return answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /health HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 10_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: many\r\n\r\n", 400),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (HEAD + b"Transfer-Encoding: unheard-of\r\n\r\n", 501),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}no end", 400),
        (HEAD + b"Expect: a miracle\r\nContent-Length: 2\r\n\r\n{}", 417),
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused_in_the_same_shape(port: int, sent: bytes, status: int) -> None:
    refused(port, sent, status)


def test_a_request_that_does_not_end_is_given_up(port: int) -> None:
    json_of_a_kind = HEAD.replace(b"json", b"json; charset=utf-8")
    parts = (
        HEAD[:40],
        HEAD,
        HEAD + b"Content-Length: 50\r\n\r\n",
        HEAD + b"Content-Length: 50\r\n\r\n{",
        HEAD + b"Content-Length: 500000\r\n\r\n{" + b" " * 300_000,
        json_of_a_kind + b"Content-Length: 50\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    )
    with ThreadPoolExecutor(len(parts)) as clients:  # all at once: each waits
        found = list(clients.map(lambda sent: refused(port, sent, 408), parts))
    said = f"the request was not whole {PATIENCE} s after its first byte"
    assert [answer.body["detail"] for answer in found] == [said] * len(parts)


def test_a_request_that_trickles_is_given_up_too(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=0.2)) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        end, said = time.monotonic() + ENDS, b""
        while not said and time.monotonic() < end:
            connection.sendall(b" ")
            try:
                said = connection.recv(65536)
            except TimeoutError:
                continue
    assert answers(said)[0].status == 408


def test_an_upload_without_an_end_is_cut_off(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=ENDS)) as connection:
        connection.sendall(HEAD + b"Content-Length: 999999999999\r\n\r\n")
        end, part = time.monotonic() + ENDS, b" " * 2**16

        def upload() -> None:
            while time.monotonic() < end:
                connection.sendall(part)

        with pytest.raises(ConnectionError):
            upload()


def test_a_connection_goes_on_after_a_pause_and_takes_requests_in_one_piece(port: int) -> None:
    # No model is there: every one is answered with a 503.
    one = HEAD + b"Content-Length: 2\r\n\r\n{}"
    with closing(socket.create_connection(("127.0.0.1", port), timeout=ENDS)) as connection:
        for pause, sent in ((0, one), (PATIENCE + 1, one + one), (0, one[:-1])):
            time.sleep(pause)
            connection.sendall(sent)
            assert receive(connection, len(sent) // len(one)) == [503] * (len(sent) // len(one))
        connection.sendall(one[-1:])
        assert receive(connection, 1) == [503]


def receive(connection: socket.socket, wanted: int) -> list[int]:
    """The statuses of so many answers."""
    said = b""
    while wanted and (said.count(b"HTTP/1.1") < wanted or not said.endswith(b"}")):
        said += connection.recv(65536)
    return [answer.status for answer in answers(said)]


def test_a_client_with_many_requests_at_once_lets_others_have_their_turn(port: int) -> None:
    one, many = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 100
    address = ("127.0.0.1", port)
    with (
        closing(socket.create_connection(address, timeout=ENDS)) as busy,
        closing(socket.create_connection(address, timeout=ENDS)) as other,
    ):
        for connection in (busy, other):  # both are known to the worker
            connection.sendall(one)
            assert receive(connection, 1) == [200]
        busy.sendall(one * many)
        busy.recv(1, socket.MSG_PEEK)  # its turn has begun
        other.sendall(one)
        assert receive(other, 1) == [200]
        assert busy.recv(2**20).count(b"HTTP/1.1 200") < many / 2


def test_the_rest_of_a_refused_body_leaves_no_clock_running(port: int) -> None:
    head = HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 200000\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", port), timeout=ENDS)) as connection:
        connection.sendall(head + b" " * 100_000)
        assert receive(connection, 1) == [415]
        connection.sendall(b" " * 100_000)
        connection.settimeout(PATIENCE + 1)
        with pytest.raises(TimeoutError):  # nothing more is said, and nobody hangs up
            connection.recv(1)
        connection.settimeout(ENDS)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(connection, 1) == [200]


def test_a_large_body_arrives_whole(port: int) -> None:
    for padding in (0, 1, 1023, 1024, 8192, 300_000, 3_000_000):
        text = b'{"a": "' + b"x" * padding + b'"}'
        sent = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        (answer,) = until_closed(port, sent)
        assert answer.status == 503, padding


def test_a_client_that_leaves_gets_no_answer_and_harms_nobody(port: int) -> None:
    assert until_closed(port, HEAD[:40], ends=True) == []
    until_closed(port, HEAD + b"Content-Length: 50\r\n\r\n{", ends=True)
    refused(port, b"nonsense\r\n\r\n", 400)
