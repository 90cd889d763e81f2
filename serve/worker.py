"""gunicorn's gevent worker: no wait without an end, errors in our shape, bodies read at once."""

from __future__ import annotations

import errno
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from http import HTTPStatus
from typing import Any

from gunicorn.http import body
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    ExpectationFailed,
    InvalidChunkExtension,
    InvalidChunkSize,
    InvalidHTTPVersion,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

from serve.problems import MIMETYPE, Problem, defect

UNREAD = 60.0  # seconds that a client has for reading an answer
_AT_ONCE = 2**18  # bytes of a body that one call of the system reads
_SHOWN = 200  # characters of what gunicorn says
_STATUSES: dict[type[Exception], int] = {
    ExpectationFailed: 417,
    InvalidHTTPVersion: 505,
    LimitRequestHeaders: 431,
    LimitRequestLine: 414,
    UnsupportedTransferCoding: 501,
}
_DAMAGED = (ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData)


class Client:
    """A client's socket, as gunicorn reads and writes it, that waits for nobody without an end."""

    def __init__(self, socket: Any, idle: float, patience: float) -> None:
        """Wrap a socket.

        Args:
            socket: gevent's.
            idle: seconds that a connection may lie idle between two requests.
            patience: seconds from the first byte of a request to its last.
        """
        self._socket, self._idle, self._patience = socket, idle, patience
        self._until: float | None = None  # when the request that is being read must be here
        self._ended = False
        self._head: bytes | None = None  # of the answer, until there is more of it; empty if sent
        self.request: Any = None  # gunicorn's, once its headers are read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """Read what there is; nothing if the client has left, or was idle for too long.

        Raises:
            Problem: 408, the request is not whole and its time is over.
        """
        if self._ended:
            return b""
        left = self._idle if self._until is None else self._until - time.monotonic()
        if left <= 0:  # also for a client whose bytes are always there
            raise self._late()
        self._socket.settimeout(left)
        try:
            found: bytes = self._socket.recv(size)
        except TimeoutError:
            if self._until is None:
                self.end()
                return b""
            raise self._late() from None
        if self._until is None:
            self._until = time.monotonic() + self._patience
        return found

    def _late(self) -> Problem:
        self.end()
        return Problem(408, f"the request was not whole {self._patience:g} s after its first byte")

    def sendall(self, data: bytes) -> None:
        """Send all; an answer's headers, which are written first, go with what follows them.

        Raises:
            ConnectionResetError: the client does not read.
        """
        if self._head is None:
            self._head = data
            return
        self._socket.settimeout(UNREAD)
        try:
            self._socket.sendall(self._head + data)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None
        self._head = b""

    def end(self) -> None:
        """Read nothing more, and close after the answer."""
        self._ended = True
        if self.request is not None:
            self.request.force_close()

    def next_request(self) -> None:
        """The request was answered: wait for another one."""
        if self._head:
            self.sendall(b"")
        self._until = self.request = self._head = None


class Body(body.Body):  # type: ignore[misc]
    """A request's body; one whose size is known is read in large parts.

    gunicorn's own takes 1,024 bytes at a time, whatever it is asked for.
    """

    def __init__(self, reader: Any, client: Client) -> None:
        super().__init__(reader)
        self._client = client

    def read(self, size: int | None = None) -> bytes:
        """Read ``size`` bytes, or all.

        Raises:
            Problem: 400, it comes in chunks, and these are damaged; 408, it does not come.
        """
        try:
            reader = self.reader
            if isinstance(reader, body.LengthReader) and reader.length and size == reader.length:
                return self._whole(reader)
            found: bytes = super().read(size)
        except _DAMAGED as error:
            self._client.end()
            raise Problem(400, f"the body cannot be read: {_short(error)}") from None
        return found

    def drain(self) -> None:
        """Read what the application left unread, while the request's time still runs.

        Raises:
            StopIteration: it does not come; gunicorn then hangs up. The answer has been sent.
        """
        if isinstance(self.reader, body.LengthReader) and not self.reader.length:
            return  # nearly always
        try:
            while self.read(_AT_ONCE):
                pass
        except Problem as problem:
            raise StopIteration(problem.detail) from None

    def _whole(self, reader: Any) -> bytes:
        unreader, missing = reader.unreader, reader.length
        parts, reader.length = [unreader.take_buffered()], 0
        if len(parts[0]) > missing:  # the client's next request is there already
            unreader.unread(parts[0][missing:])
            return bytes(parts[0][:missing])
        missing -= len(parts[0])
        while missing and (part := self._client.recv(min(missing, _AT_ONCE))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class Worker(GeventWorker):  # type: ignore[misc]
    """The worker; gunicorn's setting ``timeout`` is also the time in which a request must come."""

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """The client keeps the time: a timer less for each request."""
        return nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer a client's requests."""
        super().handle(listener, Client(client, self.cfg.keepalive, self.cfg.timeout), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Client, addr: Any) -> None:
        """Answer one request."""
        sock.request, req.body = req, Body(req.body.reader, sock)
        try:
            super().handle_request(listener_name, req, sock, addr)
            req.body.drain()
        finally:
            sock.next_request()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP, in the shape of all other errors; the connection ends."""
        if not isinstance(exc, Exception):  # the worker ends
            return
        problem = refusal(exc)
        where = f" to {req.uri[:_SHOWN]}" if req is not None else ""
        self.log.warning("refused a request%s from %s: %s", where, addr, problem.detail)
        said = problem.json()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
            f"Content-Type: {MIMETYPE}\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):  # the client is gone
            client.sendall(head.encode())
            client.sendall(said)


def refusal(error: BaseException) -> Problem:
    """What is said of an error that came before the application, or after it."""
    if isinstance(error, Problem):
        return error
    if not isinstance(error, ParseException):
        return defect()
    return Problem(_STATUSES.get(type(error), 400), f"this is no HTTP/1.1: {_short(error)}")


def _short(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
