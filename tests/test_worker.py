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
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ports import free_port

from serve.problems import MIMETYPE
from stages.shared import files

PATIENCE = 3  # seconds that a request has here
ENDS = 30.0  # seconds in which the server must have hung up
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    folder = tmp_path_factory.mktemp("counts")
    command = [
        sys.executable, "-m", "gunicorn", "--config", str(files.ROOT / "serve/gunicorn.conf.py"),
        "--workers", "1", "--timeout", str(PATIENCE),
    ]  # fmt: skip
    environment = os.environ | {
        "PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "SERVE_FOLDER": str(folder / "serving"),  # where there is no model
        "SERVE_ALLOWED_HOSTS": "x",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=files.ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait(port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait()


def wait(port: int, log: Path) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


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
